//! The text of a cue with its marks: `<i>`, `<v Anna>`, `<font color="red">`, `{\an8}`, times inside it.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Format, is_blank, time};

/// A text with marks, in the order in which they stand. Lines are separated by `\n`, and none is blank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Span>);

/// A piece of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// What is shown.
    Text(String),
    /// `<i>`: something starts.
    Open(Tag),
    /// `</i>`: what has this name ends.
    Close(String),
    /// `<00:01:02.500>`: what follows appears only then. WebVTT.
    Time(Duration),
    /// `{\an8}`: a command of SubStation Alpha, without the braces. SRT.
    Override(String),
}

impl Span {
    /// What is shown of it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What a mark between angle brackets says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name, such as `i`, `c` or `font`.
    pub name: String,
    /// All that follows: `.loud`, ` Anna`, ` color="red"`.
    pub rest: String,
}

/// The tags of SRT. Anything else between angle brackets is text there.
const SRT_TAGS: [&str; 5] = ["i", "b", "u", "s", "font"];

impl Text {
    /// A text without marks. Blank lines are left out.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        let lines: Vec<&str> = text.split(['\n', '\r']).filter(|line| !is_blank(line)).collect();
        if lines.is_empty() { Self::default() } else { Self(vec![Span::Text(lines.join("\n"))]) }
    }

    /// What is shown, with `\n` between lines. Pronunciations (`<rt>`) are left out.
    pub fn shown(&self) -> String {
        self.without_pronunciations().filter_map(Span::text).collect()
    }

    /// The text with its marks, as a file in `format` has it. Marks that the format does not have are left out.
    pub fn written(&self, format: Format) -> String {
        match format {
            Format::Srt => self.to_srt(),
            Format::WebVtt => self.to_webvtt(),
        }
    }

    /// The spans, but for those inside `<rt>`.
    pub(super) fn without_pronunciations(&self) -> impl Iterator<Item = &Span> {
        let mut inside = false;
        self.0.iter().filter(move |span| {
            let (is, of) = match span {
                Span::Open(tag) => (tag.name.as_str(), "rt"),
                Span::Close(name) if inside && name.eq_ignore_ascii_case("ruby") => ("ruby", "ruby"),
                Span::Close(name) => (name.as_str(), "rt"),
                _ => return !inside,
            };
            if is.eq_ignore_ascii_case(of) {
                inside = matches!(span, Span::Open(_));
            }
            !inside
        })
    }

    fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Span::Text(last)) => last.push_str(text),
            _ => self.0.push(Span::Text(text.to_owned())),
        }
    }

    /// Reads SRT's marks in `source`, lines separated by `\n`.
    pub(super) fn from_srt(source: &str) -> Self {
        let mut text = Self::default();
        let mut rest = source;
        while let Some(at) = rest.find(['<', '{']) {
            text.push_text(&rest[..at]);
            rest = &rest[at..];
            let span = if let Some(command) = rest.strip_prefix("{\\") {
                let end = command.find(['}', '\n', '{']).filter(|end| command[*end..].starts_with('}'));
                end.map(|end| (Span::Override(rest[1..end + 2].to_owned()), end + 3))
            } else {
                tag(rest).filter(|(span, _)| is_srt(span))
            };
            let length = match span {
                Some((span, length)) => {
                    text.0.push(span);
                    length
                }
                None => {
                    text.push_text(&rest[..1]);
                    1
                }
            };
            rest = &rest[length..];
        }
        text.push_text(rest);
        text
    }

    /// Reads WebVTT's marks in `source`, lines separated by `\n`.
    pub(super) fn from_webvtt(source: &str) -> Self {
        let mut text = Self::default();
        let mut rest = source;
        while let Some(at) = rest.find(['<', '&']) {
            text.push_text(&rest[..at]);
            rest = &rest[at..];
            let length = if let Some((character, length)) = entity(rest) {
                text.push_text(character.encode_utf8(&mut [0; 4]));
                length
            } else if let Some((span, length)) = tag(rest) {
                text.0.push(span);
                length
            } else {
                text.push_text(&rest[..1]);
                1
            };
            rest = &rest[length..];
        }
        text.push_text(rest);
        text
    }

    /// As SRT has it.
    fn to_srt(&self) -> String {
        let mut out = String::new();
        for span in self.without_pronunciations() {
            match span {
                Span::Text(text) => out += text,
                Span::Override(command) => out += &format!("{{{command}}}"),
                span if is_srt(span) => write_tag(&mut out, span),
                _ => {}
            }
        }
        lines_with_something(&out)
    }

    /// As WebVTT has it.
    fn to_webvtt(&self) -> String {
        let mut out = String::new();
        for span in &self.0 {
            match span {
                Span::Text(text) => {
                    for c in text.chars() {
                        match ENTITIES.iter().find(|(_, character, written)| *written && *character == c) {
                            Some((name, ..)) => out += name,
                            None => out.push(c),
                        }
                    }
                }
                Span::Override(_) => {}
                Span::Time(at) => out += &format!("<{}>", time::format(*at, '.')),
                span => write_tag(&mut out, span),
            }
        }
        lines_with_something(&out)
    }
}

