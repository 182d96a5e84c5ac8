//! A long run: its first minute beside its last.

use babil_runtime::energy::Recording;

use super::measure::Phase;
use super::report::{Stretch, Sustain};

/// Seconds of either end of a run that are compared.
const END: f64 = 60.0;

/// The first minute of `phases` beside the last; halves of a run of less than two. `temperatures` are those at the end
/// of each phase, in °C. `None` where there are fewer than two phases, or no tokens.
pub fn sustain(phases: &[Phase], temperatures: &[Option<f64>], recording: Option<&Recording>) -> Option<Sustain> {
    let (first, last) = (phases.first()?, phases.last()?);
    let seconds = last.to - first.from;
    let end = END.min(seconds / 2.0);
    // A phase belongs to the end that its middle is in, and each end has one at least.
    let middle = |phase: &Phase| (phase.from + phase.to) / 2.0;
    let count = phases.iter().take_while(|phase| middle(phase) < first.from + end).count().max(1);
    let skip = phases.iter().take_while(|phase| middle(phase) <= last.to - end).count().min(phases.len() - 1);
    if phases.len() < 2 {
        return None;
    }
    let part = |range: std::ops::Range<usize>| {
        let part = &phases[range.clone()];
        let tokens: u64 = part.iter().map(Phase::tokens).sum();
        let work: f64 = part.iter().map(|phase| phase.seconds).sum();
        let energy = recording.and_then(|recording| recording.energy(part[0].from, part[part.len() - 1].to).ok());
        Stretch {
            seconds: work,
            ts: tokens as f64 / work,
            j_per_token: energy.as_ref().map(|energy| energy.joules / tokens as f64),
            avg_w: energy.map(|energy| energy.avg_w),
            end_c: temperatures.get(range.end - 1).copied().flatten(),
        }
    };
    let (first, last) = (part(0..count), part(skip..phases.len()));
    (first.ts > 0.0).then(|| Sustain { minutes: seconds / 60.0, ratio_ts: last.ts / first.ts, first, last })
}

#[cfg(test)]
mod tests {
    use super::super::work::Work;
    use super::*;

    fn phases(lengths: &[f64]) -> Vec<Phase> {
        let mut at = 5.0;
        let phase = |&seconds: &f64| {
            let from = at;
            at += seconds;
            let work = Work { generated: 30, ..Work::default() };
            Phase { from, to: at, seconds, iterations: 1, work, cpu_s: None, others_s: None }
        };
        lengths.iter().map(phase).collect()
    }

    #[test]
    fn minutes_at_the_ends_are_compared() {
        let run: Vec<f64> = [[10.0; 12], [20.0; 12]].concat();
        let temperatures: Vec<Option<f64>> = (0..24).map(|index| Some(40.0 + f64::from(index))).collect();
        let found = sustain(&phases(&run), &temperatures, None).unwrap();
        assert_eq!((found.minutes, found.first.seconds, found.last.seconds), (6.0, 60.0, 60.0));
        assert_eq!((found.first.ts, found.last.ts, found.ratio_ts), (3.0, 1.5, 0.5));
        assert_eq!((found.first.end_c, found.last.end_c), (Some(45.0), Some(63.0)));
        assert_eq!((found.first.j_per_token, found.first.avg_w), (None, None));
    }

    #[test]
    fn short_runs_are_halved() {
        let found = sustain(&phases(&[10.0, 10.0, 15.0, 15.0]), &[], None).unwrap();
        assert_eq!((found.first.seconds, found.last.seconds), (20.0, 30.0));
        let found = sustain(&phases(&[1.0, 30.0]), &[], None).unwrap();
        assert_eq!((found.first.seconds, found.last.seconds), (1.0, 30.0));
        assert_eq!(sustain(&phases(&[1.0]), &[], None), None);
        assert_eq!(sustain(&[], &[], None), None);
    }
}
