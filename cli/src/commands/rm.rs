//! `babil rm`: deletes models from the cache.

use anyhow::Result;
use babil_models::catalogue::{Cache, Catalogue, Error, Source};
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::output::human_bytes;

/// Delete models from the cache
///
/// Deletes the model's files, unfinished downloads included, but none that another revision of the same repository
/// still uses.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil rm en-de
  babil rm owner/repo@v1.0")]
pub(crate) struct RmArgs {
    /// Names of the catalogue, or owner/repo
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

pub(crate) fn run(args: RmArgs, context: &Context) -> Result<()> {
    let cache = Cache::new(&context.settings()?);
    for name in args.models {
        let entry = Catalogue::get().entry(&name)?;
        let Source::Hub { repository, .. } = &entry.source else {
            return Err(Error::Bundled { name: entry.name, action: "remove" }.into());
        };
        let removed = cache.repository(repository).remove(&entry)?;
        if context.output.is_json() {
            context.output.json(&json!({ "model": entry.name, "removed": removed }))?;
        } else {
            let bytes = human_bytes(removed.bytes);
            context.output.note(format_args!("{}: {} files deleted, {bytes}", entry.name, removed.files));
        }
    }
    Ok(())
}
