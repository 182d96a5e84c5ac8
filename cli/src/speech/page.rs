//! A transcript on its way out: lines of text, JSON, or subtitles.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::tasks::document::{DocumentError, Job};
use babil_models::tasks::subtitles::cascade::Cascade;
use babil_models::tasks::subtitles::{Cue, Format, Layout, Word, Writer};
use babil_models::tasks::transcribe::Segment;
use babil_runtime::Error;
use serde_json::json;

use super::write_error;
use crate::output::Output;
use crate::output_file::OutputFile;

/// The form of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line for each segment.
    Text,
    /// A line of JSON for each segment.
    Json,
    /// Cues.
    Subtitles(Format),
}

/// Where it goes, piece by piece.
enum Paper<'p> {
    Stdout(&'p Output),
    File(&'p mut OutputFile, PathBuf),
}

impl Paper<'_> {
    /// Writes `text`, so that others can read it.
    fn write(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Stdout(output) => output.text(text),
            Self::File(file, path) => {
                file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(|error| write_error(path, error))
            }
        }
    }
}

/// A transcript that is being written.
pub(crate) struct Page<'p> {
    paper: Paper<'p>,
    form: Form,
    cascade: Cascade<'p>,
    writer: Option<Writer>,
    cues: u64,
}

impl<'p> Page<'p> {
    /// One on stdout. Subtitles are laid out by `layout`, and translated if there is a `job`.
    pub(crate) fn on_stdout(form: Form, layout: Layout, job: Option<Job<'p>>, output: &'p Output) -> Result<Self> {
        Self::new(Paper::Stdout(output), form, layout, job)
    }

    /// One in `file`, which is to be `path`.
    pub(crate) fn in_file(
        form: Form,
        layout: Layout,
        job: Option<Job<'p>>,
        file: &'p mut OutputFile,
        path: &Path,
    ) -> Result<Self> {
        Self::new(Paper::File(file, path.to_owned()), form, layout, job)
    }

    fn new(mut paper: Paper<'p>, form: Form, layout: Layout, job: Option<Job<'p>>) -> Result<Self> {
        let writer = match form {
            Form::Subtitles(format) => Some(Writer::new(format)),
            Form::Text | Form::Json => None,
        };
        if let Some(writer) = &writer {
            paper.write(&writer.header(""))?;
        }
        Ok(Self { paper, form, cascade: Cascade::new(layout, job), writer, cues: 0 })
    }

    /// Cues so far.
    pub(crate) fn cues(&self) -> u64 {
        self.cues
    }

    /// Sentences that were translated so far.
    pub(crate) fn translated(&self) -> u64 {
        self.cascade.summary().sentences
    }

    /// Adds a segment.
    pub(crate) fn segment(&mut self, segment: &Segment) -> Result<()> {
        match self.form {
            Form::Text => self.paper.write(&format!("{}\n", segment.text)),
            Form::Json => self.paper.write(&(serde_json::to_string(&as_json(segment))? + "\n")),
            Form::Subtitles(_) => {
                let cues = self.cascade.push(&segment.into()).map_err(engine)?;
                self.write(&cues)
            }
        }
    }

    /// Adds what is still waiting for the end of its sentence.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let last = self.cascade.flush().map_err(engine)?;
        self.write(&last)
    }

    fn write(&mut self, cues: &[Cue]) -> Result<()> {
        // The sentences themselves are not asked for.
        drop(self.cascade.heard());
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let text: String = cues.iter().map(|cue| writer.cue(cue)).collect();
        self.cues += cues.len() as u64;
        if text.is_empty() { Ok(()) } else { self.paper.write(&text) }
    }
}

/// A cascade has no input or output of its own.
pub(crate) fn engine(error: DocumentError) -> anyhow::Error {
    match error {
        DocumentError::Engine(error) => error.into(),
        other => Error::BadRequest(other.to_string()).into(),
    }
}

/// A segment as `--json` prints it; times in seconds, to the millisecond.
pub(crate) fn as_json(segment: &Segment) -> serde_json::Value {
    let time = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let mut object = json!({
        "start": time(segment.start), "end": time(segment.end), "text": segment.text, "language": segment.language,
        "log_prob": segment.log_prob, "no_speech": segment.no_speech, "temperature": segment.temperature,
    });
    if !segment.words.is_empty() {
        let word = |word: &Word| {
            let [start, end] = [word.start, word.end].map(|at| time(at.as_secs_f64()));
            json!({ "text": word.text, "start": start, "end": end })
        };
        object["words"] = segment.words.iter().map(word).collect();
    }
    object
}
