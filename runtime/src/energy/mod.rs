//! How much energy a piece of work took, and how sure that is.
//!
//! ```text
//! sysfs, vcgencmd, ... --find--> EnergyMeter --Recorder (a thread)--> Recording --energy(from, to)--> Energy: J ± J
//! log of another meter --------------------external::Log, aligned--------^
//! an app --PushedReadings------------------------------------------------^
//! ```
//!
//! A [`Source`] reads one kind of meter and knows what its figures are worth ([`SourceInfo`]). [`find`] looks for one
//! below a root folder, which is `/` but in tests. A [`Recorder`] samples it from a thread of its own and becomes a
//! [`Recording`], which says what was used between two of its times, with an interval that holds the truth 19 times out
//! of 20: `docs/ENERGY.md` has the method, and `budget.rs` the derivation. Beside it, [`Thermal`] and [`Platform`] tell
//! the state that the machine was in, and a [`Pacer`] rests.
//!
//! What is modelled from watts that somebody named is class [`Class::E`], has no interval, and must never be called
//! measured.

mod budget;
mod choice;
mod external;
mod find;
mod pace;
mod platform;
mod pushed;
mod recorder;
mod recording;
mod sources;
// On Unix, where files can be written in place.
#[cfg(all(test, unix))]
mod tests;
mod thermal;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::budget::{Budget, Energy, Flag};
pub use self::choice::{Choice, Model};
pub use self::external::Alignment;
pub use self::find::{Found, Look, find};
pub use self::pace::{Limits, Pace, Pacer, SystemTime, Time};
pub use self::platform::Platform;
pub use self::pushed::{PushedMeter, PushedReadings};
pub use self::recorder::{Clock, MonotonicClock, RATES, Recorder, Sampler};
pub use self::recording::{Failure, Recording, Sample, SamplerCost};
pub use self::thermal::{Thermal, Throttling};

/// What kind of meter a figure comes from. Figures of different classes are not ranked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// An analyser at the wall: everything, the power supply's losses included.
    A,
    /// An external meter of direct current: INA219, INA226, INA3221, USB-C meters.
    B,
    /// Counters or rails on the board or the chip: RAPL, a Raspberry Pi 5's power management, Jetson, NVML, Android's
    /// power rails.
    C,
    /// The gauge of a battery.
    D,
    /// A model: watts that somebody named. Never measured.
    E,
}

/// What a figure covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Processor packages: cores, caches, memory controller; not the memory.
    Package,
    /// The cores of processor packages.
    Core,
    /// The memory.
    Dram,
    /// Packages and memory.
    PackageDram,
    /// The platform as RAPL's `psys` sees it: what the board's regulators deliver.
    Psys,
    /// The rails that the board's power management feeds; not USB devices, nor what is fed by the input directly.
    Board,
    /// The whole device at its direct current input.
    Device,
    /// The whole device and its power supply, at the wall.
    Wall,
    /// A graphics card.
    Gpu,
    /// A single rail, whose name the source's name has.
    Rail,
}

/// How energy comes from samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integration {
    /// The difference of an energy counter, which wraps.
    CounterDifference,
    /// Samples of power, by the trapezoid rule over monotonic times.
    Trapezoid,
}

/// A source's description, and what its figures are worth. Uncertainties are standard deviations: a documented maximum
/// is taken as the half-width of a rectangular distribution, and divided by the root of 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// Such as `rapl:package` or `hwmon:ina219`.
    pub name: String,
    /// The kind of meter.
    pub class: Class,
    /// What it covers.
    pub scope: Scope,
    /// How its readings become energy.
    pub integration: Integration,
    /// What is read: files or a command.
    pub reads: Vec<String>,
    /// What the figure leaves out or includes that a reader should know; empty where there is nothing to say.
    pub remark: String,
    /// The step in which readings come: joules of a counter, watts of a power.
    pub resolution: f64,
    /// How long a reading stays the same in the meter before the next one, in seconds: a reading is so old at most.
    pub update_s: f64,
    /// Relative standard deviation of the factor between readings and truth, from device to device.
    pub gain: f64,
    /// Relative standard deviation of what that factor changes as the meter warms up.
    pub drift: f64,
    /// Standard deviation of a constant error, in watts.
    pub offset_w: f64,
    /// Where these four come from.
    pub why: String,
    /// How often it should be sampled, per second.
    pub default_hz: f64,
    /// Joules after which a counter may have wrapped unseen; none of other sources.
    pub wraps_at_j: Option<f64>,
}

/// What a meter says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reading {
    /// Joules since some beginning; grows, and does not wrap any more.
    Joules(f64),
    /// Watts.
    Watts(f64),
}

/// Why a meter said nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such file or command.
    #[error("{0}: not there")]
    Absent(String),
    /// It may not be read.
    #[error("{path}: permission denied: {grant}")]
    Denied {
        /// The file or command.
        path: String,
        /// How to grant it.
        grant: String,
    },
    /// A counter began anew: what was used since the last reading is not known. The next readings go on from here.
    #[error("{0}: the counter was restarted")]
    Restarted(String),
    /// It was read and makes no sense.
    #[error("{path}: {problem}")]
    Senseless {
        /// The file or command.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// A meter of one kind.
pub trait Source: Send + fmt::Debug {
    /// What it is.
    fn info(&self) -> &SourceInfo;

    /// Reads it now.
    ///
    /// # Errors
    /// Files that vanished, may not be read, or make no sense.
    fn read(&mut self) -> Result<Reading, ReadError>;
}

/// A meter that answered once.
#[derive(Debug)]
pub struct EnergyMeter {
    source: Box<dyn Source>,
    /// Whose log replaces what the source says.
    external: Option<Box<external::External>>,
}

impl EnergyMeter {
    /// The meter that `source` is.
    ///
    /// # Errors
    /// A source that cannot be read now.
    pub fn new(mut source: Box<dyn Source>) -> Result<Self, ReadError> {
        source.read().map(|_| Self { source, external: None })
    }

    /// What it is.
    pub fn info(&self) -> &SourceInfo {
        self.external.as_ref().map_or(self.source.info(), |external| external.info())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
