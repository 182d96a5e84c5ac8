//! Subtitles: a file of them in another language, and those of a recording. Each piece is a cue, and what stands for it in a
//! file; the pieces one after the other are the file.

use std::io;
use std::path::PathBuf;

use babil_models::tasks::subtitles::translate::{News, translate};
use babil_models::tasks::subtitles::{Cue, Format, Layout, Note, Subtitles, Writer};
use babil_runtime::Error;

use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Feed, Finish, Generation, Piece, Work, begin};
use crate::interpreter::Interpreter;

/// The form of subtitles.
pub(crate) struct Form {
    /// `None` is the format of the file that is translated, and SRT for a recording.
    pub(crate) format: Option<Format>,
    pub(crate) layout: Layout,
}

impl Form {
    /// From numbers of other languages: 1 is SRT and 2 WebVTT; 0 is the usual of each.
    ///
    /// # Errors
    /// There is no such format, or no room for text.
    pub(crate) fn new(format: i32, columns: i32, lines: i32) -> Result<Self> {
        let bad = |problem: String| Failure::new(Code::BadArgument, problem);
        let format = match format {
            0 => None,
            1 => Some(Format::Srt),
            2 => Some(Format::WebVtt),
            other => return Err(bad(format!("a format of subtitles of {other}: 1 is SRT, 2 is WebVTT"))),
        };
        let mut layout = Layout::default();
        let within = |number: i32, least, most, what: &str| match usize::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(bad(format!("{number} {what} of subtitles: {least} to {most}"))),
        };
        if columns != 0 {
            layout.columns = within(columns, 10, 1000, "columns")?;
        }
        if lines != 0 {
            layout.lines = within(lines, 1, 10, "lines")?;
        }
        Ok(Self { format, layout })
    }
}

/// A file of subtitles on its way to whoever pulls it.
struct Page<'f> {
    feed: &'f Feed,
    writer: Writer,
    /// What stands before the next cue.
    before: String,
}

impl<'f> Page<'f> {
    fn new(feed: &'f Feed, format: Format, header: &str) -> Self {
        let writer = Writer::new(format);
        let before = writer.header(header);
        Self { feed, writer, before }
    }

    fn note(&mut self, note: &Note) {
        self.before += &self.writer.note(note);
    }

    fn cue(&mut self, cue: &Cue) -> io::Result<()> {
        let written = std::mem::take(&mut self.before) + &self.writer.cue(cue);
        let (start, end) = (cue.start.as_secs_f64(), cue.end.as_secs_f64());
        self.push(Piece::Cue { shown: Some((start, end, cue.text.shown())), written })
    }

    /// What stands behind the last cue.
    fn finish(mut self) -> io::Result<()> {
        let written = std::mem::take(&mut self.before);
        if written.is_empty() { Ok(()) } else { self.push(Piece::Cue { shown: None, written }) }
    }

    fn push(&self, piece: Piece) -> io::Result<()> {
        match self.feed.push(piece).is_continue() {
            true => Ok(()),
            false => Err(io::Error::other("nobody reads it")),
        }
    }
}

fn cancelled(_: io::Error) -> Failure {
    Failure::new(Code::Cancelled, "cancelled")
}

/// Translates a file of subtitles: sentences whole, cut again where they were cut.
pub(crate) fn of_file(interpreter: Interpreter, file: PathBuf, form: Form) -> Result<Generation> {
    begin(Work::Compute, move |feed| {
        let content = std::fs::read(&file).map_err(|error| Error::io("read", &file, error))?;
        let (subtitles, warnings) = Subtitles::read(&content, Format::of_path(&file).unwrap_or(Format::Srt));
        if !subtitles.are_those_of(&content, &warnings) {
            return Err(Failure::new(Code::BadArgument, format!("there are no subtitles in {}", file.display())));
        }
        let mut page = Page::new(feed, form.format.unwrap_or(subtitles.format), &subtitles.header);
        let summary = interpreter.with(&feed.cancel(), |job| {
            translate(&subtitles, &job, &form.layout, &mut |news| match news {
                News::Note(note) => {
                    page.note(note);
                    Ok(())
                }
                News::Cue(cue) => page.cue(cue),
                News::Sentence(_) | News::Progress(_) => Ok(()),
            })
        })?;
        page.finish().map_err(cancelled)?;
        let counts = Counts {
            read: summary.source_tokens,
            written: summary.tokens,
            writing: summary.elapsed,
            ..Counts::default()
        };
        Ok((Finish::Complete, counts))
    })
}

/// Writes subtitles of a recording, in the language that is spoken or in that of `interpreter`.
#[cfg(feature = "audio")]
pub(crate) fn of_recording(
    model: std::sync::Arc<babil_models::speech::SpeechModel>,
    options: babil_models::tasks::transcribe::TranscribeOptions,
    interpreter: Option<Interpreter>,
    file: PathBuf,
    form: Form,
) -> Result<Generation> {
    use std::ops::ControlFlow;

    use babil_models::tasks::document::Job;
    use babil_models::tasks::subtitles::cascade::Cascade;
    use babil_models::tasks::transcribe::{TranscribeOptions, Transcription, transcribe};
    use babil_runtime::audio::{Audio, AudioOptions};

    begin(Work::Compute, move |feed| {
        let cancel = feed.cancel();
        // Cues begin and end with their words.
        let options = TranscribeOptions { cancel: cancel.clone(), words: true, ..options };
        let mut transcription = Transcription::new(&model, options)?;
        let sound = Audio::open(&file, &AudioOptions::default())?;
        let sound = sound.map(|block| cancel.check().and(block));
        let mut page = Page::new(feed, form.format.unwrap_or(Format::Srt), "");
        let mut write = |cues: Vec<Cue>| cues.iter().try_for_each(|cue| page.cue(cue)).map_err(cancelled);
        let work = |job: Option<Job<'_>>| -> Result<Counts> {
            let mut cascade = Cascade::new(form.layout, job);
            let mut failed = Ok(());
            transcribe(sound, &mut transcription, &mut |segment| {
                let cues = cascade.push(&(&segment).into()).map_err(Failure::from);
                // The sentences themselves are not asked for.
                drop(cascade.heard());
                failed = cues.and_then(&mut write);
                if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(|error| failed.clone().err().unwrap_or_else(|| error.into()))?;
            failed?;
            write(cascade.flush()?)?;
            let summary = cascade.summary();
            Ok(Counts { read: summary.source_tokens, written: summary.tokens, ..Counts::default() })
        };
        let counts = match &interpreter {
            Some(interpreter) => interpreter.with(&cancel, |job| work(Some(job))),
            None => work(None),
        }?;
        page.finish().map_err(cancelled)?;
        Ok((Finish::Complete, counts))
    })
}
