//! Model families: a configuration file -> a spec and the names of its tensors. No arithmetic here.
//!
//! Decoder-only language models come as Hugging Face folders and as GGUF files, and a family reads both:
//!
//! ```text
//! config.json   --Config--+                      +--> DecoderSpec
//!                         +--> Dense --> family -+
//! GGUF metadata --Keys----+                      +--> names: HubNames, GgufNames
//! ```
//!
//! And it writes the second for who has the first: `DecoderSpec --Description--> GGUF metadata`.
//!
//! - `config.rs`, `keys.rs`: typed access to the two kinds of configuration; keys that nobody read are errors;
//! - `description.rs`: the metadata of a GGUF file for a spec;
//! - `dense.rs`: what the usual keys say, and the spec that follows from it: Llama's;
//! - `names.rs`: the names of tensors, which are the same in all families; matrices that files join;
//! - one file per family: what it does differently from Llama;
//! - `language.rs`: a path -> weights, family, tokenizer and chat template;
//! - `to_gguf.rs`: a folder -> what a GGUF file of it holds;
//! - `marian.rs`: the translation models, which have an encoder.

mod bitnet;
mod config;
mod dense;
mod description;
mod gemma3;
mod granite;
mod hunyuan;
mod keys;
mod language;
mod lfm2;
mod llama;
pub mod marian;
mod mistral3;
mod names;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod to_gguf;
pub mod whisper;

use babil_runtime::spec::DecoderSpec;
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result};
use serde_json::Value;

use config::Config;
use description::Description;
use keys::Keys;
pub use language::{Language, Opened, describe, open, template, tokenizer, weights_file};
pub use names::{GgufNames, HubNames, split_joined};
pub use to_gguf::{AsGguf, Turned, to_gguf};

/// A family of decoder-only models.
struct Family {
    /// `model_type` in config.json.
    model_types: &'static [&'static str],
    /// `general.architecture` in GGUF files.
    architectures: &'static [&'static str],
    /// config.json -> spec.
    from_config: fn(&Config<'_>) -> Result<DecoderSpec>,
    /// Metadata -> spec.
    from_gguf: fn(&Keys<'_>) -> Result<DecoderSpec>,
    /// Spec (and config.json, for what is not in there) -> metadata that other families do not have.
    to_gguf: fn(&mut Description<'_>, &DecoderSpec, &Config<'_>) -> Result<()>,
}

const FAMILIES: [Family; 11] = [
    llama::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    gemma3::FAMILY,
    smollm3::FAMILY,
    phi3::FAMILY,
    granite::FAMILY,
    mistral3::FAMILY,
    lfm2::FAMILY,
    hunyuan::FAMILY,
    bitnet::FAMILY,
];

/// The description of a language model, from its config.json (`file` is its name in messages). `context` is how many
/// positions conversations may have: some models turn their positions otherwise when there are many.
///
/// # Errors
/// A family that is not known, a key that is missing, or one that is not handled, each by its name.
pub fn decoder_from_config(file: &str, config: &Value, context: usize) -> Result<DecoderSpec> {
    let config = Config::new(file, config, context)?;
    let spec = (family_of(file, &config)?.from_config)(&config)?;
    config.finish()?;
    spec.check()?;
    Ok(spec)
}

/// The family that config.json names.
fn family_of(file: &str, config: &Config<'_>) -> Result<&'static Family> {
    let name: String = config.expect("model_type")?;
    let family = FAMILIES.iter().find(|family| family.model_types.contains(&name.as_str()));
    family.ok_or_else(|| not_native(file, "model_type", &name, |family| family.model_types))
}

/// The description of a language model, from the metadata of a GGUF file; `context` as in [`decoder_from_config`].
///
/// # Errors
/// As [`decoder_from_config`], or the file is not GGUF.
pub fn decoder_from_gguf(weights: &Weights, context: usize) -> Result<DecoderSpec> {
    let keys = Keys::new(weights, context)?;
    let name = keys.architecture();
    let family = FAMILIES.iter().find(|family| family.architectures.contains(&name));
    let family =
        family.ok_or_else(|| not_native(weights.file(), "architecture", name, |family| family.architectures))?;
    let spec = (family.from_gguf)(&keys)?;
    keys.finish()?;
    spec.check()?;
    Ok(spec)
}

/// Whether GGUF files of this architecture run on the native engine.
pub fn is_native(architecture: &str) -> bool {
    FAMILIES.iter().any(|family| family.architectures.contains(&architecture))
}

/// The error that nobody here knows the family `name`.
fn not_native(file: &str, kind: &str, name: &str, names: fn(&Family) -> &'static [&'static str]) -> Error {
    let known: Vec<_> = FAMILIES.iter().flat_map(names).copied().collect();
    Error::bad_file(file, format!("the {kind} `{name}` is not native here: {} are", known.join(", ")))
}
