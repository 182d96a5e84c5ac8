//! Rows -> pictures: what [`figure`] makes of them is data, and is drawn by plotters as SVG or PNG.
//!
//! Speed and tokens per joule stand against what varies: the depth, else the threads; else each test has a bar. With a
//! meter there is the power over the time of the run, phases shaded.

mod draw;

use std::path::Path;

use anyhow::Result;
use babil_models::bench::report::Row;

pub(super) use self::draw::bars_svg;
use super::run::Report;
use crate::exit::UsageError;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Svg,
    Png,
}

impl Format {
    pub(super) fn of_path(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(UsageError::new(format!("{}: plots are .svg or .png", path.display())).into()),
        }
    }
}

/// A value with the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Value {
    pub(super) fn new(value: f64, interval: Option<[f64; 2]>) -> Self {
        let [low, high] = interval.unwrap_or([value, value]);
        Self { value, low: low.max(0.0), high }
    }
}

/// One of the plots of a picture.
#[derive(Clone, Debug, PartialEq)]
enum Panel {
    /// Lines of values against a number.
    Curves { title: String, x: &'static str, y: &'static str, curves: Vec<Curve> },
    /// A bar each.
    Bars { title: String, y: &'static str, bars: Vec<(String, Value)> },
    /// Watts over seconds, and what was going on.
    Power { title: String, samples: Vec<(f64, f64)>, phases: Vec<(String, f64, f64)> },
}

#[derive(Clone, Debug, PartialEq)]
struct Curve {
    name: String,
    points: Vec<(f64, Value)>,
}

/// `1 thread`, `4 threads`.
pub(super) fn threads(count: u64) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

/// Draws what a run came to.
pub(super) fn draw(report: &Report, format: Format) -> Result<Vec<u8>> {
    let mut panels = figure(&report.rows);
    if let Some(recording) = &report.recording {
        let phases = report.windows.iter().map(|window| (window.label.clone(), window.from, window.to)).collect();
        let title = format!("Power by {} (class {})", recording.info.name, recording.info.class);
        panels.push(Panel::Power { title, samples: recording.power(), phases });
    }
    draw::draw(&panels, format)
}

/// What varies between rows.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Depth,
    Threads,
}

impl Axis {
    fn of(rows: &[Row]) -> Option<Self> {
        let varies = |of: fn(&Row) -> u64| rows.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]));
        if varies(|row| row.n_depth) {
            Some(Self::Depth)
        } else if varies(|row| row.n_threads) {
            Some(Self::Threads)
        } else {
            None
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Depth => "tokens of the context before (depth)",
            Self::Threads => "threads",
        }
    }

    fn at(self, row: &Row) -> f64 {
        match self {
            Self::Depth => row.n_depth as f64,
            Self::Threads => row.n_threads as f64,
        }
    }
}

/// The plots of `rows`.
fn figure(rows: &[Row]) -> Vec<Panel> {
    // Others count the same model in another way.
    let models: Vec<&str> = rows.iter().filter(|row| !row.peer).map(|row| row.model_type.as_str()).collect();
    let one_model = models.windows(2).all(|pair| pair[0] == pair[1]);
    let of = models.first().filter(|_| one_model).map_or_else(String::new, |model| format!(" of {model}"));
    let axis = Axis::of(rows);
    let several_threads = rows.windows(2).any(|pair| pair[0].n_threads != pair[1].n_threads);
    let several_kinds = rows.windows(2).any(|pair| pair[0].type_k != pair[1].type_k);
    // What makes a curve: all that differs but the axis.
    let name = |row: &Row| {
        let test = row.test.split(" @ d").next().unwrap_or_default().to_owned();
        let test = if axis == Some(Axis::Depth) { test } else { row.test.clone() };
        let threads = (several_threads && axis != Some(Axis::Threads)).then(|| threads(row.n_threads));
        let engine = row.peer.then(|| row.engine.clone());
        let model = (!one_model).then(|| row.model_type.clone());
        let kind = several_kinds.then(|| format!("kv {}", row.type_k));
        [model, Some(test), threads, kind, engine].into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let panel = |title: String, y: &'static str, value: &dyn Fn(&Row) -> Option<Value>| -> Option<Panel> {
        let known: Vec<(&Row, Value)> = rows.iter().filter_map(|row| Some((row, value(row)?))).collect();
        if known.is_empty() {
            return None;
        }
        let Some(axis) = axis else {
            let bars = known.into_iter().map(|(row, value)| (name(row), value)).collect();
            return Some(Panel::Bars { title, y, bars });
        };
        let mut curves: Vec<Curve> = Vec::new();
        for (row, value) in known {
            let (name, point) = (name(row), (axis.at(row), value));
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name, points: vec![point] }),
            }
        }
        curves.iter_mut().for_each(|curve| curve.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
        Some(Panel::Curves { title, x: axis.label(), y, curves })
    };
    let speed = panel(format!("Speed{of}"), "tokens per second", &|row| Some(Value::new(row.avg_ts, row.ci95_ts)));
    let modelled = rows.iter().filter_map(|row| row.energy.as_ref()).any(|energy| !energy.measured);
    let (title, label) = match modelled {
        true => ("Efficiency under watts that were assumed, not measured,", "tokens per joule, modelled"),
        false => ("Efficiency, gross,", "tokens per joule"),
    };
    let efficiency = panel(format!("{title}{of}").trim_end_matches(',').to_owned(), label, &|row| {
        let energy = row.energy.as_ref()?;
        // The inverse of joules per token, and of its ends.
        let interval = energy.j_per_token_ci95.filter(|ends| ends[0] > 0.0).map(|[low, high]| [1.0 / high, 1.0 / low]);
        Some(Value::new(energy.tokens_per_j_gross?, interval))
    });
    speed.into_iter().chain(efficiency).collect()
}
