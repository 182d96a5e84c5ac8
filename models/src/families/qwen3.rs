//! Qwen 3: heads of queries and keys are normalised before they are turned.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, HeadNorm, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions, set_windows};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen3"], architectures: &["qwen3"], from_config, from_gguf, to_gguf: |_, _, _| Ok(()) };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let defaults = Defaults { head_dim: Some(128), ..Defaults::LLAMA };
    let mut spec = with_head_norms(Dense::from_config(config, &defaults)?);
    let windows = config.windows(spec.stack.layers.len(), None)?;
    set_windows(&mut spec, &windows);
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    Ok(with_head_norms(Dense::from_gguf(keys, Pairing::Halves)?))
}

fn with_head_norms(dense: Dense) -> DecoderSpec {
    let norm = dense.norm;
    let mut spec = dense.spec();
    attentions(&mut spec).for_each(|(_, attention)| attention.head_norm = Some((HeadNorm::BeforeRope, norm)));
    spec
}
