//! A model that is found and opened, and what is computed with it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use babil_models::archive::Archive;
use babil_models::files::ModelFiles;
use babil_models::language::{Described, LanguageModel, LanguageOptions};
#[cfg(feature = "audio")]
use babil_models::speech::{SpeechModel, SpeechOptions, Task};
use babil_models::tasks::document::{Document, Job, Pace, Sink};
#[cfg(feature = "audio")]
use babil_models::tasks::language::code_of;
#[cfg(feature = "audio")]
use babil_models::tasks::transcribe::{TranscribeOptions, Transcription, transcribe};
use babil_models::tasks::translate::{LanguagePair, SentenceTranslator, TranslateOptions};
use babil_models::{Device, DeviceOptions, OpenOptions, catalogue, open_files, packed_folder};
#[cfg(feature = "audio")]
use babil_runtime::audio::{Audio, AudioOptions, WhenFull};
use babil_runtime::weights::{FilePart, Weights};

use crate::descriptor::opened;
use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Done, Feed, Finish, Generation, Piece, Work, begin};
use crate::handles::{HANDLES, Object};
use crate::interpreter::Interpreter;
use crate::live::Listening;
use crate::needs::Needs;
use crate::subtitles::{self, Form};

/// Where a model is.
pub(crate) enum Source {
    /// The translator inside the library.
    Bundled,
    /// A file or a folder.
    Path(PathBuf),
    /// A model that was pulled by name.
    Named(String, catalogue::Settings),
    /// A part of a file that is open.
    Part(FilePart),
}

/// How to open it.
#[derive(Default)]
pub(crate) struct Options {
    /// `None` is one for each fast core.
    pub(crate) threads: Option<usize>,
    /// Bytes; a model that needs more is refused.
    pub(crate) memory_limit: Option<u64>,
    /// Most tokens of a conversation; `None` is what model and memory allow.
    pub(crate) context: Option<usize>,
    /// Where packed weights are kept.
    pub(crate) packed_folder: Option<PathBuf>,
    /// What computes encoders and prompts.
    pub(crate) device: DeviceOptions,
}

impl Options {
    pub(crate) fn language(&self) -> LanguageOptions {
        let defaults = LanguageOptions::default();
        LanguageOptions {
            threads: self.threads,
            memory_limit: self.memory_limit,
            context: self.context,
            packed_folder: self.packed(),
            device: self.device.clone(),
            ..defaults
        }
    }

    pub(crate) fn packed(&self) -> PathBuf {
        self.packed_folder.clone().unwrap_or_else(packed_folder)
    }
}

/// What a model does, by its files.
pub(crate) enum Found {
    Translator(ModelFiles),
    Language(Place),
    Speech(Place),
}

/// Where the files of a model are that can be one file.
pub(crate) enum Place {
    Path(PathBuf),
    Mapped(Weights),
    Archive(Archive),
}

impl Place {
    pub(crate) fn describe(self, options: &LanguageOptions) -> Result<Described> {
        Ok(match self {
            Self::Path(path) => Described::open(&path, options)?,
            Self::Mapped(weights) => Described::of_weights(&weights, options)?,
            Self::Archive(archive) => {
                let problem = format!("{}: language models in archives; theirs are GGUF files", archive.label());
                return Err(Failure::new(Code::Unsupported, problem));
            }
        })
    }

    /// How errors call it.
    #[cfg(not(feature = "audio"))]
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Mapped(weights) => weights.file().to_owned(),
            Self::Archive(archive) => archive.label().to_owned(),
        }
    }
}

/// What computes, by the number of `dev.babil.Device`.
///
/// # Errors
/// There is no such number, or an environment variable of the device is wrong.
pub(crate) fn device(number: i32) -> Result<DeviceOptions> {
    let device = match number {
        0 => Device::Cpu,
        1 => Device::Npu,
        2 => Device::Auto,
        other => return Err(Failure::new(Code::BadArgument, format!("device number {other}"))),
    };
    Ok(DeviceOptions::from_env(device, false)?)
}

