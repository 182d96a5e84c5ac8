//! `babil pull`: fetches a model into the cache.

use std::ops::ControlFlow;

use anyhow::Result;
use babil_models::catalogue::pull::{Event, Origin, Pulled, pull};
use babil_models::catalogue::{Catalogue, Entry, Settings, Source};
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::interrupt::interrupted;
use crate::output::{Output, human_bytes};

/// Download a model into the cache, so that it can be used offline
///
/// Every file is checked against the hash that the hub announces. A pull that was interrupted continues where it
/// ended; one of a model that is there fetches only what has changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil pull smollm2-135m                   a model of the catalogue (see `babil list`)
  babil pull smollm2-135m:Q4_K_M            another type of its weights
  babil pull owner/repo:Q4_K_M              any GGUF file of the hub, by its type
  babil pull owner/repo/model-q5_0.gguf     or by its name
  babil pull Helsinki-NLP/opus-mt-sv-fi     any Marian model of the hub
  babil pull owner/repo@v1.0                a branch, tag or commit of it
  HF_TOKEN=... babil pull owner/private     a private or gated repository

Without a type, Q4_K_M is taken, or else Q8_0, or else the only GGUF file.")]
pub(crate) struct PullArgs {
    /// Names of the catalogue, or owner/repo; with a type as NAME:TYPE
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

pub(crate) fn run(args: PullArgs, context: &Context) -> Result<()> {
    let settings = context.settings()?;
    // All names before the first download.
    let entries = args.models.iter().map(|name| Catalogue::get().entry(name)).collect::<Result<Vec<_>, _>>()?;
    for entry in &entries {
        if entry.source == Source::Bundled {
            context.output.note(format_args!("{} is built in: nothing to pull", entry.name));
            if context.output.is_json() {
                context.output.json(&json!({ "model": entry.name, "bundled": true }))?;
            }
            continue;
        }
        let pulled = pull_one(entry, &settings, &context.output)?;
        report(entry, &pulled, &context.output)?;
    }
    Ok(())
}

/// Pulls the model called `name` because another command needs it, and says so.
pub(crate) fn fetch(name: &str, context: &Context) -> Result<()> {
    let entry = Catalogue::get().entry(name)?;
    if let Some(repository) = entry.repository() {
        context.output.note(format_args!("pulling {name} from {repository}"));
    }
    let pulled = pull_one(&entry, &context.settings()?, &context.output)?;
    note(&entry, &pulled, &context.output);
    Ok(())
}

fn pull_one(entry: &Entry, settings: &Settings, output: &Output) -> Result<Pulled> {
    let bar = output.bytes_bar(0);
    let pulled = pull(entry, settings, &mut |event| {
        match event {
            Event::Progress { file, done, total } => {
                if bar.length() != Some(total) {
                    // What was there already says nothing about the speed.
                    bar.set_length(total);
                    bar.set_position(done);
                    bar.reset_eta();
                }
                if bar.message() != file {
                    bar.set_message(file.to_owned());
                }
                bar.set_position(done);
            }
            Event::Retry { problem, pause } => {
                bar.suspend(|| output.note(format_args!("{problem}; trying again in {:.1} s", pause.as_secs_f32())));
            }
            Event::Waiting { file } => {
                bar.suspend(|| output.note(format_args!("another process is downloading {file}; waiting for it")));
            }
            _ => {}
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    Ok(pulled?)
}

fn report(entry: &Entry, pulled: &Pulled, output: &Output) -> Result<()> {
    if output.is_json() {
        return output.json(&json!({ "model": entry.name, "bundled": false, "pulled": pulled }));
    }
    note(entry, pulled, output);
    output.line(pulled.path.display())
}

/// Says what was pulled.
fn note(entry: &Entry, pulled: &Pulled, output: &Output) {
    let bytes: u64 = pulled.files.iter().map(|file| file.bytes).sum();
    let new = pulled.files.iter().filter(|file| file.origin != Origin::Cached).count();
    let files = pulled.files.len();
    output.note(format_args!("{}: {files} files, {}, {new} of them fetched", entry.name, human_bytes(bytes)));
    if let Some(licence) = pulled.licence.as_ref().or(entry.licence.as_ref()) {
        output.note(format_args!("licence of the weights: {licence}"));
    }
}
