//! Sensors of power, or of current and voltage, that the kernel's hwmon drivers show.
//!
//! ```text
//! /sys/class/hwmon/hwmon3/name           ina219: the chip
//!                         power1_input   microwatts
//!                         curr1_input    milliamperes    in1_input  millivolts    in1_label  the rail's name
//!                         energy1_input  microjoules, of few chips
//!                         shunt_resistor, shunt1_resistor    microohms
//!                         power1_accuracy                    95.0%, of ACPI's meters
//! ```
//!
//! Which channel is the whole device's cannot be read anywhere: of a chip with one channel it is that one; of several
//! it is the one whose label says so, or the one that the user names.

use std::path::{Path, PathBuf};

use super::chips::{Chip, Worth};
use super::{entries, number, text};
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// What to do about a sensor that may not be read.
const GRANT: &str = "`sudo chmod a+r` it (until the next start of the system)";

/// Labels of the whole device's channel: Jetson's modules and developer kits, Apple's computers.
const WHOLE: [&str; 6] = ["VDD_IN", "POM_5V_IN", "5V_IN", "VIN_SYS_5V0", "VIN", "Total System Power"];

/// How a channel is read.
#[derive(Clone, Debug)]
enum Files {
    /// Microjoules.
    Energy(PathBuf),
    /// Microwatts.
    Power(PathBuf),
    /// Milliamperes and millivolts.
    CurrentVoltage(PathBuf, PathBuf),
}

/// One thing that a chip measures.
#[derive(Clone, Debug)]
struct Channel {
    /// The number in its files' names.
    index: u32,
    label: Option<String>,
    files: Files,
}

/// One channel of one chip.
#[derive(Debug)]
pub(in crate::energy) struct Hwmon {
    info: SourceInfo,
    files: Files,
}

