//! The chips that measure power behind hwmon, and what is stated about their errors.
//!
//! What a data sheet calls a maximum is taken as the half-width of a rectangular distribution, whose standard deviation
//! is the half-width over the root of 3, which is what [`Worth`] holds. The electrical characteristics are those at 25
//! degrees Celsius; what changes as a chip gets warm is the drift.

/// A chip that is taken for a meter without being named.
#[derive(Debug)]
pub(super) struct Chip {
    /// The driver's name for it.
    pub(super) name: &'static str,
    /// What its maker states. Of a meter that firmware builds nothing is stated.
    pub(super) sheet: Option<Sheet>,
}

/// A data sheet of a chip that measures the voltage of the supply and that across a resistor (the shunt).
#[derive(Debug)]
pub(super) struct Sheet {
    /// The greatest relative error of the gain, of the current.
    current: f64,
    /// The same of the voltage.
    voltage: f64,
    /// The greatest error of the voltage across the shunt that does not depend on it, in volts.
    shunt_offset: f64,
    /// The same of the supply's voltage.
    voltage_offset: f64,
    /// The step of the voltage across the shunt, in volts.
    step: f64,
    /// The step of the power register, in steps of the current: watts per ampere. 0 where it has no such register, and
    /// power is the product of what the driver shows.
    power_step: f64,
    /// The shunt, in ohms, where it is inside of the chip and its error in `current`.
    inside: Option<f64>,
    /// How long a measurement takes as the driver sets the chip up, in seconds, where the driver does not tell.
    update_s: f64,
}

/// What readings are worth: standard deviations, as a source states them ([`crate::energy::SourceInfo`]).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Worth {
    pub(super) gain: f64,
    pub(super) drift: f64,
    pub(super) offset_w: f64,
    pub(super) resolution: f64,
    pub(super) update_s: f64,
    pub(super) why: String,
}

/// Texas Instruments, INA219, SBOS448G (2015), 7.5: grade A, 1 % over the temperature of current and of voltage; offset
/// at the gain /8 that the driver selects; 12 bits twice, 586 us each. The power register counts in 20 steps of the
/// current (8.5.2). The voltage's error has its offset in it.
const INA219: Sheet = Sheet {
    current: 0.01,
    voltage: 0.01,
    shunt_offset: 200e-6,
    voltage_offset: 0.0,
    step: 10e-6,
    power_step: 20.0,
    inside: None,
    update_s: 1.2e-3,
};

/// Texas Instruments, INA226, SBOS547B (2024), 5.5. The driver averages 16 measurements of 2.2 ms. The power register
/// counts in 25 steps of the current.
const INA226: Sheet = Sheet {
    current: 0.001,
    voltage: 0.001,
    shunt_offset: 10e-6,
    voltage_offset: 7.5e-3,
    step: 2.5e-6,
    power_step: 25.0,
    inside: None,
    update_s: 35.2e-3,
};

/// Texas Instruments, INA230, SBOS601 (2012), electrical characteristics: those of 2021 (SBOS601A) are narrower, 0.3 %
/// and 25 uV. INA231, SBOS644 (2013), features: the same 0.5 % and 50 uV; its voltage's offset is assumed to be.
const INA230: Sheet = Sheet { current: 0.005, voltage: 0.005, shunt_offset: 50e-6, voltage_offset: 30e-3, ..INA226 };

/// Texas Instruments, INA238-Q1, data sheet of 2021, electrical characteristics. The power register counts in a fifth
/// of the current's step (drivers/hwmon/ina238.c of Linux). That it measures for 3.2 ms is an assumption.
const INA238: Sheet =
    Sheet { shunt_offset: 5e-6, voltage_offset: 5e-3, step: 5e-6, power_step: 0.2, update_s: 3.2e-3, ..INA226 };

/// Texas Instruments, INA260, SBOS656C (2016), 7.5: 0.15 % with its own shunt of 2 mohm, 5 mA, steps of 1.25 mA and 10
/// mW; the voltage's offset is assumed to be the INA226's, and its driver averages as that one's does.
const INA260: Sheet = Sheet { current: 0.0015, power_step: 8.0, inside: Some(2e-3), ..INA226 };

/// Texas Instruments, INA3221, SBOS576A (2013), electrical characteristics. It has no register of power; three channels
/// take 2.2 ms each.
const INA3221: Sheet = Sheet {
    current: 0.0025,
    voltage: 0.0025,
    shunt_offset: 80e-6,
    voltage_offset: 16e-3,
    step: 40e-6,
    power_step: 0.0,
    inside: None,
    update_s: 6.6e-3,
};

/// The chips that are known. An INA220 is an INA219 to the driver (drivers/hwmon/ina2xx.c of Linux).
const CHIPS: [Chip; 10] = [
    Chip { name: "ina219", sheet: Some(INA219) },
    Chip { name: "ina220", sheet: Some(INA219) },
    Chip { name: "ina226", sheet: Some(INA226) },
    Chip { name: "ina230", sheet: Some(INA230) },
    Chip { name: "ina231", sheet: Some(INA230) },
    Chip { name: "ina238", sheet: Some(INA238) },
    Chip { name: "ina260", sheet: Some(INA260) },
    Chip { name: "ina3221", sheet: Some(INA3221) },
    // ACPI's, which may state an accuracy of its own.
    Chip { name: "power_meter", sheet: None },
    Chip { name: "macsmc_hwmon", sheet: None },
];

/// The greatest relative error of a shunt beside its chip: 1 % on the breakout boards that are sold (Adafruit's INA219
/// guide states it of theirs). Of a maker's board it is an assumption.
const SHUNT_ERROR: f64 = 0.01;

