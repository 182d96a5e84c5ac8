//! Cutting text into words, inside which a byte-level vocabulary merges.
//!
//! Every vocabulary was trained with regular expressions that cut the text. There are few of them, made of a handful
//! of forms, and here they are data: a [`Pattern`] is a list of [`Form`]s, tried in turn at every place as a regular
//! expression tries its alternatives, and a [`Splitter`] is a list of patterns, each of which cuts what those before it
//! left. A scan of a form is linear and never starts over, whatever the text; a backtracking engine does not promise
//! that, and is slower. `split/patterns.rs` has each pattern beside the regular expression it stands for, and the tests
//! compare the two.

mod classes;
mod patterns;

use self::classes::{BREAK, Classes, LOWER, MARK, SPACES, UNCASED, UPPER, class};
pub(super) use self::patterns::{EACH_NUMBER, NUMBER_RUNS, PUNCTUATION_RUNS, Pattern, Splitter, gpt2, named, pattern};

/// A set of characters.
#[derive(Debug, Clone, Copy)]
enum Set {
    Of(Classes),
    Ranges(&'static [(char, char)]),
}

impl Set {
    fn contains(self, character: char) -> bool {
        match self {
            Self::Of(classes) => class(character) & classes != 0,
            Self::Ranges(ranges) => ranges.iter().any(|&(first, last)| (first..=last).contains(&character)),
        }
    }

    /// The bytes of the characters of the set that `text` begins with, at most `most` characters.
    fn run(self, text: &str, most: usize) -> usize {
        text.chars().take(most).take_while(|&character| self.contains(character)).map(char::len_utf8).sum()
    }

    /// The bytes of the character that `text` begins with, where it is in the set; else 0.
    fn first(self, text: &str) -> usize {
        self.run(text, 1)
    }
}

/// One alternative of a regular expression.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// `before?body{least,most}after*`
    Run { before: Option<Set>, body: Set, least: usize, most: usize, after: Option<Set> },
    /// `first body+`
    Led { first: Set, body: Set },
    /// Two alternatives: `before?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, and the same with `+` and
    /// `*` exchanged; each with `(?i:'s|'t|'re|'ve|'m|'ll|'d)?` behind it where `contractions` says so.
    Cased { before: Set, contractions: bool },
    /// `'s|'t|'re|'ve|'m|'ll|'d`, with `(?i:...)` in any case.
    Contraction { any_case: bool },
    /// `\s*[\r\n]+`
    Breaks,
    /// `\s+(?!\S)|\s+`: white space, but for its last character if a word follows.
    Spaces,
    /// `\s+$`
    LastSpaces,
}

impl Form {
    /// The bytes of the match at `at`; 0 if there is none. No form matches nothing.
    fn matches(self, text: &str, at: usize) -> usize {
        let rest = &text[at..];
        match self {
            Self::Run { before, body, least, most, after } => {
                let matches_from = |begin: usize| {
                    let mut end = begin;
                    let mut count = 0;
                    for character in rest[begin..].chars().take(most).take_while(|&character| body.contains(character))
                    {
                        end += character.len_utf8();
                        count += 1;
                    }
                    let tail = || after.map_or(0, |set| set.run(&rest[end..], usize::MAX));
                    if count < least { 0 } else { end + tail() }
                };
                // What comes before is optional, and may be of the body itself.
                match before.map_or(0, |set| set.first(rest)) {
                    0 => matches_from(0),
                    led => match matches_from(led) {
                        0 => matches_from(0),
                        length => length,
                    },
                }
            }
            Self::Led { first, body } => match first.first(rest) {
                0 => 0,
                led => match body.run(&rest[led..], usize::MAX) {
                    0 => 0,
                    length => led + length,
                },
            },
            Self::Cased { before, contractions } => {
                let length = cased(rest, before);
                if length > 0 && contractions { length + contraction(&rest[length..], true) } else { length }
            }
            Self::Contraction { any_case } => contraction(rest, any_case),
            Self::Breaks => {
                let run = Set::Of(SPACES).run(rest, usize::MAX);
                rest[..run].rfind(|character| class(character) == BREAK).map_or(0, |last| last + 1)
            }
            Self::Spaces => {
                let run = Set::Of(SPACES).run(rest, usize::MAX);
                let last = rest[..run].chars().next_back().map_or(0, char::len_utf8);
                if run == rest.len() || run == last { run } else { run - last }
            }
            Self::LastSpaces => 0,
        }
    }
}

