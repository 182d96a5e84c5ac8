//! Rows as people read them, as Markdown, CSV or JSON.

use std::collections::BTreeSet;

use anyhow::Result;
use babil_models::bench::compare::class_name;
use babil_models::bench::report::{EnergyRow, Flag, Row, SCHEMA};
use babil_models::bench::statistics::Spread;
use serde_json::Value;

use super::FormArgs;
use super::files::report_text;
use crate::args::Context;
use crate::output::human_bytes;

/// Writes `rows` to stdout in the form that was asked for.
pub(super) fn print(rows: &[Row], forms: &FormArgs, context: &Context) -> Result<()> {
    let output = &context.output;
    if forms.jsonl {
        return rows.iter().try_for_each(|row| output.json(row));
    }
    if output.is_json() {
        return output.text(report_text(rows)?);
    }
    if forms.csv {
        return output.text(csv(rows)?);
    }
    if forms.md {
        output.text(Table::of(rows, false).markdown())?;
    } else {
        let one = rows.iter().filter(|row| !row.peer).map(|row| &row.model_type).collect::<BTreeSet<_>>().len() == 1;
        if let Some(row) = rows.first().filter(|_| one) {
            output.line(format_args!("{}, {}", row.model_type, human_bytes(row.model_size)))?;
        }
        output.text(Table::of(rows, one).text())?;
    }
    let notes = notes(rows);
    match forms.md {
        true => notes.iter().try_for_each(|note| output.line(format_args!("\n{note}"))),
        false => notes.iter().try_for_each(|note| output.line(note)),
    }
}

/// Cells, a heading each.
pub(super) struct Table {
    headings: Vec<String>,
    /// Whether a column's cells are numbers.
    right: Vec<bool>,
    lines: Vec<Vec<String>>,
}

/// What a row has in a column.
type Cell<'a> = dyn Fn(&Row) -> Option<String> + 'a;

/// A column: its heading, whether it holds numbers, and a row's cell; nothing where the row has none.
struct Column<'a> {
    heading: &'static str,
    right: bool,
    cell: Box<Cell<'a>>,
}

fn column<'a>(heading: &'static str, right: bool, cell: impl Fn(&Row) -> Option<String> + 'a) -> Column<'a> {
    Column { heading, right, cell: Box::new(cell) }
}

/// A number in four significant digits, but all of those before the point.
pub(super) fn short(number: f64) -> String {
    let before = if number == 0.0 { 4.0 } else { number.abs().log10().floor() + 1.0 };
    let digits = (4.0 - before).clamp(0.0, 9.0) as usize;
    format!("{number:.digits$}")
}

/// A value, and half of a 95 % interval: beside a median, that of the mean.
fn with_half(value: f64, interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([low, high]) => format!("{} ± {}", short(value), short((high - low) / 2.0)),
        None => short(value),
    }
}

fn spread(spread: &Spread, scale: f64) -> String {
    with_half(spread.median * scale, spread.ci95.map(|ends| ends.map(|end| end * scale)))
}

