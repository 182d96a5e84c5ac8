//! Drafts from the text itself: what followed the last tokens when they occurred before.

use serde::{Deserialize, Serialize};

use crate::Token;

/// Prompt-lookup speculation. The tokens generated are the same as without; only how many are computed in one pass over
/// the weights differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lookup {
    /// The last so many tokens are looked up first, then fewer.
    pub longest: usize,
    /// Down to so many; at least 1.
    pub shortest: usize,
    /// The most tokens of a draft.
    pub draft: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { longest: 3, shortest: 2, draft: 8 }
    }
}

impl Lookup {
    /// What followed the last tokens of `text` at their latest earlier occurrence, at most `most` tokens, into `draft`.
    pub(super) fn draft(self, text: &[Token], most: usize, draft: &mut Vec<Token>) {
        draft.clear();
        for length in (self.shortest.max(1)..=self.longest).rev() {
            let Some(start) = text.len().checked_sub(length) else { continue };
            let (pattern, earlier) = (&text[start..], &text[..text.len() - 1]);
            if let Some(at) = earlier.windows(length).rposition(|tokens| tokens == pattern) {
                draft.extend(text[at + length..].iter().take(most.min(self.draft)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &[Token], lookup: Lookup) -> Vec<Token> {
        let mut draft = vec![99];
        lookup.draft(text, usize::MAX, &mut draft);
        draft
    }

    #[test]
    fn the_longest_then_latest_match_counts() {
        let lookup = Lookup { longest: 3, shortest: 1, draft: 2 };
        assert_eq!(draft(&[1, 2, 3, 7, 7, 2, 3, 8, 1, 2, 3], lookup), [7, 7]);
        assert_eq!(draft(&[5, 2, 3, 7, 5, 2, 3, 8, 1, 2, 3], lookup), [8, 1]);
        assert_eq!(draft(&[5, 2, 3, 7, 5, 2, 9, 8, 1, 1, 3], lookup), [7, 5]);
        assert_eq!(draft(&[5, 2, 3, 7, 5, 2, 9, 8, 1, 1, 3], Lookup { shortest: 2, ..lookup }), [0; 0]);
        // A match may overlap what is looked up.
        assert_eq!(draft(&[4, 4, 4], lookup), [4]);
        assert_eq!(draft(&[4], lookup), [0; 0]);
        assert_eq!(draft(&[], lookup), [0; 0]);
    }
}
