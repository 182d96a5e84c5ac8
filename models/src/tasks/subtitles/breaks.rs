//! Where a text may be cut into lines and cues, how much each cut hurts, and the cuts that hurt least.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::tasks::segment::{Border, borders};

/// How many columns of a screen `text` takes: full-width characters of East Asia take two.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// A place where a text may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    /// Where what stands before it ends.
    pub(super) end: usize,
    /// Where what follows it starts, behind white space.
    pub(super) start: usize,
    /// How much it hurts to cut here; see [`cost`].
    pub(super) cost: u64,
}

/// What a cut costs: 0 between sentences, and [`HARD`] inside a word.
fn cost(border: Border) -> u64 {
    match border {
        Border::Sentence => 0,
        Border::Clause => 40,
        Border::Conjunction => 80,
        Border::Word => 160,
        Border::Grapheme | Border::Character => HARD,
    }
}

/// The cost of a cut after a word that belongs to the next one.
const BOUND: u64 = 600;
/// The cost of a cut inside a word.
const HARD: u64 = 20_000;

/// The places where `text` may be cut, in order. Words wider than `widest` may be cut between any of their graphemes.
pub(super) fn breaks(text: &str, widest: usize) -> Vec<Break> {
    let mut found: Vec<Break> = Vec::new();
    let mut word = 0;
    let between =
        borders(text, 0..text.len()).filter(|(_, at)| !is_unbreakable(&text[*at..])).chain(wide_borders(text));
    let mut places: Vec<(usize, Border)> = between.map(|(border, at)| (at, border)).collect();
    places.sort_unstable_by_key(|(at, border)| (*at, *border));
    places.dedup_by_key(|(at, _)| *at);
    places.push((text.len(), Border::Sentence));
    for (at, border) in places {
        let start = text.len() - text[at..].trim_start().len();
        let end = text[..at].trim_end().len();
        if at < text.len() && !(end > word && may_separate(&text[word..end], &text[start..])) {
            continue;
        }
        if columns(&text[word..end]) > widest {
            let inside = text[word..end].grapheme_indices(true).skip(1).map(|(i, _)| word + i);
            found.extend(inside.map(|at| Break { end: at, start: at, cost: HARD }));
        }
        if at < text.len() {
            let bound = border >= Border::Conjunction && is_function_word(&text[word..end]);
            found.push(Break { end, start, cost: if bound { BOUND } else { cost(border) } });
            word = start;
        }
    }
    found
}

/// Whether the white space that `text` starts with holds words together.
fn is_unbreakable(text: &str) -> bool {
    text.starts_with(['\u{a0}', '\u{202f}', '\u{2060}', '\u{feff}'])
}

/// Borders between full-width characters, which have no spaces.
fn wide_borders(text: &str) -> impl Iterator<Item = (Border, usize)> {
    let mut graphemes = text.grapheme_indices(true).peekable();
    std::iter::from_fn(move || {
        let (_, before) = graphemes.next()?;
        let &(at, after) = graphemes.peek()?;
        let wide = |grapheme: &str| columns(grapheme) == 2 && !grapheme.contains(char::is_whitespace);
        Some((wide(before) && wide(after)).then_some((Border::Word, at)))
    })
    .flatten()
}

/// Whether a cut between `before`, the last word so far, and `after`, the rest of the text, is one at all: opening
/// marks go with what follows, closing ones with what comes before.
fn may_separate(before: &str, after: &str) -> bool {
    const OPENING: &str = "([{«‹“„‘‚¿¡「『（【《〈";
    const CLOSING: &str = ")]}»›”’?!:;,.%…。、，．！？；：」』）】》〉ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ";
    let opens = before.chars().next_back().is_some_and(|c| OPENING.contains(c));
    let dash = matches!(before, "-" | "–" | "—" | "♪" | ">>");
    let mark = after.split_whitespace().next().unwrap_or("");
    let glued = after.chars().next().is_some_and(|c| CLOSING.contains(c) && columns(c.encode_utf8(&mut [0; 4])) == 2);
    let closes = glued || !mark.is_empty() && mark.chars().all(|c| CLOSING.contains(c)) || after == "♪";
    !(opens || dash || closes)
}

