//! The log of another meter: a CSV file, and how its times become those of a recording.
//!
//! ```text
//! file --Log::read--> times and watts on the log's clock --align (with the processor's load)--> Recording
//! ```
//!
//! Times are aligned by the first of these that applies:
//! 1. the time that the user names ([`Alignment::Start`]);
//! 2. a marker: the recording began between the first line with something in a column called `marker` or `event` and the
//!    line before;
//! 3. the clock, where the log has dates, and they cover the recording;
//! 4. the load: the shift at which power goes with the processor's load best.

use std::fs;
use std::path::PathBuf;

use super::{Class, Integration, Recording, Sample, Scope, SourceInfo};
use crate::Error;

/// How the times of a log become those of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Alignment {
    /// By a marker in the log, else by the clock if its times are dates, else by the processor's load.
    #[default]
    Auto,
    /// The recording began at this time of the log, in the log's seconds.
    Start(f64),
}

/// A log that will be read when the recording ends.
#[derive(Clone, Debug)]
pub(super) struct External {
    path: PathBuf,
    alignment: Alignment,
    info: SourceInfo,
}

/// A log as it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Log {
    /// Seconds on the log's clock, growing, each with its line in the file.
    times: Vec<(f64, usize)>,
    /// Watts at these times.
    watts: Vec<f64>,
    /// Whether the times are seconds since 1970.
    dated: bool,
    /// The time of the first line with a marker.
    marker: Option<f64>,
}

/// The gain of a meter of which only the log is known, as a standard deviation. An assumption: of usual USB-C meters no
/// data sheet was found. Cheap meters for the wall were off by far more beside a calibrated one, most of all with small
/// loads (Liikkanen and Nieminen, *Comparison of End-User Electric Power Meters for Accuracy*, 2009): with such a one
/// the interval is too narrow.
const GAIN: f64 = 0.01;

/// The time between two lines of a log that does not exist yet, in seconds: as of most USB-C meters. An assumption.
const USUAL_INTERVAL_S: f64 = 0.5;

/// Power and load go together at least so well (Pearson's r) where a shift is believed.
const LEAST_CORRELATION: f64 = 0.7;

impl External {
    pub(super) fn new(path: PathBuf, alignment: Alignment, wall: bool) -> Self {
        let (class, scope, why) = if wall {
            (Class::A, Scope::Wall, "2 % of a meter at the wall, taken as two standard deviations: an assumption")
        } else {
            (Class::B, Scope::Device, "2 % of an external meter, taken as two standard deviations: an assumption")
        };
        // The file may be being written, or have lines only when the run is over.
        let log = fs::read_to_string(&path).ok().and_then(|text| Log::parse(&text).ok());
        let info = SourceInfo {
            name: "csv".into(),
            class,
            scope,
            integration: Integration::Trapezoid,
            reads: vec![path.display().to_string()],
            remark: "the log of another meter".into(),
            resolution: 0.0,
            update_s: log.map_or(USUAL_INTERVAL_S, |log| log.interval()),
            gain: GAIN,
            drift: 0.0,
            offset_w: 0.0,
            why: why.into(),
            default_hz: 20.0,
            wraps_at_j: None,
        };
        Self { path, alignment, info }
    }

    pub(super) fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// The log in place of `load`, which has seconds of processor time.
    pub(super) fn recording(&self, load: &Recording) -> crate::Result<Recording> {
        let text = fs::read_to_string(&self.path).map_err(|error| Error::io("read", &self.path, error))?;
        let bad = |problem| Error::bad_file(self.path.display().to_string(), problem);
        let log = Log::parse(&text).map_err(bad)?;
        self.aligned(&log, load).map_err(bad)
    }

