//! The machine: what a report should say of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a report says of the machine. What the system does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// The board's or the computer's model.
    pub board: Option<String>,
    /// The processor's name; the board's or the machine's architecture where it has none.
    pub cpu: String,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// What chooses frequencies, once for each different one.
    pub governors: Vec<String>,
    /// The present frequency of each CPU that tells it, in kHz.
    pub freq_khz: Vec<u64>,
    /// The highest frequency that the system allows any of them, in kHz.
    pub max_freq_khz: Option<u64>,
    /// Memory in bytes.
    pub mem: Option<u64>,
    /// Whether mains power is connected; none where nothing tells.
    pub on_mains: Option<bool>,
}

impl Platform {
    /// Reads it below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let _ = root;
        Self::default()
    }
}
