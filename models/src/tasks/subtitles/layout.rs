//! Timed sentences -> cues that people can read.
//!
//! A sentence is cut into pieces that fit on the lines of a cue, at its best places. A piece that would have to vanish
//! before it can be read is joined with the next one. Then each cue gets its times: it appears with the speech, stays
//! in the silence after it as long as reading takes, and makes room for the next. Where speech is so fast that even the
//! shortest time does not fit, the next cue appears later.

use std::ops::Range;
use std::time::Duration;

use super::breaks::{breaks, cheapest, columns};
use super::timed::{Timed, Timeline};
use super::{Cue, Text};

/// How cues are to look.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Columns of a line, at most. Full-width characters take two.
    pub columns: usize,
    /// Lines of a cue, at most.
    pub lines: usize,
    /// Columns that people read in a second.
    pub speed: f64,
    /// The shortest time of a cue.
    pub shortest: Duration,
    /// The longest time of a cue.
    pub longest: Duration,
    /// The time between two cues, at least: what tells the eye that something has changed.
    pub gap: Duration,
}

impl Default for Layout {
    /// Two lines of 42 columns, 17 columns a second, 1 to 7 seconds, two frames of film between cues.
    fn default() -> Self {
        Self {
            columns: 42,
            lines: 2,
            speed: 17.0,
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(7),
            gap: Duration::from_millis(83),
        }
    }
}

impl Layout {
    /// `text`, which is one line, on as few lines as it fits on, balanced, and cut at good places. A text that is too
    /// long for a cue gets more lines rather than longer ones.
    pub fn wrap(&self, text: &str) -> String {
        let text = text.trim();
        let width = columns(text);
        if width <= self.columns {
            return text.to_owned();
        }
        const LINE: u64 = 1_000_000;
        let places = breaks(text, self.columns);
        let lines = self.fill(text, &places, 0..text.len());
        let even = width.div_ceil(lines.max(1));
        let lines = cheapest(text.len(), &places, |line, cut| {
            let width = columns(&text[line]);
            (width <= self.columns).then(|| LINE + cut + square(width, even))
        });
        lines.into_iter().map(|line| &text[line]).collect::<Vec<_>>().join("\n")
    }

    /// How many lines `piece` takes at least.
    fn fill(&self, text: &str, places: &[super::breaks::Break], piece: Range<usize>) -> usize {
        let first = places.partition_point(|place| place.start <= piece.start);
        let ends = places[first..].iter().map(|place| (place.end, place.start)).take_while(|(end, _)| *end < piece.end);
        let (mut lines, mut line, mut last) = (1, piece.start, piece.start);
        for (end, next) in ends.chain(std::iter::once((piece.end, piece.end))) {
            if columns(&text[line..end]) > self.columns && last > line {
                lines += 1;
                line = last;
            }
            last = next;
        }
        lines
    }

    fn fits(&self, text: &str) -> bool {
        columns(text) <= self.lines * self.columns
            && self.fill(text, &breaks(text, self.columns), 0..text.len()) <= self.lines
    }

    /// The time that reading `text` takes, between the shortest and the longest time of a cue.
    pub fn reading_time(&self, text: &str) -> Duration {
        let seconds = columns(text) as f64 / self.speed.max(0.1);
        round(Duration::try_from_secs_f64(seconds).unwrap_or(self.longest)).min(self.longest).max(self.shortest)
    }

    /// Cuts a sentence into pieces of which each fits into a cue.
    fn cut(&self, sentence: &Timed) -> Vec<Timed> {
        const CUE: u64 = 10_000;
        let text = sentence.text.trim();
        if text.is_empty() {
            return Vec::new();
        }
        let offset = sentence.text.len() - sentence.text.trim_start().len();
        let timeline = Timeline::new(sentence);
        let times = |piece: &Range<usize>| {
            (round(timeline.start(offset + piece.start)), round(timeline.end(offset + piece.end)))
        };
        let places = breaks(text, self.columns);
        let (width, room) = (columns(text), self.columns * self.lines);
        let even = width.div_ceil(width.div_ceil(room.max(1)).max(1));
        let pieces = cheapest(text.len(), &places, |piece, cut| {
            let width = columns(&text[piece.clone()]);
            if width > room || self.fill(text, &places, piece.clone()) > self.lines {
                return None;
            }
            let (start, end) = times(&piece);
            let too_long = (end.saturating_sub(start)).saturating_sub(self.longest).as_millis() as u64;
            Some(CUE + 8 * cut + square(width, even) + if too_long > 0 { 2 * CUE + 4 * too_long } else { 0 })
        });
        pieces
            .into_iter()
            .map(|piece| {
                let (start, end) = times(&piece);
                Timed::new(&text[piece], start, end)
            })
            .collect()
    }
}

