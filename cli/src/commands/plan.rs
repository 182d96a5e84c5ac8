//! `babil plan`: how much memory a model would need, before it is loaded.

use anyhow::Result;
use babil_models::language::available_memory;
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::language::ModelArgs;
use crate::output::human_bytes;

/// Show how much memory a model would need, by part, without loading it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil plan model.gguf
  babil plan model.gguf --ctx 8192 --kv q8_0
  babil plan model.gguf --json | jq .total")]
pub(crate) struct PlanArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    model_args: ModelArgs,
}

pub(crate) fn run(args: PlanArgs, context: &Context) -> Result<()> {
    let described = args.model_args.describe(&args.model, context)?;
    let memory = described.memory;
    let (total, available) = (memory.total(), available_memory());
    if context.output.is_json() {
        return context.output.json(&json!({
            "model": described.path, "architecture": described.architecture, "context": described.context,
            "kv": described.kv, "memory": memory, "anonymous": memory.anonymous(), "total": total,
            "available": available,
        }));
    }
    let mut lines = vec![
        ("weights", memory.weights, "mapped from a file; the system may drop and read them again"),
        ("small tensors", memory.small_tensors, "norms and biases"),
        ("tokenizer", memory.tokenizer, "the vocabulary"),
        ("keys and values", memory.cache, ""),
        ("buffers", memory.scratch, "of a forward pass"),
        ("logits", memory.logits, "of a step, drafts of --lookup included"),
        ("in all", total, ""),
    ];
    if memory.packed_copy > 0 {
        lines.push(("on disk", memory.packed_copy, "the weights once more, packed for this kind of processor"));
    }
    if let Some(available) = available {
        lines.push(("available", available, "now"));
    }
    let note = |label: &str, note: &str| match label {
        "keys and values" => format!("{} tokens of context", described.context),
        _ => note.to_owned(),
    };
    let text: String = lines
        .into_iter()
        .map(|(label, bytes, about)| {
            let bytes = human_bytes(bytes).to_string();
            format!("{label:<16} {bytes:>12}  {}", note(label, about)).trim_end().to_owned() + "\n"
        })
        .collect();
    context.output.text(text)
}
