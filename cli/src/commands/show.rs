//! `babil show`: all that is known of one model, without the network.

use anyhow::Result;
use babil_models::catalogue::{Cache, Catalogue, Source};
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::output::human_bytes;

/// Show what is known of a model: languages, licence, files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil show en-fr           the built-in translator
  babil show en-de           a model of the catalogue
  babil show owner/repo      a pulled model
  babil show en-de --json | jq .licence")]
pub(crate) struct ShowArgs {
    /// Name of the catalogue, or owner/repo
    #[arg(value_name = "MODEL")]
    model: String,
}

pub(crate) fn run(args: ShowArgs, context: &Context) -> Result<()> {
    let entry = Catalogue::get().entry(&args.model)?;
    let Source::Hub { repository, files } = &entry.source else {
        if context.output.is_json() {
            return context.output.json(&json!({ "model": entry, "state": "built-in" }));
        }
        let lines = [("name", entry.name.clone()), ("about", entry.description.clone()), ("state", "built in".into())];
        return context.output.text(aligned(lines.into_iter().chain(languages(&entry.from, &entry.to))));
    };
    let cached = Cache::new(&context.settings()?).repository(repository);
    let present = cached.files()?;
    let path = cached.complete_snapshot(files);
    let licence = cached.licence().or_else(|| entry.licence.clone());
    if context.output.is_json() {
        let state = if path.is_some() { "pulled" } else { "not-pulled" };
        return context.output.json(&json!({
            "model": entry, "state": state, "licence": licence, "commit": cached.commit(), "path": path,
            "files": present, "bytes": cached.bytes()?,
        }));
    }
    let unknown = || "not in the catalogue; see the model card".to_owned();
    let mut lines = vec![("name", entry.name.clone())];
    if !entry.aliases.is_empty() {
        lines.push(("also", entry.aliases.join(", ")));
    }
    if !entry.description.is_empty() {
        lines.push(("about", entry.description.clone()));
    }
    lines.push(("repository", repository.to_string()));
    lines.push(("family", entry.family.clone()));
    lines.extend(languages(&entry.from, &entry.to));
    if entry.target_token {
        lines.push(("input", "begins with a token for the target language, such as >>fr<<".to_owned()));
    }
    if let Some(parameters) = entry.parameters {
        lines.push(("parameters", format!("about {} million", parameters / 1_000_000)));
    }
    lines.push(("licence", licence.unwrap_or_else(unknown)));
    match &path {
        Some(path) => {
            lines.push(("state", format!("pulled, {} on disk", human_bytes(cached.bytes()?))));
            lines.push(("commit", cached.commit().unwrap_or_default()));
            lines.push(("path", path.display().to_string()));
        }
        None => lines.push(("state", format!("not pulled; get it with `babil pull {}`", entry.name))),
    }
    lines.extend(present.into_iter().map(|file| ("file", format!("{} ({})", file.file, human_bytes(file.bytes)))));
    context.output.text(aligned(lines))
}

fn languages(from: &[String], to: &[String]) -> Option<(&'static str, String)> {
    match (from, to) {
        ([], _) | (_, []) => None,
        (from, to) if from == to => Some(("languages", from.join(" <-> "))),
        (from, to) => Some(("languages", format!("{} -> {}", from.join(", "), to.join(", ")))),
    }
}

fn aligned(lines: impl IntoIterator<Item = (&'static str, String)>) -> String {
    lines.into_iter().map(|(label, value)| format!("{label:<11} {value}\n")).collect()
}
