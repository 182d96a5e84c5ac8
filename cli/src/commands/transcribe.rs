//! `babil transcribe`: what is said in a recording.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use babil_models::speech::{SpeechModel, SpeechOptions, Task};
use babil_models::tasks::subtitles::cascade::Cascade;
use babil_models::tasks::subtitles::{Cue, Format, Layout, Writer};
use babil_models::tasks::transcribe::{Segment, TranscribeOptions, Transcription, transcribe};
use babil_runtime::audio::{Audio, AudioOptions, Pcm, SampleFormat};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::args::Context;
use crate::interrupt::interrupted;
use crate::language::model_path;

/// Write down what is said in a recording
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil transcribe talk.mp3 --model whisper-base/
  babil transcribe film.mkv --model ggml-base.bin --to srt > film.srt
  arecord -f S16_LE -r 16000 -c 1 -t raw | babil transcribe - --model whisper-tiny/
  babil transcribe talk.flac --model whisper-base/ --json | jq -r .text

Text is written as it comes. What is not speech is left out. Formats that are not known here are decoded by ffmpeg
where it is installed.")]
pub(crate) struct TranscribeArgs {
    /// A file of sound or a film; `-` is raw PCM on stdin: 16-bit samples, 16 kHz, one channel
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A folder of transformers' Whisper, or a file of whisper.cpp
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    to: To,
    /// The language that is spoken, as in `fr`; without it, the model finds out
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// Write English, whatever is spoken
    #[arg(long)]
    english: bool,
    /// Width of the beam; 1 is fastest
    #[arg(long, value_name = "N", default_value = "5")]
    beam: usize,
    /// Tell the model in each window what it wrote in the one before
    #[arg(long)]
    previous_text: bool,
    /// Names and terms as they are to be spelled
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Let the encoder hear whole windows, even of short sound: slower
    #[arg(long)]
    exact: bool,
    /// Threads; without it, one for each fast core
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
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

pub(crate) fn run(args: TranscribeArgs, context: &Context) -> Result<()> {
    let options = SpeechOptions { threads: args.threads, ..SpeechOptions::default() };
    let model = SpeechModel::open(&model_path(&args.model)?, &options)?;
    let options = TranscribeOptions {
        language: args.language,
        task: if args.english { Task::Translate } else { Task::Transcribe },
        beam: args.beam,
        prompt: args.prompt,
        previous_text: args.previous_text,
        words: args.to != To::Text,
        exact: args.exact,
        ..TranscribeOptions::default()
    };
    let mut transcription = Transcription::new(&model, options)?;
    let mut sound = match args.file.to_str() {
        Some("-") => {
            let pcm = Pcm { rate: 16_000, channels: 1, format: SampleFormat::S16 };
            Audio::pcm("stdin", std::io::stdin(), pcm)?
        }
        _ => Audio::open(&args.file, &AudioOptions::default())?,
    };
    let format = match args.to {
        To::Text => None,
        To::Srt => Some(Format::Srt),
        To::Vtt => Some(Format::WebVtt),
    };
    let bar = context.output.steps_bar();
    bar.set_length(sound.duration().map_or(0, |duration| duration.as_secs()));
    bar.set_message("transcribing");
    let mut page = Page::new(format, context)?;
    let mut failed = None;
    let result = transcribe(&mut sound, &mut transcription, &mut |segment: Segment| {
        bar.set_position(segment.end as u64);
        match bar.suspend(|| page.segment(&segment)) {
            Ok(()) if !interrupted() => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    bar.finish_and_clear();
    sound.warnings().iter().for_each(|warning| context.output.note(warning));
    if let Some(error) = failed {
        return Err(error);
    }
    result?;
    page.finish()
}

/// Where a transcript goes, line by line.
struct Page<'c> {
    context: &'c Context,
    cues: Option<(Cascade<'static>, Writer)>,
}

impl<'c> Page<'c> {
    fn new(format: Option<Format>, context: &'c Context) -> Result<Self> {
        let cues = format.filter(|_| !context.output.is_json());
        let cues = cues.map(|format| (Cascade::new(Layout::default(), None), Writer::new(format)));
        if let Some((_, writer)) = &cues {
            context.output.text(writer.header(""))?;
        }
        Ok(Self { context, cues })
    }

    fn segment(&mut self, segment: &Segment) -> Result<()> {
        let output = &self.context.output;
        if output.is_json() {
            return output.json(&json!({
                "start": segment.start, "end": segment.end, "text": segment.text, "language": segment.language,
                "log_prob": segment.log_prob, "no_speech": segment.no_speech, "temperature": segment.temperature,
            }));
        }
        match &mut self.cues {
            None => output.line(&segment.text),
            Some((cascade, _)) => {
                let cues = cascade.push(&segment.into())?;
                self.write(&cues)
            }
        }
    }

    fn write(&mut self, cues: &[Cue]) -> Result<()> {
        let Some((_, writer)) = &mut self.cues else { return Ok(()) };
        cues.iter().try_for_each(|cue| self.context.output.text(writer.cue(cue)))
    }

    fn finish(mut self) -> Result<()> {
        let last = match &mut self.cues {
            Some((cascade, _)) => cascade.flush()?,
            None => Vec::new(),
        };
        self.write(&last)
    }
}