fn square(a: usize, b: usize) -> u64 {
    let difference = a.abs_diff(b) as u64;
    difference * difference
}

/// Subtitle files know milliseconds.
fn round(time: Duration) -> Duration {
    Duration::from_millis(((time.as_nanos() + 500_000) / 1_000_000).try_into().unwrap_or(u64::MAX / 1000))
}

/// Lays out sentences as they come, in the order of their starts.
#[derive(Clone, Debug)]
pub struct Stream {
    layout: Layout,
    /// The last piece: its time depends on what follows.
    waiting: Option<Timed>,
    /// When the next cue may appear.
    free: Duration,
}

impl Stream {
    /// A stream without anything in it.
    pub fn new(layout: Layout) -> Self {
        Self { layout, waiting: None, free: Duration::ZERO }
    }

    /// Adds a sentence; returns the cues that nothing can change any more.
    pub fn push(&mut self, sentence: &Timed) -> Vec<Cue> {
        let mut cues = Vec::new();
        for piece in self.layout.cut(sentence) {
            match self.waiting.take() {
                None => self.waiting = Some(piece),
                Some(waiting) => match self.join(&waiting, &piece) {
                    Some(both) => self.waiting = Some(both),
                    None => {
                        cues.push(self.cue(waiting, Some(piece.start)));
                        self.waiting = Some(piece);
                    }
                },
            }
        }
        cues
    }

    /// The last cue, without waiting for what follows. What does may have to appear a little later for it.
    pub fn flush(&mut self) -> Option<Cue> {
        self.waiting.take().map(|waiting| self.cue(waiting, None))
    }

    /// Both pieces as one, if the first has too little time alone and a cue has room for both.
    fn join(&self, first: &Timed, second: &Timed) -> Option<Timed> {
        let layout = &self.layout;
        let start = first.start.max(self.free);
        if start + layout.reading_time(&first.text) + layout.gap <= second.start {
            return None;
        }
        let text = format!("{}{}{}", first.text, separator(&first.text, &second.text), second.text);
        let short = second.end.saturating_sub(first.start) <= layout.longest;
        (short && layout.fits(&text)).then(|| Timed::new(text, first.start, second.end.max(first.end)))
    }

    /// The cue of a piece, before one that should appear at `next`.
    fn cue(&mut self, piece: Timed, next: Option<Duration>) -> Cue {
        let layout = &self.layout;
        let start = piece.start.max(self.free);
        let mut end = piece.end.max(start + layout.reading_time(&piece.text)).min(start + layout.longest);
        if let Some(next) = next {
            end = end.min(next.saturating_sub(layout.gap));
        }
        end = end.max(start + layout.shortest);
        self.free = end + layout.gap;
        Cue { start, end, text: Text::plain(layout.wrap(&piece.text)), ..Cue::default() }
    }
}

/// What stands between two texts that are put together: nothing in languages without spaces.
pub(super) fn separator(before: &str, after: &str) -> &'static str {
    let wide = |c: Option<char>| c.is_some_and(|c| columns(c.encode_utf8(&mut [0; 4])) == 2);
    if wide(before.chars().next_back()) && wide(after.chars().next()) { "" } else { " " }
}

