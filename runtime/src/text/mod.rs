//! Text to token ids and back.
//!
//! A tokenizer is built from a file once and shared; encoding and decoding never change it.
//!
//! Language models have a [`Tokenizer`], from a GGUF file's metadata or from `tokenizer.json`. Translators have two
//! vocabularies, behind [`Vocabulary`]: [`SentencePiece`] reads SentencePiece's own model files, [`PieceVocabulary`]
//! puts a model's own numbering on top of them, and [`JsonTokenizer`] runs any `tokenizer.json`. [`DecodeStream`] turns
//! ids into text one at a time for all of them.

mod gguf;
#[cfg(feature = "tokenizers")]
pub mod json;
pub mod mapped;
mod marks;
mod merge;
mod ranks;
pub mod sentencepiece;
pub mod special;
mod split;
pub mod stream;
pub mod template;
pub mod thinking;
mod to_gguf;
pub mod tokenizer;
mod tokenizer_json;
mod tokens;
mod trie;
pub mod vocabulary;

#[cfg(feature = "tokenizers")]
pub use json::JsonTokenizer;
pub use mapped::{PieceMap, PieceVocabulary};
pub use sentencepiece::{PieceKind, SentencePiece};
pub use special::SpecialTokens;
pub use stream::{DecodeState, DecodeStream, Detokenize};
pub use template::{ChatTemplate, Content, Message, RenderOptions};
pub use thinking::{Part, ThinkingSplitter, ThinkingSwitch, ThinkingTags};
pub use tokenizer::{Marks, Tokenizer};
pub use vocabulary::Vocabulary;
