//! Qwen 2 and 2.5: biases of queries, keys and values.

use babil_runtime::Result;
use babil_runtime::spec::{AttentionBias, DecoderSpec, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, set_windows};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen2"], architectures: &["qwen2"], from_config, from_gguf, to_gguf: |_, _, _| Ok(()) };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let dense = Dense { bias: AttentionBias::QueryKeyValue, ..Dense::from_config(config, &Defaults::LLAMA)? };
    let mut spec = dense.spec();
    let windows = config.windows(spec.stack.layers.len(), None)?;
    set_windows(&mut spec, &windows);
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    Ok(Dense::from_gguf(keys, Pairing::Halves)?.spec())
}
