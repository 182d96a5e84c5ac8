//! Penalties for what the text holds already: repetition, frequency and presence, and DRY.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::options::{Dry, Penalties};
use crate::Token;

/// The last tokens of a text, prompt included.
#[derive(Clone, Debug)]
pub(super) struct History {
    tokens: VecDeque<Token>,
    most: usize,
}

impl History {
    /// Remembers the last `most` tokens.
    pub(super) fn new(most: usize) -> Self {
        Self { tokens: VecDeque::new(), most }
    }

    pub(super) fn push(&mut self, token: Token) {
        if self.tokens.len() == self.most {
            self.tokens.pop_front();
        }
        if self.most > 0 {
            self.tokens.push_back(token);
        }
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
    }

    /// The last `window` tokens, the last one first.
    fn newest_first(&self, window: usize) -> impl Iterator<Item = Token> {
        self.tokens.iter().rev().take(window).copied()
    }
}

/// Applies [`Penalties`]. Keeps its buffer.
#[derive(Debug, Default)]
pub(super) struct Penalizer {
    tokens: Vec<Token>,
}

impl Penalizer {
    pub(super) fn apply(&mut self, options: &Penalties, history: &History, logits: &mut [f32]) {
        let &Penalties { window, repetition, frequency, presence } = options;
        if repetition == 1.0 && frequency == 0.0 && presence == 0.0 {
            return;
        }
        self.tokens.clear();
        self.tokens.extend(history.newest_first(window));
        self.tokens.sort_unstable();
        for same in self.tokens.chunk_by(|a, b| a == b) {
            let Some(logit) = logits.get_mut(same[0] as usize) else { continue };
            if *logit <= 0.0 {
                *logit *= repetition;
            } else {
                *logit /= repetition;
            }
            *logit -= same.len() as f32 * frequency + presence;
        }
    }
}

/// Applies [`Dry`]. Keeps its buffers.
#[derive(Debug)]
pub(super) struct DryPenalizer {
    /// Token sequences that no repetition goes across.
    breakers: Vec<Vec<Token>>,
    /// What powers of the base a float32 can hold.
    most_exponent: usize,
    /// The last token first.
    recent: Vec<Token>,
    /// `z[k]`: how many tokens, going back, are the same from the end and from `k` before the end.
    z: Vec<usize>,
    /// Tokens that would continue a repetition, and its length.
    continuations: Vec<(Token, Reverse<usize>)>,
}

impl DryPenalizer {
    pub(super) fn new(options: &Dry, breakers: Vec<Vec<Token>>) -> Self {
        let most_exponent = match options.base {
            base if base > 1.000_001 => (f32::MAX.ln() / base.ln()) as usize,
            _ => usize::MAX,
        };
        Self { breakers, most_exponent, recent: Vec::new(), z: Vec::new(), continuations: Vec::new() }
    }

    pub(super) fn apply(&mut self, options: &Dry, history: &History, logits: &mut [f32]) {
        if options.multiplier == 0.0 {
            return;
        }
        self.recent.clear();
        self.recent.extend(history.newest_first(options.window));
        let limit = self.unbroken();
        if self.recent.len() <= options.allowed_length || limit < options.allowed_length {
            return;
        }
        z_function(&self.recent, &mut self.z);
        self.continuations.clear();
        for (k, &same) in self.z.iter().enumerate().skip(1) {
            let repeated = same.min(limit);
            if repeated >= options.allowed_length {
                self.continuations.push((self.recent[k - 1], Reverse(repeated)));
            }
        }
        self.continuations.sort_unstable();
        self.continuations.dedup_by_key(|&mut (token, _)| token);
        for &(token, Reverse(repeated)) in &self.continuations {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            if self.breakers.iter().all(|breaker| breaker != &[token]) {
                let exponent = (repeated - options.allowed_length).min(self.most_exponent);
                *logit -= (f64::from(options.multiplier) * power(options.base, exponent)) as f32;
            }
        }
    }