impl Source {
    /// A part of a file that is open under a descriptor.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn part(descriptor: i32, offset: u64, length: u64, name: String) -> Result<Self> {
        Ok(Self::Part(FilePart { file: Arc::new(opened(descriptor)?), offset, length, name }))
    }

    /// What is there.
    pub(crate) fn find(self) -> Result<Found> {
        let path = match self {
            #[cfg(feature = "bundled")]
            Self::Bundled => return Ok(Found::Translator(babil_models::bundled::EN_FR.clone())),
            #[cfg(not(feature = "bundled"))]
            Self::Bundled => return Err(Failure::new(Code::Unsupported, "this library is without the bundled model")),
            Self::Path(path) => path,
            Self::Named(name, settings) => match catalogue::resolve_in(&name, &settings)? {
                catalogue::Resolved::Bundled => return Self::Bundled.find(),
                catalogue::Resolved::Directory(path) | catalogue::Resolved::Gguf(path) => path,
                catalogue::Resolved::NotPulled { entry } => {
                    return Err(catalogue::Error::NotPulled { name: entry.name }.into());
                }
            },
            Self::Part(part) if Archive::is_one(&part)? => return of_archive(Archive::of_part(part)?),
            Self::Part(part) => {
                let weights = Weights::open_part(&part)?;
                let speech = weights.whisper_header().is_some();
                let place = Place::Mapped(weights);
                return Ok(if speech { Found::Speech(place) } else { Found::Language(place) });
            }
        };
        kind_of(path)
    }
}

/// Looks at the beginning of a file, or at the `config.json` of a folder.
fn kind_of(path: PathBuf) -> Result<Found> {
    let io = |error| babil_runtime::Error::io("open", &path, error);
    if std::fs::metadata(&path).map_err(io)?.is_file() {
        let mut magic = Vec::new();
        let file = std::fs::File::open(&path).map_err(io)?;
        io::Read::read_to_end(&mut io::Read::take(file, 4), &mut magic).map_err(io)?;
        // whisper.cpp's number, little-endian, is `ggml` backwards; anything else is for language models to refuse.
        return match &*magic {
            b"lmgg" => Ok(Found::Speech(Place::Path(path))),
            b"PK\x03\x04" => of_archive(Archive::open(&path)?),
            _ => Ok(Found::Language(Place::Path(path))),
        };
    }
    let files = ModelFiles::Folder(path.clone());
    of_files(files, Place::Path(path))
}

fn of_archive(archive: Archive) -> Result<Found> {
    of_files(ModelFiles::Archive(archive.clone()), Place::Archive(archive))
}

fn of_files(files: ModelFiles, place: Place) -> Result<Found> {
    let config = files.json::<serde_json::Value>("config.json")?;
    Ok(match config.as_ref().and_then(|config| config.get("model_type")?.as_str()) {
        Some("marian") => Found::Translator(files),
        Some("whisper") => Found::Speech(place),
        _ => Found::Language(place),
    })
}

/// The generation that a handle stands for, or that of live captions.
///
/// # Errors
/// It is closed, or is something else.
pub(crate) fn generation(handle: u64) -> Result<Arc<Generation>> {
    let listening = HANDLES.get::<Listening>(handle);
    listening.map(|listening| listening.captions()).or_else(|_| HANDLES.get(handle))
}

/// A model, ready to run.
pub(crate) enum Engine {
    Translator(Arc<dyn SentenceTranslator>),
    Language(Arc<LanguageModel>),
    #[cfg(feature = "audio")]
    Speech(Arc<SpeechModel>),
}

/// What is computed with an engine has handles of its own.
impl Object for Engine {
    fn stop(&self) {}
    fn wait(&self) {}
}

impl Engine {
    pub(crate) fn open(source: Source, options: &Options) -> Result<Self> {
        Ok(match source.find()? {
            Found::Translator(files) => {
                let packed = options.packed();
                Needs::of_translator(&files, &packed)?.check(options.memory_limit)?;
                let options = OpenOptions {
                    threads: options.threads,
                    packed_folder: Some(packed),
                    device: options.device.clone(),
                    ..OpenOptions::default()
                };
                Self::Translator(open_files(&files, &options)?.into())
            }
            Found::Language(place) => {
                let options = options.language();
                Self::Language(Arc::new(LanguageModel::build(place.describe(&options)?, &options)?))
            }
            #[cfg(feature = "audio")]
            Found::Speech(place) => {
                let packed = options.packed();
                Needs::of_speech(&place, &packed)?.check(options.memory_limit)?;
                let options = SpeechOptions {
                    threads: options.threads,
                    packed_folder: Some(packed),
                    device: options.device.clone(),
                    ..SpeechOptions::default()
                };
                Self::Speech(Arc::new(match place {
                    Place::Path(path) => SpeechModel::open(&path, &options)?,
                    Place::Mapped(weights) => SpeechModel::of_weights(weights, &options)?,
                    Place::Archive(archive) => SpeechModel::of_files(&ModelFiles::Archive(archive), &options)?,
                }))
            }
            #[cfg(not(feature = "audio"))]
            Found::Speech(place) => return Err(without_sound(&place.label())),
        })
    }