/// Articles, prepositions and the like, after which a line should not end.
fn is_function_word(word: &str) -> bool {
    const WORDS: &str = " a an the of to in on at by for from with into is are i you he she we they my your his her its our \
        their no not very this that these those le la les un une des du de d' l' au aux en à dans par pour \
        sur avec sans chez ce cet cette ces mon ma mes ton ta tes son sa ses notre votre leur je tu il elle \
        nous vous ils elles ne se me te y est qui que der die das den dem ein eine einen einem einer zu zum \
        zur im am von vom mit für auf aus bei nach ich er sie es wir ihr mein dein sein el los las una unos \
        unas del al con por para sin su mi lo gli di da nel della dello dei delle o os as um uma do dos em \
        na nos nas het een van op met voor ";
    let word = word.rsplit(|c: char| c.is_whitespace() || c == '\u{a0}').next().unwrap_or(word);
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    !word.is_empty() && WORDS.contains(&format!(" {word} "))
}

/// The pieces of a text of `length` bytes that together cost least, of all that can be made with cuts at `breaks`.
/// `cost` gets a piece and the cost of the cut at its end (0 for the last one); `None` says that the piece, and
/// all longer ones, are impossible. A piece without a break in it is possible in any case.
pub(super) fn cheapest(
    length: usize,
    breaks: &[Break],
    mut cost: impl FnMut(std::ops::Range<usize>, u64) -> Option<u64>,
) -> Vec<std::ops::Range<usize>> {
    let starts: Vec<usize> = std::iter::once(0).chain(breaks.iter().map(|place| place.start)).collect();
    let ends: Vec<(usize, u64)> =
        breaks.iter().map(|place| (place.end, place.cost)).chain(std::iter::once((length, 0))).collect();
    // For each piece's end: the cheapest sum so far, and which piece was the last.
    let mut best: Vec<(u64, usize)> = Vec::with_capacity(ends.len());
    for (last, &(end, cut)) in ends.iter().enumerate() {
        let mut found = None;
        for first in (0..=last).rev() {
            let before = if first == 0 { 0 } else { best[first - 1].0 };
            let own = match cost(starts[first]..end, cut) {
                Some(own) => own,
                None if first == last => HARD,
                None => break,
            };
            let sum = before.saturating_add(own);
            if found.is_none_or(|(least, _)| sum < least) {
                found = Some((sum, first));
            }
        }
        best.push(found.unwrap_or((u64::MAX, last)));
    }
    let mut pieces = Vec::new();
    let mut next = ends.len();
    while let Some(last) = next.checked_sub(1) {
        let first = best[last].1;
        pieces.push(starts[first]..ends[last].0);
        next = first;
    }
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, widest: usize) -> Vec<&str> {
        let breaks = breaks(text, widest);
        let ends = breaks.iter().map(|place| place.end).chain([text.len()]);
        [0].into_iter().chain(breaks.iter().map(|place| place.start)).zip(ends).map(|(a, b)| &text[a..b]).collect()
    }

    #[test]
    fn words_keep_their_marks() {
        assert_eq!(words("Où est-il ? « Ici » !", 42), ["Où", "est-il ?", "« Ici » !"]);
        assert_eq!(words("- Hi. [door] ♪ la la ♪", 42), ["- Hi.", "[door]", "♪ la", "la ♪"]);
        assert_eq!(words("10\u{a0}% of it... ...and", 42), ["10\u{a0}%", "of", "it...", "...and"]);
        assert_eq!(words("今天「很好」。是", 42), ["今", "天", "「很", "好」。", "是"]);
        assert_eq!(words("a abcdefg", 4), ["a", "a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!(words("", 4), [""]);
    }

    #[test]
    fn cuts_after_articles_hurt_more_than_before() {
        let breaks = breaks("Yes. But, the man and dog", 42);
        let costs: Vec<u64> = breaks.iter().map(|place| place.cost).collect();
        assert_eq!(costs, [0, 40, BOUND, 80, 160]);
    }

    #[test]
    fn full_width_characters_count_double() {
        assert_eq!((columns("été"), columns("今天"), columns("e\u{301}")), (3, 4, 1));
    }
}
