//! The energy of a window of a recording, and its uncertainty.
//!
//! What is known of a window `[a, b]` are samples `(t, v)`, each made within `w` seconds around `t`. Let `T = b - a`.
//!
//! **Energy.** Only samples inside the window are used: those outside belong to another phase. A sample of power whose
//! `t +- w` holds an edge may belong to either, and is left out.
//! - Counters: `E = (v_last - v_first) / (t_last - t_first) T`. A recorder reads a counter at the edges of its
//!   windows, so that the factor is nearly `b - a` over itself.
//! - Power: the trapezoid rule from the first sample to the last, which stand for the time up to the edges. That is a
//!   sum `E = sum(c v)` with weights `c` in seconds. A meter that is read more often than it measures says the same
//!   thing several times: a repetition is no new sample, and a new one was made since the reading before it.
//!
//! **Uncertainty**, as the Guide to the expression of uncertainty in measurement (GUM) has it: standard deviations of
//! independent errors, in joules, added as squares. A quantity known to be within `+-h`, and no more, has `h /
//! sqrt(3)`.
//! - *Gain* `E sqrt(gain^2 + drift^2)` and *offset* `offset T`: what the source states ([`SourceInfo`]).
//! - *Noise*, of power only: `s sqrt(sum(c^2))`. `s` comes from the samples: what remains of each when the line
//!   through its neighbours is subtracted, divided by what independent noise of size 1 would leave. Samples are taken
//!   at random moments ([`super::Recorder`]), so that power that changes faster than it is sampled is such noise, and
//!   power that changes slowly leaves nothing. The estimate has few degrees of freedom, and the interval takes
//!   Student's t for it.
//! - *Resolution*: power that does not change is rounded the same way every time, by `q / 2` at most: `q T /
//!   sqrt(12)`. A counter is rounded twice, independently: `q / sqrt(6)`.
//! - *Edges*. Power follows the load. So between the beginning of the window and the first sample inside, it is on its
//!   way from the phase before to this one: it is wrong by the step between them at most, for the time from the edge to
//!   the sample, but not for longer than power takes to follow ([`SETTLE_S`]). Where there is no sample before, the step
//!   is all of the power. Before the end it stays what it was. Of a counter, both edges are wrong by the power itself,
//!   for the time from the edge to the sample, because nothing was counted at the edge where somebody else makes the
//!   readings ([`super::PushedReadings`]), and for the time `w` in which it was made, because that moves the reading.
//! - *Shift*: an error that all times share moves both edges alike, and costs the difference between the power before
//!   the window and after it.
//!
//! The interval is `+- t sigma`, with `t` of 95 % and the effective degrees of freedom (Welch and Satterthwaite). Each
//! part is stated by the source or estimated from the samples; there is no factor to adjust. `tests/coverage.rs`
//! simulates boards whose errors have these sizes, and counts how often the interval holds the truth.

use serde::{Deserialize, Serialize};

use super::{Class, Integration, Recording, Sample, Scope, SourceInfo};
use crate::statistics::student;

/// How long power takes to follow a load, in seconds: capacitors, and a governor that raises the frequency. An
/// assumption.
pub(super) const SETTLE_S: f64 = 0.2;

/// Readings of a counter that are nearer to each other, in seconds, in its updates or in its steps, are too near to tell
/// a power from.
const LEAST_SLOPE_S: f64 = 0.02;
const LEAST_SLOPE_UPDATES: f64 = 2.0;
const LEAST_SLOPE_STEPS: f64 = 10.0;

/// What a window should have, for its figures to mean something.
const ENOUGH_SAMPLES: usize = 50;
const ENOUGH_SECONDS: f64 = 10.0;
/// Of a counter, which is wrong by a step at either end.
const ENOUGH_STEPS: f64 = 30.0;

/// Effective degrees of freedom per sample of a variance from differences to neighbours, which share samples: 18 / 35.
const FREEDOM: f64 = 18.0 / 35.0;

