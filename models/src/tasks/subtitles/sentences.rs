//! Cues -> what is said in them, as sentences.
//!
//! Cues are not sentences: one holds the end of a sentence and the start of the next, or two speakers. A cue becomes
//! *utterances*: what one voice says in it, a sound in brackets, or a line of a song. Speech of one voice in one style
//! that goes on from cue to cue is joined and cut into sentences by [`Segmenter`]. Every sentence knows which parts of
//! which utterances it is made of, so that its translation can be put back.

use std::ops::Range;
use std::time::Duration;

use super::breaks::columns;
use super::layout::separator;
use super::{Cue, Span, Tag};
use crate::tasks::segment::{Part, Segmenter};

/// What one voice says in one cue, or a sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Utterance {
    /// Index of the cue.
    pub(super) cue: usize,
    pub(super) kind: Kind,
    /// What stands before it and stays as it is: a dash, a speaker's name, an opening bracket or note.
    pub(super) prefix: String,
    /// What stands behind it and stays: a closing bracket or note.
    pub(super) suffix: String,
    /// What is to be translated, on one line.
    pub(super) text: String,
    /// The tags around all of it, the outermost first.
    pub(super) tags: Vec<Tag>,
    /// It starts on a line of its own.
    pub(super) own_line: bool,
    /// What is shown in place of `text`, as far as it is known.
    pub(super) translation: Option<New>,
}

/// What comes in the place of an utterance's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct New {
    pub(super) text: String,
    /// Some of it is a translation; otherwise it is what was there.
    pub(super) translated: bool,
}

impl Utterance {
    /// All that is shown: the text in its frame.
    pub(super) fn shown(&self) -> String {
        let text = self.translation.as_ref().map_or(&self.text, |new| &new.text);
        format!("{}{text}{}", self.prefix, self.suffix)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Speech,
    /// `[MUSIC]`, `(sighs)`: never joined with anything.
    Sound,
    /// Between notes. Songs have lines, not sentences.
    Song,
}

/// A part of a sentence: what of it is in one utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Index of the utterance.
    pub(super) utterance: usize,
    /// Its width.
    pub(super) columns: usize,
}

/// A sentence of one or more cues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) text: String,
    pub(super) fragments: Vec<Fragment>,
    /// It has no letters: there is nothing to translate.
    pub(super) copied: bool,
}

/// Speech that pauses longer than this does not go on in the next cue.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Cues that overlap by more than this are said at the same time.
const LONGEST_OVERLAP: Duration = Duration::from_millis(500);
/// Cues that are joined at most while no sentence ends: some subtitles have no full stops.
const MOST_CUES: usize = 8;

/// A character of a cue and the tags that it stands in (an index into a list of them).
type Marked = (char, usize);

/// The utterances of `cue`, the one with the index `index`.
pub(super) fn utterances(cue: &Cue, index: usize) -> Vec<Utterance> {
    let (text, tags) = marked(cue);
    let mut found: Vec<Utterance> = Vec::new();
    for (lines, own_line) in turns(&text) {
        let mut parts = parts(&lines);
        let mut first = true;
        for (kind, part) in parts.drain(..) {
            let text: String = part.iter().map(|(c, _)| *c).collect();
            let (prefix, body, suffix) = framed(&text, kind, first);
            let start = text[..prefix.len()].chars().count();
            let inside = &part[start..start + body.chars().count()];
            let utterance = Utterance {
                cue: index,
                kind,
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
                text: body.to_owned(),
                tags: common_tags(inside, &tags),
                own_line: own_line && first,
                translation: None,
            };
            first = false;
            found.push(utterance);
        }
    }
    found
}

/// The shown text of a cue, character by character, and the lists of tags.
fn marked(cue: &Cue) -> (Vec<Marked>, Vec<Vec<Tag>>) {
    let mut text = Vec::new();
    let mut lists: Vec<Vec<Tag>> = vec![Vec::new()];
    for span in cue.text.without_pronunciations() {
        let mut open = lists[lists.len() - 1].clone();
        match span {
            Span::Text(piece) => text.extend(piece.chars().map(|c| (c, lists.len() - 1))),
            Span::Open(tag) => {
                // What concerns single words means nothing in another language.
                if !["ruby", "rt", "lang"].iter().any(|name| tag.name.eq_ignore_ascii_case(name)) {
                    open.push(tag.clone());
                    lists.push(open);
                }
            }
            Span::Close(name) => {
                if let Some(at) = open.iter().rposition(|tag| tag.name.eq_ignore_ascii_case(name)) {
                    open.remove(at);
                    lists.push(open);
                }
            }
            Span::Time(_) | Span::Override(_) => {}
        }
    }
    (text, lists)
}

/// The tags around all letters of `text`.
fn common_tags(text: &[Marked], lists: &[Vec<Tag>]) -> Vec<Tag> {
    let mut seen: Vec<usize> = text.iter().filter(|(c, _)| !c.is_whitespace()).map(|(_, list)| *list).collect();
    seen.dedup();
    let Some((first, others)) = seen.split_first() else { return Vec::new() };
    let mut common = lists[*first].clone();
    common.retain(|tag| others.iter().all(|list| lists[*list].contains(tag)));
    common
}

