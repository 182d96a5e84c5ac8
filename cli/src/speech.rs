//! Arguments that commands for speech models share, and what they become.
//!
//! ```text
//! SpeechArgs --> SpeechModel --+
//! file, stdin --> Audio -------+--> stretches of speech --> segments --+--> Page --> file, stdout
//!                                   Journal: those of an earlier run --+
//! ```

mod journal;
mod page;

use std::fs::Metadata;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use babil_models::speech::{SAMPLE_RATE, SpeechModel, SpeechOptions, Task};
use babil_models::tasks::language::code_of;
use babil_models::tasks::transcribe::{Segment, Speech, Stretch, TranscribeOptions, Transcription};
use babil_models::{catalogue, families};
use babil_runtime::Error;
use babil_runtime::audio::{Audio, AudioOptions, Pcm, SampleFormat, TrackChoice};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::journal::{Journal, Origin};
pub(crate) use self::page::{Form, Page, as_json, engine};
use crate::args::Context;
use crate::device::{self, DeviceArgs};
use crate::exit::UsageError;
use crate::interrupt::{interrupted, new_cancel};
use crate::language::model_path;
use crate::output_file::{OutputFile, is_same_file, part_of};
use crate::power::{Pacing, PowerArgs, Powered};

/// Which speech model, and how it is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpeechArgs {
    /// Speech model: a name of `babil list`, a folder of transformers, or a file of whisper.cpp [default: whisper-base,
    /// or else the first of `babil list --kind speech` that was pulled]
    #[arg(short, long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Language that is spoken: a code or a name, such as `fr` or `french` [default: the model finds out]
    #[arg(long, visible_alias = "language", value_name = "LANGUAGE")]
    from: Option<String>,
    /// Sound track of a film: a number from 0, or a language as the film has it, such as `eng` [default: the first]
    #[arg(long, value_name = "N|LANGUAGE")]
    track: Option<String>,
    /// Width of the beam; 1 is fastest
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=128))]
    beam: u16,
    /// Tell the model in each window what it wrote in the one before
    #[arg(long)]
    previous_text: bool,
    /// Names and terms as they are to be spelled
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Let the encoder hear whole windows, even of short sound: slower
    #[arg(long)]
    exact: bool,
    /// Threads to compute with, as far as there are cores for them [default: one per fast core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    power: PowerArgs,
}

impl SpeechArgs {
    /// Threads to compute with.
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// The language that the user says is spoken, as models call it.
    pub(crate) fn from(&self) -> Option<String> {
        self.from.as_deref().map(|name| match code_of(name).as_str() {
            "nb" => "no".to_owned(),
            code => code.to_owned(),
        })
    }

    /// Opens a file of sound or a film.
    pub(crate) fn sound(&self, path: &Path) -> Result<Audio> {
        let track = match &self.track {
            None => TrackChoice::First,
            Some(track) => track.parse().map_or_else(|_| TrackChoice::Language(track.clone()), TrackChoice::Index),
        };
        Ok(Audio::open(path, &AudioOptions { track, ..AudioOptions::default() }).map_err(bad_sound)?)
    }

    /// Raw samples on stdin.
    pub(crate) fn stdin(&self, pcm: Pcm) -> Result<Audio> {
        self.no_track("raw PCM on stdin")?;
        Ok(Audio::pcm("stdin", std::io::stdin(), pcm).map_err(bad_sound)?)
    }

    /// Refuses a choice among tracks for `what`, which has one.
    pub(crate) fn no_track(&self, what: &str) -> Result<()> {
        match self.track {
            Some(_) => Err(UsageError::new(format!("--track is for films: {what} has one")).into()),
            None => Ok(()),
        }
    }

    /// Opens the model.
    pub(crate) fn open(&self, context: &Context) -> Result<OpenSpeech> {
        let path = match &self.model {
            Some(name) => model_path(name)?,
            None => model_path(&catalogue::speech_model()?.name)?,
        };
        let Powered { threads, pacing, .. } = self.power.resolve(Some(&path), context)?;
        let threads = self.threads().or(threads);
        let device = self.device.options()?;
        let model = SpeechModel::open(&path, &SpeechOptions { threads, device, ..SpeechOptions::default() })?;
        Ok(OpenSpeech { model, path, pacing })
    }

    /// How to transcribe speech in `language`, if that is known, with or without the times of `words`.
    pub(crate) fn options(&self, language: Option<String>, task: Task, words: bool) -> TranscribeOptions {
        TranscribeOptions {
            language,
            task,
            beam: self.beam.into(),
            prompt: self.prompt.clone(),
            previous_text: self.previous_text,
            words,
            exact: self.exact,
            ..TranscribeOptions::default()
        }
    }
}