impl Hwmon {
    /// The channel that is the whole device's, or the one that `named` names by chip or label.
    pub(in crate::energy) fn find(root: &Path, named: Option<&str>) -> Result<Self, ReadError> {
        let folder = root.join("sys/class/hwmon");
        let mut seen = Vec::new();
        let mut trouble = None;
        for device in entries(&folder) {
            let Ok(name) = text(&device.join("name"), GRANT) else { continue };
            let chip = Chip::named(&name);
            let channels = channels(&device);
            if channels.is_empty() {
                seen.push(name);
                continue;
            }
            let label_is = |wanted: &str| {
                channels
                    .iter()
                    .find(|channel| channel.label.as_deref().is_some_and(|label| label.eq_ignore_ascii_case(wanted)))
            };
            let channel = match named {
                Some(named) if named == name => whole(&device, &channels),
                Some(named) => match label_is(named) {
                    Some(channel) => Ok(channel),
                    None => {
                        seen.push(described(&name, &channels));
                        continue;
                    }
                },
                None if chip.is_some() => whole(&device, &channels),
                None => {
                    seen.push(described(&name, &channels));
                    continue;
                }
            };
            match channel.map(|channel| Self::new(&name, chip, &device, channel)) {
                Ok(mut source) => match source.read() {
                    Ok(_) => return Ok(source),
                    Err(error) => trouble = trouble.or(Some(error)),
                },
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        let place = folder.display();
        let absent = match (&named, seen.is_empty()) {
            (Some(named), _) => format!("{place}: `{named}` among {}", seen.join(", ")),
            (None, true) => format!("{place}/hwmon*"),
            (None, false) => {
                format!("{place}: a known meter of power among {} (hwmon:NAME takes another)", seen.join(", "))
            }
        };
        Err(ReadError::Absent(absent))
    }

    fn new(name: &str, chip: Option<&Chip>, device: &Path, channel: &Channel) -> Self {
        let sheet = chip.and_then(|chip| chip.sheet.as_ref());
        let label = channel.label.as_deref();
        let is_whole = label.is_none_or(|label| WHOLE.contains(&label));
        // One that is bought to measure is external. Jetson's are soldered to the board: they have a label.
        let class = if sheet.is_some() && label.is_none() { Class::B } else { Class::C };
        let scope = if is_whole { Scope::Device } else { Scope::Rail };
        let value = |file: &str| number(&device.join(file), GRANT).ok().filter(|value| *value > 0);
        let worth = match sheet {
            Some(sheet) => {
                let volts = value(&format!("in{}_input", channel.index)).map(|mv| mv as f64 / 1e3);
                let ohms = value("shunt_resistor").or_else(|| value(&format!("shunt{}_resistor", channel.index)));
                Worth::of_sheet(sheet, volts, ohms.map(|uohm| uohm as f64 / 1e6))
            }
            None => {
                let accuracy = text(&device.join(format!("power{}_accuracy", channel.index)), GRANT).ok();
                let percent = accuracy.and_then(|text| text.trim_end_matches('%').parse::<f64>().ok());
                Worth::assumed(percent.map(|percent| percent / 100.0))
            }
        };
        let interval = |file: &str| value(file).map(|ms| ms as f64 / 1e3);
        let update_s =
            interval("update_interval").or_else(|| interval("power1_average_interval")).unwrap_or(worth.update_s);
        let (integration, resolution) = match channel.files {
            Files::Energy(_) => (Integration::CounterDifference, 1e-3),
            Files::Power(_) | Files::CurrentVoltage(..) => (Integration::Trapezoid, worth.resolution),
        };
        let label = label.map(|label| format!("/{label}")).unwrap_or_default();
        let reads = match &channel.files {
            Files::Energy(file) | Files::Power(file) => vec![file.display().to_string()],
            Files::CurrentVoltage(current, voltage) => {
                vec![current.display().to_string(), voltage.display().to_string()]
            }
        };
        let info = SourceInfo {
            name: format!("hwmon:{name}{label}"),
            class,
            scope,
            integration,
            reads,
            remark: match scope {
                Scope::Rail => "one rail of the board".into(),
                _ => "what flows through the sensor: how it is wired decides what that covers".into(),
            },
            resolution,
            update_s,
            gain: worth.gain,
            drift: worth.drift,
            offset_w: worth.offset_w,
            why: worth.why,
            // A reading stays the same until the next update.
            default_hz: (1.0 / update_s).min(20.0),
            wraps_at_j: None,
        };
        Self { info, files: channel.files.clone() }
    }
}

impl Source for Hwmon {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let value = |file: &Path| number(file, GRANT).map(|value| value as f64);
        Ok(match &self.files {
            Files::Energy(file) => Reading::Joules(value(file)? / 1e6),
            Files::Power(file) => Reading::Watts(value(file)? / 1e6),
            // A shunt that is mounted the other way round shows a negative current.
            Files::CurrentVoltage(current, voltage) => Reading::Watts((value(current)? * value(voltage)?).abs() / 1e6),
        })
    }
}

/// What a chip measures.
fn channels(device: &Path) -> Vec<Channel> {
    let label = |kind: &str, index: u32| text(&device.join(format!("{kind}{index}_label")), GRANT).ok();
    let file = |name: String| Some(device.join(name)).filter(|path| path.exists());
    (1..=16)
        .filter_map(|index| {
            let files = None
                .or_else(|| Some(Files::Energy(file(format!("energy{index}_input"))?)))
                .or_else(|| Some(Files::Power(file(format!("power{index}_input"))?)))
                .or_else(|| Some(Files::Power(file(format!("power{index}_average"))?)))
                .or_else(|| {
                    let current = file(format!("curr{index}_input"))?;
                    Some(Files::CurrentVoltage(current, file(format!("in{index}_input"))?))
                })?;
            let label = ["power", "in", "curr"].iter().find_map(|kind| label(kind, index));
            Some(Channel { index, label, files })
        })
        .collect()
}

/// The channel of the whole device.
fn whole<'c>(device: &Path, channels: &'c [Channel]) -> Result<&'c Channel, ReadError> {
    if let [only] = channels {
        return Ok(only);
    }
    let labelled = |whole: &&str| channels.iter().find(|channel| channel.label.as_deref() == Some(whole));
    WHOLE.iter().find_map(labelled).ok_or_else(|| {
        let labels: Vec<_> = channels.iter().filter_map(|channel| channel.label.as_deref()).collect();
        let problem = format!(
            "{} channels ({}), of which none is known to be the whole device's: name one as hwmon:LABEL",
            channels.len(),
            labels.join(", ")
        );
        ReadError::Senseless { path: device.display().to_string(), problem }
    })
}

fn described(name: &str, channels: &[Channel]) -> String {
    let labels: Vec<_> = channels.iter().filter_map(|channel| channel.label.as_deref()).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name} ({})", labels.join(", ")) }
}
