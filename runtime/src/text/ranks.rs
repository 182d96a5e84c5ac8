//! Tokenizers of vocabularies that are lists of byte strings in the order of their ranks (tiktoken; whisper.cpp's files).

use hashbrown::HashMap;

use super::marks::Finder;
use super::sentencepiece::PieceKind;
use super::special::SpecialTokens;
use super::split::{self, Splitter};
use super::tokenizer::{Joins, SpaceBefore, Tokenizer};
use super::tokens::{Alphabet, Tokens};
use crate::{Error, Result};

impl Tokenizer {
    /// The tokenizer of the byte strings `ranked`, the first of which are joined first, with GPT-2's rule of what is a
    /// word. `label` names their file in errors.
    ///
    /// # Errors
    /// A byte string occurs twice, or there are too many.
    pub fn from_ranks(ranked: &[Vec<u8>], label: &str) -> Result<Self> {
        let mut tokens = Tokens::new(Alphabet::Bytes, ranked.len());
        let mut spelling = Vec::new();
        for (id, bytes) in ranked.iter().enumerate() {
            spelling.clear();
            Alphabet::Bytes.encode(bytes, &mut spelling);
            let bad = |problem: String| Error::bad_file(label, format!("token {id} {problem}"));
            tokens.push(&spelling, PieceKind::Normal).map_err(bad)?;
        }
        let ranks = (0..).take(ranked.len()).collect();
        Ok(Self {
            joins: Joins::Ranks(ranks),
            splitter: Splitter(vec![split::gpt2()]),
            whole_words: false,
            nfc: false,
            space_before: SpaceBefore::Never,
            strip_space: false,
            missing: None,
            finder: Finder::new(&tokens, HashMap::default()),
            special: SpecialTokens::default(),
            tokens,
        })
    }
}