/// What is to be known of samples on stdin.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Raw PCM on stdin")]
pub(crate) struct PcmArgs {
    /// Samples per second [default: 16000]
    #[arg(long, value_name = "HZ")]
    rate: Option<u32>,
    /// Channels, interleaved [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    channels: Option<u16>,
    /// How a sample is written, little-endian [default: s16]
    #[arg(long, value_enum)]
    format: Option<SampleArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SampleArg {
    /// 16 bits, signed
    S16,
    /// 32 bits, floating point, from -1 to 1
    F32,
}

impl PcmArgs {
    pub(crate) fn pcm(&self) -> Pcm {
        Pcm {
            rate: self.rate.unwrap_or(16_000),
            channels: self.channels.unwrap_or(1),
            format: match self.format {
                None | Some(SampleArg::S16) => SampleFormat::S16,
                Some(SampleArg::F32) => SampleFormat::F32,
            },
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        self.rate.is_some() || self.channels.is_some() || self.format.is_some()
    }
}

/// A speech model and where it is.
pub(crate) struct OpenSpeech {
    pub(crate) model: SpeechModel,
    pub(crate) path: PathBuf,
    /// Rests between segments.
    pub(crate) pacing: Pacing,
}

impl OpenSpeech {
    /// Says what ran where, unless everything was for the CPU.
    pub(crate) fn note_devices(&self, context: &Context) {
        device::note(self.model.accelerator().as_ref(), context);
    }

    /// The language of the first thing that is said in `sound`, as this model hears it; `None` where nobody speaks.
    pub(crate) fn language_of(&self, sound: Audio, options: TranscribeOptions) -> Result<Option<String>> {
        let options = TranscribeOptions { cancel: new_cancel(), ..options };
        let mut transcription = Transcription::new(&self.model, options)?;
        let sound = sound.map(|block| if interrupted() { Err(Error::Cancelled) } else { block.map_err(bad_sound) });
        for stretch in stretches(sound, &self.model)? {
            // The language is known with the first segment, and nothing else is asked for.
            match transcription.stretch(&stretch?, &mut |_| ControlFlow::Break(())) {
                Ok(()) => {}
                Err(Error::Cancelled) if !interrupted() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(transcription.language().map(str::to_owned))
    }
}

/// The stretches of speech in the blocks of a sound.
fn stretches(
    sound: impl Iterator<Item = babil_runtime::Result<Vec<f32>>>,
    model: &SpeechModel,
) -> Result<impl Iterator<Item = babil_runtime::Result<Stretch>>> {
    let mut speech = Speech::new(model)?;
    Ok(sound.map(Some).chain([None]).flat_map(move |block| {
        let found = match block {
            Some(block) => block.map(|block| speech.push(&block)),
            None => Ok(speech.finish()),
        };
        found.map_or_else(|error| vec![Err(error)], |found| found.into_iter().map(Ok).collect())
    }))
}

/// What is wrong with sound is wrong with the input, and not with a model or the disk.
fn bad_sound(error: Error) -> Error {
    match error {
        Error::BadFile { .. } | Error::Unsupported(_) | Error::Io { action: "open", .. } => {
            Error::BadRequest(error.to_string())
        }
        _ => error,
    }
}

/// Where a transcript goes, and what becomes of what is there.
#[derive(Clone, Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to this file; `-` is stdout
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite an existing file, and begin again what was interrupted
    #[arg(long)]
    force: bool,
    /// Go on where an interrupted run with the same options ended
    #[arg(long)]
    pub(crate) resume: bool,
}

/// Where a transcript goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl SaveArgs {
    /// The place that the user names.
    pub(crate) fn named(&self) -> Option<Destination> {
        self.output.as_ref().map(|path| match path.to_str() {
            Some("-") => Destination::Stdout,
            _ => Destination::File(path.clone()),
        })
    }

    /// Refuses what would overwrite something, before there is any work.
    pub(crate) fn check(&self, path: &Path, film: &Path) -> Result<()> {
        if path.is_dir() {
            return Err(UsageError::new(format!("{} is a folder: name a file in it", path.display())).into());
        }
        if is_same_file(path, film) {
            return Err(UsageError::new(format!("{} would overwrite itself", path.display())).into());
        }
        if !self.force && path.is_file() {
            return Err(UsageError::new(format!("{} exists already; --force overwrites it", path.display())).into());
        }
        if !self.force && !self.resume && Journal::path(path).exists() {
            let problem = format!(
                "{} is what an interrupted run wrote: --resume goes on with it, --force begins again",
                part_of(path).display()
            );
            return Err(UsageError::new(problem).into());
        }
        Ok(())
    }

