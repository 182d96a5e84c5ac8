//! Texts with times: what a speech model hears, and when within a text something is said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text and when it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// What is said.
    pub text: String,
    /// When it begins.
    pub start: Duration,
    /// When it is over.
    pub end: Duration,
    /// When its words are said, in order, if that is known. A word that is not in the text is passed over.
    pub words: Vec<Word>,
}

/// A word and when it is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word as it stands in the text, with or without white space and marks around it.
    pub text: String,
    /// When it begins.
    pub start: Duration,
    /// When it is over.
    pub end: Duration,
}

impl Timed {
    /// A text whose words have no times of their own.
    pub fn new(text: impl Into<String>, start: Duration, end: Duration) -> Self {
        Self { text: text.into(), start, end, words: Vec::new() }
    }
}

/// When each byte of a text is said: known at some places, and evenly spread between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Offsets in the text and times, neither ever falling.
    points: Vec<(usize, Duration)>,
}

impl Timeline {
    /// The timeline of `timed.text`.
    pub(super) fn new(timed: &Timed) -> Self {
        let mut timeline = Self::default();
        timeline.append(timed, 0);
        timeline
    }

    /// Adds `timed`, whose text starts at `offset`.
    pub(super) fn append(&mut self, timed: &Timed, offset: usize) {
        self.push(offset, timed.start);
        let mut at = 0;
        for word in &timed.words {
            let bare = word.text.trim();
            if let Some(found) = timed.text[at..].find(bare).filter(|_| !bare.is_empty()) {
                at += found;
                self.push(offset + at, word.start);
                at += bare.len();
                self.push(offset + at, word.end.min(timed.end.max(word.start)));
            }
        }
        self.push(offset + timed.text.len(), timed.end);
    }

    fn push(&mut self, offset: usize, time: Duration) {
        let (offset, time) = self.points.last().map_or((offset, time), |last| (offset.max(last.0), time.max(last.1)));
        self.points.push((offset, time));
    }

    /// Removes the first `length` bytes.
    pub(super) fn drain(&mut self, length: usize) {
        let start = self.start(length);
        self.points.retain(|(offset, _)| *offset > length);
        for (offset, _) in &mut self.points {
            *offset -= length;
        }
        self.points.insert(0, (0, start));
    }

    /// When what starts at `offset` begins.
    pub(super) fn start(&self, offset: usize) -> Duration {
        let after = self.points.partition_point(|(at, _)| *at <= offset);
        self.between(after, offset)
    }

    /// When what ends at `offset` is over.
    pub(super) fn end(&self, offset: usize) -> Duration {
        let after = self.points.partition_point(|(at, _)| *at < offset);
        match self.points.get(after) {
            Some((at, time)) if *at == offset => *time,
            _ => self.between(after, offset),
        }
    }

    /// The time at `offset`, which lies before the point `after` and not before the one before that.
    fn between(&self, after: usize, offset: usize) -> Duration {
        match (after.checked_sub(1).and_then(|before| self.points.get(before)), self.points.get(after)) {
            (Some((_, time)), None) | (None, Some((_, time))) => *time,
            (Some((from, start)), Some((to, end))) => {
                start.saturating_add((*end - *start).mul_f64((offset - from) as f64 / (to - from).max(1) as f64))
            }
            (None, None) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn words_say_when_and_the_rest_is_spread_evenly() {
        let word = |text: &str, start, end| Word { text: text.into(), start: at(start), end: at(end) };
        let words = vec![word(" one", 100, 300), word("lost", 300, 400), word("three,", 1000, 1500)];
        let timed = Timed { text: "one two three, four".into(), start: at(0), end: at(2000), words };
        let mut timeline = Timeline::new(&timed);
        assert_eq!((timeline.start(0), timeline.end(3)), (at(100), at(300)));
        assert_eq!((timeline.start(8), timeline.end(14), timeline.end(19)), (at(1000), at(1500), at(2000)));
        assert_eq!((timeline.start(4), timeline.start(15)), (at(440), at(1600)));
        timeline.drain(8);
        assert_eq!((timeline.start(0), timeline.end(6), timeline.end(11)), (at(1000), at(1500), at(2000)));
    }

    #[test]
    fn words_without_spaces_keep_their_own_times() {
        let word = |text: &str, start, end| Word { text: text.into(), start: at(start), end: at(end) };
        let words = vec![word("今天", 0, 400), word("很好", 700, 900)];
        let timed = Timed { text: "今天很好".into(), start: at(0), end: at(900), words };
        let timeline = Timeline::new(&timed);
        assert_eq!((timeline.end(6), timeline.start(6)), (at(400), at(700)));
    }
}
