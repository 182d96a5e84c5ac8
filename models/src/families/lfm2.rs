//! LFM 2: short convolutions, and between them attention whose heads are normalised before they are turned.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, HeadNorm, Mixer, OutputMatrix, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions};
use super::description::Description;
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["lfm2"], architectures: &["lfm2"], from_config, from_gguf, to_gguf };

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    // Names of values that other keys have too, and of how training started.
    config.ignore(&["block_dim", "block_norm_eps", "conv_dim", "conv_dim_out", "full_attn_idxs", "num_heads", "theta"]);
    config.ignore(&["block_mlp_init_scale", "block_out_init_scale", "block_use_swiglu", "block_use_xavier_init"]);
    config.ignore(&["conv_use_xavier_init", "use_pos_enc"]);
    let defaults = Defaults { theta: 1e6, tied: true, ..Defaults::LLAMA };
    let mut dense = Dense::from_config(config, &defaults)?;
    if let Some(tied) = config.find::<bool>("tie_embedding")? {
        dense.output = if tied { OutputMatrix::Tied } else { OutputMatrix::Own };
    }
    // The configuration has the width of a feed-forward without gate that has as many parameters.
    if config.or("block_auto_adjust_ff_dim", true)? {
        let factor = config.or("block_ffn_dim_multiplier", 1.0f64)?;
        let multiple = config.or("block_multiple_of", 256usize)?.max(1);
        let hidden = factor * (dense.hidden.saturating_mul(2) / 3) as f64;
        dense.hidden = (hidden as usize).checked_next_multiple_of(multiple).unwrap_or(0);
    }
    let attends: Vec<bool> = if let Some(kinds) = config.find::<Vec<String>>("layer_types")? {
        kinds.iter().map(|kind| kind == "full_attention").collect()
    } else if let Some(indices) = config.find::<Vec<usize>>("full_attn_idxs")? {
        (0..dense.layers).map(|layer| indices.contains(&layer)).collect()
    } else {
        vec![true; dense.layers]
    };
    if attends.len() != dense.layers {
        return Err(config.unsupported("layer_types"));
    }
    let conv = Mixer::ShortConv { kernel: config.or("conv_L_cache", 3)?, bias: config.or("conv_bias", false)? };
    Ok(with_convolutions(dense, &attends, &conv))
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let dense = Dense::from_gguf(keys, Pairing::Halves)?;
    let kv_heads = keys.per_layer("attention.head_count_kv", dense.layers)?;
    let attends: Vec<bool> = kv_heads.unwrap_or_default().iter().map(|&heads| heads > 0).collect();
    let conv = Mixer::ShortConv { kernel: keys.expect("shortconv.l_cache")?, bias: false };
    Ok(with_convolutions(dense, &attends, &conv))
}

fn to_gguf(out: &mut Description<'_>, spec: &DecoderSpec, _: &Config<'_>) -> Result<()> {
    let kernel = spec.stack.layers.iter().find_map(|layer| match layer.mixer {
        Mixer::ShortConv { kernel, .. } => Some(kernel),
        Mixer::Attention(_) => None,
    });
    out.number("shortconv.l_cache", kernel.unwrap_or(0));
    // Named as if it were that of the embeddings.
    out.final_norm = "token_embd_norm";
    Ok(())
}

fn with_convolutions(dense: Dense, attends: &[bool], conv: &Mixer) -> DecoderSpec {
    let norm = dense.norm;
    let mut spec = dense.spec();
    attentions(&mut spec).for_each(|(_, attention)| attention.head_norm = Some((HeadNorm::BeforeRope, norm)));
    for (layer, attends) in spec.stack.layers.iter_mut().zip(attends) {
        if !attends {
            layer.mixer = conv.clone();
        }
    }
    spec
}
