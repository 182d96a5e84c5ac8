//! What a speech model hears, as it comes -> cues, in its own language or another.
//!
//! ```text
//! push(Timed) --> text so far --Segmenter--> whole sentences --> (translator) --> layout::Stream --> cues
//! ```
//!
//! Speech models cut where they like. The end of what was heard waits until its sentence is complete, or until a pause
//! says that it is; so every sentence is translated once, whole. The models of this crate translate sentences one by
//! one: the context that is kept is the sentence.

use std::time::Duration;

use super::layout::{Layout, Stream, separator};
use super::timed::{Timed, Timeline};
use super::translate::{answered, asked};
use super::{Cue, Word};
use crate::tasks::document::{Job, Result, Summary, call};
use crate::tasks::segment::{Part, Segmenter, is_complete};
use crate::tasks::translate::Translation;

/// A pause that ends a sentence without a full stop.
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes that wait for the end of their sentence, at most.
const LONGEST_WAIT: usize = 4096;

/// A sentence that went through a [`Cascade`].
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What was said, and when.
    pub source: Timed,
    /// What it became; none where nothing is translated.
    pub translation: Option<Translation>,
}

/// Speech on its way to cues. See the [module](self).
pub struct Cascade<'j> {
    job: Option<Job<'j>>,
    stream: Stream,
    /// What was heard of sentences that are not complete, and when its bytes were said.
    text: String,
    timeline: Timeline,
    words: Vec<Word>,
    /// When the last of it was said.
    end: Duration,
    heard: Vec<Heard>,
    summary: Summary,
}

impl<'j> Cascade<'j> {
    /// A cascade without anything in it; with a `job`, its translator translates every sentence.
    pub fn new(layout: Layout, job: Option<Job<'j>>) -> Self {
        Self {
            job,
            stream: Stream::new(layout),
            text: String::new(),
            timeline: Timeline::default(),
            words: Vec::new(),
            end: Duration::ZERO,
            heard: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// What was translated so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The sentences that became complete since this was last asked.
    pub fn heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Adds what was heard next; returns the cues that nothing can change any more.
    ///
    /// # Errors
    /// The translator's, or that it was cancelled; then the sentences of this call are lost.
    pub fn push(&mut self, segment: &Timed) -> Result<Vec<Cue>> {
        let mut cues = Vec::new();
        let text = segment.text.trim();
        if text.is_empty() {
            return Ok(cues);
        }
        cues.extend(self.silence(segment.start)?);
        if !self.text.is_empty() {
            self.text += separator(&self.text, text);
        }
        let segment = Timed { text: text.to_owned(), ..segment.clone() };
        self.timeline.append(&segment, self.text.len());
        self.text += text;
        self.words.extend(segment.words);
        self.end = self.end.max(segment.end);
        cues.extend(self.take(self.text.len() > LONGEST_WAIT)?);
        Ok(cues)
    }

    /// Tells that nothing was said between what was pushed last and `until`: a pause that is long enough ends the
    /// sentence.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn silence(&mut self, until: Duration) -> Result<Vec<Cue>> {
        let over = !self.text.is_empty() && until > self.end.saturating_add(PAUSE);
        if over { self.take(true) } else { Ok(Vec::new()) }
    }

    /// Tells that the speaker pauses, however shortly: the last sentence is complete if it ends like one.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn pause(&mut self) -> Result<Vec<Cue>> {
        self.take(is_complete(&self.text))
    }

