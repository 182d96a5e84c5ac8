//! A text -> its sentences, with everything between them kept.
//!
//! A text is cut in three steps: into lines, a line into its frame (indentation, list markers, trailing spaces, the
//! line break) and sentences, and a sentence that is too long for a model into clauses. All parts together are the
//! text again, byte for byte, so that a document keeps its shape when only its sentences are replaced.
//!
//! Sentence bounds are those of Unicode (UAX #29), corrected by what UAX #29 leaves to the application: abbreviations,
//! initials, closing quotes after a space and direct speech.

use unicode_segmentation::UnicodeSegmentation;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// To be translated: no line break in it, no white space at its ends, at least one letter.
    Sentence {
        /// The sentence, or a part of one that is too long.
        text: &'a str,
        /// Its tokens, as counted by the caller's function.
        tokens: usize,
    },
    /// To be copied: white space, line breaks, list markers, and what has no letters at all.
    Between(&'a str),
}

impl<'a> Part<'a> {
    /// The part's text.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Sentence { text, .. } | Self::Between(text) => text,
        }
    }
}

/// Cuts texts into sentences of at most `max_tokens` tokens, as counted by `count`.
pub struct Segmenter<'c> {
    count: &'c dyn Fn(&str) -> usize,
    max_tokens: usize,
}

impl<'c> Segmenter<'c> {
    /// A segmenter for a model that takes `max_tokens` tokens at a time.
    pub fn new(max_tokens: usize, count: &'c dyn Fn(&str) -> usize) -> Self {
        Self { count, max_tokens: max_tokens.max(1) }
    }

    /// The parts of `text`, in order. Concatenated they are `text`.
    pub fn split<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for line in lines(text) {
            self.split_line(line, true, &mut parts);
        }
        parts
    }

    /// As [`Self::split`] for the middle of a line: what looks like a list marker at its start is none.
    pub fn split_continued<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for (i, line) in lines(text).enumerate() {
            self.split_line(line, i > 0, &mut parts);
        }
        parts
    }

    fn split_line<'a>(&self, line: &'a str, at_start: bool, parts: &mut Vec<Part<'a>>) {
        let frame = if at_start { frame_length(line) } else { 0 };
        push_between(&line[..frame], parts);
        for sentence in sentences(&line[frame..]) {
            let body = sentence.trim_start_matches(is_blank);
            push_between(&sentence[..sentence.len() - body.len()], parts);
            let text = body.trim_end_matches(is_blank);
            if text.chars().any(char::is_alphabetic) {
                self.cut(text, parts);
            } else {
                push_between(text, parts);
            }
            push_between(&body[text.len()..], parts);
        }
    }

    /// Pushes `text` if it fits, else its halves (or thirds, ...), cut where it hurts least.
    fn cut<'a>(&self, text: &'a str, parts: &mut Vec<Part<'a>>) {
        // No tokeniser in use makes fewer than a token of this many bytes: saves counting a megabyte again and again.
        const MOST_BYTES_PER_TOKEN: usize = 64;
        let tokens = if text.len() > self.max_tokens.saturating_mul(MOST_BYTES_PER_TOKEN) {
            text.len().div_ceil(MOST_BYTES_PER_TOKEN)
        } else {
            (self.count)(text)
        };
        let pieces = tokens.div_ceil(self.max_tokens);
        let at = if pieces > 1 { cut_position(text, pieces) } else { None };
        let Some(at) = at else {
            parts.push(Part::Sentence { text, tokens });
            return;
        };
        for half in [&text[..at], &text[at..]] {
            let body = half.trim_start_matches(is_blank);
            push_between(&half[..half.len() - body.len()], parts);
            let inner = body.trim_end_matches(is_blank);
            if inner.chars().any(char::is_alphabetic) {
                self.cut(inner, parts);
            } else {
                push_between(inner, parts);
            }
            push_between(&body[inner.len()..], parts);
        }
    }
}

fn push_between<'a>(text: &'a str, parts: &mut Vec<Part<'a>>) {
    if !text.is_empty() {
        parts.push(Part::Between(text));
    }
}

/// A character that ends a line, by Unicode's count.
pub(crate) fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space and invisible marks around a sentence.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

/// The lines of `text`, each with its line break.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(is_line_break)
}

/// How many bytes at a line's start are not prose: indentation, quote marks, heading marks and list markers.
fn frame_length(line: &str) -> usize {
    let mut rest = line.trim_start_matches(is_blank);
    while let Some(marker) = marker_length(rest) {
        rest = rest[marker..].trim_start_matches(is_blank);
    }
    line.len() - rest.len()
}

