//! The stated interval holds the truth as often as it says: a thousand boards for each kind of meter.

use super::board::Life;
use super::meters::{Meter, run};

const RUNS: u64 = 1000;

/// Runs of ten seconds: that the intervals hold the truth in 92 to 98 % of them, and are as narrow as this, relative.
fn check(meter: Meter, at_most: f64) {
    let is_battery = matches!(meter, Meter::Battery | Meter::SlowBattery);
    let life = if is_battery { Life::behind_regulators } else { Life::drawn };
    let mut widest: f64 = 0.0;
    let held = (0..RUNS).filter(|&seed| {
        let (energy, truth) = run(meter, None, seed, life);
        widest = widest.max(energy.rel_uncertainty().unwrap());
        (energy.joules - truth).abs() <= energy.half_width_95_j.unwrap()
    });
    let held = held.count() as u64;
    println!("{meter:?}: {held} of {RUNS} intervals hold the truth; the widest is {:.2} %", 100.0 * widest);
    assert!((920..=980).contains(&held), "{meter:?}: {held} of {RUNS} intervals hold the truth");
    assert!(widest <= at_most, "{meter:?}: an interval of {widest}");
}

#[test]
fn counters_that_wrap() {
    check(Meter::Rapl, 0.03);
}

#[test]
fn a_power_management_chip() {
    check(Meter::Pmic, 0.05);
}

#[test]
fn a_power_sensor() {
    check(Meter::Ina226, 0.05);
}

#[test]
fn the_gauge_of_a_phone() {
    check(Meter::Battery, 0.05);
}

/// Ten measurements of a phase are few: the interval is wide, and still right.
#[test]
fn a_gauge_that_measures_once_a_second() {
    check(Meter::SlowBattery, 0.12);
}
