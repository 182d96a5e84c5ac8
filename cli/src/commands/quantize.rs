//! `babil quantize`: a folder of float weights -> a folder of quantised ones.

use std::path::PathBuf;

use anyhow::Result;
use babil_models::quantize::quantize_folder;
use babil_runtime::quant::BlockType;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::args::Context;
use crate::output::human_bytes;

/// Write a quantised copy of a model's folder
///
/// Matrices become blocks of 32 weights with a scale; everything else stays as it is. Models that are not quantised
/// beforehand are quantised when they are first opened, so this is for models that are to be shipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil quantize opus-mt-en-fr opus-mt-en-fr-q8
  babil quantize opus-mt-en-fr opus-mt-en-fr-q4 --type q4_0")]
pub(crate) struct QuantizeArgs {
    /// A folder with config.json, vocabulary and float weights
    from: PathBuf,
    /// The folder to write; it must not hold weights yet
    to: PathBuf,
    /// The type of the matrices
    #[arg(long = "type", value_enum, default_value = "q8_0", value_name = "TYPE")]
    block: Block,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Block {
    /// 8 bits
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits
    #[value(name = "q4_0")]
    Q4_0,
}

pub(crate) fn run(args: QuantizeArgs, context: &Context) -> Result<()> {
    let block = match args.block {
        Block::Q8_0 => BlockType::Q8_0,
        Block::Q4_0 => BlockType::Q4_0,
    };
    let bytes = quantize_folder(&args.from, &args.to, block)?;
    if context.output.is_json() {
        let path = args.to.join("model.safetensors");
        return context.output.json(&json!({ "file": path, "type": block.name(), "bytes": bytes }));
    }
    context.output.note(format_args!("{}: {} of {} weights", args.to.display(), human_bytes(bytes), block.name()));
    Ok(())
}