/// The lines of a cue, joined to what each voice says. A voice begins with a dash, `>>` or a name in capitals, or where
/// a whole line is a sound; `true` says that it did.
fn turns(text: &[Marked]) -> Vec<(Vec<Marked>, bool)> {
    let mut turns: Vec<(Vec<Marked>, bool)> = Vec::new();
    let mut depth = 0_usize;
    let mut alone = false; // the line before was a sound
    for line in text.split(|(c, _)| *c == '\n') {
        let shown: String = line.iter().map(|(c, _)| *c).collect();
        let shown = shown.trim();
        let speaker = speaker_length(shown);
        let said = shown[speaker..].trim();
        let starts = speaker > 0 || said.starts_with(is_note);
        let sound = is_sound(said) || is_note_line(said);
        match turns.last_mut() {
            Some((turn, _)) if depth > 0 || !(starts || sound || alone) => {
                let (before, after) = (turn.last().map(|(c, _)| *c), line.first().map(|(c, _)| *c));
                let style = line.first().map_or(0, |(_, list)| *list);
                if let (Some(before), Some(after)) = (before, after) {
                    let space = separator(before.encode_utf8(&mut [0; 4]), after.encode_utf8(&mut [0; 4]));
                    turn.extend(space.chars().map(|c| (c, style)));
                }
                turn.extend_from_slice(line);
            }
            _ => turns.push((line.to_vec(), true)),
        }
        let count = |mark: char| shown.chars().filter(|c| *c == mark).count();
        depth = (depth + count('[')).saturating_sub(count(']'));
        alone = sound && depth == 0;
    }
    turns
}

/// Cuts what a voice says into speech, sounds in square brackets, and songs.
fn parts(turn: &[Marked]) -> Vec<(Kind, Vec<Marked>)> {
    let text: String = turn.iter().map(|(c, _)| *c).collect();
    let bare = text.trim();
    let bare = bare[speaker_length(bare)..].trim();
    if is_note_line(bare) {
        return vec![(Kind::Song, turn.to_vec())];
    }
    if is_sound(bare) {
        return vec![(Kind::Sound, turn.to_vec())];
    }
    let mut found: Vec<(Kind, Vec<Marked>)> = Vec::new();
    let mut rest = turn;
    while let Some(open) = rest.iter().position(|(c, _)| *c == '[') {
        let Some(length) = rest[open..].iter().position(|(c, _)| *c == ']') else { break };
        found.push((Kind::Speech, rest[..open].to_vec()));
        found.push((Kind::Sound, rest[open..=open + length].to_vec()));
        rest = &rest[open + length + 1..];
    }
    found.push((Kind::Speech, rest.to_vec()));
    // Marks alone go with what they stand before or behind.
    let mut joined: Vec<(Kind, Vec<Marked>)> = Vec::new();
    let mut waiting: Vec<Marked> = Vec::new();
    for (kind, part) in found {
        if kind == Kind::Speech && !part.iter().any(|(c, _)| c.is_alphanumeric()) {
            match joined.last_mut() {
                Some((_, last)) => last.extend(part),
                None => waiting.extend(part),
            }
        } else {
            joined.push((kind, std::mem::take(&mut waiting).into_iter().chain(part).collect()));
        }
    }
    if joined.is_empty() { vec![(Kind::Speech, waiting)] } else { joined }
}

/// `text` as what stands before, what is to be translated, and what stands behind.
fn framed(text: &str, kind: Kind, first: bool) -> (&str, &str, &str) {
    let edge = |c: char| match kind {
        Kind::Speech => c.is_whitespace(),
        Kind::Sound => c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | '*' | '-'),
        Kind::Song => c.is_whitespace() || is_note(c) || c == '#',
    };
    let mut start = if first { speaker_length(text) } else { 0 };
    start += text[start..].len() - text[start..].trim_start_matches(edge).len();
    let end = start + text[start..].trim_end_matches(edge).len();
    (&text[..start], &text[start..end], &text[end..])
}

/// The length of the mark that says who speaks: `- `, `>> `, `ANNA: `, or several of them.
fn speaker_length(text: &str) -> usize {
    const LONGEST_NAME: usize = 30;
    let mut length = 0;
    loop {
        let rest = &text[length..];
        let bare = rest.trim_start();
        let space = rest.len() - bare.len();
        let dashes = bare.len() - bare.trim_start_matches(['-', '–', '—', '‐']).len();
        let arrows = bare.len() - bare.trim_start_matches('>').len();
        let after = |n: usize| bare[n..].chars().next();
        let name = bare.find(':').filter(|end| {
            let name = &bare[..*end];
            let letters = name.chars().filter(|c| c.is_alphabetic()).count();
            let plain =
                |c: char| !c.is_lowercase() && (c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '\'' | '#'));
            *end <= LONGEST_NAME
                && letters >= 2
                && name.chars().all(plain)
                && after(end + 1).is_none_or(char::is_whitespace)
        });
        if length == 0
            && dashes > 0
            && after(dashes).is_some_and(|c| !c.is_numeric() && c != '>')
            && bare[..dashes].chars().count() == 1
        {
            length += space + dashes;
        } else if arrows > 1 && after(arrows).is_some() {
            length += space + arrows;
        } else if let Some(name) = name {
            return length + space + name + 1;
        } else {
            return length;
        }
    }
}

