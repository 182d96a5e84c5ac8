//! The power management chip of a Raspberry Pi 5, which measures the rails that it feeds.
//!
//! `vcgencmd pmic_read_adc` prints a line per current and per voltage, in any order:
//!
//! ```text
//!   DDR_VDD2_A current(3)=0.01659166A
//!   DDR_VDD2_V volt(11)=1.10719200V
//!      EXT5V_V volt(24)=5.13424000V
//! ```
//!
//! Power is the sum over rails that have both. What is fed by the 5 V input directly is in none of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// Where `vcgencmd` is installed.
const PLACES: [&str; 2] = ["usr/bin/vcgencmd", "opt/vc/bin/vcgencmd"];

/// How to be allowed to ask the firmware.
const GRANT: &str = "`sudo usermod -aG video $USER`, then log in again";

/// The command that asks a Raspberry Pi's firmware.
#[derive(Clone, Debug)]
pub(in crate::energy) struct Vcgencmd(PathBuf);

impl Vcgencmd {
    /// The one below `root`.
    pub(in crate::energy) fn find(root: &Path) -> Result<Self, ReadError> {
        let found = PLACES.iter().map(|place| root.join(place)).find(|path| path.exists());
        found.map(Self).ok_or_else(|| ReadError::Absent(root.join(PLACES[0]).display().to_string()))
    }

    /// What it says to `question`.
    pub(in crate::energy) fn ask(&self, question: &str) -> Result<String, ReadError> {
        output_of(&self.0, &[question], GRANT)
    }
}

/// What a program prints; `grant` says how to get the permission that it seems to lack.
pub(super) fn output_of(program: &Path, arguments: &[&str], grant: &str) -> Result<String, ReadError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.map_err(|error| super::files::fault(program, &error, "it cannot be executed"))?;
    let (text, complaint) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() {
        return Ok(text.into_owned());
    }
    let path = program.display().to_string();
    let complaint = [complaint.trim(), text.trim()].into_iter().find(|text| !text.is_empty()).unwrap_or("no reason");
    let lower = complaint.to_lowercase();
    if ["permission", "/dev/vcio", "vchi"].iter().any(|sign| lower.contains(sign)) {
        return Err(ReadError::Denied { path, grant: grant.to_owned() });
    }
    Err(ReadError::Senseless { path, problem: format!("it failed ({status}): {complaint}") })
}

/// The gain, its drift, and a constant error in watts, as standard deviations. Assumptions: of the chip, Renesas'
/// DA9091, no data sheet was found, and Raspberry Pi states no accuracy. Somebody drew a line through readings beside
/// those of a USB-C meter, 1.1451 times the sum of the rails and 0.5879 W (jfikar/RPi5-power, README): that is what
/// conversion loses and what is in no rail, and tells of no rail how wrong it is.
const GAIN: f64 = 0.02;
const DRIFT: f64 = 0.003;
const OFFSET_W: f64 = 0.02;

/// Currents come in steps of 0.976 mA, small ones of 0.061 mA, that of the core of a few mA, as published readings have
/// them. Rails are rounded independently, which makes some 7 mW together.
const STEP_W: f64 = 0.01;

/// Watts, and how many rails they are the sum of.
fn parse(text: &str) -> Result<(f64, usize), String> {
    // The command's own way to fail, with success as its status.
    if text.contains("error=") {
        return Err(format!("`{}`: of Raspberry Pis, only a 5 tells its power", text.trim()));
    }
    let mut rails: BTreeMap<&str, [Option<f64>; 2]> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parsed = || {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            let (kind, value) = rest.trim().split_once('=')?;
            let (index, unit, suffix) = match kind.split_once('(')?.0 {
                "current" => (0, 'A', "_A"),
                "volt" => (1, 'V', "_V"),
                _ => return None,
            };
            let value: f64 = value.strip_suffix(unit)?.parse().ok()?;
            value.is_finite().then_some((name.strip_suffix(suffix)?, index, value))
        };
        let (rail, index, value) = parsed().ok_or_else(|| format!("`{line}` is no current and no voltage"))?;
        rails.entry(rail).or_default()[index] = Some(value);
    }
    let power = rails.values().filter_map(|rail| Some(rail[0]? * rail[1]?));
    match power.clone().count() {
        0 => Err("no rail has a current and a voltage".into()),
        count => Ok((power.sum(), count)),
    }
}

/// What asks for the text that is parsed.
type Ask = Box<dyn FnMut() -> Result<String, ReadError> + Send>;

/// The sum of a Raspberry Pi 5's rails.
pub(in crate::energy) struct Pmic {
    info: SourceInfo,
    ask: Ask,
    rails: usize,
}

impl Pmic {
    pub(in crate::energy) fn find(root: &Path) -> Result<Self, ReadError> {
        let command = Vcgencmd::find(root)?;
        let path = command.0.display().to_string();
        Self::new(path, Box::new(move || command.ask("pmic_read_adc")))
    }

    /// One whose text `ask` brings from `path`.
    pub(in crate::energy) fn new(path: String, mut ask: Ask) -> Result<Self, ReadError> {
        let text = ask()?;
        let (_, rails) = parse(&text).map_err(|problem| ReadError::Senseless { path: path.clone(), problem })?;
        let info = SourceInfo {
            name: "pmic".into(),
            class: Class::C,
            scope: Scope::Board,
            integration: Integration::Trapezoid,
            reads: vec![format!("{path} pmic_read_adc")],
            remark: format!("{rails} rails; not USB devices, HATs and fans, nor losses before the rails"),
            resolution: STEP_W,
            update_s: 0.0,
            gain: GAIN,
            drift: DRIFT,
            offset_w: OFFSET_W,
            why: "no maker states an accuracy: 2 %, a drift of 0.3 % and 0.02 W are assumptions; the step is that of \
                published readings"
                .into(),
            // Each reading is a process; ten seconds at this rate are 80 samples.
            default_hz: 8.0,
            wraps_at_j: None,
        };
        Ok(Self { info, ask, rails })
    }
}

impl Source for Pmic {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let text = (self.ask)()?;
        let senseless = |problem| ReadError::Senseless { path: self.info.reads.join(" "), problem };
        match parse(&text).map_err(senseless)? {
            (watts, rails) if rails == self.rails => Ok(Reading::Watts(watts)),
            (_, rails) => Err(senseless(format!("{rails} rails, where there were {}", self.rails))),
        }
    }
}

impl fmt::Debug for Pmic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pmic").field("info", &self.info).field("rails", &self.rails).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rails_are_pairs_in_any_order() {
        let text =
            "  A_V volt(8)=3.0V\n A_A current(0)=0.5A\n\nB_A current(1)=2A\n  B_V volt(9)=1.25V\nEXT5V_V volt(24)=5V\n";
        assert_eq!(parse(text), Ok((4.0, 2)));
    }

    #[test]
    fn what_is_no_reading_is_an_error() {
        for (text, part) in [
            ("", "no rail"),
            ("EXT5V_V volt(24)=5.1V", "no rail"),
            ("error=1 error_msg=\"Command not registered\"", "only a 5"),
            ("A_A current(0)=0.5V", "A_A current(0)=0.5V"),
            ("A_A current(0)=nanA", "nan"),
            ("A_A resistance(0)=5A", "resistance"),
            ("hello", "hello"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
