//! How an encoder-decoder model generates.

use serde::Serialize;

use crate::{Error, Result, Token};

/// When the search for a sequence ends, once as many hypotheses have finished as the beam is wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum EarlyStopping {
    /// When the best running one, at its present length, is not better than the worst of them.
    #[default]
    No,
    /// At once.
    Yes,
}

/// How generation starts, ends and ranks: a model's defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GenerationSpec {
    /// The token that the decoder starts from.
    pub start: Token,
    /// The token that ends a sequence.
    pub eos: Token,
    /// Tokens that are never generated.
    pub suppressed: Vec<Token>,
    /// Most tokens to generate, the end of sentence included.
    pub max_tokens: usize,
    /// Whether the last of `max_tokens` is forced to be `eos`.
    pub forced_eos: bool,
    /// Beam width.
    pub beam: usize,
    /// Scores are divided by `tokens ^ length_penalty`.
    pub length_penalty: f32,
    /// When a search with enough finished hypotheses ends.
    pub early_stopping: EarlyStopping,
    /// Whether probabilities are normalised again after suppression.
    pub renormalize: bool,
}

impl GenerationSpec {
    /// The widest beam.
    pub const MOST_BEAMS: usize = 128;

    /// Refuses values that a model with `vocab` tokens cannot generate with.
    ///
    /// # Errors
    /// [`Error::BadRequest`] says which value.
    pub fn check(&self, vocab: usize) -> Result<()> {
        let bad = |what: String| Err(Error::BadRequest(what));
        if let Some(token) = [self.start, self.eos].iter().chain(&self.suppressed).find(|&&t| t as usize >= vocab) {
            return bad(format!("token {token} is outside the vocabulary of {vocab}"));
        }
        if !(1..=Self::MOST_BEAMS).contains(&self.beam) {
            return bad(format!("a beam of {}: it must be 1 to {}", self.beam, Self::MOST_BEAMS));
        }
        if self.max_tokens == 0 {
            return bad("at least one token must be generated".to_owned());
        }
        if !self.length_penalty.is_finite() || self.length_penalty.abs() > 10.0 {
            return bad(format!("a length penalty of {}", self.length_penalty));
        }
        Ok(())
    }
}
