//! Granite 3 and 4 (dense): embeddings, attention scores, sublayers and logits are multiplied by numbers of the
//! configuration.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Input, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions};
use super::description::{self, Description};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["granite"], architectures: &["granite"], from_config, from_gguf, to_gguf };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let factors = Factors {
        embedding: config.or("embedding_multiplier", 1.0)?,
        attention: config.or("attention_multiplier", 1.0)?,
        residual: config.or("residual_multiplier", 1.0)?,
        logits: config.or("logits_scaling", 1.0)?,
    };
    Ok(with_factors(Dense::from_config(config, &Defaults::LLAMA)?, &factors))
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let dense = Dense::from_gguf(keys, Pairing::Interleaved)?;
    let factors = Factors {
        embedding: keys.or("embedding_scale", 1.0)?,
        attention: keys.or("attention.scale", (dense.head_dim as f32).sqrt().recip())?,
        residual: keys.or("residual_scale", 1.0)?,
        logits: keys.expect("logit_scale")?,
    };
    Ok(with_factors(dense, &factors))
}

fn to_gguf(out: &mut Description<'_>, spec: &DecoderSpec, _: &Config<'_>) -> Result<()> {
    out.float("embedding_scale", spec.stack.embed_scale());
    out.float("logit_scale", spec.logit_scale.recip());
    spec.stack.layers.first().into_iter().for_each(|layer| out.float("residual_scale", layer.residual_scale));
    let scale = description::attentions(spec).next().map(|attention| attention.scale);
    scale.into_iter().for_each(|scale| out.float("attention.scale", scale));
    Ok(())
}

struct Factors {
    embedding: f32,
    attention: f32,
    residual: f32,
    /// A divisor.
    logits: f32,
}

fn with_factors(dense: Dense, factors: &Factors) -> DecoderSpec {
    let mut spec = dense.spec();
    spec.stack.input = Input::Tokens { vocab: spec.stack.vocab(), scale: factors.embedding };
    spec.logit_scale = factors.logits.recip();
    spec.stack.layers.iter_mut().for_each(|layer| layer.residual_scale = factors.residual);
    attentions(&mut spec).for_each(|(_, attention)| attention.scale = factors.attention);
    spec
}
