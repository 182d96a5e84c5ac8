//! What a task needs of a tokenizer, whatever file it came from.

use super::mapped::PieceVocabulary;
use super::stream::Detokenize;
use crate::{Result, Token};

/// A model's vocabulary: text to ids, ids to text.
pub trait Vocabulary: Detokenize + Send + Sync + std::fmt::Debug {
    /// The ids of `text`, to which no special token is added. All of it is text, `</s>` too, as far as the tokenizer can
    /// tell them apart.
    ///
    /// # Errors
    /// The tokenizer's own; SentencePiece's cannot fail.
    fn encode(&self, text: &str) -> Result<Vec<Token>>;

    /// The id of a piece.
    fn id(&self, piece: &str) -> Option<Token>;

    /// The target languages that have a token `>>language<<`, in no particular order.
    fn languages(&self) -> Vec<String>;
}

impl Vocabulary for PieceVocabulary {
    fn encode(&self, text: &str) -> Result<Vec<Token>> {
        Ok(self.encode_plain(text))
    }

    fn id(&self, piece: &str) -> Option<Token> {
        Self::id(self, piece)
    }

    fn languages(&self) -> Vec<String> {
        Self::languages(self).map(str::to_owned).collect()
    }
}