/// What a window took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// The source's name.
    pub source: String,
    /// Its class.
    pub class: Class,
    /// What it covers.
    pub scope: Scope,
    /// How the samples became energy.
    pub integration: Integration,
    /// Joules.
    pub joules: f64,
    /// The true value is within `joules` ± this 19 times out of 20. None of a model, which is an assumption.
    pub half_width_95_j: Option<f64>,
    /// What that is made of.
    pub budget: Budget,
    /// Joules per second of the window.
    pub avg_w: f64,
    /// The highest power at a sample, or between two samples of a counter.
    pub peak_w: f64,
    /// Different samples within the window.
    pub samples: usize,
    /// The window's length in seconds.
    pub window_s: f64,
    /// Samples per second, as they came.
    pub sample_hz: f64,
    /// What makes the figure worth less than it looks.
    pub flags: Vec<Flag>,
}

/// The parts of an uncertainty: standard deviations in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The factor between readings and truth, and its drift: in proportion to the energy, and the same for everything
    /// that one meter measures in one run.
    pub gain_j: f64,
    /// A constant error of the power: in proportion to the time, and the same for one meter in one run.
    pub offset_j: f64,
    /// What differs from sample to sample: noise, and power that changes between samples.
    pub noise_j: f64,
    /// The degrees of freedom with which the noise is known.
    pub noise_freedom: f64,
    /// The step in which readings come.
    pub resolution_j: f64,
    /// What is not known between the edges of the window and the samples nearest to them.
    pub edges_j: f64,
    /// An error that all times share.
    pub shift_j: f64,
}

/// What makes a figure worth less than it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Fewer than 50 samples.
    FewSamples,
    /// Shorter than ten seconds.
    ShortWindow,
    /// No sample for more than three times the usual interval.
    Gap,
    /// Some readings failed.
    FailedReadings,
    /// All readings of power are the same, as of a meter that hangs.
    Stuck,
    /// The counter moved by fewer than 30 of its steps.
    FewSteps,
    /// Watts that were assumed, not measured.
    Modelled,
}

impl Budget {
    /// The standard deviation of all parts together, in joules.
    pub fn total_j(&self) -> f64 {
        let Self { gain_j, offset_j, noise_j, noise_freedom: _, resolution_j, edges_j, shift_j } = self;
        [gain_j, offset_j, noise_j, resolution_j, edges_j, shift_j].iter().map(|part| *part * *part).sum::<f64>().sqrt()
    }

    /// The truth is nearer than this, in joules, 19 times out of 20.
    pub fn half_width_95_j(&self) -> f64 {
        let total = self.total_j();
        let noise = self.noise_j / total;
        // Welch and Satterthwaite: only the noise has been estimated.
        let freedom = if noise > 0.0 { self.noise_freedom / noise.powi(4) } else { f64::INFINITY };
        student(0.975, freedom) * total
    }
}

/// How long a window has to be, in seconds, for the figures of a meter that is sampled `hz` times a second to mean
/// something: ten seconds, and fifty readings, of which a meter has no more than it makes.
pub(super) fn least_window(info: &SourceInfo, hz: f64) -> f64 {
    ENOUGH_SECONDS.max(ENOUGH_SAMPLES as f64 * info.update_s.max(1.0 / hz))
}

