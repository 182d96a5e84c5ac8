//! Model families: a configuration -> a spec and the names of its tensors. No arithmetic here.
//!
//! - `marian.rs`: translators, from Hugging Face folders;
//! - one file for each family of language models, from GGUF files and from Hugging Face folders; what they share is in
//!   `gguf.rs` and in `language.rs`.

mod gguf;
mod language;
mod llama;
pub mod marian;
mod qwen2;

pub use language::{Language, Opened, open, template, tokenizer, weights_file};