/// Lays out `sentences`, which are in the order of their starts.
pub fn lay_out(sentences: &[Timed], layout: &Layout) -> Vec<Cue> {
    let mut stream = Stream::new(layout.clone());
    let mut cues: Vec<Cue> = sentences.iter().flat_map(|sentence| stream.push(sentence)).collect();
    cues.extend(stream.flush());
    cues
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::timed::Word;
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn shown(sentences: &[(&str, u64, u64)]) -> String {
        let sentences: Vec<Timed> = sentences.iter().map(|(text, a, b)| Timed::new(*text, at(*a), at(*b))).collect();
        let line = |cue: &Cue| {
            format!("{} {} {}\n", cue.start.as_millis(), cue.end.as_millis(), cue.text.shown().replace('\n', " / "))
        };
        lay_out(&sentences, &Layout::default()).iter().map(line).collect()
    }

    #[test]
    fn lines_are_balanced_and_cut_at_good_places() {
        let wrap = |text: &str| Layout::default().wrap(text);
        assert_eq!(wrap("Short enough for a single line of text."), "Short enough for a single line of text.");
        assert_eq!(
            wrap("When the rain came, the river rose over its banks."),
            "When the rain came,\nthe river rose over its banks."
        );
        assert_eq!(
            wrap("I walked with my little brother to the station and back."),
            "I walked with my little brother\nto the station and back."
        );
        assert_eq!(
            wrap("Où est la gare ? Elle est au bout de la rue, à gauche."),
            "Où est la gare ?\nElle est au bout de la rue, à gauche."
        );
        assert_eq!(wrap(&"今".repeat(30)), format!("{0}\n{0}", "今".repeat(15)));
        assert_eq!(wrap(&"x".repeat(60)).lines().map(str::len).sum::<usize>(), 60);
    }

    #[test]
    fn sentences_become_cues() {
        insta::assert_snapshot!(shown(&[
            ("Hello.", 1000, 1400),
            ("Yes.", 5000, 5200),
            ("No.", 5300, 5500),
            ("Maybe, but only if the weather is good enough for it tomorrow morning, when we want to leave the house \
              and walk along the river to the old mill.", 5600, 13_000),
            ("The end.", 13_050, 13_300),
        ]), @r"
    1000 2000 Hello.
    5000 9166 Yes. No. Maybe, but only if the weather / is good enough for it tomorrow morning,
    9249 14073 when we want to leave the house and walk / along the river to the old mill. The end.
    ");
    }

    #[test]
    fn words_say_when_a_piece_starts() {
        let text =
            "The first half of this sentence is said at once, and after a long pause the second half of it follows.";
        let words: Vec<&str> = text.split(' ').collect();
        let time = |i: usize| if i < 10 { 200 * i as u64 } else { 4000 + 200 * i as u64 };
        let words: Vec<Word> = words
            .iter()
            .enumerate()
            .map(|(i, word)| Word { text: (*word).into(), start: at(time(i)), end: at(time(i) + 180) })
            .collect();
        let end = words.last().unwrap().end;
        let cues = lay_out(&[Timed { text: text.into(), start: at(0), end, words }], &Layout::default());
        assert_eq!(cues[0].text.shown(), "The first half of this sentence\nis said at once,");
        assert_eq!((cues[1].start, cues[1].end), (at(6000), at(6000 + 1000 * 53 / 17 + 1)));
    }

    fn sentence() -> impl Strategy<Value = (String, u64, u64)> {
        let word = prop_oneof![
            "[a-zé]{1,12}[,.?!;]{0,1}",
            "[a-z]{1,60}",
            "[今天很好是の]{1,20}[。、]?",
            "(- |« |♪ )?[a-z]{1,5}( »| !|\\.\\.\\.)?",
            proptest::sample::select(vec!["the", "of", "de", "la", "and"]).prop_map(str::to_owned),
        ];
        let text = proptest::collection::vec(word, 1..40).prop_map(|words| words.join(" "));
        (text, 0_u64..4000, 0_u64..12_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_limits_hold(
            parts in proptest::collection::vec(sentence(), 1..12),
            worded: bool,
            columns_ in 20_usize..50,
            lines in 1_usize..4,
        ) {
            let layout = Layout { columns: columns_, lines, ..Layout::default() };
            let (mut now, mut sentences) = (0_u64, Vec::new());
            for (text, pause, length) in &parts {
                let start = now + pause.saturating_sub(1000); // many follow at once
                now = start + length;
                let mut timed = Timed::new(text.clone(), at(start), at(now));
                if worded {
                    let words: Vec<&str> = text.split_whitespace().collect();
                    let time = |i: usize| at(start + length * i as u64 / words.len() as u64);
                    let word = |(i, word): (usize, &&str)| Word { text: (*word).into(), start: time(i), end: time(i + 1) };
                    timed.words = words.iter().enumerate().map(word).collect();
                }
                sentences.push(timed);
            }
            let cues = lay_out(&sentences, &layout);
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(
                cues.iter().map(|cue| bare(&cue.text.shown())).collect::<String>(),
                parts.iter().map(|(text, ..)| bare(text)).collect::<String>()
            );
            for (i, cue) in cues.iter().enumerate() {
                let text = cue.text.shown();
                prop_assert!(text.lines().count() <= lines, "{:?}", text);
                prop_assert!(text.lines().all(|line| columns(line) <= columns_), "{:?}", text);
                let length = cue.end - cue.start;
                prop_assert!(length >= layout.shortest && length <= layout.longest);
                let next = cues.get(i + 1);
                if let Some(next) = next {
                    prop_assert!(cue.end + layout.gap <= next.start);
                }
                // Too fast only where the next one follows at once.
                if length + at(1) < layout.reading_time(&text.replace('\n', "")) {
                    prop_assert!(next.is_some_and(|next| next.start == cue.end + layout.gap));
                }
            }
        }
    }
}
