//! `babil bench --leaderboard FOLDER PAGE`: all reports of a folder as one HTML page that needs nothing else.
//!
//! Only tests of the same model that were measured by the same kind of meter over the same part of a device stand
//! beside each other. Reports that are not valid are named, and left out.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::bench::compare::class_name;
use babil_models::bench::report::{Flag, Row, parse};
use babil_runtime::Error;

use super::files::create;
use super::plot::{Value, bars_svg, threads};
use super::table::short;
use super::validate;
use crate::args::Context;

/// What the page looks like.
const STYLE: &str = include_str!("leaderboard.css");

/// Bars of a plot, at most: the best ones.
const BARS: usize = 10;

/// A row, and the file that it is from.
struct Entry {
    row: Row,
    file: String,
}

impl Entry {
    /// The machine's name: the board's, else the processor's.
    fn board(&self) -> &str {
        self.row.platform.board.as_deref().unwrap_or(&self.row.cpu_info)
    }

    /// What only entries of the same kind share: the meter's class and scope, or that there was none.
    fn kind(&self) -> (String, String) {
        match &self.row.energy {
            Some(energy) => {
                let scope = serde_json::to_value(energy.scope).ok();
                let scope = scope.and_then(|scope| scope.as_str().map(str::to_owned)).unwrap_or_default();
                (class_name(energy), scope.replace('_', " "))
            }
            None => ("no meter".to_owned(), String::new()),
        }
    }

    /// Tokens per joule, where they were measured.
    fn tokens_per_j(&self) -> Option<f64> {
        self.row.energy.as_ref().filter(|energy| energy.measured)?.tokens_per_j_gross
    }

    /// The better the higher: tokens per joule where they were measured, and behind all of those tokens per second.
    fn worth(&self) -> (bool, f64) {
        let figure = self.tokens_per_j();
        (figure.is_some(), figure.unwrap_or(self.row.median_ts))
    }
}

pub(super) fn run(folder: &Path, page: &Path, force: bool, context: &Context) -> Result<()> {
    let mut paths = Vec::new();
    reports(folder, &mut paths)
        .map_err(|error| Error::BadRequest(format!("cannot read {}: {error}", folder.display())))?;
    paths.sort();
    if paths.is_empty() {
        return Err(
            Error::BadRequest(format!("{} has no reports: files called *.json or *.jsonl", folder.display())).into()
        );
    }
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        match rows(&path) {
            Ok(rows) => entries.extend(rows.into_iter().map(|row| Entry { row, file: name.clone() })),
            Err(problem) => {
                context.output.note(format_args!("left out: {name}: {problem}"));
                left_out.push((name, problem));
            }
        }
    }
    let html = html(&entries, &left_out)?;
    let mut file = create(page, force)?;
    file.write_all(html.as_bytes()).map_err(|error| Error::io("write", page, error))?;
    file.finish()?;
    if context.output.is_json() {
        let out: Vec<_> =
            left_out.iter().map(|(file, problem)| serde_json::json!({ "file": file, "problem": problem })).collect();
        return context.output.json(&serde_json::json!({ "page": page, "tests": entries.len(), "left_out": out }));
    }
    let (tests, left) = (entries.len(), left_out.len());
    context.output.note(format_args!("{tests} tests, {left} reports left out -> {}", page.display()));
    Ok(())
}

/// The files in `folder` and below it that may be reports.
fn reports(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // Links are not followed: they may lead back.
        if entry.file_type()?.is_dir() {
            reports(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl") {
            found.push(path);
        }
    }
    Ok(())
}

/// The rows of a valid report, or why it is none.
fn rows(path: &Path) -> std::result::Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    validate::check(&text).map_err(|problems| problems.join("; "))?;
    parse(&text)
}

/// Text that is no markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn html(entries: &[Entry], left_out: &[(String, String)]) -> Result<String> {
    // By meter, then by model and test.
    type Tests<'e> = BTreeMap<(String, String), Vec<&'e Entry>>;
    let mut groups: BTreeMap<(String, String), Tests<'_>> = BTreeMap::new();
    for entry in entries {
        let test = (entry.row.model_type.clone(), entry.row.test.clone());
        groups.entry(entry.kind()).or_default().entry(test).or_default().push(entry);
    }
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>babil: tokens per joule by board</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Tokens per joule by board</h1>\n\
         <p>Made by <code>babil bench --leaderboard</code> from reports of <code>babil bench</code>. Energy is that of \
         everything in a meter's scope while the model runs, idle power included. Meters of different classes and \
         scopes measure different things, so they have tables of their own, and are not ranked against each other.\
         </p>\n"
    );
    for ((class, scope), tests) in &groups {
        let of = if scope.is_empty() { String::new() } else { format!(": {}", escape(scope)) };
        let _ = writeln!(page, "<section>\n<h2>{}{of}</h2>", escape(&capital(class)));
        for ((model, test), entries) in tests {
            let mut entries = entries.clone();
            entries.sort_by(|a, b| by_worth(a.worth(), b.worth()));
            let _ = writeln!(page, "<h3>{}, {}</h3>", escape(model), escape(test));
            page += &picture(model, test, &entries)?;
            page += &table(&entries);
        }
        page += "</section>\n";
    }
    if !left_out.is_empty() {
        page += "<section id=\"left-out\">\n<h2>Left out</h2>\n<p>These files are no valid reports.</p>\n<ul>\n";
        for (file, problem) in left_out {
            let _ = writeln!(page, "<li><code>{}</code>: {}</li>", escape(file), escape(problem));
        }
        page += "</ul>\n</section>\n";
    }
    page += "</body>\n</html>\n";
    Ok(page)
}

