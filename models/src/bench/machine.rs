//! What a report says of the machine.

use std::path::PathBuf;

use babil_runtime::energy::{Platform, Thermal};

use super::report::{PlatformRow, ThermalRow};

/// The folder in which `/sys` and `/proc` are looked for: `BABIL_SYSFS_ROOT`, which tests set, or `/`.
pub fn root() -> PathBuf {
    std::env::var_os("BABIL_SYSFS_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

impl From<Platform> for PlatformRow {
    fn from(platform: Platform) -> Self {
        let Platform { board, kernel, governors, freq_khz, max_freq_khz, mem, on_mains, .. } = platform;
        let governor = (!governors.is_empty()).then(|| governors.join(", "));
        Self { board, kernel, governor, freq_khz, max_freq_khz, mem, on_mains }
    }
}

impl ThermalRow {
    /// Of a test before which the machine was in one state, and after which in another.
    pub fn of([before, after]: &[Thermal; 2]) -> Self {
        // A machine that counts events may have slowed down between the two looks.
        let throttled = after.throttling.map(|after| {
            let before = before.throttling.unwrap_or(after);
            before.happened_until(&after)
        });
        let undervoltage = after.throttling.map(|after| after.undervoltage);
        Self { start_c: before.cpu_c, end_c: after.cpu_c, throttled, undervoltage, fan_rpm: after.fan_rpm }
    }
}

#[cfg(test)]
mod tests {
    use babil_runtime::energy::Throttling;

    use super::*;

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
