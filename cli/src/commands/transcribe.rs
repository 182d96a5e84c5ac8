//! `babil transcribe`: what is said in a recording.

use std::path::PathBuf;

use anyhow::Result;
use babil_models::speech::Task;
use babil_models::tasks::subtitles::Format;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::args::Context;
use crate::exit::UsageError;
use crate::speech::{Destination, Form, Page, PcmArgs, SaveArgs, SpeechArgs, close, origin, write_down};
use crate::subtitles::LayoutArgs;

/// Write down what is said in a recording
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil transcribe talk.mp3
  babil transcribe talk.mp3 --output talk.txt --resume
  babil transcribe film.mkv --model ggml-base.bin --to srt > film.srt
  arecord -f S16_LE -r 16000 -c 1 -t raw | babil transcribe - --model whisper-tiny
  babil transcribe talk.flac --model whisper-base/ --json | jq -r .text

Text is written as it comes. What is not speech is left out. Formats that are not known here are
decoded by ffmpeg where it is installed.

A file is NAME.part until it is complete, and what was transcribed is kept in NAME.part.jsonl:
after Ctrl-C, an error or a loss of power, the same command with --resume goes on, and ends with
the file that one run would have written.")]
pub(crate) struct TranscribeArgs {
    /// A file of sound or a film; `-` is raw PCM on stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    speech: SpeechArgs,
    /// What to write [default: what the name of the output says, else text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: Option<To>,
    /// Say when each word is said (with --json)
    #[arg(long)]
    words: bool,
    /// Write English, whatever is spoken
    #[arg(long)]
    english: bool,
    #[command(flatten)]
    save: SaveArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    pcm: PcmArgs,
}

/// A form of transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// Lines of text.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
}

impl TranscribeArgs {
    fn form(&self, context: &Context) -> Form {
        let named = || self.save.output.as_deref().and_then(Format::of_path);
        match self.to {
            _ if context.output.is_json() => Form::Json,
            Some(To::Text) => Form::Text,
            Some(To::Srt) => Form::Subtitles(Format::Srt),
            Some(To::Vtt) => Form::Subtitles(Format::WebVtt),
            None => named().map_or(Form::Text, Form::Subtitles),
        }
    }
}

pub(crate) fn run(args: TranscribeArgs, context: &Context) -> Result<()> {
    let form = args.form(context);
    let stdin = args.file.to_str() == Some("-");
    if args.pcm.is_given() && !stdin {
        return Err(UsageError::new("--rate, --channels and --format are for raw PCM on stdin: files say it").into());
    }
    if args.words && form != Form::Json {
        return Err(UsageError::new("--words needs --json: lines of text and subtitles have no place for them").into());
    }
    let destination = args.save.named().unwrap_or(Destination::Stdout);
    let path = match &destination {
        Destination::Stdout => None,
        Destination::File(path) => Some(path),
    };
    if args.save.resume && (stdin || path.is_none()) {
        return Err(UsageError::new("--resume goes on with a file: it needs FILE and --output").into());
    }
    if let Some(path) = path {
        args.save.check(path, &args.file)?;
    }
    let (mut sound, name) = match stdin {
        true => (args.speech.stdin(args.pcm.pcm())?, "stdin".to_owned()),
        false => (args.speech.sound(&args.file)?, args.file.display().to_string()),
    };
    let speech = args.speech.open(context)?;
    let task = if args.english { Task::Translate } else { Task::Transcribe };
    // Cues begin and end with words.
    let words = args.words || matches!(form, Form::Subtitles(_));
    let options = args.speech.options(args.speech.from(), task, words);
    let layout = args.layout.layout();
    let Some(path) = path else {
        let mut page = Page::on_stdout(form, layout, None, &context.output)?;
        return write_down(&mut sound, &name, &speech, options, &mut page, None, context).map(|_| ());
    };
    let more = json!({ "form": format!("{form:?}"), "layout": format!("{layout:?}") });
    let (mut file, mut journal) = args.save.open(path, origin(&args.file, &args.speech, &speech, &options, more))?;
    let result = Page::in_file(form, layout, None, &mut file, path)
        .and_then(|mut page| write_down(&mut sound, &name, &speech, options, &mut page, journal.as_mut(), context));
    close(result, file, journal, context)?;
    context.output.note(format_args!("{name} -> {}", path.display()));
    Ok(())
}