    /// The number of `dev.babil.Engine.Kind`.
    pub(crate) fn kind(&self) -> i32 {
        match self {
            Self::Translator(_) => 0,
            Self::Language(_) => 1,
            #[cfg(feature = "audio")]
            Self::Speech(_) => 2,
        }
    }

    /// The directions of a translator; none of other models.
    pub(crate) fn pairs(&self) -> &[LanguagePair] {
        match self {
            Self::Translator(translator) => translator.pairs(),
            _ => &[],
        }
    }

    pub(crate) fn language(&self) -> Result<Arc<LanguageModel>> {
        match self {
            Self::Language(model) => Ok(model.clone()),
            _ => Err(Failure::new(Code::Unsupported, "this model holds no conversations: it is no language model")),
        }
    }

    fn translator(&self, pair: &LanguagePair) -> Result<Arc<dyn SentenceTranslator>> {
        let Self::Translator(translator) = self else {
            return Err(Failure::new(Code::Unsupported, "this model does not translate text"));
        };
        if !translator.pairs().contains(pair) {
            let known: Vec<_> = translator.pairs().iter().map(ToString::to_string).collect();
            let problem = format!("this model does not translate {pair}; it knows {}", known.join(", "));
            return Err(Failure::new(Code::BadArgument, problem));
        }
        Ok(translator.clone())
    }

    /// Refuses a direction that the model does not know.
    pub(crate) fn check_pair(&self, pair: &LanguagePair) -> Result<()> {
        self.translator(pair).map(drop)
    }

    /// Translates `text`, of any length: word by word for who reads along, or in batches.
    pub(crate) fn translate(&self, pair: LanguagePair, text: String, live: bool) -> Result<Generation> {
        let translator = self.translator(&pair)?;
        let pace = if live { Pace::Live } else { Pace::default() };
        begin(Work::Compute, move |feed| translate(&*translator, &pair, &text, pace, feed))
    }

    /// What translates between two languages, for subtitles and captions.
    ///
    /// # Errors
    /// The model does not, or does not know this direction.
    pub(crate) fn interpreter(&self, pair: LanguagePair) -> Result<Interpreter> {
        Ok(Interpreter { translator: self.translator(&pair)?, pair })
    }

    /// Translates a file of subtitles.
    pub(crate) fn translate_subtitles(&self, pair: LanguagePair, file: PathBuf, form: Form) -> Result<Generation> {
        subtitles::of_file(self.interpreter(pair)?, file, form)
    }

    /// Writes down what is said in a file of sound.
    #[cfg(feature = "audio")]
    pub(crate) fn transcribe(&self, file: PathBuf, hearing: Hearing) -> Result<Generation> {
        let model = self.speech()?;
        let options = hearing.options(&model, None)?;
        begin(Work::Compute, move |feed| {
            let cancel = feed.cancel();
            let options = TranscribeOptions { cancel: cancel.clone(), ..options };
            let mut transcription = Transcription::new(&model, options)?;
            let sound = Audio::open(&file, &AudioOptions::default())?;
            let sound = sound.map(|block| cancel.check().and(block));
            transcribe(sound, &mut transcription, &mut |segment| {
                let language = segment.language.unwrap_or_default();
                feed.push(Piece::Segment { start: segment.start, end: segment.end, language, text: segment.text })
            })?;
            Ok((Finish::Complete, Counts::default()))
        })
    }

    /// Writes subtitles of a file of sound, in what is written down or in the language of `interpreter`.
    #[cfg(feature = "audio")]
    pub(crate) fn subtitles(
        &self,
        file: PathBuf,
        hearing: Hearing,
        interpreter: Option<Interpreter>,
        form: Form,
    ) -> Result<Generation> {
        let model = self.speech()?;
        let options = hearing.options(&model, interpreter.as_ref())?;
        subtitles::of_recording(model, options, interpreter, file, form)
    }

