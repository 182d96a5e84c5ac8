//! `babil perplexity`: how well a model predicts a text.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use babil_models::language::perplexity;
use clap::Args;

use crate::args::Context;
use crate::device::{self, WithReport};
use crate::interrupt::interrupted;
use crate::language::{ModelArgs, read_text};

/// Measure how well a model predicts a text
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil perplexity model.gguf wiki.test.raw
  babil perplexity model.gguf text.txt --chunk 256 --json

Measured as llama.cpp's perplexity tool does: the text in chunks, of each of which the second half is predicted.")]
pub(crate) struct PerplexityArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    /// The text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a chunk
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(4..))]
    chunk: u32,
    #[command(flatten)]
    model_args: ModelArgs,
}

pub(crate) fn run(args: PerplexityArgs, context: &Context) -> Result<()> {
    let text = read_text(Some(&args.file), "the text")?;
    let opened = args.model_args.open(&args.model, context)?;
    let bar = context.output.steps_bar();
    let result = perplexity(&opened.model, &text, args.chunk as usize, |done, total, so_far| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{:.4}", so_far.perplexity));
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let result = result?;
    let report = opened.model.accelerator();
    if context.output.is_json() {
        return context.output.json(&WithReport::new(result, report));
    }
    device::note(report.as_ref(), context);
    context.output.line(format_args!(
        "{:.4} +/- {:.4} ({} tokens in {} chunks)",
        result.perplexity, result.error, result.tokens, result.chunks
    ))
}