/// What the drivers take a shunt to be that nobody told them, in ohms (`INA2XX_RSHUNT_DEFAULT`,
/// `INA3221_RSHUNT_DEFAULT`).
const USUAL_SHUNT: f64 = 0.01;

/// The supply where a chip does not tell, in volts.
const USUAL_VOLTS: f64 = 5.0;

/// How much the gain changes as it gets warm: the data sheets' greatest 50 ppm per kelvin of the current and of the
/// voltage (INA226, INA230, INA3221; others less), and 100 of a usual shunt, by 20 kelvin. The last two are
/// assumptions.
const DRIFT: f64 = 122e-6 * 20.0;

/// What is assumed where nothing is stated: gain and drift as standard deviations, step in watts, update in seconds.
const ASSUMED: (f64, f64, f64, f64) = (0.02, 0.001, 0.1, 1.0);

/// The standard deviation of what lies within `half` of 0.
fn rectangular(half: f64) -> f64 {
    half / f64::sqrt(3.0)
}

impl Chip {
    /// The chip of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        CHIPS.iter().find(|chip| chip.name == name)
    }
}

impl Worth {
    /// What a chip's readings are worth at a supply of `volts` with a shunt of `ohms`, where the system tells them.
    pub(super) fn of_sheet(sheet: &Sheet, volts: Option<f64>, ohms: Option<f64>) -> Self {
        let volts = volts.filter(|volts| *volts > 0.0).unwrap_or(USUAL_VOLTS);
        let beside = if sheet.inside.is_some() { 0.0 } else { SHUNT_ERROR };
        let ohms = sheet.inside.or(ohms.filter(|ohms| *ohms > 0.0)).unwrap_or(USUAL_SHUNT);
        let gains = [sheet.current, beside, sheet.voltage, sheet.voltage_offset / volts];
        let gain = gains.iter().map(|gain| gain * gain).sum::<f64>().sqrt();
        Self {
            gain: rectangular(gain),
            drift: rectangular(DRIFT),
            offset_w: rectangular(sheet.shunt_offset / ohms * volts),
            // A step of the current is seen in the register of power, or times the voltage.
            resolution: sheet.step / ohms * sheet.power_step.max(volts),
            update_s: sheet.update_s,
            why: format!(
                "as rectangular distributions: the data sheet's greatest errors, at {volts:.1} V and {:.4} mohm{}; a \
                drift of {:.2} % is an assumption; step and update are the chip's as its driver sets it up",
                1e3 * ohms,
                if beside > 0.0 { ", and 1 % of the shunt" } else { "" },
                100.0 * DRIFT
            ),
        }
    }

    /// What is assumed where nothing is stated, but for the `accuracy`, which firmware may state: 0.95 where readings
    /// are within 5 %.
    pub(super) fn assumed(accuracy: Option<f64>) -> Self {
        let (gain, drift, resolution, update_s) = ASSUMED;
        let error = accuracy.map(|accuracy| 1.0 - accuracy).filter(|error| *error > 0.0 && *error < 1.0);
        let why = match error {
            Some(error) => format!("the firmware states {:.1} %, as a rectangular distribution", 100.0 * error),
            None => "nothing is stated: 2 % is an assumption".into(),
        };
        Self {
            gain: error.map_or(gain, rectangular),
            drift,
            offset_w: 0.0,
            resolution,
            update_s,
            why: format!(
                "{why}; a drift of 0.1 % and the step are assumptions, and so is the update where the driver does not \
                tell"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(name: &str, volts: f64, ohms: f64) -> Worth {
        let sheet = Chip::named(name).and_then(|chip| chip.sheet.as_ref()).unwrap();
        Worth::of_sheet(sheet, Some(volts), Some(ohms))
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-3 * expected, "{found}, not {expected}");
    }

    #[test]
    fn errors_at_the_shunt_become_watts() {
        // 200 uV across 0.1 ohm are 2 mA, at 5 V 10 mW; the power register's step is 2 mW.
        let good = worth("ina219", 5.0, 0.1);
        close(good.offset_w, 0.010 / 3f64.sqrt());
        close(good.resolution, 0.002);
        close(good.gain, 0.01);
        // Ten times as much across a tenth of it.
        let small = worth("ina219", 5.0, 0.01);
        close(small.offset_w / good.offset_w, 10.0);
        close(small.resolution, 0.020);
        // 40 uV across 5 mohm are 8 mA, which the driver shows, times the voltage.
        let jetson = worth("ina3221", 5.0, 0.005);
        close(jetson.resolution, 0.040);
        close(jetson.offset_w, 0.080 / 3f64.sqrt());
    }

    #[test]
    fn a_shunt_inside_of_the_chip_is_what_it_is() {
        let chip = worth("ina260", 5.0, 0.5);
        close(chip.resolution, 0.010);
        close(chip.offset_w, 0.025 / 3f64.sqrt());
        close(chip.gain, (0.0015_f64.powi(2) + 0.001_f64.powi(2) + 0.0015_f64.powi(2)).sqrt() / 3f64.sqrt());
    }

    #[test]
    fn what_the_system_does_not_tell_is_usual() {
        let sheet = Chip::named("ina226").and_then(|chip| chip.sheet.as_ref()).unwrap();
        let usual = worth("ina226", 5.0, 0.01);
        assert_eq!(Worth::of_sheet(sheet, None, None), usual);
        assert_eq!(Worth::of_sheet(sheet, Some(0.0), Some(0.0)), usual);
        close(Worth::assumed(None).gain, 0.02);
        close(Worth::assumed(Some(0.9)).gain, 0.1 / 3f64.sqrt());
        close(Worth::assumed(Some(1.0)).gain, 0.02);
    }
}
