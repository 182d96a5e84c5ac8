//! Temperatures, and whether the machine slows down because of them.
//!
//! ```text
//! /sys/class/thermal/thermal_zone*/{type, temp}             thousandths of a degree; of some phones, degrees
//! /sys/class/hwmon/*/{name, temp*_input, temp*_label, fan1_input}
//! vcgencmd get_throttled                                    a Raspberry Pi's bits
//! /sys/devices/system/cpu/cpu*/thermal_throttle/*_count     Intel's events
//! /sys/class/thermal/cooling_device*/{type, cur_state}      CPUs that are kept slow
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sources::{Vcgencmd, entries, number, text};

/// Sensors of the processor begin so, in lower case.
const OF_THE_CPU: [&str; 10] =
    ["cpu", "x86_pkg_temp", "soc", "coretemp", "k10temp", "zenpower", "bcm2835_thermal", "mtktscpu", "tcpu", "ap_ntc"];

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
    /// Now: too hot, or a limit of power or current.
    pub throttled: bool,
    /// Since the system started, in events or (on a Raspberry Pi) as bits: differs from before if it happened
    /// meanwhile.
    pub events: u64,
}

impl Throttling {
    /// Whether the machine was slowed down between `self` and `later`, or is at either time.
    pub fn happened_until(&self, later: &Self) -> bool {
        self.events != later.events || [self, later].iter().any(|state| state.undervoltage || state.throttled)
    }

    /// This with what was so at another moment: bits that the system keeps since its start do not tell that it happened
    /// again.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            undervoltage: self.undervoltage || other.undervoltage,
            throttled: self.throttled || other.throttled,
            events: self.events,
        }
    }
}

impl Thermal {
    /// Reads it below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let zones = temperatures(root);
        let fans = entries(&root.join("sys/class/hwmon")).into_iter();
        let fan = fans.filter_map(|device| number(&device.join("fan1_input"), "").ok()).max();
        Self {
            cpu_c: hottest(&zones),
            zones,
            throttling: throttling(root),
            fan_rpm: fan.and_then(|rpm| rpm.try_into().ok()),
        }
    }
}

/// The processor's temperature in °C, see [`Thermal::cpu_c`].
pub(super) fn cpu_temperature(root: &Path) -> Option<f64> {
    hottest(&temperatures(root))
}

fn temperatures(root: &Path) -> Vec<(String, f64)> {
    let degrees = |path: &Path| {
        let raw = number(path, "").ok()? as f64;
        // No sensor of a working machine is hotter than 150 degrees.
        let value = if raw.abs() > 150.0 { raw / 1000.0 } else { raw };
        // What is not connected says -274, -40 or 0.
        (value > 0.0 && value <= 150.0).then_some(value)
    };
    let zone = |folder: PathBuf| {
        let name = folder
            .file_name()?
            .to_str()?
            .starts_with("thermal_zone")
            .then(|| text(&folder.join("type"), "").ok())??;
        Some((name, degrees(&folder.join("temp"))?))
    };
    let mut found: Vec<(String, f64)> = entries(&root.join("sys/class/thermal")).into_iter().filter_map(zone).collect();
    for device in entries(&root.join("sys/class/hwmon")) {
        let Ok(name) = text(&device.join("name"), "") else { continue };
        for index in 1..=32 {
            let Some(value) = degrees(&device.join(format!("temp{index}_input"))) else { continue };
            let label = text(&device.join(format!("temp{index}_label")), "").ok();
            found.push((label.map_or(name.clone(), |label| format!("{name}/{label}")), value));
        }
    }
    found
}

fn hottest(zones: &[(String, f64)]) -> Option<f64> {
    let of_cpu = |name: &str| OF_THE_CPU.iter().any(|start| name.to_lowercase().starts_with(start));
    let most =
        |cpu: bool| zones.iter().filter(|(name, _)| !cpu || of_cpu(name)).map(|(_, value)| *value).reduce(f64::max);
    most(true).or_else(|| most(false))
}

fn throttling(root: &Path) -> Option<Throttling> {
    let bits = Vcgencmd::find(root).ok().and_then(|command| {
        let text = command.ask("get_throttled").ok()?;
        u64::from_str_radix(text.trim().strip_prefix("throttled=0x")?, 16).ok()
    });
    if let Some(bits) = bits {
        // 0 voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit; from 16 on, the same since the start.
        return Some(Throttling {
            undervoltage: bits & 1 != 0,
            throttled: bits & 0b1110 != 0,
            events: bits >> 16 & 0xf,
        });
    }
    let mut counts = Vec::new();
    for cpu in entries(&root.join("sys/devices/system/cpu")) {
        let count = |name: &str| number(&cpu.join("thermal_throttle").join(name), "").ok();
        counts.extend(["core_throttle_count", "package_throttle_count"].iter().filter_map(|name| count(name)));
    }
    let mut cooling = Vec::new();
    for device in entries(&root.join("sys/class/thermal")) {
        let Ok(kind) = text(&device.join("type"), "") else { continue };
        if ["cpufreq", "cpu-", "thermal-cpufreq", "Processor"].iter().any(|start| kind.starts_with(start)) {
            cooling.extend(number(&device.join("cur_state"), "").ok());
        }
    }
    let told = !counts.is_empty() || !cooling.is_empty();
    told.then(|| Throttling {
        undervoltage: false,
        throttled: cooling.iter().any(|state| *state > 0),
        events: counts.iter().map(|count| count.unsigned_abs()).sum(),
    })
}
