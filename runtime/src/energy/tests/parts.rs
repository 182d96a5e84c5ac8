//! Each part of the budget: its size by hand, and what happens to the interval without it.

use super::board::{Dice, Life};
use super::meters::{Meter, run};
use crate::energy::{
    Budget, Class, Energy, Failure, Flag, Integration, Recording, Sample, SamplerCost, Scope, SourceInfo, budget,
};

/// How many of 300 intervals hold the truth, and how many would without a part of the budget.
fn with_and_without(
    meter: Meter,
    hz: Option<f64>,
    life: fn(&mut Dice) -> Life,
    drop: fn(&mut Budget),
) -> (usize, usize) {
    let runs: Vec<(Energy, f64)> = (0..300).map(|seed| run(meter, hz, seed, life)).collect();
    let held = |half: &dyn Fn(&Energy) -> f64| {
        runs.iter().filter(|(energy, truth)| (energy.joules - truth).abs() <= half(energy)).count()
    };
    let without = |energy: &Energy| {
        let mut budget = energy.budget;
        drop(&mut budget);
        budget.half_width_95_j()
    };
    (held(&|energy| energy.budget.half_width_95_j()), held(&without))
}

fn needed(what: &str, (with, without): (usize, usize)) {
    println!("{what}: {with} of 300 intervals hold the truth with it, {without} without");
    assert!(with >= 276 && without < 276, "{what}: {with} of 300 with it, {without} without");
}

#[test]
fn no_interval_is_right_without_the_gain() {
    needed("gain", with_and_without(Meter::Rapl, None, Life::drawn, |budget| budget.gain_j = 0.0));
}

#[test]
fn no_interval_is_right_without_the_noise() {
    let life = |dice: &mut Dice| Life { tokens: (0.5, 20.0), wanders: 0.1, ..Life::drawn(dice) };
    needed("noise", with_and_without(Meter::Ina226, Some(8.0), life, |budget| budget.noise_j = 0.0));
}

/// A good sensor that is sampled rarely, and power that comes slowly after a deep rest.
#[test]
fn no_interval_is_right_without_the_edges() {
    let life = |dice: &mut Dice| Life {
        watts: [0.5, 9.0, 0.5],
        follows: 0.1,
        tokens: (0.0, 1.0),
        warms: 0.0,
        wanders: 0.0,
        ..Life::drawn(dice)
    };
    needed("edges", with_and_without(Meter::Ina226, Some(2.0), life, |budget| budget.edges_j = 0.0));
}

fn info(integration: Integration) -> SourceInfo {
    SourceInfo {
        name: "test".into(),
        class: Class::B,
        scope: Scope::Device,
        integration,
        reads: Vec::new(),
        remark: String::new(),
        resolution: 0.0,
        update_s: 0.0,
        gain: 0.0,
        drift: 0.0,
        offset_w: 0.0,
        why: String::new(),
        default_hz: 1.0,
        wraps_at_j: None,
    }
}

/// A recording of samples at these times.
fn recording(integration: Integration, samples: impl IntoIterator<Item = (f64, f64)>) -> Recording {
    let samples: Vec<_> = samples.into_iter().map(|(time, value)| Sample { time, within: 0.0, value }).collect();
    let wall_s = samples.last().map_or(0.0, |sample| sample.time);
    Recording {
        info: info(integration),
        samples,
        restarts: Vec::new(),
        failures: Vec::new(),
        shift_s: 0.0,
        start_unix: 0.0,
        cost: SamplerCost { cpu_s: None, wall_s, failed: 0 },
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found}, not {expected}");
}

/// Power of 2 W, from 1 s on 4 W, from 3 s on 2 W, ten samples a second; the edges lie a quarter of an interval from
/// the samples inside.
fn steps() -> Recording {
    let watts = |time: f64| if (0.99..3.01).contains(&time) { 4.0 } else { 2.0 };
    recording(Integration::Trapezoid, (0..=40).map(|i| f64::from(i) / 10.0).map(|time| (time, watts(time))))
}

