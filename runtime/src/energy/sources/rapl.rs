//! The energy counters of Intel's and AMD's processors, as the powercap framework shows them.
//!
//! ```text
//! /sys/class/powercap/intel-rapl:0     name = package-0      energy_uj, max_energy_range_uj
//!                     intel-rapl:0:0   name = core | uncore | dram: parts of package 0 (dram stands beside it)
//!                     intel-rapl:1     name = package-1 | psys
//! ```
//!
//! Packages are summed. `core` and `uncore` are inside their package and never added to it; `dram` is not. The same
//! counters may appear again as `intel-rapl-mmio`, which is not read. AMD's are called `intel-rapl` too.

use std::path::{Path, PathBuf};

use super::{entries, number, text};
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// How to be allowed to read `energy_uj`.
const GRANT: &str = "only root may read it, because it could reveal what others compute: run as root, or \
    `sudo chmod a+r /sys/class/powercap/*/energy_uj` (until the next start; docs/ENERGY.md has a rule that \
    lasts)";

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

/// The counters of one scope.
#[derive(Debug)]
pub(in crate::energy) struct Rapl {
    info: SourceInfo,
    zones: Vec<Zone>,
}

impl Rapl {
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
        let info = SourceInfo {
            name: name.into(),
            class: Class::C,
            scope,
            integration: Integration::CounterDifference,
            reads: zones.iter().map(|zone| zone.file.display().to_string()).collect(),
            remark: remark.into(),
            // 2^-14 J is the usual unit.
            resolution: 61e-6 * (zones.len() as f64).sqrt(),
            update_s: 1e-3,
            gain: 0.0125,
            drift: 0.003,
            offset_w: 0.0,
            why: "no maker states an accuracy: 1.25 % and a drift of 0.3 % are assumptions; the unit and the update \
                of 1 ms are Intel's"
                .into(),
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
        // All of them, even where one fails: the next reading begins where this one ended.
        let results: Vec<_> = self.zones.iter_mut().map(Zone::advance).collect();
        let restarted = results.iter().find(|result| matches!(result, Err(ReadError::Restarted(_))));
        restarted.cloned().unwrap_or(Ok(()))?;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(Reading::Joules(self.zones.iter().map(|zone| zone.total).sum::<i64>() as f64 / 1e6))
    }
}
