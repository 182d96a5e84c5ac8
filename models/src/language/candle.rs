//! Language models on the candle backend: on request, and for architectures that are not native.

use std::path::Path;
use std::sync::Arc;

use babil_runtime::session::KvType;
use babil_runtime::text::Tokenizer;
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result};

use super::generator::{Generator, StoredState, TextGenerator};
use super::{Engine, LanguageModel, LanguageOptions};
use crate::candle::{ARCHITECTURES, CandleLanguageModel, CandleSequence};
use crate::device::Device;
use crate::families;
use crate::open::Backend;

/// Positions of a conversation unless more are asked for.
const CONTEXT: usize = 4096;

/// Whether the model at `path` is a GGUF file of an architecture that is not native, but that candle has.
pub(super) fn takes_over(path: &Path) -> bool {
    let Ok(weights) = Weights::open(families::weights_file(path)) else { return false };
    let Some(metadata) = weights.gguf_metadata() else { return false };
    let architecture = metadata.find::<&str>("general.architecture").ok().flatten();
    architecture.is_some_and(|name| !families::is_native(name) && ARCHITECTURES.contains(&name))
}

/// A text of the model at `path` at its beginning.
pub(super) fn generator(path: &Path, tokenizer: Arc<Tokenizer>, context: usize) -> Result<Box<dyn TextGenerator>> {
    let model = CandleLanguageModel::open(path)?;
    let (state, most) = (model.sequence(), model.max_positions());
    Ok(Box::new(Generator::new(model, state, tokenizer, context.min(most))))
}

impl LanguageModel {
    pub(super) fn open_candle(path: &Path, options: &LanguageOptions, pool: Arc<ThreadPool>) -> Result<Self> {
        let unknown = [
            ("a number of threads for prompts", options.prompt_threads.is_some()),
            ("another type of keys and values", options.kv.is_some()),
            ("a limit of memory", options.memory_limit.is_some()),
            ("quantising while loading", options.quant.is_some()),
            ("an NPU", options.device.device == Device::Npu),
        ];
        if let Some((option, _)) = unknown.iter().find(|(_, given)| *given) {
            let why = match options.backend {
                Backend::Candle => "the candle backend does not have it",
                Backend::Cpu => {
                    "the model runs on candle, which does not have it, because its architecture is not native"
                }
            };
            return Err(Error::BadRequest(format!("{option}: {why}")));
        }
        let weights = Weights::open(families::weights_file(path))?;
        let metadata = weights
            .gguf_metadata()
            .ok_or_else(|| Error::Unsupported(format!("{}: the candle backend runs GGUF files", path.display())))?;
        let architecture = metadata.expect::<&str>("general.architecture")?.to_owned();
        let most = metadata.find(&format!("{architecture}.context_length"))?.unwrap_or(CONTEXT);
        let tokenizer = families::tokenizer(path, &weights)?;
        let template = families::template(path, &weights)?;
        if let Some(context) = options.context.filter(|&context| context > most) {
            let problem = format!("a context of {context} tokens: the model was made for 1 to {most}");
            return Err(Error::BadRequest(problem));
        }
        Ok(Self {
            engine: Engine::Candle(path.to_owned()),
            tokenizer: Arc::new(tokenizer),
            template,
            pool,
            kv: KvType::F32,
            context: options.context.unwrap_or(CONTEXT.min(most)),
            longest: most,
            memory: None,
            path: path.to_owned(),
            architecture,
            offload: None,
        })
    }
}

/// candle keeps its state inside the model: it cannot be stored.
impl StoredState for CandleLanguageModel {
    fn state_to_bytes(&self, _: &CandleSequence) -> Option<Vec<u8>> {
        None
    }

    fn state_from_bytes(&self, _: &[u8]) -> Option<CandleSequence> {
        None
    }

    fn description(&self) -> String {
        String::new()
    }
}
