//! Ministral 3: YaRN, and queries that grow with the logarithm of their position, from the length of the first
//! training on.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing, QueryGrowth};
use serde_json::Value;

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions, set_windows};
use super::description::{self, Description};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["ministral3"], architectures: &["mistral3"], from_config, from_gguf, to_gguf };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let defaults =
        Defaults { head_dim: Some(128), theta: 1e6, rope_keys: &["llama_4_scaling_beta"], ..Defaults::LLAMA };
    let mut spec = Dense::from_config(config, &defaults)?.spec();
    let windows = config.windows(spec.stack.layers.len(), None)?;
    set_windows(&mut spec, &windows);
    let number = |key: &str| config.get(config.rope_key())?.get(key).and_then(Value::as_f64);
    let every = number("original_max_position_embeddings").unwrap_or(0.0) as usize;
    Ok(with_growth(spec, number("llama_4_scaling_beta").unwrap_or(0.0) as f32, every))
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let spec = Dense::from_gguf(keys, Pairing::Interleaved)?.spec();
    let every = keys.or("rope.scaling.original_context_length", spec.stack.max_positions)?;
    Ok(with_growth(spec, keys.or("attention.temperature_scale", 0.0)?, every))
}

fn to_gguf(out: &mut Description<'_>, spec: &DecoderSpec, _: &Config<'_>) -> Result<()> {
    let growth = description::attentions(spec).find_map(|attention| attention.growth);
    growth.into_iter().for_each(|growth| out.float("attention.temperature_scale", growth.factor));
    Ok(())
}

fn with_growth(mut spec: DecoderSpec, factor: f32, every: usize) -> DecoderSpec {
    if factor != 0.0 {
        attentions(&mut spec).for_each(|(_, attention)| attention.growth = Some(QueryGrowth { factor, every }));
    }
    spec
}
