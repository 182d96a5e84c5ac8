//! Text to token ids and back.
//!
//! A tokenizer is built from a file once and shared; encoding and decoding never change it.
//! [`SentencePiece`] reads SentencePiece's own model files, [`PieceVocabulary`] puts a model's own
//! numbering on top of them, and [`DecodeStream`] turns ids into text one at a time for either.

pub mod mapped;
pub mod sentencepiece;
pub mod stream;

pub use mapped::{PieceMap, PieceVocabulary};
pub use sentencepiece::{PieceKind, SentencePiece};
pub use stream::{DecodeState, DecodeStream, Detokenize};
