//! `babil tokenize`: a text as the tokens of a model.

use anyhow::Result;
use babil_models::families;
use babil_runtime::text::Marks;
use babil_runtime::weights::Weights;
use clap::Args;
use serde_json::json;

use crate::args::Context;
use crate::language::{model_path, read_text};

/// Show a text as the tokens of a model
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil tokenize model.gguf \"Hello, world!\"
  babil tokenize model.gguf --marks \"<|im_start|>user\"
  babil tokenize model.gguf < text.txt
  babil tokenize model.gguf --json \"Hello\" | jq '.[].id'")]
pub(crate) struct TokenizeArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    /// The text; without it, stdin
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Take marks such as <|im_end|> in the text for the tokens they name
    #[arg(long)]
    marks: bool,
    /// Begin as a prompt does, with the mark of the beginning where the model wants one
    #[arg(long)]
    bos: bool,
}

pub(crate) fn run(args: TokenizeArgs, context: &Context) -> Result<()> {
    let path = model_path(&args.model)?;
    let weights = Weights::open(families::weights_file(&path))?;
    let tokenizer = families::tokenizer(&path, &weights)?;
    let text = match args.text {
        Some(text) => text,
        None => read_text(None, "the text")?,
    };
    let marks = if args.marks { Marks::Parse } else { Marks::AsText };
    let ids = if args.bos { tokenizer.prompt(&text, marks)? } else { tokenizer.encode(&text, marks)? };
    let piece = |id| String::from_utf8_lossy(tokenizer.token_bytes(id).unwrap_or_default()).into_owned();
    if context.output.is_json() {
        let tokens: Vec<_> = ids.iter().map(|&id| json!({ "id": id, "text": piece(id) })).collect();
        return context.output.json(&tokens);
    }
    let lines: String = ids.iter().map(|&id| format!("{id:>7} {:?}\n", piece(id))).collect();
    context.output.text(lines)
}
