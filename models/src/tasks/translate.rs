//! Translation of single sentences over any encoder-decoder backend: [`SentenceTranslator`].

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use babil_runtime::accelerator::Report;
use babil_runtime::{Cancel, Result, Token};

/// A translation direction: ISO 639-1 codes, such as `en` -> `fr`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LanguagePair {
    /// Source language.
    pub from: String,
    /// Target language.
    pub to: String,
}

impl LanguagePair {
    /// The pair `from` -> `to`.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { from: from.into(), to: to.into() }
    }
}

impl fmt::Display for LanguagePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// How to search for a translation.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslateOptions {
    /// Beam width; 1 is greedy. `None` is the model's own default.
    pub beam: Option<usize>,
    /// How many hypotheses to return per sentence, best first (at most the beam width).
    pub alternatives: usize,
    /// The most tokens to generate per sentence; `None` is the model's own limit.
    pub max_tokens: Option<usize>,
    /// Cancels from another thread, also between the layers of a model; `progress` is asked only between tokens.
    pub cancel: Cancel,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self { beam: None, alternatives: 1, max_tokens: None, cancel: Cancel::default() }
    }
}

/// One translation of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The translation.
    pub text: String,
    /// Its tokens, end of sentence excluded.
    pub tokens: Vec<Token>,
    /// Mean log-probability per token (the length-normalised score that ranks hypotheses).
    pub score: f32,
}

/// What one sentence became.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// Best first; never empty.
    pub hypotheses: Vec<Hypothesis>,
    /// Tokens of the source, end of sentence included.
    pub source_tokens: usize,
    /// Wall-clock time of the batch that the sentence was part of, divided by the batch's sentences.
    pub elapsed: Duration,
}

/// News of a running translation: more of a sentence's best translation has become certain.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Index of the sentence in the batch.
    pub sentence: usize,
    /// Text to append to what was reported before: whole characters, and nothing reported is ever taken back.
    /// All pieces together are the best hypothesis's text.
    pub text: &'a str,
}

/// Translates sentences; implemented by every backend, and by fakes in tests.
pub trait SentenceTranslator: Send + Sync {
    /// The directions this model knows.
    fn pairs(&self) -> &[LanguagePair];

    /// The most source tokens (end of sentence excluded) that one sentence may have.
    fn max_source_tokens(&self) -> usize;

    /// How many source tokens `text` is, end of sentence excluded.
    fn count_tokens(&self, text: &str, pair: &LanguagePair) -> usize;

    /// Translates a batch of sentences (single sentences without line breaks, each within
    /// [`Self::max_source_tokens`]; an empty one becomes an empty translation). `progress` is called between tokens;
    /// [`ControlFlow::Break`] cancels.
    ///
    /// # Errors
    /// An unknown pair, a sentence that is too long, [`babil_runtime::Error::Cancelled`].
    fn translate(
        &self,
        batch: &[&str],
        pair: &LanguagePair,
        options: &TranslateOptions,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Translation>>;

    /// What ran where so far, unless everything is for the CPU.
    fn accelerator(&self) -> Option<Report>;
}
