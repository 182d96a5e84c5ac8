//! A model and how it is run -> work that can be measured.

use std::path::Path;
#[cfg(feature = "audio")]
use std::sync::Arc;

use anyhow::Result;
use babil_models::bench::language::LanguageWork;
#[cfg(feature = "audio")]
use babil_models::bench::speech::{TranscriptionWork, WindowWork};
use babil_models::bench::subject::Subject;
use babil_models::bench::translation::{TranslationWork, sentences};
use babil_models::bench::{Test, Workload};
use babil_models::files::ModelFiles;
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_models::{OpenOptions, open_files};
use babil_runtime::quant::BlockType;
use babil_runtime::session::DecoderSession;
use babil_runtime::{Cancel, Error};

use super::TestArgs;
use crate::exit::UsageError;
use crate::language::{KvArg, read_text};
use crate::translator::direction;

/// How a model is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct How {
    pub(super) threads: usize,
    pub(super) kv: KvArg,
    pub(super) quant: Option<BlockType>,
}

/// A model that is open.
pub(super) enum Opened {
    /// Does any test.
    Language(Box<LanguageWork<DecoderSession>>),
    /// Does one piece of work, which has a name.
    Other(Box<dyn Workload>, String),
}

/// Tokens that are decoded of a window of noise: as many as are said in half a minute.
#[cfg(feature = "audio")]
const WINDOW_TOKENS: usize = 128;

/// Opens `subject` for `tests`.
pub(super) fn open(subject: &Subject, how: How, tests: &[Test], args: &TestArgs, cancel: &Cancel) -> Result<Opened> {
    match subject {
        Subject::Language(path) => language(path, how, tests, args, cancel),
        Subject::Translation(files) => translation(files, how, args, cancel),
        Subject::Speech(path) => speech(path, how, args, cancel),
    }
}

fn language(path: &Path, how: How, tests: &[Test], args: &TestArgs, cancel: &Cancel) -> Result<Opened> {
    let options = LanguageOptions {
        threads: Some(how.threads),
        context: tests.iter().map(|test| test.positions()).max(),
        kv: Some(how.kv.kv()),
        quant: how.quant,
        device: args.device.options()?,
        ..LanguageOptions::default()
    };
    let session = LanguageModel::open(path, &options)?.session()?;
    let empty = session.sequence();
    let batch = args.batch_size.map_or(babil_models::language::CHUNK, |batch| batch as usize);
    Ok(Opened::Language(Box::new(LanguageWork::new(session, empty, batch, cancel)?)))
}

fn translation(files: &ModelFiles, how: How, args: &TestArgs, cancel: &Cancel) -> Result<Opened> {
    let device = args.device.options()?;
    let translator = open_files(files, &OpenOptions { threads: Some(how.threads), device, ..OpenOptions::default() })?;
    let pairs = translator.pairs();
    let pair = match (&args.from, &args.to) {
        (None, None) => pairs[0].clone(),
        (from, to) => direction::resolve(pairs, from.as_deref(), to.as_deref(), "")?.pair,
    };
    let lines = match &args.text {
        Some(path) => {
            let text = read_text(Some(path), "the sentences")?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        None => sentences(&pair.from).ok_or_else(|| {
            let from = &pair.from;
            UsageError::new(format!(
                "babil has no sentences in the language `{from}`: say --text FILE, a sentence on each line"
            ))
        })?,
    };
    let name = format!("{} {} sentences", pair, lines.len());
    let work = TranslationWork::new(translator, pair, lines, args.beam.map(usize::from), cancel)?;
    Ok(Opened::Other(Box::new(work), name))
}

#[cfg(not(feature = "audio"))]
fn speech(_: &Path, _: How, _: &TestArgs, _: &Cancel) -> Result<Opened> {
    Err(Error::Unsupported("speech models: this build is without them (feature `audio`)".to_owned()).into())
}

#[cfg(feature = "audio")]
fn speech(path: &Path, how: How, args: &TestArgs, cancel: &Cancel) -> Result<Opened> {
    use babil_models::speech::{SpeechModel, SpeechOptions};
    use babil_models::tasks::transcribe::TranscribeOptions;
    use babil_runtime::audio::{Audio, AudioOptions};

    let options =
        SpeechOptions { threads: Some(how.threads), device: args.device.options()?, ..SpeechOptions::default() };
    let model = Arc::new(SpeechModel::open(path, &options)?);
    let Some(sound) = &args.sound else {
        let most =
            model.positions() - model.special().prompt(None, babil_models::speech::Task::Transcribe, false)?.len();
        let tokens = WINDOW_TOKENS.min(most);
        let work = WindowWork::new(model, tokens, cancel)?;
        return Ok(Opened::Other(Box::new(work), format!("window+tg{tokens}")));
    };
    let bad = |error: Error| Error::BadRequest(error.to_string());
    let blocks: Vec<Vec<f32>> =
        Audio::open(sound, &AudioOptions::default()).map_err(bad)?.collect::<Result<_, _>>().map_err(bad)?;
    let mut options = TranscribeOptions { cancel: cancel.clone(), ..TranscribeOptions::default() };
    if let Some(beam) = args.beam {
        options.beam = beam.into();
    }
    let name = format!("transcribe {}", sound.file_name().unwrap_or(sound.as_os_str()).display());
    let work = TranscriptionWork::new(model, blocks.concat(), options)?;
    Ok(Opened::Other(Box::new(work), name))
}
