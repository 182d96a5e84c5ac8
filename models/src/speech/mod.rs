//! Speech models: a folder of transformers or a file of whisper.cpp -> a model that writes down what it hears.
//!
//! ```text
//! files --config--> family --> spec, names --> packed weights --> EncoderDecoderPlan --+
//!   +--> tokenizer, special tokens                                                     +--> SpeechModel
//!
//! frames of a window --encoder--> state --decode.rs, rules.rs--> tokens --segments.rs--> timed text
//! ```
//!
//! A [`SpeechModel`] is immutable and shared; [`crate::tasks::transcribe`] runs it over sound of any length.

pub mod decode;
pub mod rules;
pub mod segments;
pub mod special;
pub mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_runtime::accelerator::{Offload, Report};
use babil_runtime::kernels::Kernels;
use babil_runtime::memory::encoder_decoder_memory;
use babil_runtime::plan::{EncoderDecoderPlan, parameters};
use babil_runtime::quant::BLOCK;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::text::{Marks, Tokenizer};
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use babil_runtime::weights::{Encoding, Weights, packed_copy};
use babil_runtime::{Error, Result, Token};

pub use special::{SpecialTokens, Task};

use crate::device::{self, DeviceOptions};
use crate::families::whisper::{Config, Names};
use crate::files::ModelFiles;
use crate::open::Quant;
use crate::tasks::transcribe::TranscribeOptions;

/// Samples a second that speech models hear.
pub const SAMPLE_RATE: usize = babil_runtime::audio::SAMPLE_RATE as usize;
/// Frames of one position of the encoder's output.
pub const FRAMES_PER_POSITION: usize = 2;

/// How to open a speech model.
#[derive(Clone, Debug, Default)]
pub struct SpeechOptions {
    /// How float weights are quantised while loading; `None` is 8 bits.
    pub quant: Option<Quant>,
    /// Threads to compute with, as far as they can run at the same time; `None` is one for each fast core.
    pub threads: Option<usize>,
    /// Where copies of weights are kept that are made for this machine; `None` is
    /// [`packed_folder`](crate::packed_folder).
    pub packed_folder: Option<PathBuf>,
    /// What computes the encoder.
    pub device: DeviceOptions,
}

impl SpeechOptions {
    fn packed(&self) -> PathBuf {
        self.packed_folder.clone().unwrap_or_else(crate::packed_folder)
    }
}

/// A Whisper model, ready to run.
pub struct SpeechModel {
    plan: Arc<EncoderDecoderPlan>,
    pool: Arc<ThreadPool>,
    tokenizer: Tokenizer,
    special: SpecialTokens,
    config: Config,
    kv: KvType,
    offload: Option<Arc<Offload>>,
}

impl std::fmt::Debug for SpeechModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechModel").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// How the decoder's keys and values are kept.
fn kv_of(config: &Config, quant: Quant) -> KvType {
    let head_dim = config.d_model.checked_div(config.decoder_attention_heads).unwrap_or(0);
    match quant {
        // The exact weights are for comparison with other implementations, which keep float32.
        Quant::F32 => KvType::F32,
        _ if head_dim.is_multiple_of(BLOCK) => KvType::Q8_0,
        _ => KvType::F16,
    }
}

/// Memory that a window takes beside the weights and the vocabulary, in bytes, with the usual options: from the
/// configuration alone.
///
/// # Errors
/// A configuration that the family cannot run, naming the key.
pub fn working_memory(config: &Config) -> Result<u64> {
    encoder_decoder_memory(&config.spec()?, TranscribeOptions::default().beam, kv_of(config, Quant::Q8_0))
}

impl SpeechModel {
    /// Opens a file of whisper.cpp, or a folder of transformers' `WhisperForConditionalGeneration`.
    ///
    /// # Errors
    /// Files that are missing or damaged, or that hold another family of models.
    pub fn open(path: &Path, options: &SpeechOptions) -> Result<Self> {
        if path.is_file() {
            Self::of_weights(Weights::open(path)?, options)
        } else {
            Self::of_files(&ModelFiles::Folder(path.to_owned()), options)
        }
    }

    /// Opens the `weights` of a file of whisper.cpp, wherever it is.
    ///
    /// # Errors
    /// As [`SpeechModel::open`].
    pub fn of_weights(weights: Weights, options: &SpeechOptions) -> Result<Self> {
        let label = weights.file().to_owned();
        let Some(header) = weights.whisper_header() else {
            return Err(Error::bad_file(label, "is not a speech model: those are whisper.cpp files and folders"));
        };
        let config = Config::from_header(header);
        let special = SpecialTokens::of_vocabulary(config.vocab_size).map_err(|p| Error::bad_file(&label, p))?;
        let tokenizer = Tokenizer::from_ranks(&header.tokens, &label)?;
        Self::build(weights, Names::OpenAi, config, special, tokenizer, options)
    }