impl Energy {
    /// What the window took beyond idling as `idle` does, by the same meter in the same run. Its gain is the same in
    /// both, so that it counts for the difference alone, and an offset cancels.
    #[must_use]
    pub fn above(&self, idle: &Self) -> Self {
        let ratio = self.window_s / idle.window_s;
        let joules = self.joules - idle.joules * ratio;
        let both = |part: fn(&Budget) -> f64| part(&self.budget).hypot(part(&idle.budget) * ratio);
        let budget = Budget {
            gain_j: (self.budget.gain_j - idle.budget.gain_j * ratio).abs(),
            offset_j: 0.0,
            noise_j: both(|budget| budget.noise_j),
            noise_freedom: self.budget.noise_freedom.min(idle.budget.noise_freedom),
            resolution_j: both(|budget| budget.resolution_j),
            edges_j: both(|budget| budget.edges_j),
            shift_j: both(|budget| budget.shift_j),
        };
        let mut flags = [&self.flags[..], &idle.flags].concat();
        flags.sort();
        flags.dedup();
        Self {
            joules,
            half_width_95_j: self.half_width_95_j.map(|_| budget.half_width_95_j()),
            budget,
            avg_w: joules / self.window_s,
            peak_w: self.peak_w - idle.avg_w,
            flags,
            ..self.clone()
        }
    }

    /// The half-width of the 95 % interval as a part of the energy. None of a model.
    pub fn rel_uncertainty(&self) -> Option<f64> {
        self.half_width_95_j.map(|half| half / self.joules.abs())
    }
}

/// The energy from `from` to `to`, or why there is none.
pub(super) fn of_window(recording: &Recording, from: f64, to: f64) -> Result<Energy, String> {
    let info = &recording.info;
    if !(from.is_finite() && to.is_finite() && from < to) {
        return Err(format!("{from} to {to} s is no time"));
    }
    // The last mark may be as late as the end.
    if from < 0.0 || to > recording.cost.wall_s + 1e-6 {
        return Err(format!(
            "{from:.3} to {to:.3} s is not within the {:.3} s that were recorded",
            recording.cost.wall_s
        ));
    }
    if recording.restarts.iter().any(|time| (from..=to).contains(time)) {
        return Err(format!("{}: the counter began anew meanwhile", info.name));
    }
    let samples = readings(recording);
    let window = Window::new(&samples, from, to, info);
    let least = if recording.counts_joules() { 2 } else { 4 };
    if window.inside.len() < least {
        let number = window.inside.len();
        let why = recording.failures.iter().rev().find(|failure| (from..=to).contains(&failure.time));
        let why = why.map(|failure| format!("; the last one failed: {}", failure.why)).unwrap_or_default();
        return Err(format!(
            "{}: {number} readings from {from:.3} to {to:.3} s, where {least} are needed{why}",
            info.name
        ));
    }
    let Estimate { joules, peak_w, mut budget } = match info.integration {
        Integration::CounterDifference => counted(&window, recording)?,
        Integration::Trapezoid => integrated(&window, info)?,
    };
    budget.gain_j = joules.abs() * info.gain.hypot(info.drift);
    budget.offset_j = info.offset_w * window.seconds();
    budget.shift_j = (window.outside(Side::From) - window.outside(Side::To)).abs() * recording.shift_s;
    Ok(Energy {
        source: info.name.clone(),
        class: info.class,
        scope: info.scope,
        integration: info.integration,
        joules,
        half_width_95_j: (info.class != Class::E).then(|| budget.half_width_95_j()),
        budget,
        avg_w: joules / window.seconds(),
        peak_w,
        samples: window.inside.len(),
        window_s: window.seconds(),
        sample_hz: (window.inside.len() - 1) as f64 / window.span().max(f64::MIN_POSITIVE),
        flags: flags(recording, &window),
    })
}

fn flags(recording: &Recording, window: &Window<'_>) -> Vec<Flag> {
    let inside = window.inside;
    let same = !recording.counts_joules() && inside.iter().all(|sample| sample.value == inside[0].value);
    let failed = recording.failures.iter().any(|failure| (window.from..=window.to).contains(&failure.time));
    let mut flags = Vec::new();
    let mut flag = |flag, is| flags.extend(Some(flag).filter(|_| is));
    if recording.info.class == Class::E {
        flag(Flag::Modelled, true);
    } else {
        flag(Flag::FewSamples, inside.len() < ENOUGH_SAMPLES);
        flag(Flag::Stuck, same);
        let moved = inside[inside.len() - 1].value - inside[0].value;
        flag(Flag::FewSteps, recording.counts_joules() && moved < ENOUGH_STEPS * recording.info.resolution);
    }
    flag(Flag::ShortWindow, window.seconds() < ENOUGH_SECONDS);
    flag(Flag::Gap, window.longest_gap() > 3.0 * window.usual);
    flag(Flag::FailedReadings, failed);
    flags.sort();
    flags
}

