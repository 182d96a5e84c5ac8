//! Opening models for a task by what the user asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_runtime::accelerator::{Offload, Report};
use babil_runtime::kernels::Kernels;
use babil_runtime::memory::encoder_decoder_memory;
use babil_runtime::plan::{EncoderDecoderPlan, parameters};
use babil_runtime::quant::BlockType;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::text::{PieceMap, PieceVocabulary, SentencePiece, Vocabulary};
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use babil_runtime::weights::{Weights, packed_copy};
use babil_runtime::{Error, Result};
use serde::Deserialize;

use crate::catalogue;
use crate::device::{self, DeviceOptions};
use crate::families::marian::{self, GenerationConfig};
use crate::files::ModelFiles;
use crate::tasks::language::LANGUAGES;
use crate::tasks::translate::{LanguagePair, SentenceTranslator};
use crate::tasks::translator::{self, Direction, Translator, TranslatorSpec};

/// Which model to open, and how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// A name of the catalogue, a folder or a file in it; `None` is the bundled model.
    pub model: Option<String>,
    /// What computes.
    pub backend: Backend,
    /// How float weights are quantised while loading; `None` is the default of the backend.
    pub quant: Option<Quant>,
    /// Threads to compute with, as far as they can run at the same time; `None` is one for each fast core.
    pub threads: Option<usize>,
    /// Never open a network connection.
    pub offline: bool,
    /// Where copies of weights are kept that are made for this machine; `None` is [`packed_folder`].
    pub packed_folder: Option<PathBuf>,
    /// What computes the encoder.
    pub device: DeviceOptions,
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
    /// 7 bits, in blocks of 128 with a scale, and activations likewise: what translates fastest. Matrices whose rows are not such
    /// blocks are [`Quant::Q8_0`].
    Q7_128,
    /// 4 bits, in blocks of 32 with a scale.
    Q4_0,
}

