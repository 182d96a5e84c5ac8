//! Subtitle files (`.srt`, `.vtt`): read whole, translated by sentences across cues, written as the cues come.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use babil_models::tasks::document::{DocumentError, Job, Summary};
use babil_models::tasks::subtitles::translate::{News, translate};
use babil_models::tasks::subtitles::{Format, Layout, Subtitles, Writer};
use babil_runtime::Error;
use indicatif::ProgressBar;

use super::sink::JsonSink;
use crate::output::Output;

/// Warnings of a file that are shown.
const MOST_WARNINGS: usize = 20;
/// Bytes of text that tell the language.
const START: usize = 64 * 1024;

/// A subtitle file.
pub(super) struct SubtitleFile {
    pub(super) subtitles: Subtitles,
    bytes: u64,
    lines: u64,
}

impl SubtitleFile {
    /// Reads the file `path`, and says what is wrong with it.
    pub(super) fn open(path: &Path, named: Format, output: &Output) -> Result<Self> {
        let name = path.display();
        let file = std::fs::read(path).map_err(|error| Error::BadRequest(format!("cannot read {name}: {error}")))?;
        let (subtitles, warnings) = Subtitles::read(&file, named);
        if !subtitles.are_those_of(&file, &warnings) {
            return Err(Error::BadRequest(format!("there are no subtitles in {name}")).into());
        }
        for warning in warnings.iter().take(MOST_WARNINGS) {
            output.note(format_args!("{name}: {warning}"));
        }
        if warnings.len() > MOST_WARNINGS {
            output.note(format_args!("{name}: {} more warnings", warnings.len() - MOST_WARNINGS));
        }
        let lines = file.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(Self { subtitles, bytes: file.len() as u64, lines })
    }

    /// The start of what is said.
    pub(super) fn start(&self) -> String {
        let mut text = String::new();
        for cue in &self.subtitles.cues {
            if text.len() > START {
                break;
            }
            text += &cue.text.shown();
            text.push('\n');
        }
        text
    }

    /// Translates the file into `out`, as a file in `format`.
    pub(super) fn translate(
        &self,
        job: &Job<'_>,
        layout: &Layout,
        format: Format,
        out: &mut dyn Write,
        bar: &ProgressBar,
    ) -> Result<Summary, DocumentError> {
        let mut writer = Writer::new(format);
        out.write_all(writer.header(&self.subtitles.header).as_bytes()).map_err(DocumentError::Write)?;
        let summary = self.run(job, layout, bar, &mut |news| match news {
            News::Note(note) => out.write_all(writer.note(note).as_bytes()),
            News::Cue(cue) => out.write_all(writer.cue(cue).as_bytes()),
            News::Sentence(_) => Ok(()),
            News::Progress(_) => out.flush(),
        })?;
        out.flush().map_err(DocumentError::Write)?;
        Ok(summary)
    }

    /// Translates the file into JSON lines.
    pub(super) fn translate_to_json(
        &self,
        job: &Job<'_>,
        layout: &Layout,
        sink: &mut JsonSink<'_>,
        bar: &ProgressBar,
    ) -> Result<Summary, DocumentError> {
        self.run(job, layout, bar, &mut |news| match news {
            News::Cue(cue) => sink.cue(cue, self.subtitles.format),
            News::Sentence(record) => sink.spoken(record),
            News::Note(_) | News::Progress(_) => Ok(()),
        })
    }

    fn run(
        &self,
        job: &Job<'_>,
        layout: &Layout,
        bar: &ProgressBar,
        news: &mut dyn FnMut(News<'_>) -> io::Result<()>,
    ) -> Result<Summary, DocumentError> {
        bar.set_length(self.subtitles.cues.len() as u64);
        let result = translate(&self.subtitles, job, layout, &mut |item| {
            if let News::Progress(cues) = item {
                bar.set_position(cues as u64);
            }
            news(item)
        });
        bar.finish_and_clear();
        Ok(Summary { bytes: self.bytes, lines: self.lines, ..result? })
    }
}
