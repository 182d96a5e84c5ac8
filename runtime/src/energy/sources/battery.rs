//! The gauge of a battery, while it is being discharged.
//!
//! ```text
//! /sys/class/power_supply/BAT0/type          Battery
//!                              scope         Device: of a mouse or a keyboard, which is another device's
//!                              status        Discharging
//!                              power_now     microwatts; or current_now and voltage_now, microamperes and microvolts
//!                              energy_now    microwatt-hours left; or charge_now, microampere-hours
//! ```
//!
//! Drivers disagree about the sign of a current that flows out of the battery, so it is not looked at.

use std::path::{Path, PathBuf};

use super::{entries, number, text};
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

const GRANT: &str = "the system keeps it from programs: measure with another meter";

/// Joules of a microwatt-hour.
const JOULES_PER_UWH: f64 = 3.6e-3;

/// A current below this is no device that computes, in microamperes: some drivers count milliamperes.
const LEAST_CURRENT_UA: i64 = 5_000;

/// The gain, its drift, and a constant error in watts, as standard deviations. Assumptions: drivers state nothing, and
/// Android's makers promise no absolute accuracy (Android Open Source Project, *Measure device power*).
const GAIN: f64 = 0.015;
const DRIFT: f64 = 0.003;
const OFFSET_W: f64 = 0.01;

/// The step of power, in watts. An assumption: gauges step in 0.16 mA (Maxim, MAX17047, at 10 mohm) to 1 mA (*Smart
/// Battery Data Specification*, `Current()`), and drivers may round.
const STEP_W: f64 = 0.02;

/// The step of what is left, in joules: 10 mWh (*Smart Battery Data Specification*, `RemainingCapacity()`).
const STEP_J: f64 = 36.0;

/// How long a reading stays the same, in seconds. An assumption: a MAX17047 has a new one every 0.18 s, others later.
const UPDATE_S: f64 = 1.0;

/// What one battery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Power,
    CurrentVoltage,
    /// What is left, which is a counter that runs backwards.
    Energy,
}

/// All batteries that are being discharged.
#[derive(Debug)]
pub(in crate::energy) struct Battery {
    info: SourceInfo,
    kind: Kind,
    folders: Vec<PathBuf>,
}

/// What the gauge of a battery is worth.
pub(in crate::energy) fn info(name: String, reads: Vec<String>, integration: Integration) -> SourceInfo {
    SourceInfo {
        name,
        class: Class::D,
        scope: Scope::Device,
        integration,
        reads,
        remark: "the whole device, its screen and radios included".into(),
        resolution: match integration {
            Integration::CounterDifference => STEP_J,
            Integration::Trapezoid => STEP_W,
        },
        update_s: UPDATE_S,
        gain: GAIN,
        drift: DRIFT,
        offset_w: OFFSET_W,
        why: "drivers state no accuracy: 1.5 %, a drift of 0.3 %, 0.01 W, step and update are assumptions".into(),
        // Oversampled, to see when it changes.
        default_hz: 10.0,
        wraps_at_j: None,
    }
}

impl Battery {
    pub(in crate::energy) fn find(root: &Path) -> Result<Self, ReadError> {
        let place = root.join("sys/class/power_supply");
        let is =
            |folder: &Path, file: &str, value: &str| text(&folder.join(file), GRANT).is_ok_and(|text| text == value);
        let batteries = entries(&place).into_iter();
        let batteries: Vec<_> =
            batteries.filter(|folder| is(folder, "type", "Battery") && !is(folder, "scope", "Device")).collect();
        if batteries.is_empty() {
            return Err(ReadError::Absent(format!("{}: a battery", place.display())));
        }
        let folders: Vec<_> = batteries.iter().filter(|folder| is(folder, "status", "Discharging")).cloned().collect();
        if folders.is_empty() {
            let statuses: Vec<_> =
                batteries.iter().filter_map(|folder| text(&folder.join("status"), GRANT).ok()).collect();
            let problem = format!("not discharging ({}): unplug the charger", statuses.join(", "));
            return Err(ReadError::Senseless { path: batteries[0].display().to_string(), problem });
        }
        let have = |files: &[&str]| folders.iter().all(|folder| files.iter().all(|file| folder.join(file).exists()));
        let kind = if have(&["power_now"]) {
            Kind::Power
        } else if have(&["current_now", "voltage_now"]) {
            Kind::CurrentVoltage
        } else if have(&["energy_now"]) {
            Kind::Energy
        } else {
            let problem = "no power_now, no current_now with voltage_now, no energy_now".into();
            return Err(ReadError::Senseless { path: folders[0].display().to_string(), problem });
        };
        let names = folders.iter().filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
        let files: &[&str] = match kind {
            Kind::Power => &["power_now"],
            Kind::CurrentVoltage => &["current_now", "voltage_now"],
            Kind::Energy => &["energy_now"],
        };
        let reads = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file).display().to_string()));
        let integration = if kind == Kind::Energy { Integration::CounterDifference } else { Integration::Trapezoid };
        let info = info(format!("battery:{}", names.collect::<Vec<_>>().join("+")), reads.collect(), integration);
        Ok(Self { info, kind, folders })
    }

    fn one(&self, folder: &Path) -> Result<f64, ReadError> {
        let read = |file: &str| number(&folder.join(file), GRANT);
        let status = text(&folder.join("status"), GRANT)?;
        let senseless = |file: &str, problem: String| ReadError::Senseless {
            path: folder.join(file).display().to_string(),
            problem,
        };
        if status != "Discharging" {
            return Err(senseless("status", format!("`{status}`, not Discharging: something charges it")));
        }
        Ok(match self.kind {
            Kind::Power => read("power_now")?.unsigned_abs() as f64 / 1e6,
            Kind::CurrentVoltage => {
                let current = read("current_now")?;
                if current.abs() < LEAST_CURRENT_UA {
                    let problem = format!("{current} uA is no device that computes: does its driver count mA?");
                    return Err(senseless("current_now", problem));
                }
                current.unsigned_abs() as f64 * read("voltage_now")?.unsigned_abs() as f64 / 1e12
            }
            Kind::Energy => -(read("energy_now")? as f64) * JOULES_PER_UWH,
        })
    }
}

impl Source for Battery {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let sum = self.folders.iter().map(|folder| self.one(folder)).sum::<Result<f64, _>>()?;
        Ok(if self.kind == Kind::Energy { Reading::Joules(sum) } else { Reading::Watts(sum) })
    }
}