/// The samples as independent readings, at the times of what they tell.
fn readings(recording: &Recording) -> Vec<Sample> {
    let (info, samples) = (&recording.info, &recording.samples);
    // Each is up to one update old, in the mean half of one. Of a counter both ends are, and its edges are readings.
    let age = info.update_s / 2.0;
    if recording.counts_joules() {
        return samples.iter().map(|sample| Sample { within: sample.within + age, ..*sample }).collect();
    }
    if info.update_s <= 1.5 * median_interval(samples) {
        let aged = |sample: &Sample| Sample { time: sample.time - age, within: sample.within + age, ..*sample };
        return samples.iter().map(aged).collect();
    }
    // It is sampled more often than it measures: a new value was made since the reading before. One that stays the
    // same for longer than an update is a new one, too, of unknown age. How old the very first one is cannot be known.
    let mut new: Vec<Sample> = Vec::new();
    let mut last = samples.first().copied();
    for pair in samples.windows(2) {
        let [before, sample] = [pair[0], pair[1]];
        let reading = if last.is_some_and(|last| last.value != sample.value) {
            let half = (sample.time - before.time) / 2.0;
            Sample { time: sample.time - half, within: half + sample.within, ..sample }
        } else if last.is_some_and(|last| sample.time - last.time > 1.5 * info.update_s) {
            Sample { time: sample.time - age, within: age + sample.within, ..sample }
        } else {
            continue;
        };
        new.push(reading);
        last = Some(reading);
    }
    new
}

fn median_interval(samples: &[Sample]) -> f64 {
    let mut intervals: Vec<f64> = samples.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    intervals.sort_by(f64::total_cmp);
    intervals.get(intervals.len() / 2).copied().unwrap_or(0.0)
}

/// An edge of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    From,
    To,
}

/// Power between readings of a counter, at their middle: `(seconds, watts)`. Readings that are too near to each other
/// are taken together.
pub(super) fn slopes(samples: &[Sample], info: &SourceInfo) -> Vec<(f64, f64)> {
    let mut slopes = Vec::new();
    let mut last: Option<&Sample> = None;
    for sample in samples {
        match last {
            // It began anew.
            Some(before) if sample.value < before.value => {}
            Some(before) => match slope(before, sample, info) {
                Some(watts) => slopes.push(((before.time + sample.time) / 2.0, watts)),
                None => continue,
            },
            None => {}
        }
        last = Some(sample);
    }
    slopes
}

/// The power between two readings of a counter that are far enough from each other.
fn slope(first: &Sample, last: &Sample, info: &SourceInfo) -> Option<f64> {
    let (seconds, joules) = (last.time - first.time, last.value - first.value);
    let far = seconds >= LEAST_SLOPE_S.max(LEAST_SLOPE_UPDATES * info.update_s);
    (far && joules >= LEAST_SLOPE_STEPS * info.resolution).then(|| joules.max(0.0) / seconds)
}

/// Samples, of which some are inside of two times.
struct Window<'s> {
    from: f64,
    to: f64,
    inside: &'s [Sample],
    before: &'s [Sample],
    after: &'s [Sample],
    /// The median interval of all samples.
    usual: f64,
    /// The source.
    info: &'s SourceInfo,
}

