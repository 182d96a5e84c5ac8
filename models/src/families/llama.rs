//! Llama (1 to 3), and what is built like it: SmolLM2, TinyLlama, Mistral 7B.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing};
use babil_runtime::weights::Weights;

use super::gguf::{Keys, llama_like};

/// GGUF files have the rows of queries and keys in another order than transformers: pairs are neighbours.
pub(super) fn from_gguf(keys: &Keys<'_>, weights: &mut Weights) -> Result<DecoderSpec> {
    llama_like(keys, weights, Pairing::Interleaved)
}
