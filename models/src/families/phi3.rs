//! Phi 3, 3.5 and 4 (mini): joined matrices, a part of each head turned, LongRoPE, and a window in the first of them.
//!
//! llama.cpp leaves the window out; transformers has it, and so has this.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing, RopeScaling, Span};
use serde::Deserialize;
use serde_json::Value;

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, set_windows};
use super::description::{self, Description};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["phi3"], architectures: &["phi3"], from_config, from_gguf, to_gguf };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let mut spec = Dense::from_config(config, &Defaults::LLAMA)?.spec();
    let windows = config.windows(spec.stack.layers.len(), None)?;
    set_windows(&mut spec, &windows);
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let mut spec = Dense::from_gguf(keys, Pairing::Halves)?.spec();
    let window = keys.find::<usize>("attention.sliding_window")?.filter(|&window| window > 0);
    let windows = vec![window; spec.stack.layers.len()];
    set_windows(&mut spec, &windows);
    Ok(spec)
}

fn to_gguf(out: &mut Description<'_>, spec: &DecoderSpec, config: &Config<'_>) -> Result<()> {
    let window = description::attentions(spec).find(|attention| attention.span != Span::CAUSAL);
    // 0 says that there is none.
    out.number("attention.sliding_window", window.map_or(0, |attention| attention.span.behind + 1));
    let scaling = config.get(config.rope_key());
    let inside = |key: &str| scaling.and_then(|scaling| scaling.get(key)).filter(|value| !value.is_null());
    let original = match inside("original_max_position_embeddings").and_then(Value::as_u64) {
        Some(original) => original as usize,
        None => config.or("original_max_position_embeddings", spec.stack.max_positions)?,
    };
    out.number("rope.scaling.original_context_length", original);
    if let Some(RopeScaling::PerPair { magnitude, .. }) = description::scaling(spec) {
        out.float("rope.scaling.attn_factor", *magnitude);
        for (key, name) in [("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight")]
        {
            let factors = inside(key).and_then(|factors| Vec::<f32>::deserialize(factors).ok());
            out.tensor(name, &factors.ok_or_else(|| config.unsupported(config.rope_key()))?);
        }
    }
    Ok(())
}