impl<'s> Window<'s> {
    fn new(samples: &'s [Sample], from: f64, to: f64, info: &'s SourceInfo) -> Self {
        // The readings of a counter at the edges are those that were made for them.
        let reach = |sample: &Sample| match info.integration {
            Integration::CounterDifference => 0.0,
            Integration::Trapezoid => sample.within,
        };
        let count = samples.len();
        let first = |from: usize, is: &dyn Fn(&Sample) -> bool| {
            samples[from..].iter().position(is).map_or(count, |place| from + place)
        };
        let near = samples.partition_point(|sample| sample.time < from);
        let start = first(near, &|sample| sample.time - reach(sample) >= from);
        let end = first(start, &|sample| sample.time + reach(sample) > to);
        let after = first(end, &|sample| sample.time - reach(sample) > to);
        let before = samples[..near].iter().rposition(|sample| sample.time + reach(sample) < from);
        Self {
            from,
            to,
            inside: &samples[start..end],
            before: &samples[..before.map_or(0, |last| last + 1)],
            after: &samples[after..],
            usual: median_interval(samples),
            info,
        }
    }

    fn seconds(&self) -> f64 {
        self.to - self.from
    }

    /// From the first sample inside to the last.
    fn span(&self) -> f64 {
        match self.inside {
            [first, .., last] => last.time - first.time,
            _ => 0.0,
        }
    }

    /// The time from an edge to the first sample inside.
    fn gap(&self, side: Side) -> f64 {
        match (side, self.inside) {
            (Side::From, [first, ..]) => first.time - self.from,
            (Side::To, [.., last]) => self.to - last.time,
            _ => self.seconds(),
        }
    }

    /// The sample inside that is nearest to an edge was made within so many seconds.
    fn made(&self, side: Side) -> f64 {
        match (side, self.inside) {
            (Side::From, [first, ..]) => first.within,
            (Side::To, [.., last]) => last.within,
            _ => 0.0,
        }
    }

    fn longest_gap(&self) -> f64 {
        let inner = self.inside.windows(2).map(|pair| pair[1].time - pair[0].time);
        inner.chain([self.gap(Side::From), self.gap(Side::To)]).fold(0.0, f64::max)
    }

    /// The power beyond an edge, of its nearest samples; 0 where they tell none.
    fn outside(&self, side: Side) -> f64 {
        let samples = match side {
            Side::From => self.before,
            Side::To => self.after,
        };
        self.power(samples, side).unwrap_or(0.0)
    }

    /// The power on this side of an edge; of a counter that moves too little for that, the power of all that is inside.
    fn within(&self, side: Side) -> f64 {
        // The end of what is inside lies at the other end of the slice.
        let power = self.power(self.inside, if side == Side::From { Side::To } else { Side::From });
        let all = || match self.inside {
            [first, .., last] => (last.value - first.value).max(0.0) / self.span().max(LEAST_SLOPE_S),
            _ => 0.0,
        };
        power.unwrap_or_else(all)
    }

    /// The power of the few samples at the end of `samples` that lies at [`Side::From`]'s edge, or at its beginning,
    /// which lies at [`Side::To`]'s: the mean of three, or of a counter the slope of what is long enough for one.
    fn power(&self, samples: &[Sample], edge: Side) -> Option<f64> {
        let near = |count: usize| match edge {
            Side::From => &samples[samples.len() - count..],
            Side::To => &samples[..count],
        };
        if self.info.integration == Integration::Trapezoid {
            let few = near(samples.len().min(3));
            let sum: f64 = few.iter().map(|sample| sample.value).sum();
            return (!few.is_empty()).then(|| sum / few.len() as f64);
        }
        let slope = |count| match near(count) {
            [first, .., last] => slope(first, last, self.info),
            _ => None,
        };
        (2..=samples.len()).find_map(slope)
    }
}

/// The energy of a window, and the parts of its uncertainty that samples tell.
struct Estimate {
    joules: f64,
    peak_w: f64,
    budget: Budget,
}

