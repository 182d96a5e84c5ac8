//! Two reports beside each other: ratios, and whether they are more than noise.
//!
//! Ratios are of geometric means, with Welch's 95 % interval of the difference of the logarithms of the repetitions
//! ([`Ratio`]). Energies are compared only between meters of the same class, and their interval has what both meters
//! may get wrong each time as well: it does not cancel between two meters.

use serde::Serialize;

use super::report::{EnergyRow, Row};
use super::statistics::Ratio;
use super::work::Task;

/// A test that both reports have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// What was measured: model, threads, test.
    pub model: String,
    /// Of both sides.
    pub threads: u64,
    /// Its name.
    pub test: String,
    /// What computed on either side.
    pub engines: [String; 2],
    /// Median tokens per second of either side.
    pub ts: [f64; 2],
    /// The second side's tokens per second by the first side's: above 1 the second is faster.
    pub speed: Option<Ratio>,
    /// Whether the speeds may be the same.
    pub speed_within_noise: bool,
    /// The same of tokens per joule.
    pub energy: Efficiency,
    /// Differences that make the figures hard to compare.
    pub remarks: Vec<String>,
}

/// Whether energies can be compared, and what comes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Efficiency {
    /// Neither or only one side has a figure.
    Unknown,
    /// Both have one, but of meters that do not measure the same. Says why.
    NotComparable(String),
    /// The second side's tokens per joule by the first side's: above 1 the second needs less.
    Compared {
        /// Tokens per joule of either side, over all repetitions.
        tokens_per_j: [f64; 2],
        /// With its interval.
        ratio: Ratio,
        /// Whether they may be the same.
        within_noise: bool,
    },
}

/// What two reports have in common, and what only one has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// In the order of the first report.
    pub compared: Vec<Compared>,
    /// Tests that only one side has.
    pub alone: Vec<String>,
}

/// What makes two rows the same test. The batch may differ: it is a setting, like the build. So may the type of the
/// model, where the other report has no such test of the same type.
fn key(row: &Row) -> (Task, String, u64, u64, u64, &str, &str, bool) {
    let test = if row.task == Task::Language { row.language_test().to_string() } else { row.test.clone() };
    (row.task, test, row.n_threads, row.n_depth, row.model_n_params, &row.type_k, &row.type_v, row.peer)
}

/// Compares `second` with `first`.
pub fn compare(first: &[Row], second: &[Row]) -> Comparison {
    let mut comparison = Comparison::default();
    let mut rest: Vec<&Row> = second.iter().collect();
    let mut partners: Vec<Option<&Row>> = vec![None; first.len()];
    for same_type in [true, false] {
        for (row, partner) in first.iter().zip(&mut partners).filter(|(_, partner)| partner.is_none()) {
            let is_same = |other: &&Row| key(other) == key(row) && (!same_type || other.model_type == row.model_type);
            *partner = rest.iter().position(is_same).map(|at| rest.remove(at));
        }
    }
    for (row, partner) in first.iter().zip(partners) {
        match partner {
            Some(other) => comparison.compared.push(pair(row, other)),
            None => comparison.alone.push(format!("{} (first report only)", name(row))),
        }
    }
    comparison.alone.extend(rest.into_iter().map(|row| format!("{} (second report only)", name(row))));
    comparison
}

fn name(row: &Row) -> String {
    format!("{}, {} threads, {}", row.model_type, row.n_threads, row.test)
}

fn pair(a: &Row, b: &Row) -> Compared {
    let speed = Ratio::of(&b.samples_ts, &a.samples_ts, 0.0);
    let mut remarks = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            remarks.push(format!("{what} differs: {a}, {b}"));
        }
    };
    differ("the processor", &a.cpu_info, &b.cpu_info);
    differ("the type of the model", &a.model_type, &b.model_type);
    differ("the batch", &a.n_ubatch.to_string(), &b.n_ubatch.to_string());
    let governor = |row: &Row| row.platform.governor.clone().unwrap_or_else(|| "unknown".to_owned());
    differ("the governor", &governor(a), &governor(b));
    if let (Some(one), Some(other)) = (&a.model_sha256, &b.model_sha256)
        && one != other
        && a.model_type == b.model_type
    {
        remarks.push("the model's files differ".to_owned());
    }
    for (side, row) in [("first", a), ("second", b)] {
        if !row.flags.is_empty() {
            let flags: Vec<String> = row.flags.iter().map(|flag| flag.name()).collect();
            remarks.push(format!("the {side} is flagged {}", flags.join(", ")));
        }
    }
    Compared {
        model: a.model_type.clone(),
        threads: a.n_threads,
        test: a.test.clone(),
        engines: [a.engine.clone(), b.engine.clone()],
        ts: [a.median_ts, b.median_ts],
        speed_within_noise: speed.is_none_or(|speed| speed.within_noise()),
        speed,
        energy: efficiency(a, b),
        remarks,
    }
}

/// Why two meters cannot be compared, where that is so.
pub fn incomparable(a: &EnergyRow, b: &EnergyRow) -> Option<String> {
    if a.class != b.class {
        let side = |row: &EnergyRow| format!("{} ({})", row.source, class_name(row));
        return Some(format!("meters of different classes are not ranked: {}, {}", side(a), side(b)));
    }
    if !a.measured {
        return Some("modelled energies are assumptions, which say nothing about which is better".to_owned());
    }
    let scope =
        |row: &EnergyRow| serde_json::to_value(row.scope).ok().and_then(|name| name.as_str().map(str::to_owned));
    (a.scope != b.scope).then(|| {
        let [one, other] = [a, b].map(|row| scope(row).unwrap_or_default());
        format!("the meters cover different parts of the device: {one}, {other}")
    })
}

/// A class in words.
pub fn class_name(row: &EnergyRow) -> String {
    use babil_runtime::energy::Class;
    let what = match row.class {
        Class::A => "at the wall",
        Class::B => "an external meter",
        Class::C => "the board's own meter",
        Class::D => "a battery's gauge",
        Class::E => "modelled",
    };
    format!("class {}, {what}", row.class)
}

fn efficiency(a: &Row, b: &Row) -> Efficiency {
    let (Some(first), Some(second)) = (&a.energy, &b.energy) else { return Efficiency::Unknown };
    if let Some(why) = incomparable(first, second) {
        return Efficiency::NotComparable(why);
    }
    let systematic = first.rel_systematic.unwrap_or(0.0).hypot(second.rel_systematic.unwrap_or(0.0));
    let both = first.tokens_per_j_gross.zip(second.tokens_per_j_gross);
    // Fewer joules per token are more tokens per joule.
    match (both, Ratio::of(&a.samples_j_per_token(), &b.samples_j_per_token(), systematic)) {
        (Some((one, other)), Some(ratio)) => {
            Efficiency::Compared { tokens_per_j: [one, other], within_noise: ratio.within_noise(), ratio }
        }
        _ => Efficiency::Unknown,
    }
}