impl Table {
    /// The columns that at least one of `rows` has something for; without the model's where all are of `one`.
    fn of(rows: &[Row], one: bool) -> Self {
        let energy = |of: fn(&EnergyRow) -> Option<f64>| move |row: &Row| row.energy.as_ref().and_then(of).map(short);
        let several = |of: fn(&Row) -> &str| rows.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]));
        let (engines, kinds) = (several(|row| &row.engine), several(|row| &row.type_k));
        let modelled = rows.iter().filter_map(|row| row.energy.as_ref()).any(|energy| !energy.measured);
        let per_token = if modelled { "J/token (modelled)" } else { "J/token" };
        let columns = [
            column("model", false, move |row| (!one).then(|| row.model_type.clone())),
            column("size", true, move |row| (!one).then(|| human_bytes(row.model_size).to_string())),
            column("engine", false, move |row| {
                engines.then(|| if row.peer { format!("{} (peer)", row.engine) } else { row.engine.clone() })
            }),
            column("threads", true, |row| Some(row.n_threads.to_string())),
            column("kv", false, move |row| kinds.then(|| row.type_k.clone())),
            column("test", false, |row| Some(row.test.clone())),
            column("tokens/s", true, |row| Some(with_half(row.median_ts, row.ci95_ts))),
            column("words/s", true, |row| row.words_per_s.map(short)),
            column("real-time factor", true, |row| row.rtf.map(short)),
            column("CPU ms/token", true, |row| row.cpu_s_per_token.as_ref().map(|cpu| spread(cpu, 1e3))),
            column("first token ms", true, |row| row.ttft_ms.map(short)),
            column("GB/s", true, |row| {
                let of = row.read_gb_per_s.map_or_else(String::new, |most| format!(" of {}", short(most)));
                row.gb_per_s.map(|speed| short(speed) + &of)
            }),
            column(per_token, true, |row| {
                let energy = row.energy.as_ref()?;
                Some(with_half(energy.j_per_token?, energy.j_per_token_ci95))
            }),
            column("tokens/J", true, energy(|energy| energy.tokens_per_j_gross)),
            column("tokens/J net", true, energy(|energy| energy.tokens_per_j_net)),
            column("words/J", true, |row| row.words_per_j.map(short)),
            column("J per s of sound", true, |row| row.j_per_audio_s.map(short)),
            column("W", true, energy(|energy| Some(energy.avg_w))),
            column("idle ticks", true, |row| row.idle_cpu_ticks.map(|ticks| ticks.to_string())),
            column("flags", false, |row| {
                let names: Vec<String> = row.flags.iter().map(|flag| flag.name()).collect();
                (!names.is_empty()).then(|| names.join(", "))
            }),
        ];
        let cells: Vec<Vec<Option<String>>> =
            columns.iter().map(|column| rows.iter().map(|row| (column.cell)(row)).collect()).collect();
        let shown: Vec<usize> = (0..columns.len()).filter(|&at| cells[at].iter().any(Option::is_some)).collect();
        let line = |row: usize| shown.iter().map(|&at| cells[at][row].clone().unwrap_or_default()).collect();
        Self {
            headings: shown.iter().map(|&at| columns[at].heading.to_owned()).collect(),
            right: shown.iter().map(|&at| columns[at].right).collect(),
            lines: (0..rows.len()).map(line).collect(),
        }
    }

    /// Cells under `headings`; those of numbers stand to the right.
    pub(super) fn new(headings: &[(&str, bool)], lines: Vec<Vec<String>>) -> Self {
        let (headings, right) = headings.iter().map(|(heading, right)| ((*heading).to_owned(), *right)).unzip();
        Self { headings, right, lines }
    }

    fn widths(&self) -> Vec<usize> {
        let width = |at: usize| {
            let cells = self.lines.iter().map(|line| &line[at]).chain([&self.headings[at]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.headings.len()).map(width).collect()
    }

    /// The cells of a line, each as wide as its column.
    fn padded(&self, line: &[String], widths: &[usize]) -> Vec<String> {
        let cell = |((cell, &width), &right): ((&String, &usize), &bool)| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        };
        line.iter().zip(widths).zip(&self.right).map(cell).collect()
    }

    /// Aligned columns.
    pub(super) fn text(&self) -> String {
        let widths = self.widths();
        let line = |line: &Vec<String>| self.padded(line, &widths).join("  ").trim_end().to_owned() + "\n";
        [&self.headings].into_iter().chain(&self.lines).map(line).collect()
    }

    /// A table of Markdown.
    pub(super) fn markdown(&self) -> String {
        let widths = self.widths();
        let line = |line: &Vec<String>| format!("| {} |\n", self.padded(line, &widths).join(" | "));
        let rule = |(&width, &right): (&usize, &bool)| {
            if right { format!("{}:", "-".repeat(width.max(2) - 1)) } else { "-".repeat(width) }
        };
        let rules: Vec<String> = widths.iter().zip(&self.right).map(rule).collect();
        let lines: String = self.lines.iter().map(line).collect();
        format!("{}| {} |\n{lines}", line(&self.headings), rules.join(" | "))
    }
}

/// What is to be said under a table.
fn notes(rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut add = |note: String| {
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    for row in rows {
        match (&row.energy, &row.no_energy) {
            (Some(energy), _) => add(about(energy)),
            // The long story was told when the run began.
            (None, Some(why)) if !why.starts_with("--energy") => {
                let why = why.lines().next().unwrap_or_default().trim_end_matches(": looked at");
                add(format!("energy: not measured: {why}"));
            }
            _ => {}
        }
        if let Some(sustain) = &row.sustain {
            let watts = |stretch: &babil_models::bench::report::Stretch| {
                let energy = stretch.j_per_token.map(|joules| format!(", {} J/token", short(joules)));
                let warm = stretch.end_c.map(|degrees| format!(", {degrees:.0} °C"));
                energy.unwrap_or_default() + &warm.unwrap_or_default()
            };
            add(format!(
                "{}: {:.1} minutes: the first {:.0} s {} tokens/s{}, the last {:.0} s {} tokens/s{}: {:.1} % of the first",
                row.test,
                sustain.minutes,
                sustain.first.seconds,
                short(sustain.first.ts),
                watts(&sustain.first),
                sustain.last.seconds,
                short(sustain.last.ts),
                watts(&sustain.last),
                100.0 * sustain.ratio_ts,
            ));
        }
    }
    let mut flags: Vec<Flag> = rows.iter().flat_map(|row| row.flags.iter().copied()).collect();
    flags.sort_unstable();
    flags.dedup();
    notes.extend(flags.into_iter().map(|flag| format!("{}: {}", flag.name(), meaning(flag))));
    notes
}

/// A meter in a line.
fn about(energy: &EnergyRow) -> String {
    if !energy.measured {
        return format!("energy: modelled, not measured: {} ({})", energy.source, class_name(energy));
    }
    let idle = match (energy.idle_w_pre, energy.idle_w_post) {
        (Some(before), Some(after)) => format!("; idle {} W before, {} W after", short(before), short(after)),
        (Some(idle), None) | (None, Some(idle)) => format!("; idle {} W", short(idle)),
        (None, None) => String::new(),
    };
    let remark = if energy.remark.is_empty() { String::new() } else { format!("; {}", energy.remark) };
    format!("energy: measured by {} ({}){idle}{remark}", energy.source, class_name(energy))
}

fn meaning(flag: Flag) -> &'static str {
    match flag {
        Flag::ShortPhase => "a phase or an idle window of less than ten seconds",
        Flag::FewSamples => "fewer than 50 readings of the meter in a phase or an idle window",
        Flag::Gap => "the meter said nothing for more than three of its intervals",
        Flag::FailedReadings => "some readings of the meter failed",
        Flag::Stuck => "the meter said the same all the time",
        Flag::FewSteps => "the meter's counter moved by fewer than 30 of its steps in a phase or an idle window",
        Flag::Modelled => "watts that were assumed, not measured",
        Flag::IdleDrift => "the idle power before and after differs by more than 5 %",
        Flag::IdleUnknown => "the meter could not say what an idle window took, so there is no net energy",
        Flag::Throttled => "the machine slowed down because of heat, power or voltage",
        Flag::Noisy => "repetitions deviate by more than 5 %",
        Flag::FewRepetitions => "fewer than five repetitions",
        Flag::BusyMachine => "other programs took more than a tenth of a processor meanwhile",
        Flag::Interrupted => "ended before all repetitions were done",
        Flag::EnergyUnknown => "the meter could not say what the test took",
    }
}

