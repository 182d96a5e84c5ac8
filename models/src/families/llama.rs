//! Llama (2 to 3.2, SmolLM, SmolLM2, TinyLlama ...) and Mistral 7B, which is a Llama with windows.
//!
//! In GGUF files the rows of queries and keys are in an order in which neighbours are turned together.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, set_windows};
use super::keys::Keys;

pub(super) const FAMILY: Family = Family {
    model_types: &["llama", "mistral"],
    architectures: &["llama"],
    from_config,
    from_gguf,
    to_gguf: |_, _, _| Ok(()),
};

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let mut spec = Dense::from_config(config, &Defaults::LLAMA)?.spec();
    if config.expect::<String>("model_type")? == "mistral" {
        let windows = config.windows(spec.stack.layers.len(), None)?;
        set_windows(&mut spec, &windows);
    }
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    Ok(Dense::from_gguf(keys, Pairing::Interleaved)?.spec())
}
