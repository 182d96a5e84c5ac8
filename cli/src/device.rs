//! `--device`, and what is said of the devices that computed.

use anyhow::Result;
use babil_models::{Device, DeviceOptions};
use babil_runtime::accelerator::Report;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::Context;

/// What computes encoders and prompts.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DeviceArgs {
    /// What computes encoders and prompts; text is generated on the CPU in any case
    #[arg(long, value_enum, default_value_t)]
    device: DeviceArg,
    /// Let the NPU's provider compute on the CPU what the NPU cannot
    #[arg(long)]
    npu_fallback: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DeviceArg {
    /// The CPU
    #[default]
    Cpu,
    /// The NPU: an error where there is none (`babil doctor --devices`)
    Npu,
    /// The NPU, where a short test on this machine finds that it pays
    Auto,
}

impl DeviceArgs {
    /// # Errors
    /// A variable of the environment that means nothing.
    pub(crate) fn options(&self) -> Result<DeviceOptions> {
        let device = match self.device {
            DeviceArg::Cpu => Device::Cpu,
            DeviceArg::Npu => Device::Npu,
            DeviceArg::Auto => Device::Auto,
        };
        Ok(DeviceOptions::from_env(device, self.npu_fallback)?)
    }
}

/// Says what ran where, unless everything was for the CPU.
pub(crate) fn note(report: Option<&Report>, context: &Context) {
    report.into_iter().flat_map(lines).for_each(|line| context.output.note(line));
}

/// `value`, an object, and what ran where so far, unless everything is for the CPU.
#[derive(Serialize)]
pub(crate) struct WithReport<T> {
    #[serde(flatten)]
    value: T,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
}

impl<T> WithReport<T> {
    pub(crate) fn new(value: T, report: Option<Report>) -> Self {
        Self { value, report }
    }
}

/// A report in lines: what ran where.
pub(crate) fn lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<_> = report
        .accelerator_used
        .iter()
        .map(|device| match report.fallback_ops {
            0 => format!("computed on {device}"),
            ops => format!("computed on {device}, but for {ops} operations that its provider left to the CPU"),
        })
        .collect();
    for graph in &report.subgraphs {
        let times = |count: usize| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let place = |count: usize, place: &str| (count > 0).then(|| format!("{} on the {place}", times(count)));
        let made = if graph.placement.loaded { "compiled before" } else { "compiled now" };
        let made = (graph.placement != Default::default()).then(|| made.to_owned());
        let parts: Vec<_> =
            [place(graph.runs, "device"), place(graph.cpu_runs, "CPU"), made].into_iter().flatten().collect();
        lines.push(format!("{}: {}", graph.name, parts.join(", ")));
    }
    if report.accelerator_used.is_none() && report.failure.is_none() {
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("a {one}")),
            count => Some(format!("{count} {many}")),
        };
        let tested = (!report.subgraphs.is_empty()).then(|| "the CPU is better, or a test is not over".to_owned());
        let reasons = [
            tested,
            counted(report.too_short, "prompt is too short to be worth it", "prompts are too short to be worth it"),
            counted(report.too_long, "text is longer than what is compiled", "texts are longer than what is compiled"),
        ];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        let why = if reasons.is_empty() { "there was nothing for it".to_owned() } else { reasons.join(", ") };
        lines.push(format!("nothing ran on the device: {why}"));
    }
    lines.extend(report.failure.iter().map(|failure| format!("the device was given up: {failure}")));
    lines
}

#[cfg(test)]
mod tests {
    use babil_runtime::accelerator::{Placement, SubgraphReport};

    use super::*;

    #[test]
    fn reports_say_what_ran_where() {
        let graph = |name: &str, placement: Placement, runs, cpu_runs| SubgraphReport {
            name: name.to_owned(),
            placement,
            runs,
            cpu_runs,
        };
        let report = Report {
            accelerator_used: Some("QNNExecutionProvider 2.1 on npu (Qualcomm 0001) in f16".to_owned()),
            fallback_ops: 2,
            subgraphs: vec![
                graph("encoder of 375 positions", Placement { ops: 1, fallback_ops: 2, loaded: true }, 3, 0),
                graph("encoder of 750 positions", Placement { ops: 1, fallback_ops: 0, loaded: false }, 1, 1),
                graph("encoder of 1500 positions", Placement::default(), 0, 2),
            ],
            failure: Some("encoder of 750 positions: the device was lost".to_owned()),
            ..Report::default()
        };
        insta::assert_snapshot!(lines(&report).join("\n"));
    }

    #[test]
    fn objects_say_what_ran_where() {
        let json = |report| serde_json::to_value(WithReport::new(serde_json::json!({ "seconds": 1 }), report)).unwrap();
        assert_eq!(json(None), serde_json::json!({ "seconds": 1 }));
        let found = json(Some(Report { accelerator_used: Some("a device".to_owned()), ..Report::default() }));
        assert_eq!((&found["seconds"], &found["accelerator_used"]), (&1.into(), &"a device".into()));
        assert_eq!((&found["fallback_ops"], &found["too_short"]), (&0.into(), &0.into()));
    }

    #[test]
    fn it_is_said_that_nothing_ran() {
        let said = |too_short, too_long, cpu_runs: Option<usize>| {
            let name = "prompt of 128 tokens after 0".to_owned();
            let graph = |cpu_runs| SubgraphReport { name, placement: Placement::default(), runs: 0, cpu_runs };
            lines(&Report {
                too_short,
                too_long,
                subgraphs: cpu_runs.map(graph).into_iter().collect(),
                ..Report::default()
            })
            .join("\n")
        };
        insta::assert_snapshot!(
            [said(0, 0, None), said(1, 0, None), said(2, 3, None), said(0, 1, Some(2))].join("\n"),
            @r"
        nothing ran on the device: there was nothing for it
        nothing ran on the device: a prompt is too short to be worth it
        nothing ran on the device: 2 prompts are too short to be worth it, 3 texts are longer than what is compiled
        prompt of 128 tokens after 0: 2 times on the CPU
        nothing ran on the device: the CPU is better, or a test is not over, a text is longer than what is compiled
        "
        );
    }
}
