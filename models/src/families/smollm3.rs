//! SmolLM 3: every fourth layer tells no positions.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions, set_windows};
use super::keys::Keys;

pub(super) const FAMILY: Family = Family {
    model_types: &["smollm3"],
    architectures: &["smollm3"],
    from_config,
    from_gguf,
    to_gguf: |_, _, _| Ok(()),
};

/// Every how many layers one has no rotary positions.
const INTERVAL: usize = 4;

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let defaults = Defaults { theta: 2e6, tied: true, ..Defaults::LLAMA };
    let dense = Dense::from_config(config, &defaults)?;
    let interval = config.or("no_rope_layer_interval", INTERVAL)?;
    // 1: with rotary positions.
    let turned = match config.find::<Vec<u8>>("no_rope_layers")? {
        Some(list) if list.len() >= dense.layers => list.iter().map(|&turned| turned != 0).collect(),
        Some(_) => return Err(config.unsupported("no_rope_layers")),
        None => every(interval, dense.layers),
    };
    let windows = config.windows(dense.layers, None)?;
    if windows.iter().any(Option::is_some) && config.get("layer_types").is_none() {
        return Err(config.unsupported("use_sliding_window"));
    }
    let mut spec = with_turned(dense, &turned);
    set_windows(&mut spec, &windows);
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let dense = Dense::from_gguf(keys, Pairing::Interleaved)?;
    let turned = every(INTERVAL, dense.layers);
    Ok(with_turned(dense, &turned))
}

fn every(interval: usize, layers: usize) -> Vec<bool> {
    (1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect()
}

fn with_turned(dense: Dense, turned: &[bool]) -> DecoderSpec {
    let mut spec = dense.spec();
    for ((_, attention), &turned) in attentions(&mut spec).zip(turned) {
        attention.rope = attention.rope.take().filter(|_| turned);
    }
    spec
}