    /// How many of the last tokens come after the last breaker.
    fn unbroken(&self) -> usize {
        let recent = &self.recent;
        // A breaker whose first token is `i` tokens before the end.
        let length_at = |i: usize| {
            let there = |breaker: &&Vec<Token>| {
                breaker.len() <= i + 1 && breaker.iter().zip(recent[..=i].iter().rev()).all(|(a, b)| a == b)
            };
            self.breakers.iter().filter(there).map(Vec::len).max()
        };
        let mut found = (0..recent.len()).filter_map(|i| length_at(i).map(|length| i + 1 - length));
        found.next().unwrap_or(recent.len())
    }
}

/// `base^exponent` by squaring: the same everywhere, unlike a mathematical library's.
fn power(base: f32, exponent: usize) -> f64 {
    let (mut square, mut rest, mut power) = (f64::from(base), exponent, 1.0);
    while rest > 0 {
        if rest % 2 == 1 {
            power *= square;
        }
        square *= square;
        rest /= 2;
    }
    power
}

/// `z[k]` = length of the longest common prefix of `text` and `text[k..]`; linear (Gusfield 1997, chapter 1).
fn z_function(text: &[Token], z: &mut Vec<usize>) {
    z.clear();
    z.resize(text.len(), 0);
    // The match that reaches furthest: text[left..right] == text[..right - left].
    let (mut left, mut right) = (0, 0);
    for k in 1..text.len() {
        let mut length = if k < right { z[k - left].min(right - k) } else { 0 };
        while k + length < text.len() && text[length] == text[k + length] {
            length += 1;
        }
        z[k] = length;
        if k + length > right {
            (left, right) = (k, k + length);
        }
    }
}

/// The token sequences in which one of the texts `breakers` may come about: a token that holds one, or a token that ends
/// with its beginning, followed by the tokens of the rest.
///
/// `bytes` gives the bytes of each of the `vocab` tokens, `tokenize` the tokens of a text without anything added.
pub fn breaker_sequences<'v>(
    breakers: &[String],
    vocab: usize,
    bytes: impl Fn(Token) -> &'v [u8],
    tokenize: impl Fn(&str) -> Vec<Token>,
) -> Vec<Vec<Token>> {
    let mut sequences = Vec::new();
    for breaker in breakers.iter().filter(|breaker| !breaker.is_empty()) {
        // What is left of the breaker after each of its beginnings.
        let rests: Vec<(&str, Vec<Token>)> =
            breaker.char_indices().skip(1).map(|(at, _)| (&breaker[..at], tokenize(&breaker[at..]))).collect();
        for token in 0..vocab as Token {
            let word = bytes(token);
            if word.windows(breaker.len()).any(|part| part == breaker.as_bytes()) {
                sequences.push(vec![token]);
                continue;
            }
            for (beginning, rest) in &rests {
                if word.ends_with(beginning.as_bytes()) {
                    sequences.push([&[token], rest.as_slice()].concat());
                }
            }
        }
    }
    sequences.sort_unstable();
    sequences.dedup();
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_z_function_equals_its_definition(text in prop::collection::vec(0u32..3, 0..40)) {
            let mut z = Vec::new();
            z_function(&text, &mut z);
            for k in 1..text.len() {
                prop_assert_eq!(z[k], text.iter().zip(&text[k..]).take_while(|(a, b)| a == b).count());
            }
        }
    }

    #[test]
    fn breakers_are_found_within_and_across_tokens() {
        let words: [&[u8]; 6] = [b"a", b"\n", b".\n\n", b"x\n", b"\n\nb", b"b"];
        let tokenize = |text: &str| vec![if text == "\n" { 1 } else { 0 }; text.len()];
        let sequences =
            |breaker: &str| breaker_sequences(&[breaker.to_owned()], 6, |token| words[token as usize], tokenize);
        assert_eq!(sequences("\n"), [[1], [2], [3], [4]]);
        assert_eq!(sequences("\n\n"), [vec![1, 1], vec![2], vec![3, 1], vec![4]]);
        assert_eq!(sequences(""), Vec::<Vec<Token>>::new());
    }
}
