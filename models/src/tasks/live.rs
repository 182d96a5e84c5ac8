//! Sound as it comes -> text while somebody speaks, and for good when they pause.
//!
//! ```text
//! push(Block) --Speech--+--> a stretch that is over --Transcription::stretch--> Final: what a file would give
//!                       +--> a stretch so far, every so often --Transcription::guess--> Agreement --> Partial
//! ```
//!
//! Finals are those of [`transcribe`](super::transcribe::transcribe) over the same sound, whatever the blocks. Partials
//! are guesses at a stretch that goes on: the words that two guesses in a row agree on are stable, and stay on the
//! screen until the final replaces them. Both are made at places that are counted in samples, so that they do not
//! depend on how fast the machine is; only where it falls behind are guesses left out, and never finals.
//!
//! A session has no thread of its own. [`recording`](babil_runtime::audio::recording) is the queue between the thread
//! that records and the one that calls [`Live::push`].

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use babil_runtime::Result;
use babil_runtime::audio::Block;
use unicode_segmentation::UnicodeSegmentation;

use super::transcribe::{Segment, Speech, Stretch, Transcription};
use crate::speech::SAMPLE_RATE;

/// Samples after which a session looks whether it is time for a guess.
const STEP: usize = SAMPLE_RATE / 10;
/// Samples of a stretch before its first guess, the silence before its first word included, and at least between two.
const EVERY: usize = SAMPLE_RATE * 8 / 10;
/// A guess hears all of its stretch again. It waits until there is an eighth more to hear: the work is in proportion to
/// the sound.
const SHARE: usize = 8;
/// A session that is so far behind the sound makes no guesses.
const BEHIND: Duration = Duration::from_secs(1);
/// Latencies that a median is taken of, at most: the last ones.
const RECENT: usize = 1000;

/// Which guesses a session makes while somebody speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partials {
    /// None: there are only finals.
    Never,
    /// Those for which there is time.
    #[default]
    InTime,
    /// All, however far the session falls behind: the same ones on every machine.
    Always,
}

/// What a session has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody speaks.
    Partial(Partial),
    /// Somebody has spoken: replaces the partials since the last final.
    Final(Final),
}

/// What is said in a stretch of speech, as far as it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Seconds from the beginning of the sound.
    pub start: f64,
    /// Seconds from the beginning of the sound.
    pub end: f64,
    /// Begins with the stable text of the partial before.
    pub stable: String,
    /// Follows the stable text as it is, and may be something else next time.
    pub tail: String,
    /// Since the end of its sound came.
    pub latency: Duration,
}

/// What was said in a stretch of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    /// Seconds from the beginning of the sound.
    pub start: f64,
    /// Seconds from the beginning of the sound.
    pub end: f64,
    /// In order; none where it was no speech after all.
    pub segments: Vec<Segment>,
    /// Since the end of its sound came, which is before the pause that ends a stretch.
    pub latency: Duration,
}

/// How a session went so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Sound that was pushed or lost.
    pub heard: Duration,
    /// Sound that was lost before it was pushed.
    pub lost: Duration,
    /// What the model heard; what it heard again counts again.
    pub decoded: Duration,
    /// The time that pushing took.
    pub work: Duration,
    /// Of partials.
    pub partials: Latencies,
    /// Of finals.
    pub finals: Latencies,
    /// Guesses for which there was no time.
    pub skipped: u64,
}

impl Statistics {
    /// Seconds of work for a second of sound; a machine that keeps up is below 1. None before there is sound.
    pub fn real_time_factor(&self) -> Option<f64> {
        (!self.heard.is_zero()).then(|| self.work.as_secs_f64() / self.heard.as_secs_f64())
    }
}

/// How long after its sound text came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// How many texts.
    pub count: u64,
    /// The longest.
    pub worst: Duration,
    recent: VecDeque<Duration>,
}

impl Latencies {
    /// The median of the last thousand; None before there are any.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn add(&mut self, latency: Duration) {
        self.count += 1;
        self.worst = self.worst.max(latency);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(latency);
    }
}

/// Sound that is written down while it comes. See the [module](self).
pub struct Live<'t, 'm> {
    transcription: &'t mut Transcription<'m>,
    speech: Speech,
    partials: Partials,
    now: Box<dyn Fn() -> Instant + 't>,
    /// Samples so far.
    heard: u64,
    /// When the samples before these came, as far back as a stretch may end.
    came: VecDeque<(u64, Instant)>,
    /// When the sound so far is over, if it comes no faster than it is played: files do.
    due: Option<Instant>,
    guessing: Guessing,
    statistics: Statistics,
}

/// The guesses at a stretch.
#[derive(Default)]
struct Guessing {
    /// Samples before the stretch.
    start: u64,
    /// Samples of the stretch that the next guess waits for.
    next: usize,
    agreement: Agreement,
}

