//! The stated interval holds the truth as often as it says: a thousand boards for each kind of meter.

use super::board::{Dice, Life};
use super::meters::{Meter, least_window, run};
use crate::energy::{Energy, Flag};

const RUNS: u64 = 1000;

/// The limits of half an interval, as a part of the energy: of counters, and of power that is sampled.
const COUNTED: f64 = 0.03;
const SAMPLED: f64 = 0.05;

/// That the intervals hold the truth in 92 to 98 % of all runs, and are as narrow as `at_most`.
pub(super) fn check(what: &str, at_most: f64, run: impl Fn(u64) -> (Energy, f64)) {
    let mut widest: f64 = 0.0;
    let held = (0..RUNS).filter(|&seed| {
        let (energy, truth) = run(seed);
        widest = widest.max(energy.rel_uncertainty().unwrap());
        (energy.joules - truth).abs() <= energy.half_width_95_j.unwrap()
    });
    let held = held.count() as u64;
    println!("{what}: {held} of {RUNS} intervals hold the truth; the widest is {:.2} %", 100.0 * widest);
    assert!((920..=980).contains(&held), "{what}: {held} of {RUNS} intervals hold the truth");
    assert!(widest <= at_most, "{what}: an interval of {widest}");
}

/// Runs of so many seconds.
fn lasting(meter: Meter, hz: Option<f64>, seconds: f64, at_most: f64) {
    let is_battery = matches!(meter, Meter::Battery | Meter::SlowBattery | Meter::EnergyNow);
    let life = |dice: &mut Dice| {
        let life = if is_battery { Life::behind_regulators(dice) } else { Life::drawn(dice) };
        life.lasting(seconds)
    };
    check(&format!("{meter:?}, {seconds} s"), at_most, |seed| run(meter, hz, seed, life));
}

#[test]
fn counters_that_wrap() {
    lasting(Meter::Rapl, None, 10.0, COUNTED);
}

#[test]
fn a_power_management_chip() {
    lasting(Meter::Pmic, None, 10.0, SAMPLED);
}

#[test]
fn a_power_sensor() {
    lasting(Meter::Ina226, None, 10.0, SAMPLED);
}

#[test]
fn current_and_voltage_of_a_rail() {
    lasting(Meter::Ina3221, None, 10.0, SAMPLED);
}

#[test]
fn the_gauge_of_a_phone() {
    lasting(Meter::Battery, None, 10.0, SAMPLED);
}

/// As long as a benchmark's phases are with it.
#[test]
fn a_gauge_that_measures_once_a_second() {
    let seconds = least_window(Meter::SlowBattery);
    assert_eq!(seconds, 50.0);
    lasting(Meter::SlowBattery, None, seconds, SAMPLED);
}

/// Its steps are large and its gain is not known better: a limit of its own, and windows of at least thirty steps.
#[test]
fn what_is_left_in_a_battery() {
    // As often as it changes: ten times as many readings say nothing more, and take minutes here.
    lasting(Meter::EnergyNow, Some(1.0), 240.0, SAMPLED);
    let of = |seconds: f64| run(Meter::EnergyNow, None, 1, |dice| Life::behind_regulators(dice).lasting(seconds)).0;
    let (long, short) = (of(240.0), of(50.0));
    assert!(!long.flags.contains(&Flag::FewSteps) && short.flags.contains(&Flag::FewSteps), "{:?}", short.flags);
    // No slope of a single step in a single second.
    assert!(long.peak_w < 2.0 * long.avg_w && short.peak_w < 2.0 * short.avg_w, "{} {}", long.peak_w, short.peak_w);
}
