//! Logs of other meters: what is understood of a file, and that what is aligned is right.

use super::board::{Board, Dice, Life};
use super::coverage::check;
use crate::energy::external::{External, Log};
use crate::energy::sources::CpuSeconds;
use crate::energy::{Alignment, Energy, Recording, Sample, SamplerCost, Source, SourceInfo, budget};

/// A log of a board, with 20 seconds of idling before, whose clock is `ahead`.
fn log(board: &Board, ahead: f64, interval: f64, dice: &mut Dice) -> String {
    let gain = 1.0 + 0.01 * dice.normal();
    let phase = dice.between(0.0, interval);
    let mut text = String::from("time_s,power_mw\n");
    for line in 0..(((2.0 * board.middle() + 22.0) / interval) as usize) {
        let time = line as f64 * interval + phase - 20.0;
        let milliwatts = (board.watts(time) * gain * (1.0 + 0.005 * dice.normal()) * 1e3).round();
        text += &format!("{:.3},{milliwatts}\n", time + ahead);
    }
    text
}

/// `log` with a marker in the first line at or after `time`.
fn marked(log: &str, time: f64) -> String {
    let mut lines = log.lines();
    let mut text = format!("{},marker\n", lines.next().unwrap());
    let mut before = f64::NEG_INFINITY;
    for line in lines {
        let at: f64 = line.split(',').next().unwrap().parse().unwrap();
        text += &format!("{line},{}\n", if before < time && time <= at { "start" } else { "" });
        before = at;
    }
    text
}

/// The processor time that a recorder has seen beside it.
fn load(life: &Life, start_unix: f64) -> Recording {
    let [begin, end] = life.window;
    let [idle, work, after] = life.watts;
    let after = ((after - idle) / (work - idle)).max(0.0);
    let seconds = |time: f64| (time.min(end) - begin).max(0.0) + after * (time - end).max(0.0);
    let times = (0..(life.length() * 20.0) as usize).map(|i| i as f64 / 20.0);
    Recording {
        info: CpuSeconds::new("/nowhere".as_ref()).info().clone(),
        samples: times.map(|time| Sample { time, within: 0.0, value: seconds(time) }).collect(),
        restarts: Vec::new(),
        failures: Vec::new(),
        shift_s: 0.0,
        start_unix,
        cost: SamplerCost { cpu_s: None, wall_s: life.length(), failed: 0 },
    }
}

/// How a log is aligned.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Start,
    Marker,
    Dates,
    Load,
}

/// One run: what the log says of the window, what the truth is, and by how much the recording begins too late.
fn run(seed: u64, interval: f64, way: Way) -> (Energy, f64, f64) {
    let mut dice = Dice::new(seed);
    let life = Life::drawn(&mut dice).lasting(budget::least_window(&of_interval(interval), 20.0));
    let board = Board::new(&life, &mut dice);
    let ahead = if way == Way::Dates { 1.7e9 } else { dice.between(0.0, 1000.0) };
    let text = log(&board, ahead, interval, &mut dice);
    let log = Log::parse(&if way == Way::Marker { marked(&text, ahead) } else { text }).unwrap();
    let alignment = if way == Way::Start { Alignment::Start(ahead) } else { Alignment::Auto };
    let external = External::new("log.csv".into(), alignment, false);
    let recording = external.aligned(&log, &load(&life, if way == Way::Dates { 1.7e9 } else { 0.0 }));
    let recording = recording.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let late = log.readings().next().unwrap().0 - recording.samples[0].time - ahead;
    let [from, to] = life.window;
    let energy = recording.energy(from, to).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    (energy, board.joules(to) - board.joules(from), late)
}

/// The description of a log whose lines are so far apart.
fn of_interval(interval: f64) -> SourceInfo {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let lines: String = (0..10).map(|line| format!("{},5\n", f64::from(line) * interval)).collect();
    std::fs::write(&path, format!("time_s,power_w\n{lines}")).unwrap();
    External::new(path, Alignment::Auto, false).info().clone()
}

#[test]
fn an_aligned_log_holds_the_truth() {
    for interval in [0.1, 0.5] {
        for way in [Way::Start, Way::Marker, Way::Dates, Way::Load] {
            check(&format!("a log every {interval} s, {way:?}"), 0.05, |seed| {
                let (energy, truth, _) = run(seed, interval, way);
                (energy, truth)
            });
        }
    }
}

/// The event lies before the marker's line, by half an interval in the mean.
#[test]
fn markers_are_not_late() {
    let late: Vec<f64> = (0..200).map(|seed| run(seed, 0.5, Way::Marker).2).collect();
    assert!(late.iter().all(|late| late.abs() <= 0.2501), "{late:?}");
    let mean = late.iter().sum::<f64>() / 200.0;
    assert!(mean.abs() < 0.05, "{mean}");
}

#[test]
fn a_log_tells_how_long_windows_have_to_be() {
    let least = |info: &SourceInfo| budget::least_window(info, 20.0);
    assert!((least(&of_interval(2.0)) - 100.0).abs() < 1e-9);
    let absent = External::new("no/such/log.csv".into(), Alignment::Auto, false);
    assert!((least(absent.info()) - 25.0).abs() < 1e-9);
}

/// The times, in seconds, and the watts of a log of two lines, which eight more follow.
fn first_two(header: &str, lines: [&str; 2], rest: impl Fn(u32) -> String) -> Result<[(f64, f64); 2], String> {
    let rest: Vec<String> = (0..8).map(rest).collect();
    let text = format!("{header}\n{}\n{}\n", lines.join("\n"), rest.join("\n"));
    let log = Log::parse(&text)?;
    let readings: Vec<_> = log.readings().take(2).collect();
    Ok([readings[0], readings[1]])
}

