//! `babil verify`: looks for damage in cached models.

use std::ops::ControlFlow;

use anyhow::Result;
use babil_models::catalogue::{Cache, Catalogue, Condition, Error, Files, Source};
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::interrupt::interrupted;
use crate::output::human_bytes;

/// Check the files of pulled models against their hashes
///
/// Reads every file again and compares its hash with the one that the hub announced when it was pulled. Exits with 4
/// if any differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil verify smollm2-135m   one model
  babil verify                all pulled models")]
pub(crate) struct VerifyArgs {
    /// Names of the catalogue, or owner/repo; all pulled models if none is given
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
}

pub(crate) fn run(args: VerifyArgs, context: &Context) -> Result<()> {
    let cache = Cache::new(&context.settings()?);
    let names = if args.models.is_empty() {
        let complete = cache.models()?.into_iter().filter(|model| model.complete);
        complete.map(|model| model.repository).collect()
    } else {
        args.models
    };
    if names.is_empty() {
        context.output.note("no models in the cache");
    }
    let mut first_damage = None;
    for name in names {
        let entry = Catalogue::get().entry(&name)?;
        let Source::Hub { repository, files } = &entry.source else {
            return Err(Error::Bundled { name: entry.name, action: "verify" }.into());
        };
        let cached = cache.repository(repository);
        let missing = matches!(cached.model(files), Ok(None));
        let one_file = matches!(files, Files::Gguf(wanted) if wanted.is_explicit());
        if cached.snapshot().is_none() || (missing && one_file) {
            return Err(Error::NotPulled { name: entry.name }.into());
        }
        let bar = context.output.bytes_bar(cached.files()?.iter().map(|file| file.bytes).sum());
        bar.set_message(entry.name.clone());
        let reports = cached.verify(&mut |done| {
            bar.set_position(done);
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        let reports = reports?;
        let is_good = |condition: &Condition| matches!(condition, Condition::Good | Condition::Unknown);
        let bad = reports.iter().filter(|report| !is_good(&report.condition)).count();
        if context.output.is_json() {
            context.output.json(&json!({ "model": entry.name, "good": bad == 0 && !missing, "files": reports }))?;
        } else {
            for report in &reports {
                let condition = match &report.condition {
                    Condition::Good => "good".to_owned(),
                    Condition::Damaged { expected, found } => format!("DAMAGED: is {found}, should be {expected}"),
                    Condition::Missing => "MISSING".to_owned(),
                    Condition::Unknown => "unknown: stored without its hash".to_owned(),
                };
                let size = human_bytes(report.bytes).to_string();
                context.output.line(format_args!("{}/{}  {size}  {condition}", entry.name, report.file))?;
            }
        }
        let damaged = bad.max(usize::from(missing));
        if damaged > 0 && first_damage.is_none() {
            first_damage = Some(Error::Damaged { name: entry.name, damaged });
        }
    }
    first_damage.map_or(Ok(()), |error| Err(error.into()))
}
