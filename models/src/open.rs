//! Opening models for a task by what the user asked for.

use babil_runtime::{Error, Result};

use crate::tasks::translate::SentenceTranslator;

/// Which model to open, and how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// A name of the catalogue, a folder or a file; `None` is the bundled model.
    pub model: Option<String>,
    /// What computes.
    pub backend: Backend,
    /// How float weights are quantised while loading; `None` is the default of the backend.
    pub quant: Option<Quant>,
    /// Threads to compute with; `None` is one per fast core.
    pub threads: Option<usize>,
    /// Never open a network connection.
    pub offline: bool,
}

/// What computes a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The native engine.
    #[default]
    Cpu,
    /// candle-transformers models.
    Candle,
}

/// A type for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quant {
    /// Not quantised.
    F32,
    /// 8 bits, in blocks of 32 with a scale.
    Q8_0,
    /// 4 bits, in blocks of 32 with a scale.
    Q4_0,
}

/// Opens a translator.
///
/// # Errors
/// A model that does not exist, is damaged, or that this version cannot run.
pub fn open_translator(options: &OpenOptions) -> Result<Box<dyn SentenceTranslator>> {
    let model = options.model.as_deref().unwrap_or("bundled");
    Err(Error::Unsupported(format!("model `{model}`: this build has no translation engine")))
}
