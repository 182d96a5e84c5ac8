//! What comes out: text, or JSON lines (the schema is in `docs/CLI.md`).

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use babil_models::tasks::document::{Record, Sink, Summary};
use babil_models::tasks::translate::LanguagePair;
use indicatif::ProgressBar;
use serde::Serialize;

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
    line: u64,
    offset: u64,
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
    pub(super) fn summary(&mut self, summary: &Summary, model: Option<&str>, load: Duration) -> io::Result<()> {
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
        write_line(self.out, &line)?;
        self.out.flush()
    }
}

impl Sink for JsonSink<'_> {
    fn write(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sentence(&mut self, record: &Record) -> io::Result<()> {
        self.bar.set_position(record.offset + record.source.len() as u64);
        let (best, others) = record.translation.hypotheses.split_first().ok_or(io::ErrorKind::InvalidData)?;
        let line = SentenceLine {
            r#type: "sentence",
            file: self.file.as_deref(),
            line: record.line,
            offset: record.offset,
            from: &self.pair.from,
            to: &self.pair.to,
            source: &record.source,
            translation: &best.text,
            score: best.score,
            alternatives: others
                .iter()
                .map(|other| Alternative { translation: &other.text, score: other.score, tokens: other.tokens.len() })
                .collect(),
            source_tokens: record.translation.source_tokens,
            tokens: best.tokens.len(),
            seconds: record.translation.elapsed.as_secs_f64(),
            tokens_per_second: speed(best.tokens.len() as u64, record.translation.elapsed),
        };
        write_line(self.out, &line)
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
