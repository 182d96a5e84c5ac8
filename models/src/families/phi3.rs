//! Phi 3, 3.5 and 4 (mini): joined matrices, a part of each head turned, LongRoPE, and a window in the first of them.
//!
//! llama.cpp leaves the window out; transformers has it, and so has this.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, set_windows};
use super::keys::Keys;

pub(super) const FAMILY: Family = Family { model_types: &["phi3"], architectures: &["phi3"], from_config, from_gguf };

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