impl<'t, 'm> Live<'t, 'm> {
    /// Begins to listen.
    ///
    /// # Errors
    /// A model whose window is too short for speech.
    pub fn new(transcription: &'t mut Transcription<'m>, partials: Partials) -> Result<Self> {
        Self::with_clock(transcription, partials, Instant::now)
    }

    /// The same with another clock than the system's.
    ///
    /// # Errors
    /// As [`Live::new`].
    pub fn with_clock(
        transcription: &'t mut Transcription<'m>,
        partials: Partials,
        now: impl Fn() -> Instant + 't,
    ) -> Result<Self> {
        Ok(Self {
            speech: Speech::new(transcription.model())?,
            transcription,
            partials,
            now: Box::new(now),
            heard: 0,
            came: VecDeque::new(),
            due: None,
            guessing: Guessing::default(),
            statistics: Statistics::default(),
        })
    }

    /// Takes sound; gives what there is to say of it. Sound that was lost is silence, so that times stay right.
    ///
    /// # Errors
    /// The model's own.
    pub fn push(&mut self, block: &Block) -> Result<Vec<Event>> {
        let begin = (self.now)();
        let length = block.lost + block.samples.len() as u64;
        let due = self.due.map_or(block.at, |due| block.at.max(due + duration(length)));
        self.due = Some(due);
        self.came.push_back((self.heard + length, block.at));
        self.statistics.lost += duration(block.lost);
        let mut events = Vec::new();
        let mut lost = block.lost;
        while lost > 0 {
            let silence = lost.min(STEP as u64);
            self.take(&[0.0; STEP][..silence as usize], &mut events)?;
            lost -= silence;
        }
        self.take(&block.samples, &mut events)?;
        let over = self.speech.over();
        while self.came.front().is_some_and(|(before, _)| *before <= over) {
            self.came.pop_front();
        }
        self.worked(begin);
        Ok(events)
    }

    /// Gives the rest, and how it went: the sound is over. To cancel is to stop pushing, and to finish what was heard.
    ///
    /// # Errors
    /// The model's own.
    pub fn finish(mut self) -> Result<(Vec<Event>, Statistics)> {
        let (begin, mut events) = ((self.now)(), Vec::new());
        for stretch in self.speech.finish() {
            self.write(&stretch, &mut events)?;
        }
        self.worked(begin);
        Ok((events, self.statistics))
    }

    /// How it went so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How far the work is behind the sound.
    pub fn behind(&self) -> Duration {
        self.due.map_or(Duration::ZERO, |due| (self.now)().saturating_duration_since(due))
    }

    /// Seconds of sound of which everything is said in finals.
    pub fn settled(&self) -> f64 {
        seconds(self.speech.over())
    }

    fn worked(&mut self, begin: Instant) {
        self.statistics.heard = duration(self.heard);
        self.statistics.work += (self.now)().saturating_duration_since(begin);
    }

    fn take(&mut self, mut samples: &[f32], events: &mut Vec<Event>) -> Result<()> {
        while !samples.is_empty() {
            let step = STEP - (self.heard % STEP as u64) as usize;
            let (now, later) = samples.split_at(step.min(samples.len()));
            samples = later;
            self.heard += now.len() as u64;
            for stretch in self.speech.push(now) {
                self.write(&stretch, events)?;
            }
            if now.len() == step {
                self.guess(events)?;
            }
        }
        Ok(())
    }

    /// Makes a guess at the stretch so far, if it is time for one.
    fn guess(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some((start, sound)) = self.speech.so_far() else { return Ok(()) };
        if self.guessing.start != start || self.guessing.next == 0 {
            self.guessing = Guessing { start, next: EVERY, agreement: Agreement::default() };
        }
        if self.partials == Partials::Never || sound.len() < self.guessing.next {
            return Ok(());
        }
        self.guessing.next = sound.len() + EVERY.max(sound.len() / SHARE);
        if self.partials == Partials::InTime && self.behind() > BEHIND {
            self.statistics.skipped += 1;
            return Ok(());
        }
        self.statistics.decoded += duration(sound.len() as u64);
        let end = start + sound.len() as u64;
        let text = self.transcription.guess(sound)?;
        if text.is_empty() {
            return Ok(());
        }
        let tail = self.guessing.agreement.add(&text).to_owned();
        let latency = self.latency(end);
        self.statistics.partials.add(latency);
        let stable = self.guessing.agreement.stable.clone();
        events.push(Event::Partial(Partial { start: seconds(start), end: seconds(end), stable, tail, latency }));
        Ok(())
    }