impl Quant {
    /// The block type, where there is one.
    pub fn block(self) -> Option<BlockType> {
        match self {
            Self::F32 => None,
            Self::Q8_0 => Some(BlockType::Q8_0),
            Self::Q7_128 => Some(BlockType::Q7_128),
            Self::Q4_0 => Some(BlockType::Q4_0),
        }
    }
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such model here.
    #[error(transparent)]
    Catalogue(#[from] catalogue::Error),
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Opens the translator that `options` ask for: a name of the catalogue, a folder, or the bundled model.
///
/// # Errors
/// A model that does not exist or was not pulled, that is damaged, or that this version cannot run.
pub fn open_translator(options: &OpenOptions) -> std::result::Result<Box<dyn SentenceTranslator>, OpenError> {
    let files = match options.model.as_deref() {
        None => bundled()?,
        Some(name) => match catalogue::resolve(name)? {
            catalogue::Resolved::Bundled => bundled()?,
            catalogue::Resolved::Directory(folder) => ModelFiles::Folder(folder),
            catalogue::Resolved::Gguf(path) => {
                let problem = format!("translating with {}, a language model (`babil run` runs it)", path.display());
                return Err(Error::Unsupported(problem).into());
            }
            catalogue::Resolved::NotPulled { entry } => {
                return Err(catalogue::Error::NotPulled { name: entry.name }.into());
            }
        },
    };
    Ok(open_files(&files, options)?)
}

#[cfg(feature = "bundled")]
pub(crate) fn bundled() -> Result<ModelFiles> {
    Ok(crate::bundled::EN_FR.clone())
}

#[cfg(not(feature = "bundled"))]
pub(crate) fn bundled() -> Result<ModelFiles> {
    Err(Error::Unsupported("the bundled model: this build is without it (feature `bundled`)".to_owned()))
}

/// Opens a translator from the files of a model.
///
/// # Errors
/// A model that is damaged, or that this version cannot run.
pub fn open_files(files: &ModelFiles, options: &OpenOptions) -> Result<Box<dyn SentenceTranslator>> {
    let config = config(files)?;
    let spec = translator_spec(files, &config)?;
    let pool = ThreadPool::for_machine(&Topology::detect(), options.threads, None);
    match options.backend {
        Backend::Cpu => {
            let packed = options.packed_folder.clone().unwrap_or_else(packed_folder);
            let quant = options.quant.unwrap_or(Quant::Q7_128);
            let weights = files.weights_in(&packed)?;
            let plan = plan_of(&weights, &config, quant, Kernels::from_env()?, &packed)?;
            let offload = device::offload(&options.device, &weights, quant.block(), options.threads, &packed)?;
            Ok(Box::new(Translator::new(Native(Arc::new(plan), offload), spec, pool)?))
        }
        #[cfg(feature = "candle")]
        Backend::Candle => {
            let folder = files.folder().ok_or_else(|| {
                Error::Unsupported("the bundled model on the candle backend: it needs a folder of float weights".into())
            })?;
            // Opened once now, so that what it cannot run is said at once.
            crate::candle::CandleMarian::open(folder)?;
            Ok(Box::new(Translator::new(Candle(folder.to_owned()), spec, pool)?))
        }
        #[cfg(not(feature = "candle"))]
        Backend::Candle => Err(Error::Unsupported("the candle backend: this build is without it".to_owned())),
    }
}

/// The configuration of a model's folder.
///
/// # Errors
/// There is none, it is damaged, or it is of a family that this version does not know.
pub(crate) fn config(files: &ModelFiles) -> Result<marian::Config> {
    #[derive(Deserialize)]
    struct Family {
        model_type: Option<String>,
    }
    let missing = || Error::bad_file(files.label("config.json"), "does not exist: this is not the folder of a model");
    let family: Family = files.json("config.json")?.ok_or_else(missing)?;
    match family.model_type.as_deref() {
        Some("marian") => files.json("config.json")?.ok_or_else(missing),
        Some(other) => Err(Error::Unsupported(format!(
            "{}: models of the family `{other}` (model_type); this version knows `marian`",
            files.label("config.json")
        ))),
        None => {
            Err(Error::bad_file(files.label("config.json"), "has no model_type: this is not the folder of a model"))
        }
    }
}

/// The native backend's plan for a Marian model. Copies of its weights go into the folder `packed`.
///
/// # Errors
/// As [`open_files`].
pub fn plan(
    files: &ModelFiles,
    config: &marian::Config,
    quant: Quant,
    kernels: Kernels,
    packed: &Path,
) -> Result<EncoderDecoderPlan> {
    plan_of(&files.weights_in(packed)?, config, quant, kernels, packed)
}

/// How translators keep keys and values.
const KV: KvType = KvType::F32;

/// The plan of a model that has these `weights`.
fn plan_of(
    weights: &Weights,
    config: &marian::Config,
    quant: Quant,
    kernels: Kernels,
    packed: &Path,
) -> Result<EncoderDecoderPlan> {
    let names = marian::Names { shared: config.share_encoder_decoder_embeddings };
    let spec = config.spec()?;
    let mut weights = weights.clone();
    if let Some(block) = quant.block() {
        let parameters = parameters(&spec, &weights, &names);
        let float = |name: &str| weights.get(name).is_some_and(|tensor| tensor.as_packed().is_none());
        if parameters.iter().any(|(name, matrix)| *matrix && float(name)) {
            weights = packed_copy(&weights, &parameters, Some(block), packed)?;
        }
    }
    EncoderDecoderPlan::new(spec, &weights, &names, kernels)
}

/// Memory that a translator takes beside its weights and vocabulary, in bytes: the longest sentence, with the width of beam
/// that the model's files ask for. From its configuration alone.
///
/// # Errors
/// Files that are missing or damaged, or a configuration that this version cannot run, naming the key.
pub fn working_memory(files: &ModelFiles) -> Result<u64> {
    let missing = || Error::bad_file(files.label("config.json"), "does not exist: this is not the folder of a model");
    let config: marian::Config = files.json("config.json")?.ok_or_else(missing)?;
    let generation: GenerationConfig = files.json("generation_config.json")?.unwrap_or_default();
    encoder_decoder_memory(&config.spec()?, generation.spec(&config.generation)?.beam, KV)
}

/// Where babil keeps what it made itself: `BABIL_CACHE`, else a folder in the user's cache folder.
pub fn cache_folder() -> PathBuf {
    let base = std::env::var_os("BABIL_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).map(|cache| cache.join("babil"))
    });
    base.unwrap_or_else(|| std::env::temp_dir().join("babil"))
}

/// Where packed copies of float weights are kept, in [`cache_folder`].
pub fn packed_folder() -> PathBuf {
    cache_folder().join("packed")
}

struct Native(Arc<EncoderDecoderPlan>, Option<Arc<Offload>>);

impl translator::Backend for Native {
    type Session = EncoderDecoderSession;

