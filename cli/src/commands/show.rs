//! `babil show`: all that is known of one model or GGUF file, without the network.

mod gguf;

use std::path::Path;

use anyhow::Result;
use babil_models::catalogue::{Cache, CachedRepository, Catalogue, Entry, Error, Files, Repository, Resolved, Source};
use clap::Args;
use serde_json::json;

use self::gguf::GgufFile;
use crate::args::Context;
use crate::exit::UsageError;
use crate::output::human_bytes;

/// Show what is known of a model: what it does, licence, files, and what its GGUF file holds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil show en-fr                   the built-in translator
  babil show smollm2-135m            a model of the catalogue
  babil show owner/repo              a pulled model
  babil show model.gguf              any GGUF file
  babil show model.gguf --template   its chat template
  babil show model.gguf --tensors    its tensors: name, type, shape (slowest dimension first), size
  babil show en-de --json | jq .licence")]
pub(crate) struct ShowArgs {
    /// A GGUF file, a name of the catalogue, or owner/repo
    #[arg(value_name = "MODEL")]
    model: String,
    /// Print the chat template
    #[arg(long, group = "part")]
    template: bool,
    /// List all metadata keys; long values are cut (not with --json)
    #[arg(long, group = "part")]
    metadata: bool,
    /// List all tensors
    #[arg(long, group = "part")]
    tensors: bool,
}

pub(crate) fn run(args: ShowArgs, context: &Context) -> Result<()> {
    let path = Path::new(&args.model);
    if Catalogue::get().find(&args.model).is_none() && path.exists() {
        if path.is_dir() {
            let problem = format!("`{}` is a folder: show takes GGUF files and names of models", args.model);
            return Err(UsageError::new(problem).into());
        }
        return show_file(&args, &GgufFile::open(path)?, context);
    }
    let entry = Catalogue::get().entry(&args.model)?;
    let Source::Hub { repository, files } = &entry.source else {
        args.needs_gguf(&entry.name)?;
        if context.output.is_json() {
            return context.output.json(&json!({ "model": entry, "state": "built-in" }));
        }
        let lines = [("name", entry.name.clone()), ("about", entry.description.clone()), ("state", "built in".into())];
        return context.output.text(aligned(lines.into_iter().chain(languages(&entry.from, &entry.to))));
    };
    let cached = Cache::new(&context.settings()?).repository(repository);
    let (path, file) = match cached.model(files)? {
        Some(Resolved::Gguf(path)) => (Some(path.clone()), Some(GgufFile::open(&path)?)),
        Some(Resolved::Directory(path)) => (Some(path), None),
        _ => (None, None),
    };
    match file {
        Some(file) if args.wants_part() && !context.output.is_json() => show_file(&args, &file, context),
        None if args.wants_part() => match path {
            Some(_) => args.needs_gguf(&entry.name),
            None => Err(Error::NotPulled { name: entry.name.clone() }.into()),
        },
        file => show_entry(&entry, repository, &cached, path.as_deref(), file.as_ref(), context),
    }
}

impl ShowArgs {
    fn wants_part(&self) -> bool {
        self.template || self.metadata || self.tensors
    }

    /// Refuses what only GGUF files have.
    fn needs_gguf(&self, name: &str) -> Result<()> {
        if self.wants_part() {
            let problem = format!("`{name}` is no GGUF file, which --template, --metadata and --tensors need");
            return Err(UsageError::new(problem).into());
        }
        Ok(())
    }
}

/// A GGUF file, or the part of it that was asked for.
fn show_file(args: &ShowArgs, file: &GgufFile, context: &Context) -> Result<()> {
    let output = &context.output;
    if output.is_json() {
        return output.json(&file.json()?);
    }
    if args.template {
        let none = || UsageError::new(format!("`{}` has no chat template", args.model));
        let template = file.template()?.ok_or_else(none)?;
        return output.text(if template.ends_with('\n') { template } else { template + "\n" });
    }
    if args.metadata {
        return output.text(file.metadata_lines()?);
    }
    if args.tensors {
        return output.text(file.tensor_lines()?);
    }
    let summary = file.summary()?;
    let mut lines = summary.lines();
    lines.push(("licence", summary.licence.unwrap_or_else(|| "not in the file".to_owned())));
    output.text(aligned(lines))
}

/// A model of the hub: what the catalogue, the cache and the model's own file say.
fn show_entry(
    entry: &Entry,
    repository: &Repository,
    cached: &CachedRepository,
    path: Option<&Path>,
    file: Option<&GgufFile>,
    context: &Context,
) -> Result<()> {
    let summary = file.map(GgufFile::summary).transpose()?;
    let in_file = summary.as_ref().and_then(|summary| summary.licence.clone());
    let licence = cached.licence().or_else(|| entry.licence.clone()).or(in_file);
    let present = cached.files()?;
    if context.output.is_json() {
        let state = if path.is_some() { "pulled" } else { "not-pulled" };
        return context.output.json(&json!({
            "model": entry, "state": state, "licence": licence, "commit": cached.commit(), "path": path,
            "files": present, "bytes": cached.bytes()?, "gguf": file.map(GgufFile::json).transpose()?,
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
    if let Some(kind) = entry.kind {
        lines.push(("kind", kind.to_string()));
    }
    lines.extend(languages(&entry.from, &entry.to));
    if entry.target_token {
        lines.push(("input", "begins with a token for the target language, such as >>fr<<".to_owned()));
    }
    match &summary {
        // The file is called like the model, or by what it was made from.
        Some(summary) => lines.extend(summary.lines().into_iter().filter(|(label, _)| *label != "name")),
        None => {
            lines.extend(entry.family.clone().map(|family| ("family", family)));
            lines.extend(entry.parameters.map(|parameters| ("parameters", gguf::count(parameters))));
            lines.extend(entry.context.map(|tokens| ("context", format!("{tokens} tokens"))));
            if let Some(Files::Gguf(babil_models::catalogue::Gguf::Default(Some(quant)))) = entry.files() {
                lines.push(("type", format!("{quant}, unless another is asked for as {}:TYPE", entry.name)));
            }
        }
    }
    lines.push(("licence", licence.unwrap_or_else(unknown)));
    match path {
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
