//! What the benchmarks share: whose turn it is, and whether a device did what it is credited with. How they count and time
//! is [`babil_models::bench`].

use anyhow::{Result, ensure};
use babil_runtime::accelerator::Report;

/// Whether `report` is that of a device which did everything it was asked for. Nobody's speed is recorded as another's.
///
/// # Errors
/// Says what the CPU did.
pub fn ensure_on_device(report: Option<&Report>) -> Result<()> {
    let failure = report.and_then(|report| report.failure.as_deref());
    ensure!(failure.is_none(), "the device was given up: {}", failure.unwrap_or_default());
    ensure!(report.is_some_and(|report| report.accelerator_used.is_some()), "nothing ran on the device");
    let left = report.into_iter().flat_map(|report| &report.subgraphs).find(|graph| graph.cpu_runs > 0);
    ensure!(left.is_none(), "the CPU computed the {}", left.map_or("", |graph| &graph.name));
    let skipped = report.map_or(0, |report| report.too_short + report.too_long);
    ensure!(skipped == 0, "the CPU computed what is too short or too long for the device, {skipped} times");
    Ok(())
}

/// When a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Once, uncounted, to warm up, then so often.
    Rounds(usize),
    /// For each line of stdin: somebody else says whose turn it is.
    OnRequest,
}

impl Turns {
    /// Calls `repeat` whenever it is time, with whether that counts.
    ///
    /// # Errors
    /// Reading stdin, and those of `repeat`.
    pub fn run<E: From<std::io::Error>>(self, mut repeat: impl FnMut(bool) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Rounds(0) => Ok(()),
            Self::Rounds(rounds) => (0..=rounds).try_for_each(|round| repeat(round > 0)),
            Self::OnRequest => std::io::stdin().lines().try_for_each(|line| {
                line?;
                repeat(true)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use babil_runtime::accelerator::SubgraphReport;

    use super::*;

    #[test]
    fn what_the_cpu_did_is_not_the_devices() {
        let report = |used: Option<&str>, cpu_runs, failure: Option<&str>| Report {
            accelerator_used: used.map(str::to_owned),
            subgraphs: vec![SubgraphReport {
                name: "encoder of 1500 positions".to_owned(),
                placement: Default::default(),
                runs: 1,
                cpu_runs,
            }],
            failure: failure.map(str::to_owned),
            ..Report::default()
        };
        assert!(ensure_on_device(Some(&report(Some("a device"), 0, None))).is_ok());
        let others = [
            (None, "nothing ran on the device"),
            (Some(report(None, 0, None)), "nothing ran on the device"),
            (Some(report(Some("a device"), 1, None)), "the CPU computed the encoder of 1500 positions"),
            (Some(report(Some("a device"), 1, Some("lost"))), "the device was given up: lost"),
            (
                Some(Report { too_short: 2, ..report(Some("a device"), 0, None) }),
                "the CPU computed what is too short or too long for the device, 2 times",
            ),
        ];
        for (report, problem) in others {
            assert_eq!(ensure_on_device(report.as_ref()).unwrap_err().to_string(), problem);
        }
    }
}
