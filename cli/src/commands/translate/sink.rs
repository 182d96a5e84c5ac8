//! What comes out: text, or JSON lines (the schema is in `docs/CLI.md`).

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use babil_models::tasks::document::{Record, Sink, Summary};
use babil_models::tasks::subtitles::{self, Cue, Format};
use babil_models::tasks::translate::{LanguagePair, Translation};
use babil_runtime::accelerator::Report;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::device::WithReport;

/// Writes the translated document.
pub(super) struct TextSink<'o> {
    out: &'o mut dyn Write,
    bar: &'o ProgressBar,
    /// Whether the last line written has no end yet.
    line_is_open: bool,
}

impl<'o> TextSink<'o> {
    pub(super) fn new(out: &'o mut dyn Write, bar: &'o ProgressBar) -> Self {
        Self { out, bar, line_is_open: false }
    }

    /// Ends an unfinished last line.
    pub(super) fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.line_is_open) {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }
}

impl Sink for TextSink<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if !text.is_empty() {
            self.line_is_open = !text.ends_with('\n');
        }
        self.out.write_all(text.as_bytes())
    }

    fn sentence(&mut self, record: &Record) -> io::Result<()> {
        self.bar.set_position(record.offset + record.source.len() as u64);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes one object for each sentence.
pub(super) struct JsonSink<'o> {
    out: &'o mut dyn Write,
    file: Option<String>,
    pair: &'o LanguagePair,
    bar: &'o ProgressBar,
}

#[derive(Serialize)]
struct SentenceLine<'s> {
    r#type: &'static str,
    file: Option<&'s str>,
    #[serde(flatten)]
    place: Place,
    from: &'s str,
    to: &'s str,
    source: &'s str,
    translation: &'s str,
    score: f32,
    alternatives: Vec<Alternative<'s>>,
    source_tokens: usize,
    tokens: usize,
    seconds: f64,
    tokens_per_second: Option<f64>,
}

/// Where a sentence stands: in a text, or in subtitles.
#[derive(Serialize)]
#[serde(untagged)]
enum Place {
    Text { line: u64, offset: u64 },
    Cues { cues: [usize; 2], start: f64, end: f64 },
}

#[derive(Serialize)]
struct CueLine<'s> {
    r#type: &'static str,
    file: Option<&'s str>,
    start: f64,
    end: f64,
    settings: &'s str,
    text: String,
}

#[derive(Serialize)]
struct Alternative<'s> {
    translation: &'s str,
    score: f32,
    tokens: usize,
}

#[derive(Serialize)]
struct SummaryLine<'s> {
    r#type: &'static str,
    file: Option<&'s str>,
    model: Option<&'s str>,
    from: &'s str,
    to: &'s str,
    lines: u64,
    sentences: u64,
    bytes: u64,
    source_tokens: u64,
    tokens: u64,
    seconds: f64,
    tokens_per_second: Option<f64>,
    load_seconds: f64,
}

impl<'o> JsonSink<'o> {
    pub(super) fn new(
        out: &'o mut dyn Write,
        file: Option<&Path>,
        pair: &'o LanguagePair,
        bar: &'o ProgressBar,
    ) -> Self {
        Self { out, file: file.map(|file| file.display().to_string()), pair, bar }
    }

    /// The last object: what the document came to.
    pub(super) fn summary(
        &mut self,
        summary: &Summary,
        model: Option<&str>,
        load: Duration,
        report: Option<Report>,
    ) -> io::Result<()> {
        let line = SummaryLine {
            r#type: "summary",
            file: self.file.as_deref(),
            model,
            from: &self.pair.from,
            to: &self.pair.to,
            lines: summary.lines,
            sentences: summary.sentences,
            bytes: summary.bytes,
            source_tokens: summary.source_tokens,
            tokens: summary.tokens,
            seconds: summary.elapsed.as_secs_f64(),
            tokens_per_second: speed(summary.tokens, summary.elapsed),
            load_seconds: load.as_secs_f64(),
        };
        write_line(self.out, &WithReport::new(line, report))?;
        self.out.flush()
    }
}

impl JsonSink<'_> {
    fn sentence_line(&mut self, place: Place, source: &str, translation: &Translation) -> io::Result<()> {
        let (best, others) = translation.hypotheses.split_first().ok_or(io::ErrorKind::InvalidData)?;
        let line = SentenceLine {
            r#type: "sentence",
            file: self.file.as_deref(),
            place,
            from: &self.pair.from,
            to: &self.pair.to,
            source,
            translation: &best.text,
            score: best.score,
            alternatives: others
                .iter()
                .map(|other| Alternative { translation: &other.text, score: other.score, tokens: other.tokens.len() })
                .collect(),
            source_tokens: translation.source_tokens,
            tokens: best.tokens.len(),
            seconds: translation.elapsed.as_secs_f64(),
            tokens_per_second: speed(best.tokens.len() as u64, translation.elapsed),
        };
        write_line(self.out, &line)
    }

    /// A sentence of subtitles.
    pub(super) fn spoken(&mut self, record: &subtitles::translate::Record) -> io::Result<()> {
        let place = Place::Cues {
            cues: [*record.cues.start(), *record.cues.end()],
            start: record.start.as_secs_f64(),
            end: record.end.as_secs_f64(),
        };
        self.sentence_line(place, &record.source, &record.translation)
    }

    /// A translated cue.
    pub(super) fn cue(&mut self, cue: &Cue, format: Format) -> io::Result<()> {
        let line = CueLine {
            r#type: "cue",
            file: self.file.as_deref(),
            start: cue.start.as_secs_f64(),
            end: cue.end.as_secs_f64(),
            settings: &cue.settings,
            text: cue.text.written(format),
        };
        write_line(self.out, &line)
    }
}

impl Sink for JsonSink<'_> {
    fn write(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sentence(&mut self, record: &Record) -> io::Result<()> {
        self.bar.set_position(record.offset + record.source.len() as u64);
        let Record { line, offset, source, translation } = record;
        self.sentence_line(Place::Text { line: *line, offset: *offset }, source, translation)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Tokens per second; none when nothing could be timed.
fn speed(tokens: u64, elapsed: Duration) -> Option<f64> {
    let seconds = elapsed.as_secs_f64();
    (seconds > 0.0).then(|| tokens as f64 / seconds)
}