    pub(super) fn aligned(&self, log: &Log, load: &Recording) -> Result<Recording, String> {
        let interval = log.interval();
        let seconds = load.cost.wall_s;
        let (first, last) = (log.times[0].0, log.times[log.times.len() - 1].0);
        let covers = |start: f64| first <= start + interval && start + seconds <= last + interval;
        let (start, shift_s) = match (self.alignment, log.marker) {
            (Alignment::Start(start), _) => (start, interval / 12f64.sqrt()),
            // It stands in the first line after the event.
            (_, Some(marker)) => (marker - interval / 2.0, interval / 12f64.sqrt()),
            _ if log.dated && load.start_unix > 0.0 && covers(load.start_unix) => {
                (load.start_unix, interval / 12f64.sqrt())
            }
            _ => (log.best_shift(load)?, interval / 6f64.sqrt()),
        };
        if !covers(start) {
            return Err(format!(
                "the log has {first:.1} to {last:.1} s, and the recording would be {start:.1} to {:.1} s of it",
                start + seconds
            ));
        }
        let within = start - interval..=start + seconds + interval;
        for pair in log.times.windows(2).filter(|pair| within.contains(&pair[1].0) || within.contains(&pair[0].0)) {
            let gap = pair[1].0 - pair[0].0;
            if gap > 5.0 * interval {
                let line = pair[1].1;
                return Err(format!("line {line}: a gap of {gap:.1} s, where lines are {interval:.2} s apart"));
            }
        }
        let samples = log.readings().map(|(time, value)| Sample { time: time - start, within: 0.0, value });
        // Lines are power at their time, or the mean since the line before: between the two, in the mean.
        let info = SourceInfo { update_s: interval / 2.0, resolution: log.step(), ..self.info.clone() };
        Ok(Recording {
            info,
            samples: samples.collect(),
            restarts: Vec::new(),
            failures: Vec::new(),
            shift_s,
            ..load.clone()
        })
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Power,
    Voltage,
    Current,
    Marker,
}

/// What a column's name says: what it holds, and what its numbers are to be multiplied with to be s, W, V or A.
fn column(name: &str) -> Option<(Column, f64)> {
    let lower = name.trim().trim_matches('"').to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let (unit, stem) = match words.split_last() {
        Some((last, stem)) if ["s", "ms", "us", "w", "mw", "uw", "v", "mv", "a", "ma", "ua"].contains(last) => {
            (*last, stem)
        }
        _ => ("", &words[..]),
    };
    let factor = match unit {
        "ms" | "mw" | "mv" | "ma" => 1e-3,
        "us" | "uw" | "ua" => 1e-6,
        _ => 1.0,
    };
    let column = match (stem, unit) {
        (["time" | "timestamp" | "elapsed" | "t" | "date" | "datetime"], _) | ([], "s" | "ms" | "us") => Column::Time,
        (["seconds"], "") => Column::Time,
        (["date", "time"] | ["elapsed", "time"] | ["time", "stamp"], _) => Column::Time,
        (["power" | "p" | "watt" | "watts"], _) | ([], "w" | "mw" | "uw") => Column::Power,
        (["voltage" | "volt" | "volts" | "u" | "vbus"], _) | ([], "v" | "mv") => Column::Voltage,
        (["current" | "amp" | "amps" | "i" | "ibus"], _) | ([], "a" | "ma" | "ua") => Column::Current,
        (["marker" | "event" | "mark"], "") => Column::Marker,
        _ => return None,
    };
    Some((column, factor))
}

const UNDERSTOOD: &str = "a column of time (such as `time_s`, `timestamp`, `ms`) and one of power (`power_w`, `mW`), \
    or of voltage and current (`voltage_v`, `current_a`), are needed";

impl Log {
    /// Reads the text of a CSV file: commas, semicolons (then numbers may have decimal commas) or tabs; a line of
    /// names first, before which there may be comments (`#`).
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
        let (header, _) = lines.next().ok_or_else(|| format!("it is empty: {UNDERSTOOD}"))?;
        let separator = [';', '\t', ','].into_iter().find(|&c| header.contains(c)).unwrap_or(',');
        let names: Vec<&str> = header.split(separator).map(str::trim).collect();
        let columns: Vec<_> = names.iter().map(|name| column(name)).collect();
        let place = |wanted: Column| -> Result<Option<(usize, f64)>, String> {
            let mut found = columns.iter().enumerate().filter_map(|(i, column)| Some((i, (*column)?)));
            let mut found = found.by_ref().filter(|(_, (column, _))| *column == wanted);
            let first = found.next();
            if let (Some((a, _)), Some((b, _))) = (first, found.next()) {
                return Err(format!("columns `{}` and `{}` are both {wanted:?}: keep one", names[a], names[b]));
            }
            Ok(first.map(|(i, (_, factor))| (i, factor)))
        };
        let missing = || format!("unknown columns `{}`: {UNDERSTOOD}", names.join("`, `"));
        let (time, time_factor) = place(Column::Time)?.ok_or_else(missing)?;
        let power = place(Column::Power)?;
        let product = place(Column::Voltage)?.zip(place(Column::Current)?);
        if power.is_none() && product.is_none() {
            return Err(missing());
        }
        let marker = place(Column::Marker)?;
        let mut log = Self { times: Vec::new(), watts: Vec::new(), dated: false, marker: None };
        for (line, number) in lines {
            let fields: Vec<&str> = line.split(separator).map(|field| field.trim().trim_matches('"')).collect();
            let bad = |column: usize, problem: &str| format!("line {number}, column `{}`: {problem}", names[column]);
            if fields.len() != names.len() {
                return Err(format!("line {number}: {} fields, where there are {} columns", fields.len(), names.len()));
            }
            let value = |(column, factor): (usize, f64)| {
                let field = if separator == ',' { fields[column].to_owned() } else { fields[column].replace(',', ".") };
                let value: Option<f64> = field.parse().ok().filter(|value: &f64| value.is_finite());
                value
                    .map(|value| value * factor)
                    .ok_or_else(|| bad(column, &format!("`{}` is no number", fields[column])))
            };
            let seconds = match date(fields[time]) {
                Some(seconds) => {
                    log.dated = true;
                    seconds
                }
                None => value((time, time_factor))?,
            };
            if let Some((last, _)) = log.times.last().filter(|(last, _)| *last >= seconds) {
                return Err(bad(time, &format!("{seconds} s is not after the {last} s of the line before")));
            }
            let watts = match (power, product) {
                (Some(power), _) => value(power)?,
                (None, Some((voltage, current))) => value(voltage)? * value(current)?,
                (None, None) => return Err(missing()),
            };
            if log.marker.is_none() && marker.is_some_and(|(column, _)| !["", "0"].contains(&fields[column])) {
                log.marker = Some(seconds);
            }
            log.times.push((seconds, number));
            log.watts.push(watts);
        }
        // Numbers that count from 1970 are dates: after 2001, and before 2286.
        log.dated |= log.times.first().is_some_and(|(time, _)| (1e9..1e10).contains(time));
        if log.times.len() < 10 {
            return Err(format!("{} lines of readings: too few", log.times.len()));
        }
        Ok(log)
    }

