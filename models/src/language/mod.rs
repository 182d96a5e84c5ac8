//! Language models: a GGUF file or a folder -> a model that continues text.
//!
//! ```text
//! file --Weights--> family --> spec, names --> memory check --> packed weights --> DecoderPlan --+
//!   +--> tokenizer, chat template                                                                +--> LanguageModel
//! ```
//!
//! A [`LanguageModel`] is immutable and shared. [`LanguageModel::generator`] makes what holds one text: its tokens and
//! what the model remembers of them.

#[cfg(feature = "candle")]
mod candle;
mod generator;
mod saved;
mod score;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_runtime::accelerator::{Offload, Report};
use babil_runtime::kernels::Kernels;
use babil_runtime::memory::MemoryNeeds;
use babil_runtime::plan::{DecoderPlan, decoder_parameters};
use babil_runtime::quant::BlockType;
use babil_runtime::session::{DecoderSession, KvType};
use babil_runtime::text::{ChatTemplate, ThinkingSwitch, Tokenizer};
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use babil_runtime::weights::{Weights, packed_copy};
use babil_runtime::{Error, Result};

pub use generator::{Answer, Generator, News, Request, TextGenerator, Times};
pub use score::{Perplexity, embed, perplexity};

use crate::device::{self, DeviceOptions};
use crate::families;
use crate::open::Backend;

/// How to open and run a language model.
#[derive(Clone, Debug)]
pub struct LanguageOptions {
    /// What computes.
    pub backend: Backend,
    /// Threads to compute with, as far as they can run at the same time; `None` is one for each fast core.
    pub threads: Option<usize>,
    /// Threads for prompts; `None` is as many as for the rest.
    pub prompt_threads: Option<usize>,
    /// Most tokens of a text; `None` is what model and memory allow.
    pub context: Option<usize>,
    /// How keys and values are stored; `None` is float16.
    pub kv: Option<KvType>,
    /// Refuse to load what would need more bytes.
    pub memory_limit: Option<u64>,
    /// The type that float matrices are quantised to while loading; `None` leaves them as they are.
    pub quant: Option<BlockType>,
    /// Where packed weights are kept.
    pub packed_folder: PathBuf,
    /// What computes prompts.
    pub device: DeviceOptions,
}

impl Default for LanguageOptions {
    fn default() -> Self {
        Self {
            backend: Backend::Cpu,
            threads: None,
            prompt_threads: None,
            context: None,
            kv: None,
            memory_limit: None,
            quant: None,
            packed_folder: crate::packed_folder(),
            device: DeviceOptions::default(),
        }
    }
}

/// Tokens of a prompt that are computed together.
pub const CHUNK: usize = 256;

/// A model file that was looked at but not loaded: what it is and what it would need.
#[derive(Debug)]
pub struct Described {
    /// The file.
    pub path: PathBuf,
    /// Its tensors and metadata.
    pub weights: Weights,
    /// The architecture's name in the file.
    pub architecture: String,
    /// The family's description.
    pub language: families::Language,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Most tokens of a text.
    pub context: usize,
    /// Most tokens that the model was made for.
    pub longest: usize,
    /// What it needs.
    pub memory: MemoryNeeds,
}

impl Described {
    /// Looks at `path`: a GGUF file, or a folder with `config.json`.
    ///
    /// # Errors
    /// A file that is damaged or that this version cannot run, or a context that the model cannot have.
    pub fn open(path: &Path, options: &LanguageOptions) -> Result<Self> {
        if options.backend == Backend::Candle {
            return Err(Error::BadRequest("what a model needs on the candle backend is not known".to_owned()));
        }
        check_magic(path)?;
        Self::with(path, options, &|context| families::open(path, context))
    }

    /// Looks at the `weights` of a GGUF file, wherever it is.
    ///
    /// # Errors
    /// As [`Described::open`].
    pub fn of_weights(weights: &Weights, options: &LanguageOptions) -> Result<Self> {
        if weights.gguf_metadata().is_none() {
            return Err(not_gguf(weights.file()));
        }
        Self::with(Path::new(weights.file()), options, &|context| families::describe(weights.clone(), context))
    }