/// `[...]`, `(...)` or `*...*` and nothing else.
fn is_sound(line: &str) -> bool {
    let closed = |open: char, close: char| {
        let inner = line.strip_prefix(open).and_then(|inner| inner.strip_suffix(close));
        inner.is_some_and(|inner| !inner.contains([open, close]) && !inner.is_empty())
    };
    closed('[', ']') || closed('(', ')') || closed('*', '*')
}

fn is_note(c: char) -> bool {
    matches!(c, '♪' | '♫' | '♬' | '♩')
}

/// A line of a song: it begins or ends with a note, or stands between `#`.
fn is_note_line(line: &str) -> bool {
    line.starts_with(is_note)
        || line.ends_with(is_note)
        || line.len() > 2 && line.starts_with("# ") && line.ends_with(" #")
}

/// The sentences of `utterances`, which are those of `cues` in order; together they are all the text. Where an
/// utterance ends in an ellipsis and goes on with one in the next cue, the ellipses become part of their frames.
pub(super) fn sentences(cues: &[Cue], utterances: &mut [Utterance], segmenter: &Segmenter<'_>) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut first = 0;
    while first < utterances.len() {
        let mut last = first;
        while last + 1 < utterances.len()
            && last + 1 - first < MOST_CUES
            && goes_on(&utterances[last], &utterances[last + 1], cues)
        {
            last += 1;
            let (before, after) = utterances.split_at_mut(last);
            bridge(&mut before[last - 1], &mut after[0]);
        }
        cut(utterances, first..last + 1, segmenter, &mut found);
        first = last + 1;
    }
    found
}

/// Whether a sentence may go on from `one` to the utterance after it.
fn goes_on(one: &Utterance, next: &Utterance, cues: &[Cue]) -> bool {
    let (before, after) = (&cues[one.cue], &cues[next.cue]);
    let speech = one.kind == Kind::Speech && next.kind == Kind::Speech;
    let same = one.tags == next.tags && before.settings == after.settings && placed(before) == placed(after);
    let near = after.start <= before.end.saturating_add(LONGEST_PAUSE)
        && after.start.saturating_add(LONGEST_OVERLAP) >= before.end.min(after.end);
    // A dash cuts someone short, unless what follows shows that it did not.
    let cut_short = one.text.ends_with(['-', '–', '—']) && !next.text.starts_with(char::is_lowercase);
    speech && same && near && !cut_short && next.prefix.trim().is_empty() && one.suffix.trim().is_empty()
}

/// The commands that a cue begins with: `{\an8}`.
pub(super) fn placed(cue: &Cue) -> Vec<&str> {
    let commands = cue.text.0.iter().take_while(|span| span.text().is_none_or(str::is_empty));
    commands.filter_map(|span| if let Span::Override(command) = span { Some(command.as_str()) } else { None }).collect()
}

/// Joins the utterances of `run` and cuts them into sentences.
fn cut(utterances: &[Utterance], run: Range<usize>, segmenter: &Segmenter<'_>, found: &mut Vec<Sentence>) {
    let mut text = String::new();
    let mut places: Vec<Range<usize>> = Vec::new(); // where each utterance is in `text`
    for utterance in &utterances[run.clone()] {
        if !text.is_empty() {
            text += separator(&text, &utterance.text);
        }
        let start = text.len();
        text += &utterance.text;
        places.push(start..text.len());
    }
    let mut at = 0;
    for part in segmenter.split_continued(&text) {
        let range = at..at + part.text().len();
        at = range.end;
        if part.text().trim().is_empty() {
            continue;
        }
        let overlap = |(i, place): (usize, &Range<usize>)| {
            let (start, end) = (place.start.max(range.start), place.end.min(range.end));
            let utterance = run.start + i;
            (start < end).then(|| Fragment { utterance, columns: columns(&text[start..end]) })
        };
        let fragments = places.iter().enumerate().filter_map(overlap).collect();
        let copied = matches!(part, Part::Between(_));
        found.push(Sentence { text: part.text().trim().to_owned(), fragments, copied });
    }
}

/// Moves the ellipses with which `one` ends and `next` begins into their frames.
fn bridge(one: &mut Utterance, next: &mut Utterance) {
    const ELLIPSIS: [char; 2] = ['.', '…'];
    let end = one.text.trim_end_matches(ELLIPSIS).len();
    let start = next.text.len() - next.text.trim_start_matches(ELLIPSIS).len();
    let is_ellipsis = |mark: &str| mark == "…" || mark.len() > 1;
    if is_ellipsis(&one.text[end..]) && is_ellipsis(&next.text[..start]) {
        one.suffix = one.text.split_off(end) + &one.suffix;
        next.prefix += &next.text[..start];
        next.text.drain(..start);
    }
}
