//! The energy counters of Intel's and AMD's processors, as the powercap framework shows them.
//!
//! ```text
//! /sys/class/powercap/intel-rapl:0     name = package-0      energy_uj, max_energy_range_uj
//!                     intel-rapl:0:0   name = core | uncore | dram: parts of package 0 (dram stands beside it)
//!                     intel-rapl:1     name = package-1 | psys
//! ```
//!
//! Packages are summed. `core` and `uncore` are inside their package and never added to it; `dram` is not. The same
//! counters may appear again as `intel-rapl-mmio`, which is not read. AMD's are called `intel-rapl` too. `psys` has all
//! of them in it and more, where the board's maker has wired it; on other boards it is not there, or stands still
//! (sosy-lab/cpu-energy-meter#25, hubblo-org/windows-rapl-driver#7).

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{entries, number, text};
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// How to be allowed to read `energy_uj`.
const GRANT: &str = "only root may read it, because it could reveal what others compute: run as root, or \
    `sudo chmod a+r /sys/class/powercap/*/energy_uj` (until the next start; docs/ENERGY.md has a rule that \
    lasts)";

/// A counter has 32 bits, so that its range tells its unit (`ENERGY_STATUS_MASK` in intel_rapl_common.c of Linux).
/// Usual are 61 uJ, 15.3 uJ of a server's memory and of AMD's processors, and a whole joule of the platform of Intel's
/// servers since Sapphire Rapids.
const UNITS: f64 = u32::MAX as f64;

/// How often a counter is brought up to date, in seconds: about every millisecond, as Intel's *Software Developer's
/// Manual* (volume 3, RAPL) and Documentation/hwmon/amd_energy.rst of Linux have it.
const UPDATE_S: f64 = 1e-3;

/// The gain of packages, as a standard deviation. No maker states an accuracy: these are assumptions.
/// - Intel's, 1.25 %. Since Haswell power is measured and not modelled (Hackenberg et al., *An Energy Efficiency
///   Feature Survey of the Intel Haswell Processor*, 2015), and agrees with that at the plug (Khan et al., *RAPL in
///   Action*, 2018).
/// - AMD's, 5 %: what its counters tell has limits (Schöne et al., *Energy Efficiency Aspects of the AMD Zen 2
///   Architecture*, 2021).
const PACKAGE_GAIN: f64 = 0.0125;
const AMD_GAIN: f64 = 0.05;

/// The memory alone: 30 % even on Intel's own boards (Intel, *Power Gadget*, README), as a rectangular distribution.
/// Servers since Haswell are better; elsewhere it is off by a constant (Desrochers et al., *A Validation of DRAM RAPL
/// Power Measurements*, 2016). Beside its packages it is a small part, and their gain stands for both.
const DRAM_GAIN: f64 = 0.173;

/// The platform, as the board's maker has wired it: an assumption.
const PSYS_GAIN: f64 = 0.05;

/// How the gain changes as it gets warm: an assumption.
const DRIFT: f64 = 0.003;

/// How long counters are watched before one of them is believed.
const WATCHED: Duration = Duration::from_millis(250);

/// One counter, unwrapped.
#[derive(Debug)]
struct Zone {
    file: PathBuf,
    /// The highest value before 0 comes again, in microjoules.
    range: i64,
    last: i64,
    /// Microjoules since the first reading.
    total: i64,
}

impl Zone {
    fn open(folder: &Path) -> Result<Self, ReadError> {
        let file = folder.join("energy_uj");
        let last = number(&file, GRANT)?;
        let path = folder.join("max_energy_range_uj");
        let range = number(&path, GRANT)?;
        if range <= 0 {
            let problem = format!("a counter that wraps at {range}");
            return Err(ReadError::Senseless { path: path.display().to_string(), problem });
        }
        Ok(Self { file, range, last, total: 0 })
    }

    /// What it counts in, in joules.
    fn unit_j(&self) -> f64 {
        self.range as f64 / UNITS / 1e6
    }

    /// Adds what was counted since the last reading. A counter that is lower than before has wrapped if it was near its
    /// end and is near its beginning; otherwise it was restarted, as when the system sleeps.
    fn advance(&mut self) -> Result<(), ReadError> {
        let now = number(&self.file, GRANT)?;
        let path = || self.file.display().to_string();
        if !(0..=self.range).contains(&now) {
            let problem = format!("{now} is outside of its range of 0 to {}", self.range);
            return Err(ReadError::Senseless { path: path(), problem });
        }
        let step = match now - self.last {
            step if step >= 0 => Some(step),
            back if -back > self.range / 2 => Some(back + self.range),
            _ => None,
        };
        self.last = now;
        self.total += step.ok_or_else(|| ReadError::Restarted(path()))?;
        Ok(())
    }
}

/// Whether the processors are AMD's.
fn is_amd(root: &Path) -> bool {
    text(&root.join("proc/cpuinfo"), GRANT).is_ok_and(|text| text.contains("AuthenticAMD"))
}