    /// Opens what transformers' folders hold, wherever it is.
    ///
    /// # Errors
    /// As [`SpeechModel::open`].
    pub fn of_files(files: &ModelFiles, options: &SpeechOptions) -> Result<Self> {
        let missing =
            || Error::bad_file(files.label("config.json"), "does not exist: this is not the folder of a model");
        let family: serde_json::Value = files.json("config.json")?.ok_or_else(missing)?;
        match family.get("model_type").and_then(|family| family.as_str()) {
            Some("whisper") => {}
            other => {
                let label = files.label("config.json");
                let other = other.map_or_else(|| "no model_type".to_owned(), |family| format!("model_type `{family}`"));
                return Err(Error::Unsupported(format!("{label}: {other}; speech models are of the family `whisper`")));
            }
        }
        let config: Config = files.json("config.json")?.ok_or_else(missing)?;
        let vocab = config.vocab_size;
        let special = match files.read("generation_config.json")? {
            Some(json) => SpecialTokens::from_generation_config(&json, &files.label("generation_config.json"), vocab)?,
            None => SpecialTokens::of_vocabulary(vocab).map_err(|problem| {
                Error::bad_file(files.label("generation_config.json"), format!("does not exist, and {problem}"))
            })?,
        };
        let json = files.expect("tokenizer.json")?;
        let tokenizer = Tokenizer::from_json(&json, &files.label("tokenizer.json"), vocab)?;
        Self::build(files.weights_in(&options.packed())?, Names::Transformers, config, special, tokenizer, options)
    }

    fn build(
        mut weights: Weights,
        names: Names,
        config: Config,
        special: SpecialTokens,
        tokenizer: Tokenizer,
        options: &SpeechOptions,
    ) -> Result<Self> {
        let spec = config.spec()?;
        let has = |&[layer, head]: &[usize; 2]| layer < config.decoder_layers && head < config.decoder_attention_heads;
        if let Some([layer, head]) = special.alignment_heads.iter().find(|head| !has(head)) {
            let problem = format!("alignment_heads: head {head} of layer {layer}, which the model does not have");
            return Err(Error::bad_file("generation_config.json", problem));
        }
        let quant = options.quant.unwrap_or(Quant::Q8_0);
        let packed = options.packed();
        let offload = device::offload(&options.device, &weights, quant.block(), options.threads, &packed)?;
        let parameters = parameters(&spec, &weights, &names);
        let blocks = weights.iter().any(|(_, tensor)| matches!(tensor.encoding(), Encoding::Blocks(_)));
        if quant != Quant::F32 || blocks {
            weights = packed_copy(&weights, &parameters, quant.block(), &packed)?;
        }
        let plan = EncoderDecoderPlan::new(spec, &weights, &names, Kernels::from_env()?)?;
        let pool = Arc::new(ThreadPool::for_machine(&Topology::detect(), options.threads, None));
        let kv = kv_of(&config, quant);
        Ok(Self { plan: Arc::new(plan), pool, tokenizer, special, config, kv, offload })
    }

    /// What computes: it holds the memory of one forward pass at a time.
    ///
    /// # Errors
    /// None that a model which was opened gives.
    pub fn session(&self) -> Result<EncoderDecoderSession> {
        let session = EncoderDecoderSession::new(self.plan.clone(), self.pool.clone(), self.kv)?;
        Ok(session.with_offload(self.offload.clone()))
    }

    /// What ran where so far, unless everything is for the CPU.
    pub fn accelerator(&self) -> Option<Report> {
        device::report(self.offload.as_ref())
    }

    /// The tokens that steer it.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Mel bands of a frame.
    pub fn features(&self) -> usize {
        self.config.num_mel_bins
    }

    /// Most frames of a window.
    pub fn window(&self) -> usize {
        FRAMES_PER_POSITION * self.config.max_source_positions
    }

    /// Most tokens of a window, its prompt included.
    pub fn positions(&self) -> usize {
        self.config.max_target_positions
    }

    /// The tokens of a text that comes before, such as names that are to be spelled so.
    ///
    /// # Errors
    /// A text of 4 GiB or more.
    pub fn encode(&self, text: &str) -> Result<Vec<Token>> {
        self.tokenizer.encode(text, Marks::AsText)
    }

    /// The heads of the decoder that say when a token was spoken, layer and head: those that the model's files name, or
    /// all heads of the layers in its middle, at most four: what they look at is kept for a whole window.
    pub fn alignment_heads(&self) -> Vec<[usize; 2]> {
        if !self.special.alignment_heads.is_empty() {
            return self.special.alignment_heads.clone();
        }
        let layers = self.config.decoder_layers;
        let heads = |layer| (0..self.config.decoder_attention_heads).map(move |head| [layer, head]);
        (layers / 2..layers).take(4).flat_map(heads).collect()
    }

    /// The bytes of a token of text; nothing for those that steer and for timestamps.
    pub fn token_bytes(&self, token: Token) -> &[u8] {
        let text = (token < self.special.end).then(|| self.tokenizer.token_bytes(token)).flatten();
        text.unwrap_or_default()
    }

    /// The text of tokens; steering tokens and timestamps are left out. Bytes that are no characters become U+FFFD.
    pub fn text(&self, tokens: &[Token]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.token_bytes(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