    /// Seconds on the log's clock, and watts.
    pub(super) fn readings(&self) -> impl Iterator<Item = (f64, f64)> {
        self.times.iter().zip(&self.watts).map(|((time, _), watts)| (*time, *watts))
    }

    /// The median time between two lines.
    fn interval(&self) -> f64 {
        let mut intervals: Vec<f64> = self.times.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        intervals.sort_by(f64::total_cmp);
        intervals[intervals.len() / 2]
    }

    /// The smallest difference between two different values that follow each other: the step of the values, or more.
    fn step(&self) -> f64 {
        let steps = self.watts.windows(2).map(|pair| (pair[1] - pair[0]).abs()).filter(|step| *step > 1e-9);
        steps.reduce(f64::min).unwrap_or(0.0)
    }

    /// When, on the log's clock, the recording began whose processor time `load` has: where power goes with it best.
    fn best_shift(&self, load: &Recording) -> Result<f64, String> {
        let interval = self.interval();
        let busy = Busy(&load.samples);
        let (first, last) = (self.times[0].0, self.times[self.times.len() - 1].0);
        let seconds = load.cost.wall_s;
        let shifts = |from: f64, to: f64, step: f64| {
            let count = ((to - from) / step).max(0.0).floor() as usize;
            (0..=count).map(move |i| from + i as f64 * step)
        };
        // All of the recording lies in the log.
        let (from, to) = (first, last - seconds);
        let step = interval.max((to - from) / 4000.0);
        let coarse: Vec<(f64, f64)> =
            shifts(from, to, step).map(|start| (start, self.correlation(start, seconds, &busy))).collect();
        let best = |found: &mut dyn Iterator<Item = (f64, f64)>| found.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let help = "say when babil started: csv:FILE@START, on the log's clock";
        let (start, _) = best(&mut coarse.iter().copied())
            .ok_or_else(|| format!("the log is shorter than the {seconds:.1} s of the recording"))?;
        let fine = shifts(start - step, start + step, step / 20.0);
        let (start, r) =
            best(&mut fine.map(|start| (start, self.correlation(start, seconds, &busy)))).unwrap_or((start, 0.0));
        if r < LEAST_CORRELATION {
            return Err(format!("power does not go with the processor's load anywhere (r = {r:.2} at best): {help}"));
        }
        let apart = (3.0 * step).max(2.0);
        let other = best(&mut coarse.iter().copied().filter(|(other, _)| (other - start).abs() > apart));
        if let Some((other, second)) = other
            && second > r - 0.05
        {
            return Err(format!(
                "power goes with the processor's load at {start:.1} s and as well at {other:.1} s: {help}"
            ));
        }
        Ok(start)
    }