/// The better first.
fn by_worth(a: (bool, f64), b: (bool, f64)) -> Ordering {
    b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Bars of the best entries.
fn picture(model: &str, test: &str, entries: &[&Entry]) -> Result<String> {
    let name = |entry: &Entry| match entry.row.peer {
        true => format!("{}, {}, {}", entry.board(), threads(entry.row.n_threads), entry.row.engine),
        false => format!("{}, {}", entry.board(), threads(entry.row.n_threads)),
    };
    // Of those with a figure, if there are any; of none of them else.
    let measured = entries.iter().any(|entry| entry.tokens_per_j().is_some());
    let value = |entry: &Entry| match (measured, entry.tokens_per_j()) {
        (true, Some(figure)) => {
            let ends = entry.row.energy.as_ref().and_then(|energy| energy.j_per_token_ci95);
            let interval = ends.filter(|ends| ends[0] > 0.0).map(|[low, high]| [1.0 / high, 1.0 / low]);
            Some(Value::new(figure, interval))
        }
        (true, None) => None,
        (false, _) => Some(Value::new(entry.row.avg_ts, entry.row.ci95_ts)),
    };
    let label = if measured { "tokens per joule" } else { "tokens per second" };
    let bars = entries.iter().filter_map(|entry| Some((name(entry), value(entry)?))).take(BARS).collect();
    let svg = bars_svg(&format!("{model}, {test}"), label, bars)?;
    Ok(format!("<figure>{svg}</figure>\n"))
}

fn table(entries: &[&Entry]) -> String {
    const HEADINGS: [&str; 11] = [
        "board",
        "processor",
        "engine",
        "threads",
        "tokens/s",
        "J/token",
        "tokens/J",
        "W",
        "idle W",
        "flags",
        "report",
    ];
    let headings: String = HEADINGS.iter().map(|heading| format!("<th>{heading}</th>")).collect();
    let mut text = format!("<div class=\"wide\"><table>\n<thead><tr>{headings}</tr></thead>\n<tbody>\n");
    for Entry { row, file } in entries.iter().copied() {
        let energy = row.energy.as_ref();
        let number = |value: Option<f64>| value.map_or_else(String::new, short);
        let modelled = energy.is_some_and(|energy| !energy.measured);
        let mark = if modelled { " (modelled)" } else { "" };
        let per_token = energy.and_then(|energy| energy.j_per_token).map_or_else(String::new, |value| {
            let half = energy.and_then(|energy| energy.j_per_token_ci95).map(|[low, high]| (high - low) / 2.0);
            format!("{}{}{mark}", short(value), half.map_or_else(String::new, |half| format!(" ± {}", short(half))))
        });
        let flags: Vec<String> = row.flags.iter().map(|flag: &Flag| flag.name().replace('_', " ")).collect();
        let board = row.platform.board.clone().unwrap_or_else(|| "unknown".to_owned());
        let cells = [
            (board, false),
            (row.cpu_info.clone(), false),
            (row.engine.clone(), false),
            (row.n_threads.to_string(), true),
            (short(row.median_ts), true),
            (per_token, true),
            (energy.and_then(|energy| energy.tokens_per_j_gross).map_or_else(String::new, |v| short(v) + mark), true),
            (number(energy.map(|energy| energy.avg_w)), true),
            (number(energy.and_then(|energy| energy.idle_w_pre)), true),
            (flags.join(", "), false),
            (format!("{file}, {}", row.test_time.get(..10).unwrap_or_default()), false),
        ];
        let cell = |(cell, number): &(String, bool)| {
            format!("<td{}>{}</td>", if *number { " class=\"n\"" } else { "" }, escape(cell))
        };
        let _ = writeln!(text, "<tr>{}</tr>", cells.iter().map(cell).collect::<String>());
    }
    text + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_not_ranked_against_energy() {
        let mut worths = vec![(false, 900.0), (true, 2.0), (false, 1000.0), (true, 3.0)];
        worths.sort_by(|a, b| by_worth(*a, *b));
        assert_eq!(worths, [(true, 3.0), (true, 2.0), (false, 1000.0), (false, 900.0)]);
    }
}