    /// What `open` makes of the file `path` for a context.
    fn with(
        path: &Path,
        options: &LanguageOptions,
        open: &dyn Fn(Option<usize>) -> Result<families::Opened>,
    ) -> Result<Self> {
        let families::Opened { weights, architecture, mut language } = open(options.context)?;
        let spec = &language.spec;
        let most = spec.stack.max_positions;
        let kv = options.kv.unwrap_or(KvType::F16);
        let tokenizer = families::tokenizer(path, &weights)?;
        let needs = |context| {
            let needs = MemoryNeeds::of(spec, &weights, &*language.names, context, CHUNK, kv, options.quant)?;
            Ok(needs.with_tokenizer(&tokenizer))
        };
        let context = match options.context {
            Some(context) if context == 0 || context > most => {
                let problem = format!("a context of {context} tokens: the model was made for 1 to {most}");
                return Err(Error::BadRequest(problem));
            }
            Some(context) => context,
            None => {
                let limit = options.memory_limit.unwrap_or(u64::MAX).min(available_memory().unwrap_or(u64::MAX));
                fitting_context(most, limit, &needs)?
            }
        };
        let memory = needs(context)?;
        if options.context.is_none() {
            language = open(Some(context))?.language;
        }
        let path = path.to_owned();
        Ok(Self { path, weights, architecture, language, tokenizer, kv, context, longest: most, memory })
    }
}

/// Refuses a file that does not begin as GGUF does.
fn check_magic(path: &Path) -> Result<()> {
    let mut magic = Vec::new();
    if path.is_file() {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        file.take(4).read_to_end(&mut magic).map_err(|error| Error::io("read", path, error))?;
        if magic != *b"GGUF" {
            return Err(not_gguf(&path.display().to_string()));
        }
    }
    Ok(())
}

fn not_gguf(file: &str) -> Error {
    Error::bad_file(file, "is not a GGUF file: a language model is one, or a folder with config.json")
}

/// The longest of `most`, its half, its quarter and so on whose memory takes no more than half of what the weights leave
/// of `limit`.
fn fitting_context(most: usize, limit: u64, needs: &dyn Fn(usize) -> Result<MemoryNeeds>) -> Result<usize> {
    /// Shorter ones are of little use; whoever has so little memory asks for them.
    const LEAST: usize = 512;
    let mut context = most;
    loop {
        let needs = needs(context)?;
        if context <= LEAST || needs.anonymous() <= limit.saturating_sub(needs.weights) / 2 {
            return Ok(context);
        }
        context = (context / 2).max(LEAST);
    }
}

/// Bytes of memory that programs can still take, as Linux estimates it.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The threads that `options` ask for.
fn pool(options: &LanguageOptions) -> Arc<ThreadPool> {
    Arc::new(ThreadPool::for_machine(&Topology::detect(), options.threads, options.prompt_threads))
}

/// Whether the model at `path` is not native, and candle has it.
#[cfg(not(feature = "candle"))]
fn takes_over(_: &Path) -> bool {
    false
}

#[cfg(feature = "candle")]
use candle::takes_over;

/// What computes a language model.
enum Engine {
    /// What runs, and the file's own tensors, which tell the model from others.
    Native(Arc<DecoderPlan>, Arc<Weights>),
    #[cfg(feature = "candle")]
    Candle(PathBuf),
}

