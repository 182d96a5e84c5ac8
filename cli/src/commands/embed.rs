//! `babil embed`: texts as vectors.

use std::io::BufRead;

use anyhow::Result;
use babil_models::language::embed;
use babil_runtime::Error;
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::device;
use crate::interrupt::interrupted;
use crate::language::ModelArgs;

/// Turn texts into vectors of length 1: the mean over their tokens of what comes before the output projection
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil embed model.gguf \"Where is the station?\" \"Where are the trains?\"
  babil embed model.gguf --json < lines.txt

One line of numbers for each text; without texts, for each line of stdin.")]
pub(crate) struct EmbedArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    #[command(flatten)]
    model_args: ModelArgs,
}

pub(crate) fn run(args: EmbedArgs, context: &Context) -> Result<()> {
    let opened = args.model_args.open(&args.model, context)?;
    let show = |text: &str| {
        if interrupted() {
            return Err(Error::Cancelled.into());
        }
        let vector = embed(&opened.model, text)?;
        if context.output.is_json() {
            return context.output.json(&json!({ "text": text, "embedding": vector }));
        }
        let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
        context.output.line(numbers.join(" "))
    };
    if args.texts.is_empty() {
        std::io::stdin().lock().lines().try_for_each(|line| {
            let bad = |error| Error::BadRequest(format!("cannot read the texts from stdin: {error}"));
            show(&line.map_err(bad)?)
        })?;
    } else {
        args.texts.iter().try_for_each(|text| show(text))?;
    }
    device::note(opened.model.accelerator().as_ref(), context);
    Ok(())
}
