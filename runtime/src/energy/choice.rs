//! Which meter to use, as `--energy` says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Alignment, Scope};

/// Which meter to use. Its text is that of `--energy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Choice {
    /// The best that is there: external meters, then counters and rails of the board, then a battery's gauge. Of
    /// counters it is the platform's ([`Scope::Psys`]) where that counts at least what its parts do.
    #[default]
    Auto,
    /// None.
    Off,
    /// Intel's and AMD's counters, through powercap: packages and their memory ([`Scope::PackageDram`]), or one kind
    /// alone.
    Rapl(Scope),
    /// The power management of a Raspberry Pi 5, through `vcgencmd pmic_read_adc`.
    Pmic,
    /// Sensors of power, or of current and voltage, in `/sys/class/hwmon`: of a known meter, or of the chip or the
    /// rail of this name.
    Hwmon(Option<String>),
    /// A battery that is being discharged.
    Battery,
    /// Nvidia's graphics cards, through `nvidia-smi`.
    Nvml,
    /// Watts that the user names: class E, never measured.
    Model(Model),
    /// The log of another meter, read when the recording ends.
    Csv {
        /// The file.
        path: PathBuf,
        /// How its times become those of the recording.
        alignment: Alignment,
        /// Whether the meter is at the wall (class A), or measures direct current (class B).
        wall: bool,
    },
}

/// An assumption about power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// The device always takes so many watts.
    Watts(f64),
    /// A busy CPU takes so many watts, and an idle one none: joules are this process's CPU seconds times it.
    WattsPerCpu(f64),
}

/// What `--energy` understands.
const USAGE: &str = "auto, off, rapl (rapl:package, :core, :dram, :psys), pmic, hwmon (hwmon:NAME), battery, nvml, \
    model:WATTS (of the device), model:WATTS/cpu (of each busy CPU), csv:FILE (wall:FILE of a meter at the wall), or \
    csv:FILE@START (START is the time in FILE at which babil started)";

/// The kinds of counters that can be chosen alone.
const DOMAINS: [(&str, Scope); 4] =
    [("package", Scope::Package), ("core", Scope::Core), ("dram", Scope::Dram), ("psys", Scope::Psys)];

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            "rapl" => Some(Self::Rapl(Scope::PackageDram)),
            "pmic" => Some(Self::Pmic),
            "hwmon" => Some(Self::Hwmon(None)),
            "battery" => Some(Self::Battery),
            "nvml" => Some(Self::Nvml),
            _ => None,
        };
        if let Some(choice) = plain {
            return Ok(choice);
        }
        if let Some(domain) = text.strip_prefix("rapl:")
            && let Some((_, scope)) = DOMAINS.iter().find(|(name, _)| *name == domain)
        {
            return Ok(Self::Rapl(*scope));
        }
        if let Some(name) = text.strip_prefix("hwmon:").filter(|name| !name.is_empty()) {
            return Ok(Self::Hwmon(Some(name.to_owned())));
        }
        if let Some(model) = text.strip_prefix("model:") {
            let (number, per_cpu) = model.strip_suffix("/cpu").map_or((model, false), |number| (number, true));
            let number = number.strip_suffix(['W', 'w']).unwrap_or(number);
            return match number.trim().parse::<f64>() {
                Ok(watts) if watts.is_finite() && watts > 0.0 => {
                    Ok(Self::Model(if per_cpu { Model::WattsPerCpu(watts) } else { Model::Watts(watts) }))
                }
                _ => Err(format!("`{number}` is no power in watts, such as model:6.5")),
            };
        }
        let (file, wall) =
            text.strip_prefix("wall:").map_or((text.strip_prefix("csv:"), false), |file| (Some(file), true));
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            let start = file.rsplit_once('@').and_then(|(file, start)| Some((file, start.parse::<f64>().ok()?)));
            return Ok(match start {
                Some((file, start)) if start.is_finite() && !file.is_empty() => {
                    Self::Csv { path: file.into(), alignment: Alignment::Start(start), wall }
                }
                _ => Self::Csv { path: file.into(), alignment: Alignment::Auto, wall },
            });
        }
        Err(format!("`{text}` is no energy meter: use {USAGE}"))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Rapl(scope) => match DOMAINS.iter().find(|(_, domain)| domain == scope) {
                Some((name, _)) => write!(f, "rapl:{name}"),
                None => f.write_str("rapl"),
            },
            Self::Pmic => f.write_str("pmic"),
            Self::Hwmon(None) => f.write_str("hwmon"),
            Self::Hwmon(Some(name)) => write!(f, "hwmon:{name}"),
            Self::Battery => f.write_str("battery"),
            Self::Nvml => f.write_str("nvml"),
            Self::Model(Model::Watts(watts)) => write!(f, "model:{watts}"),
            Self::Model(Model::WattsPerCpu(watts)) => write!(f, "model:{watts}/cpu"),
            Self::Csv { path, alignment, wall } => {
                write!(f, "{}:{}", if *wall { "wall" } else { "csv" }, path.display())?;
                match alignment {
                    Alignment::Start(start) => write!(f, "@{start}"),
                    Alignment::Auto => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_their_text() {
        let texts = [
            "auto",
            "off",
            "rapl",
            "pmic",
            "hwmon",
            "battery",
            "nvml",
            "model:6.5",
            "model:2/cpu",
            "csv:a b.csv",
            "csv:log.csv@12.5",
        ];
        for text in texts {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        assert_eq!("model:6.5W".parse(), Ok(Choice::Model(Model::Watts(6.5))));
        let odd = Choice::Csv { path: "me@home.csv".into(), alignment: Alignment::Auto, wall: false };
        assert_eq!("csv:me@home.csv".parse(), Ok(odd));
    }

    #[test]
    fn what_is_no_choice_is_an_error() {
        for text in [
            "",
            "RAPL",
            "model:",
            "model:-1",
            "model:0",
            "model:nan",
            "model:inf",
            "csv:",
            "watts:5",
            "rapl:gpu",
            "hwmon:",
            "wall:",
        ] {
            let error = text.parse::<Choice>().unwrap_err();
            assert!(error.contains('`'), "{text}: {error}");
        }
    }
}
