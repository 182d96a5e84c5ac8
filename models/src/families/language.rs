//! Language models: which family a file belongs to, and what comes with it besides the weights.

use std::path::{Path, PathBuf};

use babil_runtime::spec::{DecoderSpec, TensorNames};
use babil_runtime::text::Tokenizer;
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result};

use super::gguf::Keys;
use super::{gguf, llama, qwen2};

/// A decoder-only model as its family describes it.
pub struct Language {
    /// What it computes.
    pub spec: DecoderSpec,
    /// How its tensors are called.
    pub names: Box<dyn TensorNames + Send + Sync>,
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Language").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A language model's weights and description.
#[derive(Debug)]
pub struct Opened {
    /// Tensors and metadata.
    pub weights: Weights,
    /// The architecture's name in the file.
    pub architecture: String,
    /// What the weights are.
    pub language: Language,
}

/// A family's reading of a GGUF file: metadata, and weights whose fused matrices it may split.
type FromGguf = fn(&Keys<'_>, &mut Weights) -> Result<DecoderSpec>;

/// The families, by `general.architecture`.
const GGUF: &[(&str, FromGguf)] = &[("llama", llama::from_gguf), ("qwen2", qwen2::from_gguf)];

/// Opens the weights at `path` (a GGUF file) and describes them.
///
/// # Errors
/// A file that is damaged, or an architecture that is not native: the message lists those that are.
pub fn open(path: &Path) -> Result<Opened> {
    let mut weights = Weights::open(weights_file(path))?;
    // A family may split fused matrices; metadata stay as they are.
    let opened = weights.clone();
    let Some(metadata) = opened.gguf_metadata() else {
        return Err(Error::Unsupported(format!("{}: language models other than GGUF files", path.display())));
    };
    let architecture: &str = metadata.expect("general.architecture")?;
    let Some((_, from_gguf)) = GGUF.iter().find(|(name, _)| *name == architecture) else {
        let known: Vec<_> = GGUF.iter().map(|(name, _)| *name).collect();
        let problem = format!("the architecture `{architecture}` is not native here: {} are", known.join(", "));
        return Err(Error::bad_file(path.display().to_string(), problem));
    };
    let keys = Keys { metadata, architecture };
    let spec = from_gguf(&keys, &mut weights)?;
    let language = Language { spec, names: Box::new(gguf::Names) };
    Ok(Opened { weights, architecture: architecture.to_owned(), language })
}

/// The file with the weights of the model at `path`.
pub fn weights_file(path: &Path) -> PathBuf {
    path.to_owned()
}

/// The tokenizer of the model at `path`.
///
/// # Errors
/// A vocabulary that is missing, damaged or of an unknown kind.
pub fn tokenizer(path: &Path, weights: &Weights) -> Result<Tokenizer> {
    match weights.gguf_metadata() {
        Some(metadata) => Tokenizer::from_gguf(metadata),
        None => Err(Error::Unsupported(format!("{}: the tokenizer of a folder", path.display()))),
    }
}

/// The chat template of the model at `path`, where it has one.
///
/// # Errors
/// It cannot be read.
pub fn template(_path: &Path, weights: &Weights) -> Result<Option<String>> {
    let Some(metadata) = weights.gguf_metadata() else { return Ok(None) };
    Ok(metadata.find::<&str>("tokenizer.chat_template")?.map(str::to_owned))
}