#[test]
fn power_is_integrated_over_what_lies_inside() {
    let mut steps = steps();
    let energy = steps.energy(0.975, 3.025).unwrap();
    close(energy.joules, 4.0 * 2.05);
    close(energy.window_s, 2.05);
    close(energy.avg_w, 4.0);
    close(energy.peak_w, 4.0);
    close(energy.sample_hz, 10.0);
    assert_eq!(energy.samples, 21);
    // 2 W for 0.025 s at the beginning, over the root of 3; no noise.
    close(energy.budget.edges_j, 2.0 * 0.025 / 3f64.sqrt());
    close(energy.budget.noise_j, 0.0);
    assert_eq!(energy.flags, [Flag::FewSamples, Flag::ShortWindow, Flag::Stuck]);

    steps.info = SourceInfo { gain: 0.03, drift: 0.04, offset_w: 0.1, resolution: 0.6, ..steps.info };
    let budget = steps.energy(0.975, 3.025).unwrap().budget;
    close(budget.gain_j, 0.05 * 8.2);
    close(budget.offset_j, 0.205);
    close(budget.resolution_j, 0.6 * 2.05 / 12f64.sqrt());
    let parts = [budget.gain_j, budget.offset_j, budget.resolution_j, budget.edges_j];
    close(budget.total_j(), parts.iter().map(|part| part * part).sum::<f64>().sqrt());
    let half = budget.half_width_95_j() / budget.total_j();
    assert!((half - 1.96).abs() < 1e-3, "{half}");

    // Power between 2 and 4 W at both edges: a common shift moves nothing. Between 2 and 4 W: it does.
    steps.shift_s = 0.1;
    close(steps.energy(0.975, 3.025).unwrap().budget.shift_j, 0.0);
    close(steps.energy(0.975, 2.5).unwrap().budget.shift_j, 0.2);
}

#[test]
fn what_may_be_of_another_phase_is_left_out() {
    // Made within 0.03 s: those at 1.0 and 3.0 s may be from before or after.
    let mut steps = steps();
    steps.samples.iter_mut().for_each(|sample| sample.within = 0.03);
    let energy = steps.energy(0.975, 3.025).unwrap();
    assert_eq!(energy.samples, 19);
    close(energy.joules, 4.0 * 2.05);
    // The step is still that to the power before, for the time to the sample at 1.1 s.
    close(energy.budget.edges_j, 2.0 * 0.125 / 3f64.sqrt());
    // Before as well: that at 0.9 s is, that at 1.0 s may be inside.
    steps.samples[9].value = 1.0;
    close(steps.energy(0.975, 3.025).unwrap().budget.edges_j, (4.0 - 5.0 / 3.0) * 0.125 / 3f64.sqrt());
}

#[test]
fn power_of_a_counter_is_that_of_many_steps() {
    // 3 W in steps of 1 J that are seen once in half a second: 2 J, then 1 J.
    let joules = |time: f64| (3.0 * (time * 2.0).floor() / 2.0).floor();
    let times = || (0..=400).map(|i| f64::from(i) / 10.0);
    let mut counter = recording(Integration::CounterDifference, times().map(|time| (time, joules(time))));
    counter.info = SourceInfo { resolution: 1.0, update_s: 0.5, ..counter.info };
    let (long, short) = (counter.energy(1.0, 39.0).unwrap(), counter.energy(1.0, 6.0).unwrap());
    assert!((3.0..3.6).contains(&long.peak_w) && (3.0..3.6).contains(&short.peak_w), "{long:?} {short:?}");
    assert!(!long.flags.contains(&Flag::FewSteps) && short.flags.contains(&Flag::FewSteps));
    assert!(counter.power().iter().all(|(_, watts)| (2.5..3.6).contains(watts)), "{:?}", counter.power());
    // Two updates, however small the steps.
    counter.info.resolution = 1e-6;
    assert!(counter.power().windows(2).all(|pair| pair[1].0 - pair[0].0 > 0.99), "{:?}", counter.power());
}

