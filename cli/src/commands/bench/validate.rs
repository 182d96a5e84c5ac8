//! `babil bench --validate`: whether reports are what their schema says.

use std::path::PathBuf;

use anyhow::Result;
use babil_models::bench::report::{SCHEMA, check_version, values};
use babil_runtime::Error;
use serde_json::{Value, json};

use crate::args::Context;

/// Problems of a report that are shown; more are usually the same again.
const SHOWN: usize = 20;

pub(super) fn run(paths: &[PathBuf], context: &Context) -> Result<()> {
    let mut results = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::BadRequest(format!("cannot read {}: {error}", path.display())))?;
        results.push((path, check(&text)));
    }
    let bad = results.iter().filter(|(_, result)| result.is_err()).count();
    if context.output.is_json() {
        let of_file = |(path, result): &(&PathBuf, Result<usize, Vec<String>>)| match result {
            Ok(rows) => json!({ "file": path, "valid": true, "rows": rows, "problems": [] }),
            Err(problems) => json!({ "file": path, "valid": false, "problems": problems }),
        };
        context.output.json(&results.iter().map(of_file).collect::<Vec<_>>())?;
    } else {
        for (path, result) in &results {
            let path = path.display();
            match result {
                Ok(rows) => context.output.line(format_args!("{path}: valid, {rows} tests"))?,
                Err(problems) => {
                    problems.iter().try_for_each(|problem| context.output.line(format_args!("{path}: {problem}")))?;
                }
            }
        }
    }
    match bad {
        0 => Ok(()),
        bad => Err(Error::BadRequest(format!("{bad} of {} reports are not valid", results.len())).into()),
    }
}

/// The number of rows of a valid report, or what is wrong with it.
pub(super) fn check(text: &str) -> Result<usize, Vec<String>> {
    let rows = values(text).map_err(|problem| vec![problem])?;
    let versions: Vec<String> = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| check_version(row).err().map(|problem| format!("row {}: {problem}", index + 1)))
        .collect();
    // Of another version everything else would be wrong, too.
    if !versions.is_empty() {
        return Err(versions);
    }
    let count = rows.len();
    let problems = against_schema(&Value::Array(rows))?;
    if problems.is_empty() { Ok(count) } else { Err(problems) }
}

/// What the schema has against a report.
#[cfg(feature = "schema")]
fn against_schema(report: &Value) -> Result<Vec<String>, Vec<String>> {
    let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| vec![error.to_string()])?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| vec![error.to_string()])?;
    let problem = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        format!("{}: {error}", if place.is_empty() { "/" } else { &place })
    };
    Ok(validator.iter_errors(report).take(SHOWN).map(problem).collect())
}

/// Without the schema's own rules: whether it is read.
#[cfg(not(feature = "schema"))]
fn against_schema(report: &Value) -> Result<Vec<String>, Vec<String>> {
    let problem = babil_models::bench::report::parse(&report.to_string()).err();
    let _ = (SCHEMA, SHOWN);
    Ok(problem.into_iter().collect())
}