    /// The file `path`, and the journal from which it can be continued; no journal for what is not a regular file, such
    /// as a named pipe.
    pub(crate) fn open(&self, path: &Path, origin: Origin) -> Result<(OutputFile, Option<Journal>)> {
        let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let journal = match (special, self.resume) {
            (true, _) => None,
            (false, true) => Some(Journal::resume(path, origin)?),
            (false, false) => Some(Journal::begin(path, origin)?),
        };
        Ok((OutputFile::create(path)?, journal))
    }
}

/// What a transcript is made from: the film, the model and the options that it depends on, and `more` of these.
pub(crate) fn origin(
    film: &Path,
    args: &SpeechArgs,
    speech: &OpenSpeech,
    options: &TranscribeOptions,
    more: Value,
) -> Origin {
    let mut origin = Origin::default();
    origin.add("version of babil", env!("CARGO_PKG_VERSION"));
    origin.add("film", stamp(film));
    origin.add("--track", args.track.as_deref());
    origin.add("model", stamp(&families::weights_file(&speech.path)));
    origin.add("language", options.language.as_deref());
    origin.add("task", format!("{:?}", options.task));
    origin.add("--beam", options.beam);
    origin.add("--prompt", options.prompt.as_deref());
    origin.add("--previous-text", options.previous_text);
    origin.add("--words", options.words);
    origin.add("--exact", options.exact);
    origin.extend(more);
    origin
}

/// What tells a file from another one, or from what it was.
fn stamp(path: &Path) -> Value {
    let modified = |metadata: &Metadata| Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos());
    let metadata = path.metadata().ok();
    json!({
        "name": path.file_name().map(|name| name.to_string_lossy()),
        "bytes": metadata.as_ref().map(Metadata::len),
        "modified": metadata.as_ref().and_then(modified).map(|time| time.to_string()),
    })
}

/// What was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// How long the sound was.
    pub(crate) sound: Duration,
    /// How many segments of speech there were.
    pub(crate) segments: u64,
    /// How many cues they became.
    pub(crate) cues: u64,
    /// How many sentences were translated.
    pub(crate) translated: u64,
}

/// Writes what is said in `sound` down on `page`, behind what `journal` has. What was written before an error stays
/// valid.
pub(crate) fn write_down(
    sound: &mut Audio,
    name: &str,
    speech: &OpenSpeech,
    options: TranscribeOptions,
    page: &mut Page<'_>,
    mut journal: Option<&mut Journal>,
    context: &Context,
) -> Result<Heard> {
    let options = TranscribeOptions { cancel: new_cancel(), ..options };
    let mut transcription = Transcription::new(&speech.model, options)?;
    let bar = context.output.time_bar(sound.duration());
    bar.set_message("transcribing");
    let mut heard = Heard::default();
    let mut samples = 0;
    let blocks = sound.by_ref().map(|block| {
        if interrupted() {
            return Err(Error::Cancelled);
        }
        let block = block.map_err(bad_sound)?;
        samples += block.len() as u64;
        bar.set_position(samples / SAMPLE_RATE as u64);
        Ok(block)
    });
    let write = || -> Result<()> {
        let mut done = 0;
        for entry in journal.as_mut().map(|journal| journal.take()).unwrap_or_default() {
            transcription.resume(entry.end, entry.language.as_deref(), &entry.segments);
            entry.segments.iter().try_for_each(|segment| page.segment(segment))?;
            heard.segments += entry.segments.len() as u64;
            done = entry.end;
        }
        for stretch in stretches(blocks, &speech.model)? {
            let stretch = stretch?;
            if stretch.end() <= done {
                bar.reset_eta();
                continue;
            }
            let (mut segments, mut failed): (Vec<Segment>, _) = (Vec::new(), None);
            speech.pacing.begin();
            let result = transcription.stretch(&stretch, &mut |segment| {
                failed = bar.suspend(|| page.segment(&segment)).err();
                segments.push(segment);
                speech.pacing.between();
                if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            result?;
            heard.segments += segments.len() as u64;
            if let Some(journal) = &mut journal {
                journal.add(stretch.end(), transcription.language(), segments)?;
            }
        }
        Ok(())
    };
    let written = write();
    // Sentences that are still waiting for their end are worth having, too.
    let finished = page.finish();
    bar.finish_and_clear();
    speech.pacing.note(context);
    sound.warnings().iter().for_each(|warning| context.output.note(format_args!("{name}: {warning}")));
    written.and(finished)?;
    speech.note_devices(context);
    (heard.cues, heard.translated) = (page.cues(), page.translated());
    heard.sound = Duration::from_secs_f64(samples as f64 / SAMPLE_RATE as f64);
    Ok(heard)
}

/// Gives a complete transcript its name, or says what became of one that is not.
pub(crate) fn close<T>(result: Result<T>, file: OutputFile, journal: Option<Journal>, context: &Context) -> Result<T> {
    match result {
        Ok(done) => {
            file.finish()?;
            journal.map_or(Ok(()), Journal::remove)?;
            Ok(done)
        }
        Err(error) => {
            let kept = journal.and_then(Journal::keep);
            let advice = if kept.is_some() { "; --resume goes on from there" } else { "" };
            // Nothing is in the part yet while the first sentence waits for its end.
            if let Some(place) = file.abandon().or(kept) {
                context.output.note(format_args!("what was transcribed is in {}{advice}", place.display()));
            }
            Err(error)
        }
    }
}

/// An error of writing to `path`.
fn write_error(path: &Path, error: io::Error) -> anyhow::Error {
    Error::io("write", path, error).into()
}