/// The length of the list marker, quote mark or heading mark that `text` starts with. White space must follow it.
fn marker_length(text: &str) -> Option<usize> {
    const CHECK_BOXES: [&str; 3] = ["[ ] ", "[x] ", "[X] "];
    if CHECK_BOXES.iter().any(|mark| text.starts_with(mark)) {
        return Some(CHECK_BOXES[0].len());
    }
    let word = text.split(is_blank).next().filter(|word| word.len() < text.len())?;
    let numbered = |word: &str| {
        let inner = word.trim_start_matches('(');
        let closed = inner.strip_suffix(')').or_else(|| inner.strip_suffix('.'));
        closed.is_some_and(|label| {
            let digits = label.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && label.starts_with(|c: char| c.is_ascii_digit());
            let letter = label.len() == 1 && label.as_bytes()[0].is_ascii_lowercase() && inner.ends_with(')');
            digits && label.len() <= 8 || letter
        })
    };
    let is_marker = matches!(word, "-" | "*" | "+" | "•" | "◦" | "▪" | "‣" | "·" | "–" | "—")
        || word.chars().all(|c| c == '>')
        || word.len() <= 6 && word.chars().all(|c| c == '#')
        || numbered(word);
    (is_marker && !word.is_empty()).then_some(word.len())
}

/// The sentences of a line, each with the white space after it. Concatenated they are the line.
fn sentences(line: &str) -> Vec<&str> {
    let mut bounds: Vec<usize> = Vec::new();
    for (start, _) in line.split_sentence_bound_indices().skip(1) {
        let bound = after_closing_marks(line, start);
        let previous = bounds.last().copied().unwrap_or(0);
        if bound > previous && bound < line.len() && is_sentence_end(&line[previous..bound], &line[bound..]) {
            bounds.push(bound);
        }
    }
    bounds.push(line.len());
    let mut start = 0;
    let cut = |end| {
        let sentence = &line[start..end];
        start = end;
        sentence
    };
    bounds.into_iter().map(cut).collect()
}

/// Whether `text` ends with a sentence that is complete, whatever follows.
pub(crate) fn is_complete(text: &str) -> bool {
    let followed = format!("{} X", text.trim_end());
    sentences(&followed).last().is_some_and(|last| *last == "X")
}

/// Moves a bound behind closing quotes and brackets that stand apart, as in French `Où ? »`.
fn after_closing_marks(line: &str, bound: usize) -> usize {
    let rest = line[bound..].trim_start_matches(['»', '”', '’', '›', ')', ']']);
    let closes = rest.len() < line.len() - bound && rest.chars().next().is_none_or(|c| c.is_whitespace());
    if closes { line.len() - rest.trim_start().len() } else { bound }
}

/// Whether the bound that Unicode sees between `before` and `after` is one.
fn is_sentence_end(before: &str, after: &str) -> bool {
    let after = after.trim_start();
    let text = before.trim_end();
    if text.len() == before.len() && text.ends_with(|c: char| c.is_ascii()) {
        return false; // https://example.com/?page=1
    }
    let bare = text.trim_end_matches(is_closing);
    let quoted = bare.len() < text.len();
    let next = after.trim_start_matches(is_opening);
    if quoted && next.starts_with(char::is_lowercase) {
        return false; // "Where?" she asked.
    }
    let Some(stem) = bare.strip_suffix('.') else { return true };
    if quoted || stem.ends_with('.') {
        return true; // an ellipsis, or an abbreviation inside a quotation that ends here
    }
    let word = stem
        .rsplit(|c: char| c.is_whitespace() || is_opening(c) || matches!(c, '\'' | '-' | '/'))
        .next()
        .unwrap_or(stem);
    let next_word = next.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    let digit_follows = next.starts_with(|c: char| c.is_numeric());
    let lower = word.to_lowercase();
    let letters = word.split('.').all(|letter| letter.chars().count() == 1 && letter.chars().all(char::is_alphabetic));

    if !word.is_empty() && word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit()) {
        return !MONTHS.contains(&next_word); // German ordinals: am 3. Oktober
    }
    if TITLES.contains(&lower.as_str()) || digit_follows && BEFORE_NUMBERS.contains(&lower.as_str()) {
        return false;
    }
    if letters || OFTEN_INSIDE.contains(&lower.as_str()) {
        return STARTERS.contains(&next_word); // J. R. R. Tolkien, the U.S. Army; but: at 5 p.m. The
    }
    true
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | '»' | '”' | '’' | '›' | ')' | ']' | '}' | '“') || c.is_whitespace()
}