    fn write(&mut self, stretch: &Stretch, events: &mut Vec<Event>) -> Result<()> {
        self.statistics.decoded += duration(stretch.sound.len() as u64);
        let mut segments = Vec::new();
        self.transcription.stretch(stretch, &mut |segment| {
            segments.push(segment);
            ControlFlow::Continue(())
        })?;
        let latency = self.latency(stretch.end());
        self.statistics.finals.add(latency);
        let (start, end) = (seconds(stretch.start), seconds(stretch.end()));
        events.push(Event::Final(Final { start, end, segments, latency }));
        Ok(())
    }

    /// The time since sample `end` came.
    fn latency(&self, end: u64) -> Duration {
        let came = self.came.iter().find(|(before, _)| *before >= end);
        came.map_or(Duration::ZERO, |(_, at)| (self.now)().saturating_duration_since(*at))
    }
}

/// What guesses agree on.
#[derive(Default)]
struct Agreement {
    /// Ends behind a word, and only grows.
    stable: String,
    /// Words of the stable text.
    words: usize,
    /// The words of the last guess.
    last: Vec<String>,
}

impl Agreement {
    /// Takes a guess: the words that it begins with like the one before are stable, whatever their case and the marks
    /// between. Gives what follows the stable words.
    fn add<'g>(&mut self, guess: &'g str) -> &'g str {
        let words: Vec<(usize, &str)> = guess.unicode_word_indices().collect();
        // Where the first so many words end.
        let end = |count: usize| match count.checked_sub(1) {
            None => 0,
            Some(last) => words.get(last).map_or(guess.len(), |(at, word)| at + word.len()),
        };
        let lower: Vec<String> = words.iter().map(|(_, word)| word.to_lowercase()).collect();
        let agreed = lower.iter().zip(&self.last).take_while(|(one, other)| one == other).count();
        if agreed > self.words {
            self.stable += &guess[end(self.words)..end(agreed)];
            self.words = agreed;
        }
        self.last = lower;
        &guess[end(self.words)..]
    }
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / SAMPLE_RATE as f64
}

fn duration(samples: u64) -> Duration {
    Duration::from_secs_f64(seconds(samples))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The stable text and the tail after each guess.
    fn shown(guesses: &[&str]) -> Vec<(String, String)> {
        let mut agreement = Agreement::default();
        let show = |guess: &&str| {
            let tail = agreement.add(guess).to_owned();
            (agreement.stable.clone(), tail)
        };
        guesses.iter().map(show).collect()
    }

    #[test]
    fn what_two_guesses_agree_on_is_stable() {
        let guesses = ["Where is.", "Where is the stay", "where is the station", "Where is the station, please?"];
        let expected = [
            ("", "Where is."),
            ("Where is", " the stay"),
            ("Where is the", " station"),
            ("Where is the station", ", please?"),
        ];
        assert_eq!(shown(&guesses), expected.map(|(stable, tail)| (stable.to_owned(), tail.to_owned())));
    }

    #[test]
    fn stable_text_stays_where_a_guess_contradicts_it() {
        let guesses =
            ["I want two", "I want two tea", "I won", "I want to", "I want to drink tea", "I want to drink tea now"];
        let expected = [
            ("", "I want two"),
            ("I want two", " tea"),
            ("I want two", ""),
            ("I want two", ""),
            ("I want two", " drink tea"),
            ("I want two drink tea", " now"),
        ];
        assert_eq!(shown(&guesses), expected.map(|(stable, tail)| (stable.to_owned(), tail.to_owned())));
    }

    #[test]
    fn languages_without_spaces_have_words_too() {
        let shown = shown(&["我想去", "我想去火车", "我想去火车站。"]);
        assert_eq!(shown[2], ("我想去火车".to_owned(), "站。".to_owned()));
    }

    proptest! {
        #[test]
        fn stable_text_only_grows(guesses in prop::collection::vec("([aàB]{1,2}[ ,.']{0,2}){0,6}", 0..9)) {
            let guesses: Vec<&str> = guesses.iter().map(String::as_str).collect();
            let shown = shown(&guesses);
            prop_assert!(shown.windows(2).all(|pair| pair[1].0.starts_with(&pair[0].0)));
            // The same guess again is stable up to its last word.
            if let Some(last) = guesses.last() {
                let again = [guesses.clone(), vec![last]].concat();
                let (_, tail) = &self::shown(&again)[guesses.len()];
                prop_assert!(!tail.contains(char::is_alphanumeric), "{again:?}");
            }
        }
    }

    #[test]
    fn medians_are_of_the_last_thousand() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.median(), None);
        (0..3000).for_each(|millis| latencies.add(Duration::from_millis(millis)));
        assert_eq!((latencies.count, latencies.worst), (3000, Duration::from_millis(2999)));
        assert_eq!(latencies.median(), Some(Duration::from_millis(2500)));
        assert_eq!(latencies.recent.len(), RECENT);
    }
}