    /// Writes down what is said in sound that is pushed: `waits` for room for it, or else loses the oldest. An `interpreter`
    /// translates it.
    #[cfg(feature = "audio")]
    pub(crate) fn listen(&self, hearing: Hearing, interpreter: Option<Interpreter>, waits: bool) -> Result<Listening> {
        let when_full = if waits { WhenFull::Wait } else { WhenFull::Drop };
        let model = self.speech()?;
        let options = hearing.options(&model, interpreter.as_ref())?;
        Listening::begin(model, options, interpreter, when_full)
    }

    #[cfg(feature = "audio")]
    fn speech(&self) -> Result<Arc<SpeechModel>> {
        match self {
            Self::Speech(model) => Ok(model.clone()),
            _ => Err(Failure::new(Code::Unsupported, "this model hears nothing: it is no speech model")),
        }
    }

    #[cfg(not(feature = "audio"))]
    pub(crate) fn transcribe(&self, file: PathBuf, _: Hearing) -> Result<Generation> {
        Err(without_sound(&file.display().to_string()))
    }

    #[cfg(not(feature = "audio"))]
    pub(crate) fn subtitles(&self, file: PathBuf, _: Hearing, _: Option<Interpreter>, _: Form) -> Result<Generation> {
        Err(without_sound(&file.display().to_string()))
    }

    #[cfg(not(feature = "audio"))]
    pub(crate) fn listen(&self, _: Hearing, _: Option<Interpreter>, _: bool) -> Result<Listening> {
        Err(without_sound("a microphone"))
    }
}

/// How speech is written down.
#[cfg_attr(not(feature = "audio"), allow(dead_code, reason = "nothing is heard"))]
pub(crate) struct Hearing {
    /// The code of the language that is spoken; `None` is found out.
    pub(crate) language: Option<String>,
    /// Whether English is written, whatever is spoken.
    pub(crate) english: bool,
    /// Texts that are followed at the same time.
    pub(crate) beam: i32,
}

#[cfg(feature = "audio")]
impl Hearing {
    /// For a model, of which an interpreter may translate what it writes.
    ///
    /// # Errors
    /// It would write another language than the interpreter reads.
    fn options(self, model: &SpeechModel, interpreter: Option<&Interpreter>) -> Result<TranscribeOptions> {
        let Self { mut language, english, beam } = self;
        if let Some(Interpreter { pair, .. }) = interpreter {
            let only = model.special().multilingual.is_none();
            let written = if english || only { Some("en".to_owned()) } else { language.as_deref().map(code_of) };
            match written {
                // What the translator reads is what has to be spoken.
                None => language = Some(pair.from.clone()),
                Some(written) if written == pair.from => {}
                Some(written) => {
                    let problem =
                        format!("the translator reads `{}`, but `{written}` would be written down", pair.from);
                    return Err(Failure::new(Code::BadArgument, problem));
                }
            }
        }
        let task = if english { Task::Translate } else { Task::Transcribe };
        let beam = usize::try_from(beam).unwrap_or(0);
        Ok(TranscribeOptions { language, task, beam, ..TranscribeOptions::default() })
    }
}

#[cfg(not(feature = "audio"))]
pub(crate) fn without_sound(what: &str) -> Failure {
    Failure::new(Code::Unsupported, format!("{what}: this library is without sound (feature `audio`)"))
}

/// Where a translation goes.
struct Out<'f>(&'f Feed);

impl Sink for Out<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() || self.0.push(Piece::Answer(text.to_owned())).is_continue() {
            return Ok(());
        }
        Err(io::Error::other("nobody reads it"))
    }
}

fn translate(
    translator: &dyn SentenceTranslator,
    pair: &LanguagePair,
    text: &str,
    pace: Pace,
    feed: &Feed,
) -> Result<Done> {
    #[cfg(feature = "testing")]
    crate::testing::point();
    let options = TranslateOptions { cancel: feed.cancel(), ..TranslateOptions::default() };
    let job = Job { translator, pair, options: &options, pace, cancelled: &|| feed.flow().is_break() };
    let mut counts = Counts::default();
    // A document has no NUL, a string may: it stays where it was.
    for (i, part) in text.split('\0').enumerate() {
        if i > 0 {
            let _ = feed.push(Piece::Answer("\0".to_owned()));
        }
        let mut document = Document::new(job, Out(feed));
        document.push(part.as_bytes())?;
        let summary = document.finish()?;
        counts.read += summary.source_tokens;
        counts.written += summary.tokens;
        counts.writing += summary.elapsed;
    }
    Ok((Finish::Complete, counts))
}
