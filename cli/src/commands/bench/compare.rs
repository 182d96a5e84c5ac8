//! `babil bench --compare FIRST SECOND`: ratios with intervals, and whether they are more than noise.

use std::path::Path;

use anyhow::Result;
use babil_models::bench::compare::{Compared, Comparison, Efficiency, compare};
use babil_models::bench::report::read;
use babil_models::bench::statistics::Ratio;
use babil_runtime::Error;

use super::table::{Table, short};
use crate::args::Context;

pub(super) fn run(first: &Path, second: &Path, context: &Context) -> Result<()> {
    let comparison = compare(&read(first)?, &read(second)?);
    if comparison.compared.is_empty() {
        let tests = comparison.alone.join("\n  ");
        let problem = format!("{} and {} have no test in common:\n  {tests}", first.display(), second.display());
        return Err(Error::BadRequest(problem).into());
    }
    if context.output.is_json() {
        return context.output.json(&comparison);
    }
    context.output.text(text(&comparison))
}

fn text(comparison: &Comparison) -> String {
    let headings = [
        ("model", false),
        ("threads", true),
        ("test", false),
        ("tokens/s", true),
        ("second / first", true),
        ("speed", false),
        ("tokens/J", true),
        ("second / first", true),
        ("energy", false),
    ];
    let line = |row: &Compared| {
        let both = |[a, b]: [f64; 2]| format!("{} -> {}", short(a), short(b));
        let mut line = vec![row.model.clone(), row.threads.to_string(), row.test.clone(), both(row.ts)];
        line.push(row.speed.map_or_else(String::new, ratio));
        line.push(
            row.speed.map_or_else(String::new, |speed| verdict(&speed, ["second is faster", "second is slower"])),
        );
        line.extend(match &row.energy {
            Efficiency::Unknown => [String::new(), String::new(), String::new()],
            Efficiency::NotComparable(_) => [String::new(), String::new(), "not ranked".to_owned()],
            Efficiency::Compared { tokens_per_j, ratio: found, .. } => {
                [both(*tokens_per_j), ratio(*found), verdict(found, ["second needs less", "second needs more"])]
            }
        });
        line
    };
    let mut text = Table::new(&headings, comparison.compared.iter().map(line).collect()).text();
    let mut notes: Vec<String> = Vec::new();
    let mut add = |note: String| {
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    for row in &comparison.compared {
        if let Efficiency::NotComparable(why) = &row.energy {
            add(format!("energy is not ranked: {why}"));
        }
        let engines = &row.engines;
        if engines[0] != engines[1] {
            add(format!("first: {}; second: {}", engines[0], engines[1]));
        }
        row.remarks.iter().for_each(|remark| add(format!("{}: {remark}", row.test)));
    }
    notes.extend(comparison.alone.iter().map(|test| format!("not compared: {test}")));
    notes.push("ratios are of geometric means, with 95 % intervals (Welch, of logarithms)".to_owned());
    notes.iter().for_each(|note| text += &format!("{note}\n"));
    text
}

fn ratio(ratio: Ratio) -> String {
    match ratio.ci95 {
        Some([low, high]) => format!("{:.3} ({low:.3} to {high:.3})", ratio.ratio),
        None => format!("{:.3}", ratio.ratio),
    }
}

fn verdict(ratio: &Ratio, [above, below]: [&str; 2]) -> String {
    match ratio.ci95 {
        None => "one repetition says nothing",
        Some(_) if ratio.within_noise() => "within noise",
        Some(_) if ratio.ratio > 1.0 => above,
        Some(_) => below,
    }
    .to_owned()
}