/// Rows as CSV, llama-bench's columns first and in its way: every value in quotes, yes and no as 1 and 0. Lists are
/// left out, but for flags.
fn csv(rows: &[Row]) -> Result<String> {
    let schema: Value = serde_json::from_str(SCHEMA)?;
    let mut columns = Vec::new();
    columns_of(&schema, "row", &[], &mut columns);
    let mut text = columns.iter().map(|path| path.join("_")).collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        let row = serde_json::to_value(row)?;
        let cell = |path: &Vec<String>| {
            let value = path.iter().try_fold(&row, |value, key| value.get(key));
            format!("\"{}\"", plain(value).replace('"', "\"\""))
        };
        text += &(columns.iter().map(cell).collect::<Vec<_>>().join(",") + "\n");
    }
    Ok(text)
}

/// Appends the places of the values that are no lists in the schema's object `name`.
fn columns_of(schema: &Value, name: &str, before: &[String], columns: &mut Vec<Vec<String>>) {
    let properties = schema["$defs"][name]["properties"].as_object().into_iter().flatten();
    for (key, property) in properties {
        let place = [before, std::slice::from_ref(key)].concat();
        let object = property.get("$ref").or_else(|| property["oneOf"][0].get("$ref"));
        let list = property["type"] == "array" || property["type"][0] == "array";
        match object.and_then(|object| object.as_str()?.strip_prefix("#/$defs/")) {
            Some(object) => columns_of(schema, object, &place, columns),
            None if !list || key == "flags" => columns.push(place),
            None => {}
        }
    }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Bool(yes)) => u8::from(*yes).to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => values.iter().map(|value| plain(Some(value))).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let numbers = [12345.6, 1234.56, 123.456, 12.3456, 1.23456, 0.123456, 0.00123456, 0.0, 1e-12];
        let texts = numbers.map(short);
        assert_eq!(texts, ["12346", "1235", "123.5", "12.35", "1.235", "0.1235", "0.001235", "0", "0.000000000"]);
        assert_eq!(with_half(10.0, Some([9.0, 11.0])), "10.00 ± 1.000");
    }

    #[test]
    fn tables_are_aligned() {
        let lines = vec![vec!["a".to_owned(), "1 ± 2".to_owned()], vec!["long".to_owned(), "3".to_owned()]];
        let table = Table::new(&[("name", false), ("n", true)], lines);
        assert_eq!(table.text(), "name      n\na     1 ± 2\nlong      3\n");
        assert_eq!(table.markdown(), "| name |     n |\n| ---- | ----: |\n| a    | 1 ± 2 |\n| long |     3 |\n");
    }

    #[test]
    fn csv_has_the_columns_of_the_schema() {
        let mut columns = Vec::new();
        columns_of(&serde_json::from_str(SCHEMA).unwrap(), "row", &[], &mut columns);
        let names: Vec<String> = columns.iter().map(|path| path.join("_")).collect();
        assert_eq!((names[0].as_str(), names[41].as_str()), ("build_commit", "stddev_ts"));
        for name in ["cpu_s_per_token_mean", "energy_gross_j", "sustain_first_ts", "flags", "platform_governor"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert!(!names.iter().any(|name| name.starts_with("samples") || name.contains("ci95")), "{names:?}");
    }
}