    /// Treats what was heard so far as complete, as in a silence or when the speaker changes, and returns all its cues.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> Result<Vec<Cue>> {
        let mut cues = self.take(true)?;
        cues.extend(self.stream.flush());
        Ok(cues)
    }

    /// The rest.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<(Vec<Cue>, Vec<Heard>)> {
        Ok((self.flush()?, self.heard))
    }

    /// Takes the sentences that are complete: all of them, or all but the last.
    fn take(&mut self, all: bool) -> Result<Vec<Cue>> {
        let text = std::mem::take(&mut self.text);
        let count = |sentence: &str| self.job.as_ref().map_or(1, |job| job.translator.count_tokens(sentence, job.pair));
        let most = self.job.as_ref().map_or(usize::MAX, |job| job.translator.max_source_tokens());
        let parts = Segmenter::new(most, &count).split_continued(&text);
        let is_sentence = |part: &Part<'_>| matches!(part, Part::Sentence { .. });
        let complete = if all { parts.len() } else { parts.iter().rposition(is_sentence).unwrap_or(0) };

        let (mut at, mut sentences) = (0, Vec::new());
        for part in &parts[..complete] {
            let (start, end) = (at, at + part.text().len());
            at = end;
            let bare = part.text().trim();
            if bare.is_empty() {
                continue;
            }
            let (start, end) = (self.timeline.start(start), self.timeline.end(end));
            let words = self.words.extract_if(.., |word| word.end <= end).collect();
            sentences.push((is_sentence(part), Timed { text: bare.to_owned(), start, end, words }));
        }
        self.text = text[at..].trim_start().to_owned();
        let skipped = text.len() - self.text.len();
        if skipped > 0 {
            self.timeline.drain(skipped);
        }
        if self.text.is_empty() {
            self.timeline = Timeline::default();
            self.words.clear();
        }
        self.translate(sentences)
    }

    /// Translates the sentences that are some (`true`), and lays them all out.
    fn translate(&mut self, sentences: Vec<(bool, Timed)>) -> Result<Vec<Cue>> {
        let questions: Vec<String> =
            sentences.iter().filter(|(spoken, _)| *spoken).map(|(_, sentence)| asked(&sentence.text)).collect();
        let mut translations = Vec::new().into_iter();
        if let Some(job) = &self.job
            && !questions.is_empty()
        {
            let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
            translations = call(job, &questions, &mut self.summary.elapsed, &mut |_| Ok(()))?.into_iter();
        }
        let mut cues = Vec::new();
        for (spoken, source) in sentences {
            let mut translation = if spoken { translations.next() } else { None };
            let shown = match &mut translation {
                None => source.clone(),
                Some(translation) => {
                    for hypothesis in &mut translation.hypotheses {
                        hypothesis.text = answered(&hypothesis.text, &source.text);
                    }
                    let best = &translation.hypotheses[0];
                    self.summary.sentences += 1;
                    self.summary.source_tokens += translation.source_tokens as u64;
                    self.summary.tokens += best.tokens.len() as u64;
                    Timed::new(best.text.clone(), source.start, source.end)
                }
            };
            cues.extend(self.stream.push(&shown));
            self.heard.push(Heard { source, translation });
        }
        Ok(cues)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tasks::document::Pace;
    use crate::tasks::testing::Shouter;
    use crate::tasks::translate::{LanguagePair, TranslateOptions};

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What `segments` become, and after which of them each cue came.
    fn run(segments: &[Timed], translator: Option<&Shouter>) -> (Vec<(usize, Cue)>, Vec<Heard>) {
        let (pair, options) = (LanguagePair::new("en", "fr"), TranslateOptions::default());
        let job = translator.map(|translator| Job {
            translator,
            pair: &pair,
            options: &options,
            pace: Pace::default(),
            cancelled: &|| false,
        });
        let mut cascade = Cascade::new(Layout::default(), job);
        let (mut cues, mut heard) = (Vec::new(), Vec::new());
        for (i, segment) in segments.iter().enumerate() {
            cues.extend(cascade.push(segment).unwrap().into_iter().map(|cue| (i, cue)));
            heard.extend(cascade.heard());
        }
        let (last, rest) = cascade.finish().unwrap();
        cues.extend(last.into_iter().map(|cue| (segments.len(), cue)));
        heard.extend(rest);
        (cues, heard)
    }

    #[test]
    fn sentences_are_whole_wherever_segments_were_cut() {
        let segments = [
            Timed::new(" Where is the", at(0), at(1000)),
            Timed::new("station? It is", at(1000), at(2000)),
            Timed::new("over there.", at(2000), at(3000)),
            Timed::new("and then nothing", at(9000), at(10_000)),
            Timed::new("For a while", at(20_000), at(21_000)),
        ];
        let (cues, heard) = run(&segments, Some(&Shouter::default()));
        let lines: Vec<String> = cues
            .iter()
            .map(|(i, cue)| format!("{i}: {:?}-{:?} {}", cue.start, cue.end, cue.text.shown().replace('\n', " / ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        3: 0ns-1.56s WHERE IS THE STATION?
        4: 1.643s-3s IT IS OVER THERE.
        5: 9s-10s AND THEN NOTHING
        5: 20s-21s FOR A WHILE
        ");
        let sentences: Vec<&str> = heard.iter().map(|heard| &heard.source.text[..]).collect();
        assert_eq!(sentences, ["Where is the station?", "It is over there.", "and then nothing", "For a while"]);
    }

    #[test]
    fn a_silence_ends_a_sentence_once() {
        let mut cascade = Cascade::new(Layout::default(), None);
        cascade.push(&Timed::new("and then nothing", at(1000), at(2000))).unwrap();
        for until in [2000, 4000] {
            cascade.silence(at(until)).unwrap();
            assert_eq!(cascade.heard(), []);
        }
        cascade.silence(at(4001)).unwrap();
        assert_eq!(cascade.heard()[0].source.text, "and then nothing");
        assert_eq!((cascade.silence(Duration::MAX).unwrap(), cascade.heard()), (vec![], vec![]));
    }

    #[test]
    fn a_pause_ends_a_sentence_that_ends_like_one() {
        let mut cascade = Cascade::new(Layout::default(), None);
        let mut heard = |text: &str| {
            cascade.push(&Timed::new(text, at(1000), at(2000))).unwrap();
            cascade.pause().unwrap();
            cascade.heard().into_iter().map(|heard| heard.source.text).collect::<Vec<_>>()
        };
        assert_eq!(heard("It is here. Where"), ["It is here."]);
        assert_eq!(heard("is the station?"), ["Where is the station?"]);
        assert_eq!(heard("I saw Mr."), Vec::<String>::new());
    }

    #[test]
    fn words_keep_their_times_through_sentences() {
        let words = ["One", "two.", "Three", "four."];
        let word = |(i, text): (usize, &&str)| Word {
            text: format!(" {text}"),
            start: at(1000 * i as u64),
            end: at(1000 * i as u64 + 400),
        };
        let words: Vec<Word> = words.iter().enumerate().map(word).collect();
        let segment = Timed { text: "One two. Three four.".into(), start: at(0), end: at(3400), words };
        let (cues, heard) = run(&[segment], None);
        let times: Vec<_> = heard.iter().map(|heard| (heard.source.start, heard.source.end)).collect();
        assert_eq!(times, [(at(0), at(1400)), (at(2000), at(3400))]);
        assert_eq!(heard.iter().map(|heard| heard.source.words.len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(cues.len(), 2);
        assert_eq!(cues[1].1.start, at(2000));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_is_lost_however_speech_is_cut(
            words in proptest::collection::vec("[a-zA-Z]{1,9}[.,?!]?", 1..60),
            size in 1_usize..9,
        ) {
            let time = |i: usize| at(300 * i as u64);
            let word = |i: usize| Word { text: words[i].clone(), start: time(i), end: time(i) + at(250) };
            let segments = |size: usize| -> Vec<Timed> {
                let all: Vec<Word> = (0..words.len()).map(word).collect();
                let segment = |words: &[Word]| Timed {
                    text: words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "),
                    start: words[0].start,
                    end: words[words.len() - 1].end,
                    words: words.to_vec(),
                };
                all.chunks(size).map(segment).collect()
            };
            let (cues, heard) = run(&segments(size), None);
            let (whole, all) = run(&segments(words.len()), None);
            prop_assert_eq!(&heard, &all);
            let only_cues = |cues: &[(usize, Cue)]| cues.iter().map(|(_, cue)| cue.clone()).collect::<Vec<_>>();
            prop_assert_eq!(only_cues(&cues), only_cues(&whole));
            let shown: String = cues.iter().map(|(_, cue)| cue.text.shown() + " ").collect();
            prop_assert_eq!(shown.trim_end().replace('\n', " "), words.join(" "));
            prop_assert!(cues.windows(2).all(|pair| pair[0].1.end < pair[1].1.start));
        }
    }
}