    /// How well power goes with load if the recording began at `start`.
    fn correlation(&self, start: f64, seconds: f64, busy: &Busy<'_>) -> f64 {
        let half = self.interval() / 2.0;
        let begin = self.times.partition_point(|(time, _)| *time < start);
        let end = self.times.partition_point(|(time, _)| *time <= start + seconds);
        let stride = (end - begin).div_ceil(2000).max(1);
        let pairs = (begin..end).step_by(stride).map(|i| {
            let time = self.times[i].0 - start;
            (self.watts[i], busy.at(time + half) - busy.at(time - half))
        });
        let pairs: Vec<(f64, f64)> = pairs.collect();
        if pairs.len() < 5 {
            return 0.0;
        }
        let count = pairs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|pair| of(pair.0 - x, pair.1 - y)).sum::<f64>();
        let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
        if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
    }
}

/// Seconds of processor time, over time.
struct Busy<'s>(&'s [Sample]);

impl Busy<'_> {
    /// Up to `time`, between samples on a line.
    fn at(&self, time: f64) -> f64 {
        let next = self.0.partition_point(|sample| sample.time <= time);
        match (next.checked_sub(1).and_then(|i| self.0.get(i)), self.0.get(next)) {
            (Some(a), Some(b)) => a.value + (b.value - a.value) * (time - a.time) / (b.time - a.time).max(1e-9),
            (Some(one), None) | (None, Some(one)) => one.value,
            (None, None) => 0.0,
        }
    }
}

/// Seconds since 1970 of a date with a time; without a zone it is the system's.
fn date(field: &str) -> Option<f64> {
    if !field.contains('-') || !field.contains(':') {
        return None;
    }
    if let Ok(time) = field.parse::<jiff::Timestamp>() {
        return Some(time.as_duration().as_secs_f64());
    }
    let local: jiff::civil::DateTime = field.parse().ok()?;
    let zoned = local.to_zoned_datetime(jiff::tz::TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_duration().as_secs_f64())
}
