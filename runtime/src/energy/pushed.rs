//! Readings that somebody else makes: on Android, Java reads the battery or the power rails and pushes them here.

use std::sync::{Arc, Mutex, PoisonError};

use super::{ReadError, Reading, Source, SourceInfo};

/// A source whose readings are pushed; clones push to the same one.
#[derive(Clone, Debug)]
pub struct PushedReadings {
    info: SourceInfo,
    last: Arc<Mutex<Option<Reading>>>,
}

impl PushedReadings {
    /// One without a reading yet.
    pub fn new(info: SourceInfo) -> Self {
        Self { info, last: Arc::default() }
    }

    /// The meter says `reading` now.
    pub fn push(&self, reading: Reading) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

impl Source for PushedReadings {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.ok_or_else(|| ReadError::Absent(format!("{}: nothing was pushed yet", self.info.name)))
    }
}