/// The bytes that [`Form::Cased`] matches at the beginning of `text`, without the contraction.
fn cased(text: &str, before: Set) -> usize {
    const UPPERS: Set = Set::Of(UPPER | UNCASED | MARK);
    const LOWERS: Set = Set::Of(LOWER | UNCASED | MARK);
    let led = before.first(text);
    let starts = [led, 0];
    let starts = if led == 0 { &starts[1..] } else { &starts[..] };
    // `[upper]*[lower]+`: where no lower one follows, as much of the uppers is given back as lowers need.
    for &start in starts {
        let uppers = UPPERS.run(&text[start..], usize::MAX);
        let lowers = LOWERS.run(&text[start + uppers..], usize::MAX);
        if lowers > 0 {
            return start + uppers + lowers;
        }
        let shared = |&(_, character): &(usize, char)| class(character) & (UNCASED | MARK) != 0;
        if let Some((at, character)) = text[start..start + uppers].char_indices().rfind(shared) {
            return start + at + character.len_utf8();
        }
    }
    // `[upper]+[lower]*`, where no lower one follows.
    for &start in starts {
        let uppers = UPPERS.run(&text[start..], usize::MAX);
        if uppers > 0 {
            return start + uppers;
        }
    }
    0
}

/// The bytes of the English contraction that `text` begins with.
fn contraction(text: &str, any_case: bool) -> usize {
    let Some(rest) = text.strip_prefix('\'') else { return 0 };
    let mut letters = rest.chars().map(|character| match character {
        // The only other letter that folds to one of these.
        'ſ' if any_case => ('s', 2),
        _ if any_case => (character.to_ascii_lowercase(), character.len_utf8()),
        _ => (character, character.len_utf8()),
    });
    match (letters.next(), letters.next()) {
        (Some(('s' | 't' | 'm' | 'd', length)), _) => 1 + length,
        (Some(('r' | 'v', _)), Some(('e', _))) | (Some(('l', _)), Some(('l', _))) => 3,
        _ => 0,
    }
}

impl Pattern {
    /// Calls `found` with the pieces of `text` in turn: matches, and what lies between them.
    fn split<'a>(&self, text: &'a str, found: &mut dyn FnMut(&'a str)) {
        // Found from the end, because a search from each place would take the square of a run's length.
        let last_spaces = self.forms.iter().any(|form| matches!(form, Form::LastSpaces));
        let text_end = if last_spaces { text.trim_end().len() } else { text.len() };
        let (mut start, mut at) = (0, 0);
        while at < text_end {
            let length = self.forms.iter().map(|form| form.matches(text, at)).find(|&length| length > 0);
            match length {
                Some(length) => {
                    if start < at {
                        found(&text[start..at]);
                    }
                    found(&text[at..at + length]);
                    at += length;
                    start = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        for rest in [start..at, at..text.len()] {
            if !rest.is_empty() {
                found(&text[rest]);
            }
        }
    }
}

impl Splitter {
    /// Calls `found` with the words of `text` in turn; together they are `text`.
    pub(super) fn split<'a>(&self, text: &'a str, found: &mut dyn FnMut(&'a str)) {
        split_by(&self.0, text, found);
    }
}

fn split_by<'a>(patterns: &[&Pattern], text: &'a str, found: &mut dyn FnMut(&'a str)) {
    match patterns {
        [] if text.is_empty() => {}
        [] => found(text),
        [pattern, rest @ ..] => pattern.split(text, &mut |piece| split_by(rest, piece, found)),
    }
}
