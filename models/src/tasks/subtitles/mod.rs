//! Subtitles: SRT and WebVTT files, sentences across cues, and layout for reading.
//!
//! ```text
//! film.srt --read--> Subtitles --sentences--> units --translated--> Subtitles --write--> film.fr.srt
//! speech ---timed text---> Cascade: sentences -> (translated) -> layout -> cues --------^
//! ```
//!
//! A [`Cue`] is a span of time and a [`Text`] with its marks. Reading never fails: what is malformed becomes a
//! [`Warning`] that names the line, and the rest is kept.

mod breaks;
pub mod cascade;
mod encoding;
pub mod layout;
mod markup;
mod sentences;
mod srt;
mod time;
mod timed;
pub mod translate;
mod webvtt;

use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use breaks::columns;
pub use layout::Layout;
pub use markup::{Span, Tag, Text};
pub use timed::{Timed, Word};

/// A format of subtitle files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SubRip: numbered cues, HTML-like marks.
    Srt,
    /// WebVTT, the format of the web.
    WebVtt,
}

impl Format {
    /// The format that the extension of `path` names, in upper or lower case.
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        [Self::Srt, Self::WebVtt].into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension()))
    }

    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Srt => "srt",
            Self::WebVtt => "vtt",
        }
    }
}

/// A text and when it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cue {
    /// WebVTT's identifier, one line, mostly empty. SRT has numbers instead, which are given when it is written.
    pub identifier: String,
    /// When it appears, in whole milliseconds where it was read.
    pub start: Duration,
    /// When it vanishes.
    pub end: Duration,
    /// What follows the times on their line: `align:start line:0` in WebVTT, `X1:40 X2:600 Y1:20 Y2:50` in SRT.
    pub settings: String,
    /// What is shown.
    pub text: Text,
}

impl Cue {
    /// A cue of plain text.
    pub fn new(start: Duration, end: Duration, text: impl Into<String>) -> Self {
        Self { start, end, text: Text::plain(text), ..Self::default() }
    }
}

/// A block of a WebVTT file that is not a cue: `NOTE`, `STYLE`, `REGION`, or what nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The index of the cue that it stands before; as many as there are cues, after all of them.
    pub before: usize,
    /// Its lines.
    pub text: String,
}

/// What is in a file of subtitles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtitles {
    /// How it was written, and how [`Self::write`] writes it.
    pub format: Format,
    /// WebVTT: what follows `WEBVTT` at the start of the file, further lines of this block included.
    pub header: String,
    /// WebVTT: blocks between cues, in order.
    pub notes: Vec<Note>,
    /// The cues, in the order of the file.
    pub cues: Vec<Cue>,
}

impl Subtitles {
    /// Subtitles without anything in them.
    pub fn new(format: Format) -> Self {
        Self { format, header: String::new(), notes: Vec::new(), cues: Vec::new() }
    }

    /// What `file` holds. Its name says that it is in `named`, but a file that starts with `WEBVTT` is WebVTT. Text is
    /// UTF-8, UTF-16 with a byte order mark, or else Windows-1252.
    pub fn read(file: &[u8], named: Format) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let text = encoding::decode(file, &mut warnings);
        let subtitles = if named == Format::WebVtt || webvtt::has_signature(&text) {
            webvtt::read(&text, &mut warnings)
        } else {
            srt::read(&text, &mut warnings)
        };
        warnings.sort_by_key(|warning| warning.line);
        (subtitles, warnings)
    }

    /// Whether `file`, from which these were read with `warnings`, is a file of subtitles at all: it has cues, or is
    /// empty, or is WebVTT in which nothing is wrong.
    pub fn are_those_of(&self, file: &[u8], warnings: &[Warning]) -> bool {
        let bare = self.format == Format::WebVtt && warnings.is_empty();
        !self.cues.is_empty() || bare || file.iter().all(u8::is_ascii_whitespace)
    }

    /// The file that holds these subtitles, lines ended by `\n`. Marks and settings that the format does not have are
    /// left out.
    pub fn write(&self) -> String {
        let mut writer = Writer::new(self.format);
        let mut file = writer.header(&self.header);
        let mut notes = self.notes.iter().peekable();
        for (i, cue) in self.cues.iter().enumerate() {
            while let Some(note) = notes.next_if(|note| note.before <= i) {
                file += &writer.note(note);
            }
            file += &writer.cue(cue);
        }
        for note in notes {
            file += &writer.note(note);
        }
        file
    }
}

