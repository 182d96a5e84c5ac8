//! Logits after every token of a list: `logits MODEL.gguf TOKENS.u32 OUT.f32 [THREADS]`.
//!
//! TOKENS.u32 holds little-endian 32-bit token ids, OUT.f32 gets `[tokens, vocabulary]` float32. `accuracy.py` compares
//! them with those of other engines.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_runtime::Token;
use babil_runtime::model::{Logits, Model, Row, Want};

/// Tokens of a step.
const STEP: usize = 32;

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    ensure!(matches!(args.len(), 3 | 4), "usage: logits MODEL.gguf TOKENS.u32 OUT.f32 [THREADS]");
    let threads = args.get(3).and_then(|text| text.to_str()?.parse().ok());
    let bytes = std::fs::read(&args[1]).context("cannot read the tokens")?;
    let tokens: Vec<Token> = bytes.as_chunks::<4>().0.iter().map(|bytes| Token::from_le_bytes(*bytes)).collect();
    let options = LanguageOptions { threads, context: Some(tokens.len()), ..LanguageOptions::default() };
    let model = LanguageModel::open(&PathBuf::from(&args[0]), &options)?;
    let mut session = model.session()?;
    let mut state = session.sequence();
    let mut logits = Logits::default();
    let mut out = BufWriter::new(std::fs::File::create(&args[2]).context("cannot write the logits")?);
    for step in tokens.chunks(STEP) {
        session.step(&mut [Row { state: &mut state, tokens: step, want: Want::All }], &mut logits)?;
        for row in 0..step.len() {
            for value in logits.row(row) {
                out.write_all(&value.to_le_bytes())?;
            }
        }
    }
    Ok(out.flush()?)
}
