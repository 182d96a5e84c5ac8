//! Qwen 2 and 2.5: Llama with biases in queries, keys and values.

use babil_runtime::Result;
use babil_runtime::spec::{AttentionBias, DecoderSpec, Mixer, Pairing};
use babil_runtime::weights::Weights;

use super::gguf::{Keys, llama_like};

pub(super) fn from_gguf(keys: &Keys<'_>, weights: &mut Weights) -> Result<DecoderSpec> {
    let mut spec = llama_like(keys, weights, Pairing::Halves)?;
    for layer in &mut spec.stack.layers {
        if let Mixer::Attention(attention) = &mut layer.mixer {
            attention.bias = AttentionBias::QueryKeyValue;
        }
    }
    Ok(spec)
}