/// `text` without blank lines, which would end a cue.
fn lines_with_something(text: &str) -> String {
    text.split(['\n', '\r']).filter(|line| !is_blank(line)).collect::<Vec<_>>().join("\n")
}

fn is_srt(span: &Span) -> bool {
    match span {
        Span::Open(Tag { name, .. }) | Span::Close(name) => SRT_TAGS.iter().any(|tag| name.eq_ignore_ascii_case(tag)),
        _ => false,
    }
}

fn write_tag(out: &mut String, span: &Span) {
    let written = match span {
        Span::Open(Tag { name, rest }) => write!(out, "<{name}{rest}>"),
        Span::Close(name) => write!(out, "</{name}>"),
        _ => Ok(()),
    };
    // Writing to a string cannot fail.
    debug_assert!(written.is_ok());
}

/// The tag or time that `text` starts with, and its length.
fn tag(text: &str) -> Option<(Span, usize)> {
    let inner = text.strip_prefix('<')?;
    let end = inner.find(['>', '<', '\n']).filter(|end| inner[*end..].starts_with('>'))?;
    let length = end + 2;
    let inner = &inner[..end];
    if let Some(name) = inner.strip_prefix('/') {
        let name = name.trim();
        return (is_name(name)).then(|| (Span::Close(name.to_owned()), length));
    }
    if let Some(at) = time::parse(inner) {
        return Some((Span::Time(at), length));
    }
    let name = &inner[..inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inner.len())];
    let rest = &inner[name.len()..];
    let is_tag = is_name(name) && (rest.is_empty() || rest.starts_with(['.', ' ', '\t', '/']));
    is_tag.then(|| (Span::Open(Tag { name: name.to_owned(), rest: rest.to_owned() }), length))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// WebVTT's escapes, and whether characters are written as these.
const ENTITIES: [(&str, char, bool); 8] = [
    ("&amp;", '&', true),
    ("&lt;", '<', true),
    ("&gt;", '>', true),
    ("&nbsp;", '\u{a0}', true),
    ("&lrm;", '\u{200e}', true),
    ("&rlm;", '\u{200f}', true),
    ("&quot;", '"', false),
    ("&apos;", '\'', false),
];

/// The character that `text` starts with an escape of, and the length of the escape.
fn entity(text: &str) -> Option<(char, usize)> {
    const LONGEST: usize = 10;
    if let Some((name, character, _)) = ENTITIES.iter().find(|(name, ..)| text.starts_with(name)) {
        return Some((*character, name.len()));
    }
    let digits = text.strip_prefix("&#")?;
    let end = digits.find(';').filter(|end| (1..=LONGEST).contains(end))?;
    let code = match digits[..end].strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits[..end].parse(),
    };
    let character = char::from_u32(code.ok()?).filter(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'))?;
    Some((character, end + 3))
}