#[test]
fn a_window_is_long_enough_for_fifty_readings() {
    let of = |update_s, hz| budget::least_window(&SourceInfo { update_s, ..info(Integration::Trapezoid) }, hz);
    close(of(0.0, 20.0), 10.0);
    close(of(0.0, 2.0), 25.0);
    // What is read more often than it is measured says nothing new.
    close(of(1.0, 10.0), 50.0);
}

#[test]
fn noise_is_what_neighbours_do_not_explain() {
    // On a line, whatever the intervals: none. Alternating by +-1 around it: a rest of 2 from neighbours, over root
    // 1.5.
    let times: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.1 + f64::from(i % 7) * 0.01).collect();
    let line = recording(Integration::Trapezoid, times.iter().map(|&time| (time, 5.0 + time)));
    assert!(line.energy(1.0, 19.0).unwrap().budget.noise_j < 1e-12);
    let alternating = (0..200).map(|i| (f64::from(i) * 0.1, 5.0 + if i % 2 == 0 { 1.0 } else { -1.0 }));
    let alternating = recording(Integration::Trapezoid, alternating).energy(0.05, 19.85).unwrap();
    assert_eq!(alternating.samples, 198);
    let squares = 198.0_f64 * 0.01;
    close(alternating.budget.noise_j, (4.0 / 1.5 * squares).sqrt());
    close(alternating.budget.noise_freedom, 196.0 * 18.0 / 35.0);
}

#[test]
fn students_t_where_noise_is_known_from_few_samples() {
    // From tables.
    for (freedom, t) in [(1.0, 12.706), (2.0, 4.3027), (3.0, 3.1824), (5.0, 2.5706), (30.0, 2.0423), (1e9, 1.95996)] {
        let budget = Budget { noise_j: 2.0, noise_freedom: freedom, ..Budget::default() };
        let found = budget.half_width_95_j() / 2.0;
        assert!((found / t - 1.0).abs() < 1e-4, "{freedom}: {found}");
        // Beside something else of the same size the noise has four times the freedom.
        let beside = Budget { gain_j: 2.0, ..budget };
        let alone = Budget { noise_freedom: 4.0 * freedom, ..budget };
        close(beside.half_width_95_j() / beside.total_j(), alone.half_width_95_j() / alone.total_j());
    }
}

#[test]
fn a_counter_is_its_difference() {
    // 3 W, then 6 W from 2 s on.
    let joules = |time: f64| 3.0 * time + 3.0 * (time - 2.0).max(0.0);
    let times = (0..=80).map(|i| f64::from(i) / 10.0);
    let mut counter = recording(Integration::CounterDifference, times.map(|time| (time, joules(time))));
    counter.samples[20].within = 0.01;
    counter.info.resolution = 0.006;
    let energy = counter.energy(2.0, 7.0).unwrap();
    close(energy.joules, 30.0);
    close(energy.peak_w, 6.0);
    close(energy.budget.resolution_j, 0.006 / 6f64.sqrt());
    // The first reading may be 0.01 s off at 6 W.
    close(energy.budget.edges_j, 0.06 / 3f64.sqrt());
    close(energy.budget.noise_j, 0.0);
    let points = counter.power();
    assert_eq!(points.len(), 80);
    close(points[5].1, 3.0);
    close(points[70].1, 6.0);

    // Without readings at the edges nothing was counted there: 0.05 s and the 0.01 s of the reading, at 6 W.
    let between = counter.energy(2.05, 6.95).unwrap();
    close(between.joules, 6.0 * 4.9);
    let later = counter.energy(1.95, 4.0).unwrap();
    close(later.budget.edges_j, 6.0 * 0.06 / 3f64.sqrt());
}

