//! `babil rm`: deletes models from the cache.

use anyhow::Result;
use babil_models::catalogue::{Catalogue, remove};
use babil_models::packed_folder;
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::output::human_bytes;

/// Delete models from the cache
///
/// Deletes the model's files, unfinished downloads and the copies that were packed for this processor included, but none
/// that another revision of the same repository still uses. With a type (NAME:TYPE), the other types that were pulled
/// of the same model stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil rm smollm2-135m          all that was pulled of it
  babil rm smollm2-135m:Q4_K_M   one type
  babil rm owner/repo@v1.0       a branch, tag or commit")]
pub(crate) struct RmArgs {
    /// Names of the catalogue, or owner/repo
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

pub(crate) fn run(args: RmArgs, context: &Context) -> Result<()> {
    let settings = context.settings()?;
    for name in args.models {
        let entry = Catalogue::get().entry(&name)?;
        let removed = remove(&entry, &settings, &packed_folder())?;
        if context.output.is_json() {
            context.output.json(&json!({ "model": entry.name, "removed": removed }))?;
        } else {
            let bytes = human_bytes(removed.bytes);
            context.output.note(format_args!("{}: {} files deleted, {bytes}", entry.name, removed.files));
        }
    }
    Ok(())
}
