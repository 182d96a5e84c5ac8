//! Readings that somebody else makes: on Android, Java reads the battery or the power rails and pushes them here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sources::battery_info;
use super::{Class, Clock, Energy, Integration, MonotonicClock, ReadError, Reading, Recording, Scope, SourceInfo};
use crate::{Error, Result};

/// Samples before the beginning of a window are kept for so many seconds: they tell the power before it, and how often
/// readings usually come.
const KEPT_BEFORE_S: f64 = 100.0;

/// Samples that are kept at most, 24 MiB, for a window that nobody ends: a day of ten readings per second.
const MOST_SAMPLES: usize = 1 << 20;

/// Meters whose readings can be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushedMeter {
    /// Watts of a battery's gauge: its current times its voltage, while it is being discharged.
    BatteryPower,
    /// Joules that a battery has given since some beginning.
    BatteryEnergy,
    /// Joules that power rails have delivered since some beginning.
    RailEnergy {
        /// How many counters are added.
        rails: u32,
    },
}

impl PushedMeter {
    /// What such a meter is worth where its maker says nothing.
    pub fn info(self, name: String) -> SourceInfo {
        match self {
            Self::BatteryPower => battery_info(name, Vec::new(), Integration::Trapezoid),
            Self::BatteryEnergy => battery_info(name, Vec::new(), Integration::CounterDifference),
            Self::RailEnergy { rails } => SourceInfo {
                name,
                class: Class::C,
                scope: Scope::Board,
                integration: Integration::CounterDifference,
                reads: Vec::new(),
                remark: "the rails that were chosen, and nothing else of the device".into(),
                // As far off as Android's readings are: of each it takes up to 10 J away, the same part of all (Android
                // Open Source Project, `PowerStatsService`), distributed as Beta(50, 1), which has a standard deviation
                // of 0.19 J; sqrt(12) of that is such a step.
                resolution: 0.67 * f64::from(rails),
                // Readings have times of their own, in milliseconds.
                update_s: 0.01,
                gain: 0.02,
                drift: 0.003,
                offset_w: 0.005,
                why: "makers state no accuracy: 2 %, a drift of 0.3 % and 0.005 W are assumptions; the step is the \
                      noise that Android adds for apps"
                    .into(),
                default_hz: 1.0,
                wraps_at_j: None,
            },
        }
    }
}

/// A recording that is written from outside and asked meanwhile. Only what is asked for has to be kept:
/// [`PushedReadings::forget`].
#[derive(Debug)]
pub struct PushedReadings {
    clock: MonotonicClock,
    integration: Integration,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    recording: Recording,
    /// Everything since then is there.
    since: f64,
}

impl PushedReadings {
    /// Begins, without a reading yet.
    pub fn start(info: SourceInfo) -> Self {
        let integration = info.integration;
        let kept = Kept { recording: Recording::new(info), since: 0.0 };
        Self { clock: MonotonicClock::start(), integration, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since it began, as the edges of windows are told.
    pub fn now(&self) -> f64 {
        self.clock.now()
    }

    /// The meter said `value` so many seconds ago: watts or joules, as it gives. Returns false, and adds nothing, where
    /// that is not after the reading before.
    ///
    /// # Errors
    /// Values and ages that are no finite numbers, and ages below 0.
    pub fn push(&self, value: f64, age_s: f64) -> Result<bool> {
        if !value.is_finite() || !(0.0..f64::INFINITY).contains(&age_s) {
            return Err(Error::BadRequest(format!("a reading of {value}, {age_s} seconds old")));
        }
        let reading = match self.integration {
            Integration::CounterDifference => Reading::Joules(value),
            Integration::Trapezoid => Reading::Watts(value),
        };
        let mut kept = self.kept();
        let time = self.now() - age_s;
        if kept.recording.samples.last().is_some_and(|last| time <= last.time) {
            return Ok(false);
        }
        if kept.recording.samples.len() == MOST_SAMPLES {
            kept.since = kept.recording.samples[MOST_SAMPLES / 2].time;
            kept.recording.samples.drain(..MOST_SAMPLES / 2);
        }
        Ok(kept.recording.add(time, 0.0, Ok(reading)))
    }

    /// The meter could not be read now.
    pub fn failed(&self, why: &str) {
        let mut kept = self.kept();
        let problem = ReadError::Senseless { path: kept.recording.info.name.clone(), problem: why.to_owned() };
        let now = self.now();
        kept.recording.add(now, 0.0, Err(problem));
    }

    /// Lets go what no window needs that begins at `from` or later.
    pub fn forget(&self, from: f64) {
        let from = from - KEPT_BEFORE_S;
        let recording = &mut self.kept().recording;
        recording.restarts.retain(|time| *time >= from);
        recording.failures.retain(|failure| failure.time >= from);
        // Half of them at once, so that each is moved once.
        let old = recording.samples.partition_point(|sample| sample.time < from);
        if old > recording.samples.len() / 2 {
            recording.samples.drain(..old);
        }
    }

    /// What was used from one time to another.
    ///
    /// # Errors
    /// As [`Recording::energy`]; windows of which the beginning is not kept any more.
    pub fn energy(&self, from: f64, to: f64) -> Result<Energy> {
        let mut kept = self.kept();
        if from < kept.since {
            let lost = kept.since - from;
            let problem = format!("the first {lost:.0} s are not kept any more, because the window is too long");
            return Err(Error::NotMeasured(problem));
        }
        kept.recording.cost.wall_s = self.now();
        kept.recording.energy(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_without_a_window_are_forgotten() {
        let pushed = PushedReadings::start(PushedMeter::BatteryPower.info("battery".into()));
        for age in (0..40_000).rev() {
            assert!(pushed.push(2.0, f64::from(age)).unwrap());
            pushed.forget(pushed.now() - f64::from(age));
            let most = 2 * KEPT_BEFORE_S as usize + 3;
            assert!(pushed.kept().recording.samples.len() <= most);
        }
        pushed.forget(pushed.now());
        assert!(pushed.kept().recording.samples.len() >= KEPT_BEFORE_S as usize);
    }

    #[test]
    fn a_window_that_nobody_ends_is_given_up() {
        let pushed = PushedReadings::start(PushedMeter::BatteryPower.info("battery".into()));
        let begin = pushed.now();
        for _ in 0..=MOST_SAMPLES {
            while !pushed.push(2.0, 0.0).unwrap() {}
        }
        assert_eq!(pushed.kept().recording.samples.len(), MOST_SAMPLES / 2 + 1);
        let error = pushed.energy(begin, pushed.now()).unwrap_err().to_string();
        assert!(error.contains("not kept any more"), "{error}");
    }
}
