//! The seam between what generates text and what computes it: [`Model`].
//!
//! The generation loop, sampling, streaming and the tasks know only this trait. The native backend
//! ([`crate::session`]) and the candle backend (crate `babil-models`) implement it; tests use a fake one.

use crate::accelerator::Report;
use crate::{Cancel, Result, Token};

/// The state of one sequence: its position and whatever the backend remembers of the tokens so far.
///
/// An encoder's output is the read-only part of a state and is shared by its forks.
pub trait State: Send + Sized {
    /// A copy that continues independently. Backends share what they can (copy on write).
    fn fork(&self) -> Self;

    /// Number of tokens seen so far.
    fn position(&self) -> usize;

    /// Forgets all but the first `position` tokens as far as the backend can, and returns the position it reached
    /// (at most `position`): the caller feeds the tokens after that again.
    fn truncate(&mut self, position: usize) -> usize;
}

/// Which of a row's new tokens logits are wanted after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// After none: a part of a prompt that more follows.
    Nothing,
    /// After the last one.
    Last,
    /// After each: drafts to be verified, perplexity.
    All,
}

impl Want {
    /// How many rows of logits that is, of `tokens` tokens.
    pub fn rows(self, tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last => 1,
            Self::All => tokens,
        }
    }
}

/// New tokens for one sequence; the model appends them to the sequence's state.
pub struct Row<'a, S> {
    /// The sequence.
    pub state: &'a mut S,
    /// Its next tokens, at least one.
    pub tokens: &'a [Token],
    /// Which logits are wanted.
    pub want: Want,
}

impl<'a, S> Row<'a, S> {
    /// Tokens of which the logits after the last one are wanted.
    pub fn new(state: &'a mut S, tokens: &'a [Token]) -> Self {
        Self { state, tokens, want: Want::Last }
    }
}

/// Logits, `[rows, vocab]`, row-major float32: those that each [`Row`] of a step wants, one row after the other.
#[derive(Debug, Default)]
pub struct Logits {
    values: Vec<f32>,
    vocab: usize,
}

impl Logits {
    /// Makes room for `rows` x `vocab` values (contents unspecified) and returns them for writing.
    pub fn reset(&mut self, rows: usize, vocab: usize) -> &mut [f32] {
        self.vocab = vocab;
        self.values.resize(rows * vocab, 0.0);
        &mut self.values
    }

    /// The logits of row `row`, `[vocab]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab..][..self.vocab]
    }

    /// As [`Logits::row`], for processors that change them in place.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.vocab..][..self.vocab]
    }
}

/// A model that can be run: weights and scratch memory, shared by any number of sequences.
///
/// A row's logits depend on its own tokens alone, never on the other rows of the call.
pub trait Model {
    /// The state of one sequence.
    type State: State;

    /// Number of logits per row.
    fn vocab(&self) -> usize;

    /// Appends each row's tokens to its state and writes the logits that each row wants, in one pass over the
    /// weights.
    ///
    /// # Errors
    /// A token outside the vocabulary, a sequence longer than the model's positions, or a backend's own failure.
    fn step(&mut self, rows: &mut [Row<'_, Self::State>], logits: &mut Logits) -> Result<()>;

    /// From now on passes, an encoder's too, end with [`Error::Cancelled`](crate::Error::Cancelled) once `cancel` is
    /// called, and states are as before them. A backend that cannot stop within a pass does nothing here.
    fn set_cancel(&mut self, cancel: &Cancel) {
        let _ = cancel;
    }

    /// What ran where so far, unless everything is for the CPU.
    fn accelerator(&self) -> Option<Report> {
        None
    }
}

/// A model with an encoder: turns source sentences into states that are ready to generate from.
pub trait EncoderDecoder: Model {
    /// Encodes a batch of token sequences (each with its end-of-sentence token) and returns one state each, at
    /// position 0. Sequences do not influence each other.
    ///
    /// # Errors
    /// As [`Model::step`].
    fn encode(&mut self, sources: &[&[Token]]) -> Result<Vec<Self::State>>;
}

/// A model whose encoder hears: turns sound into a state that is ready to generate from.
pub trait FrameEncoder: Model {
    /// Encodes frames of sound, `[features, count]` row-major, and returns the state, at position 0.
    ///
    /// # Errors
    /// Frames that are not of the model's features, none or too many of them, or a backend's own failure.
    fn encode_frames(&mut self, frames: &[f32]) -> Result<Self::State>;
}