#[test]
fn logs_are_understood_by_the_names_of_their_columns() {
    let found = |header, lines, rest: &dyn Fn(u32) -> String| first_two(header, lines, rest).unwrap();
    assert_eq!(
        found("# a meter\ntime_s,power_w", ["0,5.5", "0.5,6"], &|i| format!("{},6", i + 1)),
        [(0.0, 5.5), (0.5, 6.0)]
    );
    assert_eq!(
        found("\u{feff}Timestamp [ms];Leistung;Power (mW)", ["0;x;5500,5", "500;x;6000"], &|i| format!(
            "{};x;6",
            i + 501
        )),
        [(0.0, 5.5005), (0.5, 6.0)]
    );
    assert_eq!(
        found("elapsed time\tVoltage(V)\tCurrent(A)\ttemp", ["0\t5\t1.5\t40", "1\t5.0\t2\t40"], &|i| format!(
            "{}\t5\t1\t4",
            i + 2
        )),
        [(0.0, 7.5), (1.0, 10.0)]
    );
    let dates = found("time,W", ["2026-01-02T03:04:05Z,5", "2026-01-02T03:04:05.5Z,6"], &|i| {
        format!("2026-01-02T03:04:1{i}Z,6")
    });
    assert_eq!(dates, [(1_767_323_045.0, 5.0), (1_767_323_045.5, 6.0)]);
}

#[test]
fn what_is_no_log_is_an_error_that_says_where() {
    let line = |i: u32| format!("{},6", i + 2);
    for (header, lines, part) in [
        ("time,celsius", ["0,5", "1,5"], "unknown columns `time`, `celsius`"),
        ("power,celsius", ["0,5", "1,5"], "unknown columns"),
        ("time,voltage", ["0,5", "1,5"], "unknown columns"),
        ("time,power", ["0,5", "1,x"], "line 3, column `power`: `x` is no number"),
        ("time,power", ["0,nan", "1,5"], "line 2, column `power`: `nan`"),
        ("time,power", ["1,5", "0,5"], "line 3, column `time`: 0 s is not after the 1 s"),
        ("time,power", ["0,5", "0,5"], "line 3, column `time`"),
        ("time,power", ["0,5", "1"], "line 3: 1 fields, where there are 2"),
        ("power_w,power_mw,time", ["0,5,1", "1,5,2"], "both Power"),
    ] {
        let error = first_two(header, lines, line).unwrap_err();
        assert!(error.contains(part), "{header} {lines:?}: {error}");
    }
    assert!(Log::parse("").unwrap_err().contains("empty"));
    assert!(Log::parse("time,power\n0,1\n1,2\n").unwrap_err().contains("2 lines of readings"));
}

#[test]
fn logs_that_cannot_be_aligned_are_errors() {
    let mut dice = Dice::new(1);
    let life = Life { watts: [2.0, 6.0, 2.0], ..Life::drawn(&mut dice) };
    let board = Board::new(&life, &mut dice);
    let text = log(&board, 0.0, 0.1, &mut dice);
    let external = |alignment| External::new("log.csv".into(), alignment, true);
    let error =
        |text: &str, alignment| external(alignment).aligned(&Log::parse(text).unwrap(), &load(&life, 0.0)).unwrap_err();
    assert!(error(&text, Alignment::Start(30.0)).contains("the recording would be 30.0 to 46.0 s"));

    // Holes within what was recorded, and before it.
    let without = |from: f64, to: f64| -> String {
        let keep =
            |line: &&str| line.split(',').next().unwrap().parse().map_or(true, |time: f64| !(from..to).contains(&time));
        text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
    };
    assert!(error(&without(5.0, 7.0), Alignment::Start(0.0)).contains("a gap of 2."));
    let early = Log::parse(&without(-15.0, -10.0)).unwrap();
    assert!(external(Alignment::Start(0.0)).aligned(&early, &load(&life, 0.0)).is_ok());

    // Power that has nothing to do with the load, and a load that happened twice.
    let flat: String = (0..400).map(|i| format!("{},{}\n", f64::from(i) / 10.0, 5000 + i % 7)).collect();
    assert!(error(&format!("time_s,power_mw\n{flat}"), Alignment::Auto).contains("csv:FILE@START"));
    let again = text.lines().skip(1).map(|line| {
        let (time, power) = line.split_once(',').unwrap();
        format!("{},{power}\n", time.parse::<f64>().unwrap() + 100.0)
    });
    let twice = text.clone() + &again.collect::<String>();
    assert!(error(&twice, Alignment::Auto).contains("as well at"));

    // A marker says which.
    let marked = twice.lines().enumerate().map(|(i, line)| match i {
        0 => format!("{line},marker\n"),
        _ if line.starts_with("100.0") => format!("{line},start\n"),
        _ => format!("{line},\n"),
    });
    let marked = Log::parse(&marked.collect::<String>()).unwrap();
    let recording = external(Alignment::Auto).aligned(&marked, &load(&life, 0.0)).unwrap();
    let [from, to] = life.window;
    let energy = recording.energy(from, to).unwrap();
    let truth = board.joules(to) - board.joules(from);
    assert!((energy.joules / truth - 1.0).abs() < 0.05, "{energy:?}, not {truth}");
}
