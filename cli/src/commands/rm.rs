//! `babil rm`: deletes models from the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use babil_models::catalogue::{Cache, CachedRepository, Catalogue, Error, Source};
use babil_models::packed_folder;
use babil_runtime::weights::packed_copies_of;
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
    let cache = Cache::new(&context.settings()?);
    for name in args.models {
        let entry = Catalogue::get().entry(&name)?;
        let Source::Hub { repository, .. } = &entry.source else {
            return Err(Error::Bundled { name: entry.name, action: "remove" }.into());
        };
        let cached = cache.repository(repository);
        let before = paths(&cached)?;
        let mut removed = cached.remove(&entry)?;
        for path in before.iter().filter(|path| !path.exists()) {
            for copy in packed_copies_of(&path.display().to_string(), &packed_folder()) {
                let bytes = fs::metadata(&copy).map_or(0, |copy| copy.len());
                fs::remove_file(&copy).with_context(|| format!("cannot delete {}", copy.display()))?;
                removed.files += 1;
                removed.bytes += bytes;
            }
        }
        if context.output.is_json() {
            context.output.json(&json!({ "model": entry.name, "removed": removed }))?;
        } else {
            let bytes = human_bytes(removed.bytes);
            context.output.note(format_args!("{}: {} files deleted, {bytes}", entry.name, removed.files));
        }
    }
    Ok(())
}

/// The paths of a pulled model's files.
fn paths(cached: &CachedRepository) -> Result<Vec<PathBuf>> {
    let Some(snapshot) = cached.snapshot() else { return Ok(Vec::new()) };
    Ok(cached.files()?.into_iter().map(|file| snapshot.join(file.file)).collect())
}
