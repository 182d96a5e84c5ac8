//! Finding tokens that are kept whole in a text: marks such as `<|im_end|>`, and words that somebody added.

use hashbrown::HashMap;

use super::sentencepiece::PieceKind;
use super::tokenizer::Marks;
use super::tokens::Tokens;
use super::trie::Trie;
use crate::Token;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Token(Token),
}

/// White space beside a token that goes with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// The tokens that are found whole: control and unknown ones, and those that users defined.
#[derive(Debug)]
pub(super) struct Finder {
    trie: Trie,
    strips: HashMap<Token, Strip>,
}

impl Finder {
    /// The tokens among `tokens` that are found whole. One that is not UTF-8 is in no text.
    pub(super) fn new(tokens: &Tokens, strips: HashMap<Token, Strip>) -> Self {
        let whole = |&id: &Token| {
            let kind = tokens.kind(id);
            matches!(kind, Some(PieceKind::Control | PieceKind::Unknown | PieceKind::UserDefined))
        };
        let keys = (0..tokens.len() as Token).filter(whole).map(|id| (tokens.bytes(id), id));
        let mut keys: Vec<_> = keys.filter(|(text, _)| !text.is_empty() && str::from_utf8(text).is_ok()).collect();
        keys.sort_unstable();
        keys.dedup_by_key(|(text, _)| *text);
        Self { trie: Trie::from_sorted(&keys), strips }
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.trie.held_bytes() + self.strips.allocation_size()
    }

    /// The token that is found whole where `text` stands.
    pub(super) fn token(&self, text: &str) -> Option<Token> {
        self.trie.get(text.as_bytes())
    }

    /// Whether a token takes the white space behind it along.
    pub(super) fn strips_right(&self) -> bool {
        self.strips.values().any(|strip| strip.right)
    }

    /// Calls `found` with the parts of `text` in turn. The token that begins first is found, and of those the longest,
    /// as in the `tokenizers` library. (llama.cpp finds the longest of all first, which differs where two overlap.)
    pub(super) fn split<'a>(&self, tokens: &Tokens, text: &'a str, marks: Marks, mut found: impl FnMut(Part<'a>)) {
        let allowed = |id: Token| marks == Marks::Parse || tokens.kind(id) == Some(PieceKind::UserDefined);
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let token = self.trie.prefixes(&text.as_bytes()[at..]).filter(|&(_, id)| allowed(id)).last();
            let Some((length, id)) = token else {
                at += 1;
                continue;
            };
            let strip = self.strips.get(&id).copied().unwrap_or_default();
            let before = if strip.left { text[start..at].trim_end() } else { &text[start..at] };
            if !before.is_empty() {
                found(Part::Text(before));
            }
            found(Part::Token(id));
            at += length;
            if strip.right {
                at = text.len() - text[at..].trim_start().len();
            }
            start = at;
        }
        if start < text.len() {
            found(Part::Text(&text[start..]));
        }
    }
}
