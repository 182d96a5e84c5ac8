//! What a report says of the machine.

use std::path::{Path, PathBuf};

use babil_runtime::energy::{Platform, Thermal, Throttling};

use super::report::{PlatformRow, ThermalRow};

/// The folder in which `/sys` and `/proc` are looked for: `BABIL_SYSFS_ROOT`, which tests set, or `/`.
pub fn root() -> PathBuf {
    std::env::var_os("BABIL_SYSFS_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// The processor's name, as llama-bench has it: `AMD EPYC`, `Cortex-A76`.
pub fn cpu_name(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
    if let Some(name) = field("model name").map(str::trim).filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    // arm64 tells numbers, of each kind of core.
    let mut parts: Vec<&str> = Vec::new();
    for line in text.lines() {
        let part = line.strip_prefix("CPU part").and_then(|rest| rest.trim().strip_prefix(':')).map(str::trim);
        parts.extend(part.filter(|part| parts.last() != Some(part)));
    }
    parts.sort_unstable();
    parts.dedup();
    let names: Vec<&str> = parts.iter().map(|part| arm_core(part).unwrap_or(part)).collect();
    if names.is_empty() { std::env::consts::ARCH.to_owned() } else { names.join(" + ") }
}

/// ARM's own cores by their part number.
fn arm_core(part: &str) -> Option<&'static str> {
    Some(match part {
        "0xd03" => "Cortex-A53",
        "0xd04" => "Cortex-A35",
        "0xd05" => "Cortex-A55",
        "0xd07" => "Cortex-A57",
        "0xd08" => "Cortex-A72",
        "0xd09" => "Cortex-A73",
        "0xd0a" => "Cortex-A75",
        "0xd0b" => "Cortex-A76",
        "0xd0c" => "Neoverse-N1",
        "0xd0d" => "Cortex-A77",
        "0xd40" => "Neoverse-V1",
        "0xd41" => "Cortex-A78",
        "0xd44" => "Cortex-X1",
        "0xd46" => "Cortex-A510",
        "0xd47" => "Cortex-A710",
        "0xd48" => "Cortex-X2",
        "0xd49" => "Neoverse-N2",
        "0xd4b" => "Cortex-A78C",
        "0xd4d" => "Cortex-A715",
        "0xd4e" => "Cortex-X3",
        "0xd80" => "Cortex-A520",
        "0xd81" => "Cortex-A720",
        "0xd82" => "Cortex-X4",
        _ => return None,
    })
}

impl From<Platform> for PlatformRow {
    fn from(platform: Platform) -> Self {
        let Platform { board, kernel, governors, freq_khz, max_freq_khz, mem, on_mains } = platform;
        let governor = (!governors.is_empty()).then(|| governors.join(", "));
        Self { board, kernel, governor, freq_khz, max_freq_khz, mem, on_mains }
    }
}

impl ThermalRow {
    /// Of a test before which the machine was in one state, and after which in another.
    pub fn of([before, after]: &[Thermal; 2]) -> Self {
        // A machine that counts events may have slowed down between the two looks.
        let happened = |now: fn(&Throttling) -> bool| {
            let after = after.throttling?;
            let more = before.throttling.is_some_and(|before| before.events != after.events);
            Some((now(&after), more))
        };
        let throttled = happened(|state| state.throttled).map(|(now, more)| now || more);
        let undervoltage = happened(|state| state.undervoltage).map(|(now, _)| now);
        Self { start_c: before.cpu_c, end_c: after.cpu_c, throttled, undervoltage, fan_rpm: after.fan_rpm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let named = |text: &str| {
            std::fs::write(folder.path().join("proc/cpuinfo"), text).unwrap();
            cpu_name(folder.path())
        };
        assert_eq!(named("processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(named("processor\t: 0\nCPU part\t: 0xd0b\nprocessor\t: 1\nCPU part\t: 0xd0b\n"), "Cortex-A76");
        assert_eq!(named("CPU part\t: 0xd0b\nCPU part\t: 0xd05\nCPU part\t: 0xfff\n"), "Cortex-A55 + Cortex-A76 + 0xfff");
        assert_eq!(named(""), std::env::consts::ARCH);
    }

    #[test]
    fn a_machine_that_slowed_down_meanwhile_was_throttled() {
        let state = |throttled, events| Thermal {
            cpu_c: Some(60.0),
            throttling: Some(Throttling { throttled, events, ..Throttling::default() }),
            ..Thermal::default()
        };
        let throttled = |before, after| ThermalRow::of(&[before, after]).throttled;
        assert_eq!(throttled(state(false, 3), state(false, 3)), Some(false));
        assert_eq!(throttled(state(false, 3), state(false, 4)), Some(true));
        assert_eq!(throttled(state(false, 3), state(true, 3)), Some(true));
        assert_eq!(throttled(Thermal::default(), Thermal::default()), None);
    }
}
