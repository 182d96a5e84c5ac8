//! The thread that samples a meter.
//!
//! Time is cut into equal pieces, and each piece has one sample, at a random moment of it. A load that repeats as often
//! as it is sampled (a token, a frame) would otherwise always be met in the same phase; so it is noise, whose size the
//! samples show.

use std::ops::RangeInclusive;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::external::External;
use super::{EnergyMeter, Integration, Recording, SamplerCost, Source, SourceInfo, budget};
use crate::cpu_time;
use crate::sampling::Random;
use crate::{Error, Result};

/// How many samples per second can be taken. Fewer leave no time that a thread could wait for.
pub const RATES: RangeInclusive<f64> = 0.001..=1000.0;

/// Where the time comes from.
pub trait Clock: Send + Sync {
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
        self.0.elapsed().as_secs_f64()
    }
}

/// Reads a meter when it is told to, and keeps what it says.
#[derive(Debug)]
pub struct Sampler {
    source: Box<dyn Source>,
    hz: f64,
    random: Random,
    /// The next piece of time.
    piece: f64,
    recording: Recording,
}

impl Sampler {
    /// For `hz` samples per second, or as many as the source advises; `seed` is where its random moments begin.
    ///
    /// # Errors
    /// Rates that are not [`RATES`].
    pub fn new(source: Box<dyn Source>, hz: Option<f64>, seed: u64) -> Result<Self> {
        let hz = hz.unwrap_or(source.info().default_hz.clamp(*RATES.start(), *RATES.end()));
        if !RATES.contains(&hz) {
            let (least, most) = (RATES.start(), RATES.end());
            return Err(Error::BadRequest(format!("{hz} samples per second: {least} to {most} are possible")));
        }
        let recording = Recording::new(source.info().clone());
        Ok(Self { source, hz, random: Random::new(seed), piece: 0.0, recording })
    }

    /// When to sample next: a random moment of the next piece of time, at or after `now`. Pieces that are over are
    /// left out.
    pub fn due(&mut self, now: f64) -> f64 {
        let piece = self.piece.max((now * self.hz).floor());
        self.piece = piece + 1.0;
        ((piece + self.random.unit()) / self.hz).max(now)
    }

    /// Reads the meter, and returns the time of the sample; none if the meter failed.
    pub fn sample(&mut self, clock: &dyn Clock) -> Option<f64> {
        let before = clock.now();
        let reading = self.source.read();
        let after = clock.now();
        let time = (before + after) / 2.0;
        self.recording.add(time, (after - before) / 2.0, reading).then_some(time)
    }

    /// What it has seen in `wall_s` seconds, with so much processor time.
    pub fn finish(self, wall_s: f64, cpu_s: Option<f64>) -> Recording {
        let Recording { cost, .. } = self.recording;
        Recording { cost: SamplerCost { cpu_s, wall_s, ..cost }, ..self.recording }
    }
}

/// Samples a meter from a thread of its own until [`Recorder::finish`].
#[derive(Debug)]
pub struct Recorder {
    sampler: Arc<Mutex<Sampler>>,
    clock: MonotonicClock,
    start_unix: f64,
    info: SourceInfo,
    hz: f64,
    external: Option<Box<External>>,
    /// Ends the thread when it is dropped.
    stop: Sender<()>,
    /// Returns its processor time.
    thread: JoinHandle<Option<f64>>,
}

impl Recorder {
    /// Starts to sample `hz` times per second, or as often as the source advises.
    ///
    /// # Errors
    /// Rates that are not [`RATES`]; a thread that the system refuses.
    pub fn start(meter: EnergyMeter, hz: Option<f64>) -> Result<Self> {
        let info = meter.info().clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sampler = Sampler::new(meter.source, hz, now.as_nanos() as u64)?;
        let hz = sampler.hz;
        let sampler = Arc::new(Mutex::new(sampler));
        let clock = MonotonicClock::start();
        let (stop, stopped) = mpsc::channel::<()>();
        let sampling = Arc::clone(&sampler);
        let life = move || {
            lock(&sampling).sample(&clock);
            loop {
                let now = clock.now();
                let due = lock(&sampling).due(now);
                match stopped.recv_timeout(Duration::from_secs_f64(due - now)) {
                    Err(RecvTimeoutError::Timeout) => lock(&sampling).sample(&clock),
                    _ => break,
                };
            }
            lock(&sampling).sample(&clock);
            cpu_time::of_thread()
        };
        let builder = thread::Builder::new().name("babil-energy".into());
        let refused = |error| Error::BadRequest(format!("the system refuses a thread that samples the meter: {error}"));
        let thread = builder.spawn(life).map_err(refused)?;
        Ok(Self { sampler, clock, start_unix: now.as_secs_f64(), info, hz, external: meter.external, stop, thread })
    }

    /// What is recorded.
    pub fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// How long a window of the recording has to be, in seconds, for its figures to mean something: ten seconds, and
    /// fifty readings.
    pub fn least_window(&self) -> f64 {
        budget::least_window(&self.info, self.hz)
    }

    /// The time of the recording, in seconds, as the edge of a window. A counter is read now, so that the edge is
    /// sharp.
    pub fn mark(&self) -> f64 {
        let sampled = match self.info.integration {
            Integration::CounterDifference => lock(&self.sampler).sample(&self.clock),
            Integration::Trapezoid => None,
        };
        sampled.unwrap_or_else(|| self.clock.now())
    }

    /// Stops, after one more reading.
    ///
    /// # Errors
    /// A log that cannot be read or aligned ([`super::Choice::Csv`]).
    pub fn finish(self) -> Result<Recording> {
        drop(self.stop);
        let failed = |_| Error::NotMeasured("the thread that samples the meter has failed".into());
        let cpu_s = self.thread.join().map_err(failed)?;
        let sampler =
            Arc::into_inner(self.sampler).map(|sampler| sampler.into_inner().unwrap_or_else(PoisonError::into_inner));
        // Its only other owner was the thread.
        let sampler = sampler.ok_or_else(|| Error::NotMeasured("the meter is still being read".into()))?;
        let recording = Recording { start_unix: self.start_unix, ..sampler.finish(self.clock.now(), cpu_s) };
        match self.external {
            None => Ok(recording),
            Some(external) => external.recording(&recording),
        }
    }
}

fn lock(sampler: &Mutex<Sampler>) -> MutexGuard<'_, Sampler> {
    sampler.lock().unwrap_or_else(PoisonError::into_inner)
}