    fn session(&self, pool: &Arc<ThreadPool>) -> Result<EncoderDecoderSession> {
        let session = EncoderDecoderSession::new(self.0.clone(), pool.clone(), KV)?;
        Ok(session.with_offload(self.1.clone()))
    }

    fn accelerator(&self) -> Option<Report> {
        device::report(self.1.as_ref())
    }
}

/// candle keeps the state of one sequence inside its model, so each session has a model of its own.
#[cfg(feature = "candle")]
struct Candle(PathBuf);

#[cfg(feature = "candle")]
impl translator::Backend for Candle {
    type Session = crate::candle::CandleMarian;

    fn session(&self, _: &Arc<ThreadPool>) -> Result<crate::candle::CandleMarian> {
        crate::candle::CandleMarian::open(&self.0)
    }
}

/// What a translation model is beside its weights.
///
/// # Errors
/// Vocabulary files that are missing, damaged or do not fit each other.
pub fn translator_spec(files: &ModelFiles, config: &marian::Config) -> Result<TranslatorSpec> {
    let vocabulary = vocabulary(files, config)?;
    let generation: GenerationConfig = files.json("generation_config.json")?.unwrap_or_default();
    let extra: Extra = files.json("config.json")?.unwrap_or_default();
    let directions = directions(files, &*vocabulary, extra.pairs)?;
    let mut generation = generation.spec(&config.generation)?;
    generation.max_tokens = generation.max_tokens.min(config.max_position_embeddings);
    let label = files.label("generation_config.json");
    generation
        .check(config.decoder_vocab_size.unwrap_or(config.vocab_size))
        .map_err(|e| Error::bad_file(label, e.to_string()))?;
    // The source is framed by a language token and the end of the sentence.
    let room = config.max_position_embeddings.saturating_sub(2);
    let max_source_tokens = extra.max_source_tokens.unwrap_or(room).min(room);
    if max_source_tokens == 0 {
        return Err(Error::bad_file(files.label("config.json"), "leaves no position for a sentence"));
    }
    Ok(TranslatorSpec { directions, generation, max_source_tokens, vocabulary })
}

/// The vocabulary: SentencePiece models and `vocab.json`, or else `tokenizer.json`.
fn vocabulary(files: &ModelFiles, config: &marian::Config) -> Result<Box<dyn Vocabulary>> {
    const JSON: &str = "tokenizer.json";
    let pieces = |name: &str| -> Result<Option<Arc<SentencePiece>>> {
        let bytes = files.read(name)?;
        bytes.map(|bytes| SentencePiece::from_bytes(&bytes, &files.label(name)).map(Arc::new)).transpose()
    };
    let Some(source) = pieces("source.spm")? else {
        let json = files.read(JSON)?.ok_or_else(|| {
            Error::bad_file(files.label("source.spm"), "does not exist, nor does tokenizer.json: the model needs one")
        })?;
        return json_vocabulary(&json, &files.label(JSON), config.vocab_size);
    };
    let target = pieces("target.spm")?.unwrap_or_else(|| source.clone());
    let map = |name: &str, bytes: &[u8], size| PieceMap::from_json(bytes, &files.label(name), size).map(Arc::new);
    let source_map = map("vocab.json", &files.expect("vocab.json")?, config.vocab_size)?;
    let target_map = match files.read("target_vocab.json")? {
        Some(bytes) => map("target_vocab.json", &bytes, config.decoder_vocab_size.unwrap_or(config.vocab_size))?,
        None => source_map.clone(),
    };
    Ok(Box::new(PieceVocabulary::new(source, target, source_map, target_map)))
}

#[cfg(feature = "tokenizers")]
fn json_vocabulary(json: &[u8], label: &str, size: usize) -> Result<Box<dyn Vocabulary>> {
    Ok(Box::new(babil_runtime::text::JsonTokenizer::from_bytes(json, label, size)?))
}

#[cfg(not(feature = "tokenizers"))]
fn json_vocabulary(_: &[u8], label: &str, _: usize) -> Result<Box<dyn Vocabulary>> {
    Err(Error::Unsupported(format!(
        "{label}: this build reads source.spm, target.spm and vocab.json only (feature `tokenizers`)"
    )))
}

/// Keys of `config.json` that are ours.
#[derive(Default, Deserialize)]
struct Extra {
    #[serde(default, rename = "translation_pairs")]
    pairs: Vec<ExtraPair>,
    max_source_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct ExtraPair {
    from: String,
    to: String,
    /// The language token to put before the source.
    prefix: Option<String>,
}

/// The directions of a model: what its `config.json` says, or else the languages of `tokenizer_config.json`, or else
/// of the folder's name (`opus-mt-en-fr`). A vocabulary with language tokens (`>>fra<<`) has one direction for each.
fn directions(files: &ModelFiles, vocabulary: &dyn Vocabulary, extra: Vec<ExtraPair>) -> Result<Vec<Direction>> {
    if !extra.is_empty() {
        let direction = |ExtraPair { from, to, prefix }| {
            let prefix = prefix.map(|piece| {
                vocabulary.id(&piece).ok_or_else(|| {
                    Error::bad_file(files.label("vocab.json"), format!("lacks the language token {piece}"))
                })
            });
            Ok(Direction { pair: LanguagePair::new(from, to), prefix: prefix.transpose()? })
        };
        return extra.into_iter().map(direction).collect();
    }
    #[derive(Default, Deserialize)]
    struct TokenizerConfig {
        source_lang: Option<String>,
        target_lang: Option<String>,
    }
    let tokenizer: TokenizerConfig = files.json("tokenizer_config.json")?.unwrap_or_default();
    let from_name = || {
        let folder = files.folder()?.canonicalize().ok()?;
        // A snapshot of the hub's cache is called by its commit; the model's name is two folders up.
        let names = folder.ancestors().take(3).filter_map(|path| path.file_name()?.to_str());
        let pair = names.filter_map(|name| name.rsplit_once("opus-mt-")).next()?.1;
        let (before, to) = pair.rsplit_once('-')?;
        let from = before.rsplit_once('-').map_or(before, |(_, from)| from);
        Some((from.to_owned(), to.to_owned()))
    };
    let (from, to) = match (tokenizer.source_lang, tokenizer.target_lang) {
        (Some(from), Some(to)) => (from, to),
        _ => from_name().ok_or_else(|| {
            Error::bad_file(
                files.label("tokenizer_config.json"),
                "does not name source_lang and target_lang, nor does the folder's name (as in opus-mt-en-fr)",
            )
        })?,
    };
    let from = short_code(&from);
    let mut languages = vocabulary.languages();
    languages.sort();
    if languages.is_empty() {
        return Ok(vec![Direction { pair: LanguagePair::new(from, short_code(&to)), prefix: None }]);
    }
    let direction = |language: &String| Direction {
        pair: LanguagePair::new(from, short_code(language)),
        prefix: vocabulary.id(&format!(">>{language}<<")),
    };
    Ok(languages.iter().map(direction).collect())
}

/// The two-letter code of a language that has one: opus-mt models use two-letter, three-letter and group codes.
fn short_code(code: &str) -> &str {
    let language = code.split('_').next().unwrap_or(code);
    match LANGUAGES.iter().find(|known| known.code3 == language) {
        Some(known) => known.code,
        None if language == "cmn" => "zh",
        None if language == "jap" => "ja",
        None => code,
    }
}
