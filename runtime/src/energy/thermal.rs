//! Temperatures, and whether the machine slows down because of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The thermal state of a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thermal {
    /// Each sensor's name and temperature in °C.
    pub zones: Vec<(String, f64)>,
    /// The processor's temperature in °C: the hottest of its sensors, or of all where none is known to be its.
    pub cpu_c: Option<f64>,
    /// Whether it slows down; none where nothing tells.
    pub throttling: Option<Throttling>,
    /// The fan's speed in turns per minute.
    pub fan_rpm: Option<u64>,
}

/// Whether the machine slows down, or did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Now: too little voltage.
    pub undervoltage: bool,
    /// Now: too hot, or a limit of power.
    pub throttled: bool,
    /// Since the system started, in events or (on a Raspberry Pi) as bits: differs from before if it happened meanwhile.
    pub events: u64,
}

impl Thermal {
    /// Reads it below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let _ = root;
        Self::default()
    }
}