#[test]
fn a_difference_to_idling_keeps_the_gain_of_the_difference() {
    let mut steps = steps();
    steps.info = SourceInfo { gain: 0.03, offset_w: 0.5, ..steps.info };
    let (work, idle) = (steps.energy(1.0, 3.0).unwrap(), steps.energy(3.2, 3.8).unwrap());
    let net = work.above(&idle);
    close(net.joules, 4.0);
    close(net.avg_w, 2.0);
    close(net.budget.gain_j, 0.12);
    close(net.budget.offset_j, 0.0);
    assert!(net.half_width_95_j < work.half_width_95_j);
}

#[test]
fn what_was_not_measured_is_an_error_that_says_why() {
    let why = |recording: &Recording, from, to| recording.energy(from, to).unwrap_err().to_string();
    let power = steps();
    assert!(why(&power, 3.0, 5.0).contains("is not within the 4.000 s"));
    assert!(why(&power, 3.0, 3.0).contains("is no time"));
    assert!(why(&power, f64::NAN, 3.0).contains("is no time"));
    assert!(why(&power, 1.05, 1.15).contains("1 readings from 1.050 to 1.150 s, where 4 are needed"));
    let mut failing = power.clone();
    failing.samples.truncate(2);
    failing.failures.push(Failure { time: 2.0, why: "gone".into() });
    assert!(why(&failing, 1.0, 3.0).contains("the last one failed: gone"));
    let mut hole = power.clone();
    hole.samples.retain(|sample| !(1.4..2.6).contains(&sample.time));
    assert!(why(&hole, 1.0, 3.0).contains("no reading for 1.3 s of 2.0"));
    hole.samples = power.samples.iter().filter(|sample| !(1.35..1.75).contains(&sample.time)).copied().collect();
    assert!(hole.energy(0.0, 4.0).unwrap().flags.contains(&Flag::Gap));

    let mut nothing = power.clone();
    nothing.samples.iter_mut().for_each(|sample| sample.value = 0.0);
    assert!(why(&nothing, 1.0, 3.0).contains("it says 0.000 J for 2.0 s"));

    let counter = |joules: &dyn Fn(f64) -> f64| {
        let times = (0..=40).map(|i| f64::from(i) / 10.0);
        recording(Integration::CounterDifference, times.map(|time| (time, joules(time))))
    };
    assert!(why(&counter(&|_| 7.0), 1.0, 3.0).contains("stood still for 2.000 s"));
    let mut restarted = counter(&|time| time);
    restarted.restarts.push(2.0);
    assert!(why(&restarted, 1.0, 3.0).contains("began anew"));
    assert!(restarted.energy(2.1, 3.0).is_ok());
    let mut sparse = counter(&|time| 100.0 * time);
    sparse.info.wraps_at_j = Some(150.0);
    assert!(sparse.energy(1.0, 3.0).is_ok());
    sparse.samples.retain(|sample| !(1.05..1.95).contains(&sample.time));
    assert!(why(&sparse, 1.0, 3.0).contains("wrapped unseen"));
}

#[test]
fn a_model_has_no_interval() {
    let mut model = steps();
    model.info.class = Class::E;
    let energy = model.energy(1.0, 3.0).unwrap();
    assert_eq!((energy.half_width_95_j, energy.rel_uncertainty()), (None, None));
    assert!(energy.flags.contains(&Flag::Modelled) && !energy.flags.contains(&Flag::Stuck));
}

#[test]
fn a_recording_is_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.csv");
    let mut recording = steps();
    recording.failures.push(Failure { time: 0.5, why: "line\nbreak".into() });
    recording.restarts.push(0.25);
    recording.write(&path).unwrap();
    assert_eq!(Recording::read(&path).unwrap(), recording);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, part) in [
        ("samples 1", "samples 2", "line 1"),
        ("\"info\"", "\"inf\"", "line 2"),
        ("\n0.1,0,2", "\n0.1,0", "line 5"),
        ("\n0.2,0,2", "\n0.05,0,2", "line 6"),
        ("\n0.2,0,2", "\n0.2,0,inf", "line 6"),
    ] {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Recording::read(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{to:?}: {error}");
    }
}
