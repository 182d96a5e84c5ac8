//! The stated interval holds the truth as often as it says: a thousand boards for each kind of meter.

use super::board::Life;
use super::meters::{Meter, run};

const RUNS: u64 = 1000;

/// Of a thousand runs of ten seconds: how many intervals hold the truth, and the widest one, relative.
fn covered(meter: Meter) -> (u64, f64) {
    let mut widest: f64 = 0.0;
    let held = (0..RUNS).filter(|&seed| {
        let (energy, truth) = run(meter, None, seed, Life::drawn);
        let half = energy.half_width_95_j.unwrap();
        widest = widest.max(energy.rel_uncertainty().unwrap());
        (energy.joules - truth).abs() <= half
    });
    (held.count() as u64, widest)
}

fn check(meter: Meter, at_most: f64) {
    let (held, widest) = covered(meter);
    println!("{meter:?}: {held} of {RUNS} intervals hold the truth; the widest is {:.2} %", 100.0 * widest);
    assert!((920..=980).contains(&held), "{meter:?}: {held} of {RUNS} intervals hold the truth");
    assert!(widest <= at_most, "{meter:?}: an interval of {widest}");
}

#[test]
fn counters_that_wrap() {
    check(Meter::Rapl, 0.03);
}

#[test]
fn a_power_management_chip_that_is_sampled() {
    check(Meter::Pmic, 0.05);
}

#[test]
fn a_power_sensor_that_is_sampled() {
    check(Meter::Ina226, 0.05);
}

#[test]
fn a_gauge_that_measures_once_a_second() {
    check(Meter::Battery, 0.05);
}