fn is_opening(c: char) -> bool {
    matches!(c, '"' | '\'' | '«' | '“' | '„' | '‘' | '‚' | '‹' | '»' | '(' | '[' | '{' | '¿' | '¡') || c.is_whitespace()
}

/// Abbreviations that never end a sentence: something always follows them.
const TITLES: &[&str] = &[
    "mr", "mrs", "ms", "mx", "dr", "prof", "rev", "hon", "gen", "col", "lt", "capt", "cpt", "sgt", "maj", "cmdr",
    "adm", "gov", "sen", "rep", "pres", "ste", "mt", "messrs", "mme", "mmes", "mlle", "mlles", "mgr", "pr", "sr",
    "sra", "srta", "dña", "ud", "uds", "dra", "hr", "fr", "frl", "dott", "sig", "dipl", "ing", "e.g", "i.e", "eg",
    "ie", "cf", "vs", "viz", "approx", "ex", "bzw", "ca", "vgl", "inkl", "evtl", "sog", "resp", "env",
];

/// Abbreviations that go with the number after them.
const BEFORE_NUMBERS: &[&str] = &[
    "no", "nos", "nr", "n", "núm", "p", "pp", "pg", "s", "vol", "vols", "ch", "chap", "fig", "figs", "sec", "sect",
    "art", "abb", "bd", "kap", "tab", "eq", "eqs", "ref", "refs", "par", "v", "tel", "tél", "ext", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "oct", "okt", "nov", "dec", "dez", "janv", "févr", "avr", "juil", "déc",
    "ed", "op", "rev",
];

/// Abbreviations that stand inside a sentence or end one: the next word decides.
const OFTEN_INSIDE: &[&str] = &[
    "etc", "inc", "ltd", "co", "corp", "bros", "jr", "st", "mm", "al", "dept", "univ", "assn", "ave", "blvd", "rd",
    "av", "bd", "usw", "a.m", "p.m", "u.s", "u.k", "u.n", "d.c", "ph.d", "m.d", "b.a", "m.a", "est", "ed", "eds",
    "hrsg", "str", "ass", "cie",
];

/// Capitalised words that seldom follow an abbreviation inside a sentence.
const STARTERS: &[&str] = &[
    "The", "A", "An", "This", "That", "These", "Those", "It", "He", "She", "We", "They", "You", "I", "But", "And",
    "However", "In", "On", "At", "If", "When", "What", "Why", "Who", "How", "There", "His", "Her", "Its", "My", "Our",
    "Their", "As", "For", "So", "Le", "La", "Les", "Un", "Une", "Il", "Elle", "Ils", "Elles", "Nous", "Vous", "Je",
    "On", "Ce", "Cette", "Ces", "Mais", "Et", "Der", "Die", "Das", "Ein", "Eine", "Er", "Sie", "Es", "Wir", "Ich",
    "Aber", "Und", "El", "Los", "Las", "Una", "Él", "Ella", "Pero", "Yo", "Esto", "Este", "Esta",
];

/// Words after which a number with a full stop is an ordinal.
const MONTHS: &[&str] = &[
    "Januar",
    "Jänner",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
    "Jahrhundert",
    "Jahrhunderts",
];

/// Where to cut `text`, which is to become `pieces` pieces, in two: near the border that gives each side its share of
/// the pieces, at the best kind of place there is around it. `None` when `text` is a single character.
fn cut_position(text: &str, pieces: usize) -> Option<usize> {
    let target = text.len() * (pieces / 2) / pieces;
    let reach = text.len() / (2 * pieces) + 1;
    let (low, high) = (target.saturating_sub(reach).max(1), (target + reach).min(text.len() - 1));
    let low = (low..=text.len()).find(|&i| text.is_char_boundary(i))?;
    let high = (low..=high).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(low);

    let nearest = |positions: &mut dyn Iterator<Item = (Border, usize)>| {
        let inside = positions.filter(|(_, at)| *at > 0 && *at < text.len());
        inside.min_by_key(|(border, at)| (*border, at.abs_diff(target))).map(|(_, at)| at)
    };
    let graphemes = || text[low..].grapheme_indices(true).map(|(i, _)| low + i).take_while(|at| *at <= high);
    nearest(&mut borders(text, low..high))
        .or_else(|| {
            nearest(&mut graphemes().filter(|at| is_grapheme_start(text, *at)).map(|at| (Border::Grapheme, at)))
        })
        .or_else(|| nearest(&mut text.char_indices().map(|(at, _)| (Border::Character, at))))
}