/// The counters of one scope.
#[derive(Debug)]
pub(in crate::energy) struct Rapl {
    info: SourceInfo,
    zones: Vec<Zone>,
}

impl Rapl {
    /// The platform's counter, where there is one that counts at least what packages and their memory do meanwhile, and
    /// else these.
    pub(in crate::energy) fn widest(root: &Path) -> Result<Self, ReadError> {
        let mut parts = Self::find(root, Scope::PackageDram)?;
        let Ok(mut platform) = Self::find(root, Scope::Psys) else { return Ok(parts) };
        let mut counted = || -> Result<[f64; 2], ReadError> {
            let mut read = || Ok([platform.joules()?, parts.joules()?]);
            let start = read()?;
            thread::sleep(WATCHED);
            let end = read()?;
            Ok([end[0] - start[0], end[1] - start[1]])
        };
        let Ok([whole, part]) = counted() else { return Ok(parts) };
        if whole > 0.0 && whole + platform.info.resolution >= part {
            return Ok(platform);
        }
        parts.info.remark += &format!("; psys counted {whole:.2} J while these counted {part:.2}, and is not used");
        Ok(parts)
    }

    /// Since the first reading.
    fn joules(&mut self) -> Result<f64, ReadError> {
        // All of them, even where one fails: the next reading begins where this one ended.
        let results: Vec<_> = self.zones.iter_mut().map(Zone::advance).collect();
        let restarted = results.iter().find(|result| matches!(result, Err(ReadError::Restarted(_))));
        restarted.cloned().unwrap_or(Ok(()))?;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(self.zones.iter().map(|zone| zone.total).sum::<i64>() as f64 / 1e6)
    }

    /// The counters of `scope`: packages and their memory, or one kind alone.
    pub(in crate::energy) fn find(root: &Path, scope: Scope) -> Result<Self, ReadError> {
        let folder = root.join("sys/class/powercap");
        let is_zone = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("intel-rapl:") && path.join("name").exists()
        };
        let mut scopes = Vec::new();
        let mut zones = Vec::new();
        for zone in entries(&folder).into_iter().filter(is_zone) {
            let of = match text(&zone.join("name"), GRANT)?.as_str() {
                name if name.starts_with("package") => Scope::Package,
                "core" => Scope::Core,
                "dram" => Scope::Dram,
                "psys" => Scope::Psys,
                _ => continue,
            };
            let wanted = match scope {
                Scope::PackageDram => matches!(of, Scope::Package | Scope::Dram),
                one => of == one,
            };
            if wanted {
                zones.push(Zone::open(&zone)?);
                scopes.push(of);
            }
        }
        if zones.is_empty() || (scope == Scope::PackageDram && !scopes.contains(&Scope::Package)) {
            return Err(ReadError::Absent(folder.join("intel-rapl:*").display().to_string()));
        }
        let scope = if scopes.contains(&Scope::Dram) { scope } else { scopes[0] };
        let name = match scope {
            Scope::PackageDram => "rapl:package+dram",
            Scope::Core => "rapl:core",
            Scope::Dram => "rapl:dram",
            Scope::Psys => "rapl:psys",
            _ => "rapl:package",
        };
        let remark = match scope {
            Scope::Psys => "what the platform's regulators deliver; what is wired to them is the maker's choice",
            Scope::PackageDram => "processor and memory; not the board, disks, screen, nor losses of the supply",
            _ => "a part of the processor; not the memory, the board, nor losses of the supply",
        };
        let (gain, why) = match scope {
            Scope::Psys => (PSYS_GAIN, "no maker states an accuracy: 5 % of a board's own wiring is an assumption"),
            Scope::Dram => (DRAM_GAIN, "up to 30 % on Intel's own boards, as a rectangular distribution"),
            _ if is_amd(root) => (AMD_GAIN, "no maker states an accuracy: 5 % of what AMD counts is an assumption"),
            _ => (PACKAGE_GAIN, "no maker states an accuracy: 1.25 % is an assumption"),
        };
        let info = SourceInfo {
            name: name.into(),
            class: Class::C,
            scope,
            integration: Integration::CounterDifference,
            reads: zones.iter().map(|zone| zone.file.display().to_string()).collect(),
            remark: remark.into(),
            resolution: zones.iter().map(Zone::unit_j).fold(0.0, f64::hypot),
            update_s: UPDATE_S,
            gain,
            drift: DRIFT,
            offset_w: 0.0,
            why: format!(
                "{why}; a drift of {:.1} % is an assumption; the unit is the counter's, the update of 1 ms the maker's",
                100.0 * DRIFT
            ),
            default_hz: 20.0,
            wraps_at_j: zones.iter().map(|zone| zone.range as f64 / 1e6).reduce(f64::min),
        };
        Ok(Self { info, zones })
    }
}

impl Source for Rapl {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        self.joules().map(Reading::Joules)
    }
}