/// How far the energy between the beginning of the window and the first sample inside may be off, squared.
fn edge_variance(window: &Window<'_>) -> f64 {
    let step = window.within(Side::From) - window.outside(Side::From);
    (step * window.gap(Side::From).min(SETTLE_S)).powi(2) / 3.0
}

/// How far what a counter has counted at an edge may be off, squared.
fn counted_edge_variance(window: &Window<'_>, side: Side) -> f64 {
    let power = window.within(side).max(window.outside(side));
    (power * (window.gap(side) + window.made(side))).powi(2) / 3.0
}

/// The difference of a counter.
fn counted(window: &Window<'_>, recording: &Recording) -> Result<Estimate, String> {
    let info = &recording.info;
    let (first, last, span) = (window.inside[0], window.inside[window.inside.len() - 1], window.span());
    let counted = last.value - first.value;
    if span <= 0.0 || counted < 0.0 {
        return Err(format!("{}: its readings have no times of their own, or run backwards", info.name));
    }
    if counted == 0.0 && info.class != Class::E {
        return Err(format!("{}: the counter stood still for {span:.3} s", info.name));
    }
    let peak_w = slopes(window.inside, info).into_iter().map(|(_, watts)| watts).fold(counted / span, f64::max);
    if let Some(wraps_at) = info.wraps_at_j
        && peak_w * window.longest_gap() > wraps_at / 2.0
    {
        let gap = window.longest_gap();
        return Err(format!("{}: {gap:.1} s without a reading, in which it may have wrapped unseen", info.name));
    }
    let edges = [Side::From, Side::To].map(|side| counted_edge_variance(window, side));
    let budget = Budget {
        resolution_j: info.resolution / 6f64.sqrt(),
        edges_j: (edges[0] + edges[1]).sqrt(),
        ..Budget::default()
    };
    Ok(Estimate { joules: counted / span * window.seconds(), peak_w, budget })
}

/// The integral of power.
fn integrated(window: &Window<'_>, info: &SourceInfo) -> Result<Estimate, String> {
    let gap = window.longest_gap();
    if gap > (5.0 * window.usual).max(0.2 * window.seconds()) {
        let seconds = window.seconds();
        return Err(format!("{}: no reading for {gap:.1} s of {seconds:.1}", info.name));
    }
    let samples = window.inside;
    let last = samples.len() - 1;
    let (mut joules, mut squares) = (0.0, 0.0);
    for (i, sample) in samples.iter().enumerate() {
        let begin = if i == 0 { window.from } else { (samples[i - 1].time + sample.time) / 2.0 };
        let end = if i == last { window.to } else { (sample.time + samples[i + 1].time) / 2.0 };
        joules += sample.value * (end - begin);
        squares += (end - begin).powi(2);
    }
    if joules <= 0.0 {
        return Err(format!("{}: it says {joules:.3} J for {:.1} s", info.name, window.seconds()));
    }
    let budget = Budget {
        noise_j: (noise_variance(samples) * squares).sqrt(),
        noise_freedom: FREEDOM * (samples.len() - 2) as f64,
        resolution_j: info.resolution * window.seconds() / 12f64.sqrt(),
        edges_j: edge_variance(window).sqrt(),
        ..Budget::default()
    };
    let peak_w = samples.iter().map(|sample| sample.value).fold(f64::MIN, f64::max);
    Ok(Estimate { joules, peak_w, budget })
}

/// The variance of what differs from sample to sample.
fn noise_variance(samples: &[Sample]) -> f64 {
    let squares = samples.windows(3).filter_map(|three| {
        let [a, b, c] = [three[0], three[1], three[2]];
        let all = c.time - a.time;
        let (left, right) = ((c.time - b.time) / all, (b.time - a.time) / all);
        let rest = b.value - left * a.value - right * c.value;
        (all > 0.0).then(|| rest * rest / (1.0 + left * left + right * right))
    });
    let (sum, count) = squares.fold((0.0, 0), |(sum, count), square| (sum + square, count + 1));
    sum / f64::from(count.max(1))
}