/// Kinds of places to cut a sentence at, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Border {
    Sentence,
    Clause,
    Conjunction,
    Word,
    Grapheme,
    Character,
}

/// The borders of words and larger units that start in `range`.
pub(crate) fn borders(text: &str, range: std::ops::Range<usize>) -> impl Iterator<Item = (Border, usize)> {
    let mut before = text[..range.start].chars().next_back();
    text[range.clone()].char_indices().filter_map(move |(i, c)| {
        let at = range.start + i;
        let previous = before.replace(c);
        match c {
            '。' | '！' | '？' | '；' | '：' => Some((Border::Sentence, at + c.len_utf8())),
            '，' | '、' => Some((Border::Clause, at + c.len_utf8())),
            _ if !c.is_whitespace() || previous.is_some_and(char::is_whitespace) => None,
            _ => {
                let after = text[at..].trim_start();
                let border = match previous {
                    Some(';' | ':' | '.' | '!' | '?' | '…') => Border::Sentence,
                    Some(',' | ')' | ']' | '»' | '”') => Border::Clause,
                    _ if after.starts_with(['—', '–', '(', '[', '«', '“']) => Border::Clause,
                    _ if starts_with_conjunction(after) => Border::Conjunction,
                    _ => Border::Word,
                };
                Some((border, at))
            }
        }
    })
}

/// Whether a grapheme starts at `at`, which may lie inside one.
fn is_grapheme_start(text: &str, at: usize) -> bool {
    let mut cursor = unicode_segmentation::GraphemeCursor::new(at, text.len(), true);
    cursor.is_boundary(text, 0).unwrap_or(false)
}

