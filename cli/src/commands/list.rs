//! `babil list`: the catalogue and the cache.

use std::collections::BTreeMap;

use anyhow::Result;
use babil_models::catalogue::{Cache, CachedModel, Catalogue, Entry, ModelKind, Source};
use clap::{Args, ValueEnum};
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
  babil list --kind language     what `babil run` and `babil chat` take
  babil list --kind speech       what `babil transcribe` and `babil subtitle` take
  babil list --from de --to en   what translates German into English
  babil list --json | jq -r '.[].name'"
)]
pub(crate) struct ListArgs {
    /// Only models that can be used offline
    #[arg(short, long)]
    local: bool,
    /// Only models of this kind
    #[arg(long)]
    kind: Option<KindArg>,
    /// Only models that translate from this language
    #[arg(long, value_name = "LANG")]
    from: Option<String>,
    /// Only models that translate into this language
    #[arg(long, value_name = "LANG")]
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    /// Models that translate
    Translation,
    /// Models that continue text and hold conversations
    Language,
    /// Models that write down what is said
    Speech,
}

impl KindArg {
    fn kind(self) -> ModelKind {
        match self {
            Self::Translation => ModelKind::Translation,
            Self::Language => ModelKind::Language,
            Self::Speech => ModelKind::Speech,
        }
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    aliases: Vec<String>,
    kind: Option<ModelKind>,
    description: String,
    family: Option<String>,
    parameters: Option<u64>,
    context: Option<u64>,
    repository: Option<String>,
    from: Vec<String>,
    to: Vec<String>,
    licence: Option<String>,
    state: State,
    /// The types of the GGUF files that are here.
    types: Vec<String>,
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
    if let Some(kind) = args.kind {
        rows.retain(|row| row.kind == Some(kind.kind()));
    }
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
            kind: entry.kind,
            description: entry.description.clone(),
            family: entry.family.clone(),
            parameters: entry.parameters,
            context: entry.context,
            repository,
            from: entry.from.clone(),
            to: entry.to.clone(),
            licence: entry.licence.clone(),
            state,
            types: model.as_ref().map(|model| model.types.clone()).unwrap_or_default(),
            bytes: model.map_or(0, |model| model.bytes),
        });
    }
    rows.extend(cached.into_values().map(|model| Row {
        name: model.repository.clone(),
        aliases: Vec::new(),
        kind: model.kind,
        description: String::new(),
        family: None,
        parameters: None,
        context: None,
        repository: Some(model.repository),
        from: Vec::new(),
        to: Vec::new(),
        licence: None,
        state: State::Pulled,
        types: model.types,
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
    let mut text = format!("{:width$}  {:<11}  {:<21}  STATE\n", "MODEL", "KIND", "ABOUT");
    for row in rows {
        let (name, kind, about) = (name_of(row), row.kind.map(|kind| kind.to_string()), about(row));
        let kind = kind.as_deref().unwrap_or("?");
        text += &format!("{name:width$}  {kind:<11}  {about:<21}  {}\n", state(row));
    }
    text
}

/// What a translator translates, and what another model is.
fn about(row: &Row) -> String {
    match (row.kind, &row.from[..], &row.to[..]) {
        (Some(ModelKind::Language | ModelKind::Speech), ..) => match (&row.family, row.parameters) {
            (Some(family), Some(parameters)) => format!("{family}, {}", short_count(parameters)),
            _ => "?".to_owned(),
        },
        (_, [], _) | (_, _, []) => "?".to_owned(),
        (_, from, to) if from == to => from.join(" <-> "),
        (_, from, to) => format!("{} -> {}", short(from), short(to)),
    }
}

fn state(row: &Row) -> String {
    let bytes = human_bytes(row.bytes);
    match row.state {
        State::BuiltIn => "built in".to_owned(),
        State::Pulled if row.types.is_empty() => format!("pulled, {bytes}"),
        State::Pulled => format!("pulled {}, {bytes}", row.types.join(" and ")),
        State::Incomplete => format!("incomplete, {bytes}"),
        State::NotPulled => "-".to_owned(),
    }
}

/// A number of parameters, as names of models have it: `135M`, `1.2B`.
fn short_count(count: u64) -> String {
    match count {
        0..1_000_000_000 => format!("{}M", count.div_ceil(1_000_000)),
        _ => format!("{:.1}B", count as f64 / 1e9),
    }
}

/// Up to three languages by name, more by number.
fn short(languages: &[String]) -> String {
    match languages {
        [only] if only == "mul" => "many".to_owned(),
        few if few.len() <= 3 => few.join(","),
        many => format!("{} languages", many.len()),
    }
}
