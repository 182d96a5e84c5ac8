//! Which meters there are, and what was looked at where there is none.

use std::fmt;
use std::path::Path;

use super::{Choice, EnergyMeter, ReadError};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A meter that can be read now, and what was passed over for it.
    Meter {
        /// The meter.
        meter: EnergyMeter,
        /// What was looked at before it.
        looked_at: Vec<Look>,
    },
    /// None that can be read: [`Found`] prints the plain truth.
    None {
        /// What was looked at.
        looked_at: Vec<Look>,
    },
    /// None was wanted.
    Off,
}

/// A place that was looked at, and why it is no meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The source, such as `rapl`.
    pub source: &'static str,
    /// Why it cannot be used.
    pub why: ReadError,
}

/// Looks for the meter that `choice` asks for below `root`, which is `/` but in tests.
pub fn find(root: &Path, choice: &Choice) -> Found {
    let _ = root;
    match choice {
        Choice::Off => Found::Off,
        _ => Found::None { looked_at: Vec::new() },
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meter { meter, .. } => f.write_str(&meter.info().name),
            Self::Off => f.write_str("energy is not measured"),
            Self::None { looked_at } => {
                f.write_str("no energy meter found: looked at")?;
                looked_at.iter().try_for_each(|look| write!(f, "\n  {look}"))
            }
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.why)
    }
}
