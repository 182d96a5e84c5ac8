//! Which tokens may come next in a window: signs that nobody speaks never, timestamps in pairs that do not go back
//! (Whisper's `ApplyTimestampRules`, `SuppressTokens` and `SuppressBlank`).

use babil_runtime::Token;

use super::decode::log_sum_exp;
use super::special::SpecialTokens;

/// The rules for one window.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    special: &'a SpecialTokens,
    timestamps: bool,
}

impl<'a> Rules<'a> {
    /// Those for windows with or without timestamps.
    pub fn new(special: &'a SpecialTokens, timestamps: bool) -> Self {
        Self { special, timestamps }
    }

    /// Forbids in `logits` (`[vocab]`) what must not come after `tokens`, the tokens of the window so far.
    pub fn apply(&self, tokens: &[Token], logits: &mut [f32]) {
        let special = self.special;
        let mut forbid = |token: Token| logits[token as usize] = f32::NEG_INFINITY;
        special.suppressed.iter().for_each(|&token| forbid(token));
        if tokens.is_empty() {
            special.not_first.iter().for_each(|&token| forbid(token));
        }
        if self.timestamps {
            self.apply_timestamps(tokens, logits);
        } else {
            // OpenAI relies on models not to write them.
            logits[special.no_timestamps as usize..].fill(f32::NEG_INFINITY);
        }
    }

    fn apply_timestamps(&self, tokens: &[Token], logits: &mut [f32]) {
        let special = self.special;
        let (end, first) = (special.end as usize, special.first_timestamp() as usize);
        logits[special.no_timestamps as usize] = f32::NEG_INFINITY;
        let is_timestamp = |token: Option<&Token>| token.is_some_and(|&token| token as usize >= first);
        let last = is_timestamp(tokens.last());
        // What was one token only counts as a pair, so that what comes after is text.
        let before = tokens.len() < 2 || is_timestamp(tokens.get(tokens.len() - 2));
        match (last, before) {
            (true, true) => logits[first..].fill(f32::NEG_INFINITY),
            // After the end of a segment comes the beginning of the next, or the end.
            (true, false) => logits[..end].fill(f32::NEG_INFINITY),
            (false, _) => {}
        }
        if let Some(&latest) = tokens.iter().rev().find(|&&token| token as usize >= first) {
            // A segment may begin where the last one ended, but must not be empty.
            let from = latest as usize + usize::from(!last || before);
            let from = from.min(logits.len());
            logits[first..from].fill(f32::NEG_INFINITY);
        }
        if tokens.is_empty() {
            logits[..first].fill(f32::NEG_INFINITY);
            let latest = first + special.latest_start as usize + 1;
            if latest < logits.len() {
                logits[latest..].fill(f32::NEG_INFINITY);
            }
        }
        // If a timestamp is more probable than any word, one it must be.
        let (text, times) = logits.split_at_mut(first);
        let largest = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if largest(times) > f32::NEG_INFINITY && log_sum_exp(times) > largest(text) {
            text.fill(f32::NEG_INFINITY);
        }
    }
}