/// Writes subtitles piece by piece, for those that are still being made.
#[derive(Clone, Debug)]
pub struct Writer {
    format: Format,
    cues: usize,
}

impl Writer {
    /// A writer of a file in `format`.
    pub fn new(format: Format) -> Self {
        Self { format, cues: 0 }
    }

    /// The start of the file; `header` as in [`Subtitles`].
    pub fn header(&self, header: &str) -> String {
        match self.format {
            Format::Srt => String::new(),
            Format::WebVtt => webvtt::write_header(header),
        }
    }

    /// A block between cues.
    pub fn note(&self, note: &Note) -> String {
        match self.format {
            Format::Srt => String::new(),
            Format::WebVtt => format!("\n{}\n", note.text),
        }
    }

    /// The next cue.
    pub fn cue(&mut self, cue: &Cue) -> String {
        self.cues += 1;
        match self.format {
            Format::Srt => srt::write(cue, self.cues),
            Format::WebVtt => webvtt::write(cue),
        }
    }
}

/// Something in a file that is not as it should be, and was read as well as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// What can be wrong with a file of subtitles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Bytes that are neither UTF-8 nor UTF-16.
    #[error("not UTF-8 (byte 0x{0:02X}): the file was read as Windows-1252")]
    Encoding(u8),
    /// Half a character of UTF-16.
    #[error("not UTF-16: unpaired surrogates were replaced")]
    Surrogate,
    /// WebVTT without its first line.
    #[error("the file does not start with WEBVTT")]
    Signature,
    /// The start of a WebVTT file runs into its first cue.
    #[error("a cue without a blank line before it")]
    NoBlankLine,
    /// A line with an arrow that is not two times.
    #[error("cannot read the times in `{0}`: the cue was left out")]
    Times(String),
    /// Text that belongs to no cue.
    #[error("text outside any cue was left out: `{0}`")]
    Stray(String),
    /// A block of WebVTT that is neither a cue nor a note.
    #[error("a block without times was kept, but is not shown: `{0}`")]
    Block(String),
    /// A blank line with more of the same cue after it.
    #[error("a blank line inside a cue was removed")]
    BlankLine,
    /// A cue that vanishes before it appears.
    #[error("the cue ends before it starts")]
    Backwards,
    /// A cue that appears before the one above it.
    #[error("the cue starts before the one above it")]
    Order,
}

/// The lines of a file, each with its number, by any line ending.
fn numbered_lines(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        lines.push((lines.len() + 1, line));
        rest = after.strip_prefix("\r\n").unwrap_or_else(|| after.get(1..).unwrap_or(""));
    }
    lines
}

/// Whether nobody sees anything of the line. A no-break space is something: some files move lines with it.
fn is_blank(line: &str) -> bool {
    line.chars().all(|c| matches!(c, ' ' | '\t'))
}

/// Checks the times of a cue that was just read against the one before it.
fn check_times(line: usize, cue: &Cue, previous: Option<&Cue>, warnings: &mut Vec<Warning>) {
    if cue.end < cue.start {
        warnings.push(Warning { line, problem: Problem::Backwards });
    }
    if previous.is_some_and(|previous| cue.start < previous.start) {
        warnings.push(Warning { line, problem: Problem::Order });
    }
}

/// The start of a line, for a message.
fn excerpt(line: &str) -> String {
    const MOST: usize = 40;
    match line.trim().char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &line.trim()[..end]),
        None => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests;
