//! Hunyuan (dense, version 1): heads are normalised after they are turned; the base of rotary positions is stretched.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, HeadNorm, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions};
use super::keys::Keys;

pub(super) const FAMILY: Family = Family {
    model_types: &["hunyuan_v1_dense"],
    architectures: &["hunyuan-dense"],
    from_config,
    from_gguf,
    to_gguf: |_, _, _| Ok(()),
};

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    if !config.or("use_qk_norm", true)? {
        return Err(config.unsupported("use_qk_norm"));
    }
    config.ignore(&["eod_token_id", "attention_head_dim", "org_vocab_size", "mask_init_id", "text_start_id"]);
    config.ignore(&["text_end_id", "im_start_id", "im_end_id", "im_newline_id", "video_start_id", "video_end_id"]);
    let defaults = Defaults { rope_keys: &["alpha"], ..Defaults::LLAMA };
    Ok(with_head_norms(Dense::from_config(config, &defaults)?))
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    Ok(with_head_norms(Dense::from_gguf(keys, Pairing::Halves)?))
}

fn with_head_norms(dense: Dense) -> DecoderSpec {
    let norm = dense.norm;
    let mut spec = dense.spec();
    attentions(&mut spec).for_each(|(_, attention)| attention.head_norm = Some((HeadNorm::AfterRope, norm)));
    spec
}