/// A language model, ready to run.
pub struct LanguageModel {
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    template: Option<String>,
    pool: Arc<ThreadPool>,
    kv: KvType,
    context: usize,
    longest: usize,
    memory: Option<MemoryNeeds>,
    path: PathBuf,
    architecture: String,
    offload: Option<Arc<Offload>>,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LanguageModel {
    /// Opens the model at `path`: a GGUF file, or a folder with `config.json`.
    ///
    /// # Errors
    /// A file that is damaged or that this version cannot run, or one that needs more memory than it may have.
    pub fn open(path: &Path, options: &LanguageOptions) -> Result<Self> {
        if options.backend == Backend::Candle || takes_over(path) {
            return Self::open_candle(path, options, pool(options));
        }
        Self::build(Described::open(path, options)?, options)
    }

    /// Opens the model that `described` was looked at as, with the same `options`, on the native backend.
    ///
    /// # Errors
    /// As [`LanguageModel::open`].
    pub fn build(described: Described, options: &LanguageOptions) -> Result<Self> {
        if let Some(limit) = options.memory_limit {
            check_memory(&described, limit)?;
        }
        let Described { path, weights, architecture, language, tokenizer, kv, context, longest, memory } = described;
        let template = families::template(&path, &weights)?;
        let kernels = Kernels::from_env()?;
        // Whatever is wrong with the tensors is wrong with this file, not with a copy of it.
        DecoderPlan::new(language.spec.clone(), &weights, &*language.names, kernels)?;
        let parameters = decoder_parameters(&language.spec, &weights, &*language.names);
        let packed = packed_copy(&weights, &parameters, options.quant, &options.packed_folder)?;
        let offload =
            device::offload(&options.device, &weights, options.quant, options.threads, &options.packed_folder)?;
        let plan = DecoderPlan::new(language.spec, &packed, &*language.names, kernels)?;
        Ok(Self {
            engine: Engine::Native(Arc::new(plan), Arc::new(weights)),
            tokenizer: Arc::new(tokenizer),
            template,
            pool: pool(options),
            kv,
            context,
            longest,
            memory: Some(memory),
            path,
            architecture,
            offload,
        })
    }

    #[cfg(not(feature = "candle"))]
    fn open_candle(_: &Path, _: &LanguageOptions, _: Arc<ThreadPool>) -> Result<Self> {
        Err(Error::Unsupported("the candle backend: this build is without it (feature `candle`)".into()))
    }

    /// What holds one text, at its beginning.
    ///
    /// # Errors
    /// The backend's own.
    pub fn generator(&self) -> Result<Box<dyn TextGenerator>> {
        Ok(match &self.engine {
            Engine::Native(_, weights) => {
                let session = self.session()?;
                let sequence = session.sequence();
                let generator = Generator::new(session, sequence, self.tokenizer.clone(), self.context);
                Box::new(generator.of_weights(weights.clone()))
            }
            #[cfg(feature = "candle")]
            Engine::Candle(path) => candle::generator(path, self.tokenizer.clone(), self.context)?,
        })
    }

    /// A session of the native engine.
    ///
    /// # Errors
    /// [`Error::BadRequest`] of another backend.
    pub fn session(&self) -> Result<DecoderSession> {
        match &self.engine {
            Engine::Native(plan, _) => {
                let session = DecoderSession::new(plan.clone(), self.pool.clone(), self.kv)?;
                Ok(session.with_offload(self.offload.clone()))
            }
            #[cfg(feature = "candle")]
            Engine::Candle(_) => Err(Error::BadRequest("only the native backend computes this, not candle".to_owned())),
        }
    }

    /// What computes it: candle also where that was not asked for, because the architecture is not native.
    pub fn backend(&self) -> Backend {
        match self.engine {
            Engine::Native(..) => Backend::Cpu,
            #[cfg(feature = "candle")]
            Engine::Candle(_) => Backend::Candle,
        }
    }

    /// What ran where so far, unless everything is for the CPU.
    pub fn accelerator(&self) -> Option<Report> {
        device::report(self.offload.as_ref())
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Whether the model has a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// What makes a prompt of a conversation, where the model has it.
    ///
    /// # Errors
    /// It is not a template; the model continues plain text all the same.
    pub fn template(&self) -> Result<Option<ChatTemplate>> {
        self.template.as_ref().map(|source| ChatTemplate::new(source, &self.path.display().to_string())).transpose()
    }

    /// How the model is told to think or not.
    pub fn thinking(&self) -> ThinkingSwitch {
        self.template.as_deref().map_or(ThinkingSwitch::None, ThinkingSwitch::of_template)
    }

    /// Most tokens of a text.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Most tokens that the model was made for; the context is shorter where that was asked for, or memory is short.
    pub fn longest_context(&self) -> usize {
        self.longest
    }

    /// Bytes it needs, by part; `None` where the backend does not say.
    pub fn memory(&self) -> Option<&MemoryNeeds> {
        self.memory.as_ref()
    }

    /// Its file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }
}

/// Refuses a model that needs more than `limit` bytes.
fn check_memory(described: &Described, limit: u64) -> Result<()> {
    let MemoryNeeds { weights, cache, .. } = described.memory;
    let total = described.memory.total();
    if total <= limit {
        return Ok(());
    }
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    Err(Error::TooLarge(format!(
        "{} needs {} MB ({} of weights, {} for {} tokens of context), more than the limit of {} MB: \
         try a shorter context, 8-bit keys and values, or a smaller type of weights",
        described.path.display(),
        megabytes(total),
        megabytes(weights),
        megabytes(cache),
        described.context,
        megabytes(limit),
    )))
}
