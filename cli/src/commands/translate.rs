//! `babil translate`: text, files or stdin from one language into another.
//!
//! Arguments become [`Source`]s; each gets its direction from its first bytes, its destination from `--output`, and
//! then runs through a [`Document`] into a sink that writes text or JSON.

mod destination;
mod feed;
mod sink;
mod subtitles;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use babil_models::tasks::document::{Document, DocumentError, Job, Pace, Sink, Summary};
use babil_models::tasks::glossary::WithGlossary;
use babil_models::tasks::language::{code_of, english_name};
use babil_models::tasks::subtitles::Format;
use babil_models::tasks::translate::{LanguagePair, SentenceTranslator, TranslateOptions};
use babil_models::{Backend, OpenOptions, Quant};
use babil_runtime::Error;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use self::destination::Destination;
use self::feed::Feed;
use self::sink::{JsonSink, TextSink};
use self::subtitles::SubtitleFile;
use crate::args::Context;
use crate::device::{self, DeviceArgs};
use crate::exit::UsageError;
use crate::interrupt::interrupted;
use crate::output::ClosedPipe;
use crate::output_file::OutputFile;
use crate::power::{Paced, PowerArgs, Powered};
use crate::subtitles::LayoutArgs;
use crate::translator::{self, TermsArgs, direction};