/// Whether the next word joins clauses.
fn starts_with_conjunction(text: &str) -> bool {
    const CONJUNCTIONS: &[&str] = &[
        "and", "or", "but", "because", "which", "that", "while", "when", "if", "et", "ou", "mais", "car", "que", "qui",
        "und", "oder", "aber", "weil", "dass", "y", "o", "pero", "porque", "e", "ma", "perché",
    ];
    text.split_whitespace().next().is_some_and(|word| CONJUNCTIONS.contains(&word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One token per word, and per four characters of a long word.
    fn count(text: &str) -> usize {
        text.split_whitespace().map(|word| word.chars().count().div_ceil(4)).sum()
    }

    fn split(text: &str, max_tokens: usize) -> Vec<Part<'_>> {
        Segmenter::new(max_tokens, &count).split(text)
    }

    fn sentences_of(text: &str) -> Vec<&str> {
        split(text, 1000)
            .into_iter()
            .filter_map(|part| match part {
                Part::Sentence { text, .. } => Some(text),
                Part::Between(_) => None,
            })
            .collect()
    }

    #[track_caller]
    fn assert_sentences(expected: &[&str]) {
        let text = expected.join(" ");
        assert_eq!(sentences_of(&text), expected);
    }

    #[test]
    fn sentences_end_where_they_end() {
        assert_sentences(&["Where is the station?", "It is over there!", "Thank you."]);
        assert_sentences(&["It costs 3.50 euros.", "Version 1.2.3 is out."]);
        assert_sentences(&["Où est la gare ?", "Elle est là !"]);
        assert_sentences(&["¿Dónde está?", "¡Allí!"]);
        assert_sentences(&["See https://example.com/a.b?c=d for more.", "Or ask."]);
        assert_eq!(sentences_of("今天天气很好。你好吗？"), ["今天天气很好。", "你好吗？"]);
    }

    #[test]
    fn abbreviations_do_not_end_sentences() {
        assert_sentences(&["Mr. Smith met Dr. Jones at St. Mary's.", "They talked."]);
        assert_sentences(&["M. Dupont et Mme. Durand sont là.", "Ils attendent."]);
        assert_sentences(&["Prenez un fruit, p. ex. Une pomme.", "Merci."]);
        assert_sentences(&["Wir essen Obst, z. B. Äpfel, d. h. Gesundes.", "Danke."]);
        assert_sentences(&["J. R. R. Tolkien wrote it.", "I read it."]);
        assert_sentences(&["The U.S. Army left.", "It was in the U.S.", "The end."]);
        assert_sentences(&["We met at 5 p.m.", "The train was late."]);
        assert_sentences(&["See No. 5, Fig. 3 and p. 12.", "Then stop."]);
        assert_sentences(&["Er kam am 3. Oktober.", "Sie blieb."]);
        assert_sentences(&["He was born in 1984.", "Paris was cold."]);
        assert_sentences(&["Apples, pears, etc. Smith ate them.", "All."]);
    }

    #[test]
    fn what_could_go_on_is_not_complete() {
        for text in ["Where is it?", "It is here.", "« Où ? »", "我在这里。", "It is here. "] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["", "It is", "I saw Mr.", "It is here. And", "at 5 p.m."] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn quotes_and_ellipses() {
        assert_sentences(&["\"Where is it?\" she asked.", "\"Here!\" he said."]);
        assert_sentences(&["He left.", "\"Why?\" she asked."]);
        assert_sentences(&["« Où est-il ? » demanda-t-elle.", "« Ici ! »", "Il partit."]);
        assert_sentences(&["„Wo ist er?“ fragte sie.", "»Hier.«", "Gut."]);
        assert_sentences(&["Well... maybe.", "Wait...", "What?"]);
        assert_sentences(&["(He was late.)", "She was not."]);
    }

    #[test]
    fn the_frame_of_a_line_is_kept() {
        let text =
            "  1. First item.  \r\n\t- [ ] Do it. Now!\n\n## Title\n> > Quoted.\n---\n42\n(a) Point.\n\u{feff}End";
        insta::assert_debug_snapshot!(
            split(text, 1000)
                .iter()
                .map(|part| match part {
                    Part::Sentence { text, .. } => format!("S {text:?}"),
                    Part::Between(text) => format!("  {text:?}"),
                })
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_dash_or_a_number_without_space_is_no_marker() {
        assert_eq!(sentences_of("-5 degrees"), ["-5 degrees"]);
        assert_eq!(sentences_of("*emphasis* here"), ["*emphasis* here"]);
        assert_eq!(sentences_of("3.5 metres"), ["3.5 metres"]);
        assert_eq!(sentences_of("I am here"), ["I am here"]);
    }

    #[test]
    fn a_long_sentence_is_cut_at_clauses_and_evenly() {
        let text = "When the rain came, the river rose over its banks; the people left the town, but the dogs stayed.";
        let parts = split(text, 12);
        let pieces: Vec<&str> =
            parts.iter().filter(|part| matches!(part, Part::Sentence { .. })).map(Part::text).collect();
        assert_eq!(
            pieces,
            ["When the rain came,", "the river rose over its banks;", "the people left the town, but the dogs stayed."]
        );
        let words = vec!["word"; 100].join(" ");
        let lengths: Vec<usize> = split(&words, 30).iter().map(|part| count(part.text())).filter(|n| *n > 0).collect();
        assert_eq!(lengths, [25, 25, 25, 25]);
    }

    #[test]
    fn a_word_without_borders_is_cut_between_graphemes() {
        let text = "e\u{301}".repeat(50);
        let parts = split(&text, 5);
        assert!(parts.len() >= 5);
        assert!(parts.iter().all(|part| part.text().starts_with('e') && count(part.text()) <= 5), "{parts:?}");
    }

    #[test]
    fn a_megabyte_without_a_border_is_cut_in_reasonable_time() {
        let text = "x".repeat(1 << 20);
        assert!(split(&text, 128).iter().all(|part| count(part.text()) <= 128));
    }

    proptest! {
        #[test]
        fn parts_are_the_text(text in "(\\PC|[ .!?\"»\u{a0}\r\n\t]|Mr\\. |[a-z]{1,9} ){0,60}", max in 1_usize..20) {
            let segmenter = Segmenter::new(max, &count);
            for parts in [segmenter.split(&text), segmenter.split_continued(&text)] {
                let whole: String = parts.iter().map(Part::text).collect();
                prop_assert_eq!(&whole, &text);
                for part in parts {
                    prop_assert!(!part.text().is_empty());
                    if let Part::Sentence { text, tokens } = part {
                        prop_assert!(!text.contains(is_line_break));
                        prop_assert!(text.chars().any(char::is_alphabetic));
                        prop_assert_eq!(text.trim(), text);
                        prop_assert_eq!(count(text), tokens);
                        prop_assert!(tokens <= max);
                    }
                }
            }
        }

        #[test]
        fn any_string_survives(text: String, max in 1_usize..8) {
            let whole: String = split(&text, max).iter().map(Part::text).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
