//! `babil quantize`: float weights -> quantised ones.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use babil_models::quantize::{MIXES, Mix, Options, is_translation_model, quantize_folder, quantize_gguf};
use babil_runtime::quant::BlockType;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::args::Context;
use crate::exit::UsageError;
use crate::interrupt::interrupted;
use crate::output::human_bytes;

/// Write a quantised copy of a model
///
/// A language model, a GGUF file or a Hugging Face folder, becomes a GGUF file that llama.cpp reads too; the types are
/// its mixes of the same names: most matrices have the type named, those that suffer more have a finer one. What is no matrix stays as it is, and rows that are not a
/// multiple of a type's block take the next that fits.
///
/// A translation model's folder becomes a folder, with q7_128, q8_0 or q4_0. Models that are not quantised beforehand are
/// quantised when they are first opened, so this is for models that are to be shipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil quantize model-f16.gguf model-q4_k_m.gguf --type q4_k_m
  babil quantize SmolLM2-135M-Instruct smollm2-q8_0.gguf
  babil quantize opus-mt-en-fr opus-mt-en-fr-q7
  babil quantize opus-mt-en-fr opus-mt-en-fr-q4 --type q4_0")]
pub(crate) struct QuantizeArgs {
    /// A GGUF file, or a folder with config.json, weights and vocabulary, of float weights
    from: PathBuf,
    /// The file or folder to write
    to: PathBuf,
    /// The types of the matrices [default: q8_0; of a translation model q7_128]
    #[arg(
        long = "type",
        value_parser = PossibleValuesParser::new(MIXES.iter().map(|mix| mix.name).chain([BlockType::Q7_128.name()])),
        value_name = "TYPE"
    )]
    mix: Option<String>,
    /// The same type for every matrix
    #[arg(long)]
    pure: bool,
    /// Overwrite weights that exist
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: QuantizeArgs, context: &Context) -> Result<()> {
    let output = &context.output;
    if args.from.is_dir() && is_translation_model(&args.from)? {
        let block = match args.mix.as_deref() {
            None | Some("q7_128") => BlockType::Q7_128,
            Some("q8_0") => BlockType::Q8_0,
            Some("q4_0") => BlockType::Q4_0,
            Some(_) => return Err(UsageError::new("a translation model takes --type q7_128, q8_0 or q4_0").into()),
        };
        let bytes = quantize_folder(&args.from, &args.to, block, args.force)?;
        if output.is_json() {
            let path = args.to.join("model.safetensors");
            return output.json(&json!({ "file": path, "type": block.name(), "bytes": bytes }));
        }
        output.note(format_args!("{}: {} of {} weights", args.to.display(), human_bytes(bytes), block.name()));
        return Ok(());
    }
    let named = Mix::named(args.mix.as_deref().unwrap_or("q8_0"))
        .ok_or_else(|| UsageError::new("q7_128 is for translation models: GGUF has no such type"))?;
    let pure = named.pure();
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let options = Options { mix: if args.pure { &pure } else { named }, force: args.force, threads };
    let bar = output.bytes_bar(0);
    let written = quantize_gguf(&args.from, &args.to, &options, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        if bar.message() != progress.tensor {
            bar.set_message(progress.tensor.to_owned());
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let written = written?;
    if output.is_json() {
        let (file, bytes, tensors) = (args.to, written.bytes, written.tensors);
        return output.json(&json!({ "file": file, "type": named.name, "bytes": bytes, "tensors": tensors }));
    }
    let counts: Vec<String> = written.tensors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    output.note(format_args!("{}: {}, tensors: {}", args.to.display(), human_bytes(written.bytes), counts.join(", ")));
    Ok(())
}
