//! `babil list`: the catalogue and the cache.

use std::collections::BTreeMap;

use anyhow::Result;
use babil_models::catalogue::{Cache, CachedModel, Catalogue, Entry, Source};
use clap::Args;
use serde::Serialize;

use crate::args::Context;
use crate::output::human_bytes;

/// List the models that are here, and those that can be pulled
#[derive(Debug, Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  babil list                     everything
  babil list --local             only what can be used offline
  babil list --from de --to en   what translates German into English
  babil list --json | jq -r '.[].name'"
)]
pub(crate) struct ListArgs {
    /// Only models that can be used offline
    #[arg(short, long)]
    local: bool,
    /// Only models that translate from this language
    #[arg(long, value_name = "LANG")]
    from: Option<String>,
    /// Only models that translate into this language
    #[arg(long, value_name = "LANG")]
    to: Option<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    aliases: Vec<String>,
    repository: Option<String>,
    from: Vec<String>,
    to: Vec<String>,
    licence: Option<String>,
    state: State,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    BuiltIn,
    Pulled,
    Incomplete,
    NotPulled,
}

pub(crate) fn run(args: ListArgs, context: &Context) -> Result<()> {
    let cached = Cache::new(&context.settings()?).models()?;
    let mut rows = rows(Catalogue::get().entries(), cached);
    let knows = |languages: &[String], wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| languages.iter().any(|l| l == wanted || l == "mul"))
    };
    rows.retain(|row| knows(&row.from, &args.from) && knows(&row.to, &args.to));
    if args.local {
        rows.retain(|row| matches!(row.state, State::BuiltIn | State::Pulled));
    }
    if context.output.is_json() {
        return context.output.json(&rows);
    }
    context.output.text(table(&rows))
}

/// The catalogue in its order, then what else is in the cache.
fn rows(entries: &[Entry], cached: Vec<CachedModel>) -> Vec<Row> {
    let mut cached: BTreeMap<_, _> = cached.into_iter().map(|model| (model.repository.clone(), model)).collect();
    let mut rows = Vec::new();
    for entry in entries {
        let repository = entry.repository().map(|repository| repository.id().to_owned());
        let model = repository.as_ref().and_then(|id| cached.remove(id));
        let state = match (&entry.source, &model) {
            (Source::Bundled, _) => State::BuiltIn,
            (_, None) => State::NotPulled,
            (_, Some(model)) if model.complete => State::Pulled,
            _ => State::Incomplete,
        };
        rows.push(Row {
            name: entry.name.clone(),
            aliases: entry.aliases.clone(),
            repository,
            from: entry.from.clone(),
            to: entry.to.clone(),
            licence: entry.licence.clone(),
            state,
            bytes: model.map_or(0, |model| model.bytes),
        });
    }
    rows.extend(cached.into_values().map(|model| Row {
        name: model.repository.clone(),
        aliases: Vec::new(),
        repository: Some(model.repository),
        from: Vec::new(),
        to: Vec::new(),
        licence: None,
        state: State::Pulled,
        bytes: model.bytes,
    }));
    rows
}

fn table(rows: &[Row]) -> String {
    let name_of = |row: &Row| match row.aliases.first() {
        Some(alias) => format!("{} ({alias})", row.name),
        None => row.name.clone(),
    };
    let width = rows.iter().map(|row| name_of(row).len()).max().unwrap_or(0).max("MODEL".len());
    let mut text = format!("{:width$}  {:<21}  STATE\n", "MODEL", "LANGUAGES");
    for row in rows {
        let languages = match (&row.from[..], &row.to[..]) {
            ([], _) | (_, []) => "?".to_owned(),
            (from, to) if from == to => from.join(" <-> "),
            (from, to) => format!("{} -> {}", short(from), short(to)),
        };
        let state = match row.state {
            State::BuiltIn => "built in".to_owned(),
            State::Pulled => format!("pulled, {}", human_bytes(row.bytes)),
            State::Incomplete => format!("incomplete, {}", human_bytes(row.bytes)),
            State::NotPulled => "-".to_owned(),
        };
        text += &format!("{:width$}  {languages:<21}  {state}\n", name_of(row));
    }
    text
}

/// Up to three languages by name, more by number.
fn short(languages: &[String]) -> String {
    match languages {
        [only] if only == "mul" => "many".to_owned(),
        few if few.len() <= 3 => few.join(","),
        many => format!("{} languages", many.len()),
    }
}
