//! What a model thinks of given text: perplexity, and embeddings.

use std::ops::ControlFlow;

use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row, Want};
use babil_runtime::text::Marks;
use babil_runtime::{Error, Result, Token};
use serde::Serialize;

use super::LanguageModel;

/// Tokens whose logits are computed together: a vocabulary can have 260,000 of them.
const STEP: usize = 32;

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// exp of the mean negative log-probability of a token.
    pub perplexity: f64,
    /// Its standard error.
    pub error: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Chunks of the text.
    pub chunks: usize,
}

/// The perplexity of `text`, as llama.cpp's `perplexity` tool measures it: chunks of `context` tokens, each with the mark
/// of the beginning in place of its first token where the model wants one, of which the second half is predicted.
/// `observer` is called after each chunk.
///
/// # Errors
/// A text of less than two chunks, or the model's own.
pub fn perplexity(
    model: &LanguageModel,
    text: &str,
    context: usize,
    mut observer: impl FnMut(usize, usize, Perplexity) -> ControlFlow<()>,
) -> Result<Perplexity> {
    let tokenizer = model.tokenizer();
    let special = tokenizer.special();
    let mut tokens = tokenizer.encode(text, Marks::AsText)?;
    let bos = special.bos.filter(|_| special.add_bos);
    if let Some(bos) = bos {
        tokens.insert(0, bos);
    }
    if context < 4 || context > model.context() {
        return Err(Error::BadRequest(format!("chunks of {context} tokens: 4 to {} are possible", model.context())));
    }
    if tokens.len() < 2 * context {
        let problem = format!("the text has {} tokens: two chunks of {context} are the least", tokens.len());
        return Err(Error::BadRequest(problem));
    }
    let mut session = model.session()?;
    let kernels = Kernels::from_env()?;
    let mut logits = Logits::default();
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0usize);
    let total = tokens.len() / context;
    let mut result = None;
    for (index, chunk) in tokens.chunks_exact(context).enumerate() {
        let mut chunk = chunk.to_vec();
        if let Some(bos) = bos {
            chunk[0] = bos;
        }
        let mut state = session.sequence();
        let first = context / 2;
        let mut position = 0;
        for piece in chunk.chunks(STEP) {
            let wanted = position + piece.len() > first;
            let want = if wanted { Want::All } else { Want::Nothing };
            session.step(&mut [Row { state: &mut state, tokens: piece, want }], &mut logits)?;
            for row in 0..piece.len() {
                let at = position + row;
                if wanted && at >= first && at + 1 < context {
                    let row = logits.row(row);
                    let nll = f64::from((kernels.log_sum_exp)(row) - row[chunk[at + 1] as usize]);
                    sum += nll;
                    squares += nll * nll;
                    count += 1;
                }
            }
            position += piece.len();
        }
        let n = count as f64;
        let mean = sum / n;
        let deviation = ((squares / n - mean * mean).max(0.0) / (n - 1.0).max(1.0)).sqrt();
        let so_far =
            Perplexity { perplexity: mean.exp(), error: deviation * mean.exp(), tokens: count, chunks: index + 1 };
        result = Some(so_far);
        if observer(index + 1, total, so_far).is_break() {
            return Err(Error::Cancelled);
        }
    }
    result.ok_or(Error::Cancelled)
}

/// The embedding of `text`, `[dim]`: the mean of what comes before the output projection over all its tokens, of length
/// 1.
///
/// # Errors
/// A text longer than the context, or the model's own.
pub fn embed(model: &LanguageModel, text: &str) -> Result<Vec<f32>> {
    let tokens: Vec<Token> = model.tokenizer().prompt(text, Marks::AsText)?;
    if tokens.len() > model.context() {
        let problem = format!("the text has {} tokens, but the context only {}", tokens.len(), model.context());
        return Err(Error::BadRequest(problem));
    }
    let mut session = model.session()?;
    let mut state = session.sequence();
    let mut sums: Vec<f64> = Vec::new();
    for piece in tokens.chunks(super::CHUNK) {
        let hidden = session.hidden(&mut state, piece)?;
        let dim = hidden.len() / piece.len();
        sums.resize(dim, 0.0);
        for row in hidden.chunks_exact(dim) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
    }
    let length = sums.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    Ok(sums.iter().map(|v| (v / length) as f32).collect())
}
