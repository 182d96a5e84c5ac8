//! BitNet b1.58: norms before the last projection of every sublayer, squared ReLU. `bitnet` is llama.cpp's name of
//! earlier models, with SiLU; `bitnet-b1.58` is that of the official file.

use babil_runtime::Result;
use babil_runtime::spec::{Activation, DecoderSpec, OutputMatrix, Pairing};

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions};
use super::keys::Keys;

pub(super) const FAMILY: Family = Family {
    model_types: &["bitnet"],
    architectures: &["bitnet", "bitnet-b1.58"],
    from_config,
    from_gguf,
    to_gguf: |_, _, _| Ok(()),
};

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let defaults = Defaults { activation: Activation::ReluSquared, theta: 500_000.0, ..Defaults::LLAMA };
    Ok(with_sub_norms(Dense::from_config(config, &defaults)?))
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let early = keys.architecture() == "bitnet";
    let activation = if early { Activation::Silu } else { Activation::ReluSquared };
    // Both read the embedding, whatever else the file has.
    let output = OutputMatrix::Tied;
    Ok(with_sub_norms(Dense { activation, output, ..Dense::from_gguf(keys, Pairing::Halves)? }))
}

fn with_sub_norms(dense: Dense) -> DecoderSpec {
    let norm = dense.norm;
    let mut spec = dense.spec();
    spec.stack.layers.iter_mut().for_each(|layer| layer.ffn.sub_norm = Some(norm));
    attentions(&mut spec).for_each(|(_, attention)| attention.sub_norm = Some(norm));
    spec
}
