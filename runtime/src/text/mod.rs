//! Tokenizers. (skeleton)
