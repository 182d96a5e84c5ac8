//! A model for tests: its logits are a hash of the tokens so far.

use crate::model::{Logits, Model, Row, State};
use crate::{Result, Token};

pub(crate) struct Fake {
    pub(crate) seed: u64,
    pub(crate) vocab: usize,
    /// How many of the last tokens the logits depend on: few make texts that repeat themselves.
    pub(crate) memory: usize,
    pub(crate) steps: usize,
    pub(crate) rows: usize,
    /// The most tokens that any state has seen.
    pub(crate) longest: usize,
}

impl Fake {
    /// Every path has a distribution of its own.
    pub(crate) fn new(seed: u64, vocab: usize) -> Self {
        Self { seed, vocab, memory: usize::MAX, steps: 0, rows: 0, longest: 0 }
    }

    pub(crate) fn with_memory(self, memory: usize) -> Self {
        Self { memory, ..self }
    }

    pub(crate) fn logits(&self, history: &[Token]) -> Vec<f32> {
        let known = &history[history.len().saturating_sub(self.memory)..];
        let mut hash = known
            .iter()
            .fold(self.seed, |h, &t| (h ^ u64::from(t + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
        let mut next = || {
            hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ 0xD1B5;
            (hash >> 40) as f32 / (1u32 << 22) as f32
        };
        (0..self.vocab).map(|_| next()).collect()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) tokens: Vec<Token>,
    /// Truncation reaches multiples of it; 0 reaches nothing but the beginning.
    reach: usize,
}

impl History {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, reach: 1 }
    }

    pub(crate) fn with_reach(self, reach: usize) -> Self {
        Self { reach, ..self }
    }
}

impl State for History {
    fn fork(&self) -> Self {
        self.clone()
    }
    fn position(&self) -> usize {
        self.tokens.len()
    }
    fn truncate(&mut self, position: usize) -> usize {
        if position < self.tokens.len() {
            self.tokens.truncate(position - position.checked_rem(self.reach).unwrap_or(position));
        }
        self.tokens.len()
    }
}

impl Model for Fake {
    type State = History;
    fn vocab(&self) -> usize {
        self.vocab
    }
    fn step(&mut self, rows: &mut [Row<'_, History>], logits: &mut Logits) -> Result<()> {
        self.steps += 1;
        self.rows += rows.len();
        let wanted = rows.iter().map(|row| row.want.rows(row.tokens.len())).sum();
        let mut out = logits.reset(wanted, self.vocab).chunks_exact_mut(self.vocab);
        for row in rows {
            assert!(!row.tokens.is_empty());
            let unwanted = row.tokens.len() - row.want.rows(row.tokens.len());
            for (i, &token) in row.tokens.iter().enumerate() {
                row.state.tokens.push(token);
                if i >= unwanted {
                    out.next().unwrap().copy_from_slice(&self.logits(&row.state.tokens));
                }
            }
            self.longest = self.longest.max(row.state.tokens.len());
        }
        Ok(())
    }
}