const EXAMPLES: &str = "\
Examples:
  babil translate --to fr \"Where is the station?\"
  babil translate --to fr letter.txt > lettre.txt
  babil translate --to fr chapters/*.txt -o french/
  babil translate --to fr film.srt -o film.fr.srt
  tail -f log.txt | babil translate --to en
  babil translate --to fr --json --alternatives 3 \"Good luck!\"

Every input line becomes one output line, in order; indentation, list markers and blank lines stay.
Of subtitles (.srt, .vtt), sentences are translated across cues; times, styles and positions stay.
Several files are written beside their sources, as NAME.LANGUAGE.EXT, or into the folder given with -o.";

/// Translate text, files or stdin
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TranslateArgs {
    /// What to translate: the names of files, or else the text itself; stdin when there is neither
    #[arg(value_name = "TEXT|FILE")]
    inputs: Vec<OsString>,
    /// Language to translate into: a code or a name, such as `fr` or `french` [default: the model's only one]
    #[arg(short, long, value_name = "LANGUAGE")]
    to: Option<String>,
    /// Language of the input [default: guessed among those that the model can translate]
    #[arg(long, value_name = "LANGUAGE")]
    from: Option<String>,
    /// A file to translate, whatever its name (`-` is stdin); may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["inputs", "text"])]
    file: Vec<PathBuf>,
    /// Translate the arguments themselves, even where files have these names
    #[arg(long)]
    text: bool,
    /// Write to this file, or into this folder
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Overwrite existing output files
    #[arg(long)]
    force: bool,
    /// Model: a name of `babil list` or a path [default: the built-in one]
    #[arg(short, long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// What computes
    #[arg(long, value_enum, default_value_t)]
    backend: BackendArg,
    /// How float weights are quantised while loading [default: q7_128]
    #[arg(long, value_enum)]
    quant: Option<QuantArg>,
    /// Threads to compute with, as far as there are cores for them [default: one per fast core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Beam width; 1 is greedy [default: the model's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    beam: Option<u16>,
    /// Translations per sentence, best first (with --json)
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=128))]
    alternatives: u16,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    power: PowerArgs,
    /// Say at the end how much was translated, and how fast
    #[arg(long)]
    stats: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum BackendArg {
    /// The native engine
    #[default]
    Cpu,
    /// candle-transformers models
    Candle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QuantArg {
    /// Not at all
    F32,
    /// To 7 bits, with a scale for 128 columns: the fastest
    #[value(name = "q7_128")]
    Q7_128,
    /// To 8 bits, with a scale for 32 columns
    #[value(name = "q8_0")]
    Q8_0,
    /// To 4 bits
    #[value(name = "q4_0")]
    Q4_0,
}

impl TranslateArgs {
    /// # Errors
    /// A variable of the environment that means nothing.
    fn open_options(&self) -> Result<OpenOptions> {
        Ok(OpenOptions {
            model: self.model.clone(),
            backend: match self.backend {
                BackendArg::Cpu => Backend::Cpu,
                BackendArg::Candle => Backend::Candle,
            },
            quant: self.quant.map(|quant| match quant {
                QuantArg::F32 => Quant::F32,
                QuantArg::Q8_0 => Quant::Q8_0,
                QuantArg::Q7_128 => Quant::Q7_128,
                QuantArg::Q4_0 => Quant::Q4_0,
            }),
            threads: self.threads.map(usize::from),
            offline: true, // translating never needs the network
            packed_folder: None,
            device: self.device.options()?,
        })
    }

    fn translate_options(&self, json: bool) -> Result<TranslateOptions> {
        let alternatives = usize::from(self.alternatives);
        let beam = self.beam.map(usize::from);
        if alternatives > 1 && !json {
            return Err(UsageError::new("--alternatives needs --json: plain output is one translation per line").into());
        }
        if let Some(beam) = beam
            && beam < alternatives
        {
            let problem = format!("{alternatives} alternatives need --beam {alternatives} or more, not {beam}");
            return Err(UsageError::new(problem).into());
        }
        Ok(TranslateOptions { beam, alternatives, ..TranslateOptions::default() })
    }
}

/// Whether a single argument is more likely a misspelt file name than a text.
fn looks_like_a_path(word: &OsString) -> bool {
    let path = Path::new(word);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let named = !extension.is_empty() && extension.len() <= 5 && extension.chars().all(|c| c.is_ascii_alphanumeric());
    let plain = !word.to_string_lossy().contains(char::is_whitespace);
    plain && (named || path.components().count() > 1)
}

/// Where a document comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Text(String),
    File(PathBuf),
    Stdin,
}

impl Source {
    /// What `args` asks to translate, in order.
    fn all(args: &TranslateArgs, context: &Context) -> Result<Vec<Self>> {
        if !args.file.is_empty() {
            let source = |path: &PathBuf| if path == Path::new("-") { Self::Stdin } else { Self::File(path.clone()) };
            let sources: Vec<Self> = args.file.iter().map(source).collect();
            if sources.len() > 1 && sources.contains(&Self::Stdin) {
                return Err(UsageError::new("stdin cannot be translated together with files").into());
            }
            return Ok(sources);
        }
        if args.inputs.is_empty() {
            return Ok(vec![Self::Stdin]);
        }
        if !args.text {
            if args.inputs.len() == 1 && args.inputs[0] == "-" {
                return Ok(vec![Self::Stdin]);
            }
            let (files, words): (Vec<&OsString>, Vec<_>) =
                args.inputs.iter().partition(|input| is_input(Path::new(input)));
            if let (Some(file), Some(word)) = (files.first(), words.first()) {
                let problem = format!(
                    "{} is a file and {} is not: use --file for files, or --text for text",
                    file.display(),
                    word.display()
                );
                return Err(UsageError::new(problem).into());
            }
            if let Some(folder) = args.inputs.iter().find(|input| Path::new(input).is_dir()) {
                let problem = format!("{} is a folder: give the files in it, or --text for text", folder.display());
                return Err(UsageError::new(problem).into());
            }
            if let [word] = &args.inputs[..]
                && files.is_empty()
                && looks_like_a_path(word)
            {
                context.output.note(format_args!(
                    "there is no file {}: translating the words (--file would insist on the file)",
                    word.display()
                ));
            }
            if !files.is_empty() {
                for file in &files {
                    context.output.note(format_args!(
                        "translating the file {} (--text would translate its name)",
                        file.display()
                    ));
                }
                return Ok(files.into_iter().map(|file| Self::File(file.into())).collect());
            }
        }
        let words: Option<Vec<&str>> = args.inputs.iter().map(|input| input.to_str()).collect();
        let words = words.ok_or_else(|| Error::BadRequest("the text to translate is not UTF-8".into()))?;
        Ok(vec![Self::Text(words.join(" "))])
    }

    /// As messages name it.
    fn name(&self) -> String {
        match self {
            Self::Text(_) => "the text".into(),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "stdin".into(),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

/// The process's standard streams; tests have their own.
struct Streams {
    stdin: Option<Box<dyn Read + Send>>,
    stdout: Box<dyn Write>,
    stdin_is_terminal: bool,
    stdout_is_terminal: bool,
}

type Open<'o> = &'o dyn Fn(OpenOptions) -> Result<Box<dyn SentenceTranslator>>;

pub(crate) fn run(args: TranslateArgs, context: &Context) -> Result<()> {
    let streams = Streams {
        stdin: Some(Box::new(io::stdin())),
        stdout: Box::new(io::stdout()),
        stdin_is_terminal: io::stdin().is_terminal(),
        stdout_is_terminal: io::stdout().is_terminal(),
    };
    translate(&args, context, streams, &translator::open)
}

fn translate(args: &TranslateArgs, context: &Context, mut streams: Streams, open: Open<'_>) -> Result<()> {
    let options = args.translate_options(context.output.is_json())?;
    let glossary = args.terms.glossary()?;
    let sources = Source::all(args, context)?;
    let destinations = destination::Plan::new(&sources, args.output.as_deref(), args.force, context.output.is_json())?;
    if let Some(to) = &args.to {
        destinations.check(&code_of(to))?;
    }
    for path in sources.iter().filter_map(Source::path) {
        check_input(path)?;
    }
    if let [Source::Text(text)] = &sources[..]
        && text.is_empty()
        && !context.output.is_json()
    {
        return Ok(());
    }

    let started = Instant::now();
    let options_to_open = args.open_options()?;
    let Powered { threads, pacing, .. } = args.power.resolve_named(options_to_open.model.as_deref(), context)?;
    let translator = open(OpenOptions { threads: options_to_open.threads.or(threads), ..options_to_open })?;
    let opened = started.elapsed();
    let pacing = Arc::new(pacing);
    let paced = Paced { translator, pacing: Arc::clone(&pacing) };
    let translator = WithGlossary::new(Box::new(paced), glossary);
    let mut total = Summary::default();
    for source in &sources {
        let mut run = Run { args, context, streams: &mut streams, translator: &translator, options: &options, opened };
        let done = run.one(source, &destinations);
        translator::note_missed(&translator, context);
        total += done?;
    }
    if args.stats {
        context.output.note(stats(&total, opened));
        device::note(translator.accelerator().as_ref(), context);
    }
    pacing.note(context);
    Ok(())
}

/// What a source holds.
enum Content {
    Text(Feed),
    Subtitles(SubtitleFile),
}

/// What all the documents of one command share.
struct Run<'r> {
    args: &'r TranslateArgs,
    context: &'r Context,
    streams: &'r mut Streams,
    translator: &'r dyn SentenceTranslator,
    options: &'r TranslateOptions,
    opened: Duration,
}

impl Run<'_> {
    /// Translates one document to its destination.
    fn one(&mut self, source: &Source, destinations: &destination::Plan) -> Result<Summary> {
        let output = &self.context.output;
        let mut content = match source {
            Source::Text(text) => Content::Text(Feed::of_text(text)),
            Source::File(path) => match Format::of_path(path) {
                Some(format) => Content::Subtitles(SubtitleFile::open(path, format, output)?),
                None => Content::Text(Feed::new(Box::new(open_input(path)?))),
            },
            Source::Stdin => {
                if self.streams.stdin_is_terminal {
                    output.note("type the text to translate; Ctrl-D ends it");
                }
                Content::Text(Feed::new(self.streams.stdin.take().unwrap_or_else(|| Box::new(io::empty()))))
            }
        };
        let start = match &mut content {
            Content::Text(feed) => feed.peek(interrupted),
            Content::Subtitles(file) => Ok(file.start()),
        };
        let start = start.map_err(|error| failure(DocumentError::Read(error), source, "stdout"))?;
        let direction =
            direction::resolve(self.translator.pairs(), self.args.from.as_deref(), self.args.to.as_deref(), &start)?;
        if direction.guessed {
            let language = english_name(&direction.pair.from);
            output.note(format_args!("{} seems to be {language} (--from overrides this)", source.name()));
        }
        let pair = direction.pair;

        match destinations.of(source, &pair.to)? {
            Destination::Stdout => self.write_to_stdout(source, &mut content, &pair),
            Destination::File(path) => self.write_to_file(&path, source, &mut content, &pair),
        }
    }

    fn write_to_stdout(&mut self, source: &Source, content: &mut Content, pair: &LanguagePair) -> Result<Summary> {
        let mut stdout = io::BufWriter::new(std::mem::replace(&mut self.streams.stdout, Box::new(io::sink())));
        let result = self.translated(source, content, pair, &mut stdout, None);
        let flushed = stdout.flush().map_err(DocumentError::Write);
        self.streams.stdout = stdout.into_parts().0;
        result.and_then(|summary| flushed.map(|()| summary)).map_err(|error| failure(error, source, "stdout"))
    }

    fn write_to_file(
        &self,
        path: &Path,
        source: &Source,
        content: &mut Content,
        pair: &LanguagePair,
    ) -> Result<Summary> {
        let output = &self.context.output;
        let name = path.display().to_string();
        let mut file = OutputFile::create(path)?;
        match self.translated(source, content, pair, &mut file, Some(path)) {
            Ok(summary) => {
                file.finish()?;
                output.note(format_args!("{} -> {name}", source.name()));
                Ok(summary)
            }
            Err(error) => {
                if let Some(part) = file.abandon() {
                    output.note(format_args!("what was translated is in {}", part.display()));
                }
                Err(failure(error, source, &name))
            }
        }
    }

    /// Translates `content` into `out`, which is the file `path` or else stdout.
    fn translated(
        &self,
        source: &Source,
        content: &mut Content,
        pair: &LanguagePair,
        out: &mut dyn Write,
        path: Option<&Path>,
    ) -> Result<Summary, DocumentError> {
        match content {
            Content::Text(feed) => {
                self.document(source, feed, pair, out, path.is_none() && self.streams.stdout_is_terminal)
            }
            Content::Subtitles(file) => self.subtitles(source, file, pair, out, path),
        }
    }

    fn subtitles(
        &self,
        source: &Source,
        file: &SubtitleFile,
        pair: &LanguagePair,
        out: &mut dyn Write,
        path: Option<&Path>,
    ) -> Result<Summary, DocumentError> {
        let Self { translator, options, .. } = *self;
        let job = Job { translator, pair, options, pace: Pace::default(), cancelled: &interrupted };
        let bar = self.context.output.steps_bar().with_message(source.name());
        if self.context.output.is_json() {
            let mut sink = JsonSink::new(out, source.path(), pair, &bar);
            let summary = file.translate_to_json(&job, &self.args.layout.layout(), &mut sink, &bar)?;
            let report = self.translator.accelerator();
            sink.summary(&summary, self.args.model.as_deref(), self.opened, report).map_err(DocumentError::Write)?;
            return Ok(summary);
        }
        let format = path.and_then(Format::of_path).unwrap_or(file.subtitles.format);
        file.translate(&job, &self.args.layout.layout(), format, out, &bar)
    }

    /// Feeds the document through the translator into `out`, which may be a terminal.
    fn document(
        &self,
        source: &Source,
        feed: &mut Feed,
        pair: &LanguagePair,
        out: &mut dyn Write,
        terminal: bool,
    ) -> Result<Summary, DocumentError> {
        let json = self.context.output.is_json();
        let typed = match source {
            Source::Text(_) => true,
            Source::File(_) => false,
            Source::Stdin => self.streams.stdin_is_terminal,
        };
        let pace = if typed && terminal && !json { Pace::Live } else { Pace::default() };
        let job = Job { translator: self.translator, pair, options: self.options, pace, cancelled: &interrupted };
        let bar = if terminal { ProgressBar::hidden() } else { self.bar(source) };
        if json {
            let mut sink = JsonSink::new(out, source.path(), pair, &bar);
            let result = pump(job, feed, &mut sink);
            bar.finish_and_clear();
            let summary = result?;
            let report = self.translator.accelerator();
            sink.summary(&summary, self.args.model.as_deref(), self.opened, report).map_err(DocumentError::Write)?;
            return Ok(summary);
        }
        let mut sink = TextSink::new(out, &bar);
        let result = pump(job, feed, &mut sink);
        bar.finish_and_clear();
        // A person, or a line that was cut off, gets a line break that the input does not have.
        if terminal || typed || result.is_err() {
            let ended = sink.end_line().map_err(DocumentError::Write);
            return result.and_then(|summary| ended.map(|()| summary));
        }
        result
    }

    /// How far the document is, by the bytes of its input.
    fn bar(&self, source: &Source) -> ProgressBar {
        let length = source.path().and_then(|path| path.metadata().ok()).map(|metadata| metadata.len());
        let bar = match (length, source) {
            (Some(length), _) => self.context.output.bytes_bar(length),
            (None, Source::Stdin) if !self.streams.stdin_is_terminal => {
                let bar = self.context.output.bytes_bar(0);
                bar.unset_length();
                bar
            }
            _ => ProgressBar::hidden(),
        };
        bar.with_message(source.name())
    }
}

/// Pushes what `feed` gives through a document. Whenever nothing more has arrived yet, what has is translated.
fn pump(job: Job<'_>, feed: &mut Feed, sink: &mut dyn Sink) -> Result<Summary, DocumentError> {
    let mut document = Document::new(job, sink);
    loop {
        let chunk = match feed.arrived() {
            Some(chunk) => chunk,
            None => {
                document.flush()?;
                feed.wait(interrupted).ok_or(Error::Cancelled)?
            }
        };
        match chunk {
            Ok(bytes) if bytes.is_empty() => return document.finish(),
            Ok(bytes) => document.push(&bytes)?,
            Err(error) => {
                document.flush()?;
                return Err(DocumentError::Read(error));
            }
        }
    }
}

/// Whether an argument names something to read: a file, or a named pipe such as `<(command)`.
fn is_input(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// Finds out early that a file cannot be read.
fn check_input(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::BadRequest(format!("{} is a folder", path.display())).into());
    }
    if path.is_file() || !path.exists() {
        open_input(path)?; // a pipe can be opened only once
    }
    Ok(())
}

fn open_input(path: &Path) -> Result<File> {
    let cannot = |error: io::Error| Error::BadRequest(format!("cannot open {}: {error}", path.display()));
    Ok(File::open(path).map_err(cannot)?)
}

/// The error of a document, with the names of the things it is about.
fn failure(error: DocumentError, source: &Source, destination: &str) -> anyhow::Error {
    match error {
        DocumentError::Engine(error) => error.into(),
        DocumentError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => ClosedPipe.into(),
        DocumentError::Write(error) => Error::io("write", destination, error).into(),
        DocumentError::Read(error) => Error::BadRequest(format!("cannot read {}: {error}", source.name())).into(),
        other => Error::BadRequest(format!("{}: {other}", source.name())).into(),
    }
}

fn stats(total: &Summary, opened: Duration) -> String {
    let seconds = total.elapsed.as_secs_f64();
    let speed = total.tokens as f64 / seconds.max(1e-9);
    format!(
        "{} sentences, {} -> {} tokens in {seconds:.2} s ({speed:.0} tokens/s); the model opened in {:.2} s",
        total.sentences,
        total.source_tokens,
        total.tokens,
        opened.as_secs_f64()
    )
}

#[cfg(test)]
mod tests;
