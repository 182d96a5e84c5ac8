//! Sound of any length -> what was said, segment by segment, with times.
//!
//! Sound is pushed as it comes and forgotten once it is written down, so that a file of hours and a microphone are the same
//! thing. A window is decoded again at a higher temperature where its text repeats itself or is improbable, and what is
//! probably silence yields nothing. (The loop of OpenAI's `transcribe`; Radford et al. 2022, section 4.5.)

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use babil_runtime::audio::{HOP, LogMel, Segment as SpeechSegment, SegmentOptions, Segmenter};
use babil_runtime::model::{FrameEncoder, Model};
use babil_runtime::session::{EncoderDecoderSession, Sequence};
use babil_runtime::{Cancel, Error, Result, Token};
use serde::{Deserialize, Serialize};

use crate::speech::decode::{Decoded, Prompted, Search, languages};
use crate::speech::segments::segment;
use crate::speech::words::{Piece, TimedWord, Words, begin_with_speech, token_times};
use crate::speech::{FRAMES_PER_POSITION, SAMPLE_RATE, SpeechModel, Task};
use crate::tasks::subtitles::{Timed, Word};

/// How to transcribe.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// Code of the language, as in `fr`; `None` is found out from the first window.
    pub language: Option<String>,
    /// What to write.
    pub task: Task,
    /// Width of the beam; 1 is greedy.
    pub beam: usize,
    /// Text that comes before every window: names and terms as they are to be spelled.
    pub prompt: Option<String>,
    /// Whether a window is told the text of the one before. Names are spelled alike then, but a small model that has made
    /// a mistake repeats it.
    pub previous_text: bool,
    /// Whether it is found out when each word is said: the decoder reads the text of each window again. Segments end with
    /// their words then.
    pub words: bool,
    /// The encoder hears whole windows, as the model did in training, even where the sound is shorter.
    pub exact: bool,
    /// When a window is decoded again, and when it is silence.
    pub limits: Limits,
    /// Of random draws.
    pub seed: u64,
    /// Cancels from another thread, also between the layers of the model.
    pub cancel: Cancel,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            task: Task::Transcribe,
            beam: 5,
            prompt: None,
            previous_text: false,
            words: false,
            exact: false,
            limits: Limits::default(),
            seed: 0,
            cancel: Cancel::default(),
        }
    }
}

/// When a window is decoded again, and when it is silence: OpenAI's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// A text that deflates to less than the inverse of this repeats itself.
    pub compression: f32,
    /// A text whose tokens have a lower mean log-probability is improbable.
    pub log_prob: f32,
    /// Above this probability of silence, an improbable text is nothing.
    pub no_speech: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { compression: 2.4, log_prob: -1.0, no_speech: 0.6 }
    }
}

impl Limits {
    /// Whether a text with this mean log-probability is nothing.
    fn silence(&self, no_speech: f32, log_prob: f32) -> bool {
        no_speech > self.no_speech && log_prob < self.log_prob
    }

    /// Whether a text with this mean log-probability is no good.
    fn is_no_good(&self, text: &str, log_prob: f32) -> bool {
        compression_ratio(text) > self.compression || log_prob < self.log_prob
    }
}

/// Temperatures of the draws, one after the other, where the most probable text is no good.
const TEMPERATURES: [f32; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];
/// Texts that are drawn at each temperature.
const DRAWS: usize = 5;
/// Frames of silence that the encoder hears after sound that does not fill its window: models end their text there.
const MARGIN: usize = 200;
/// Shorter rests of a recording hold no word: a tenth of a second.
const LEAST: usize = SAMPLE_RATE / 10;
/// Seconds at the ends of a segment in which none of its words is said, at most, where it is known when they are.
const REST: f64 = 0.5;

/// A part of what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Seconds from the beginning of the sound.
    pub start: f64,
    /// Seconds from the beginning of the sound.
    pub end: f64,
    /// What was said.
    pub text: String,
    /// Code of the language, where the model knows several.
    pub language: Option<String>,
    /// The mean log-probability of the window's tokens.
    pub log_prob: f32,
    /// The probability that nobody speaks in the window.
    pub no_speech: f32,
    /// The temperature of the window's text, 0 for the most probable one.
    pub temperature: f32,
    /// Text and timestamps.
    pub tokens: Vec<Token>,
    /// When its words are said, if that was asked for. Together they are the text.
    pub words: Vec<Word>,
}

impl From<&Segment> for Timed {
    fn from(segment: &Segment) -> Self {
        let (start, end) = (Duration::from_secs_f64(segment.start), Duration::from_secs_f64(segment.end));
        Self { text: segment.text.clone(), start, end, words: segment.words.clone() }
    }
}

/// A recording that is being written down.
pub struct Transcription<'m> {
    model: &'m SpeechModel,
    session: EncoderDecoderSession,
    mel: LogMel,
    options: TranscribeOptions,
    language: Option<String>,
    /// What every window is told.
    prompt: Vec<Token>,
    /// The text so far, as far back as a window is told.
    previous: Vec<Token>,
    /// Sound that is not written down yet, and the number of samples before it.
    sound: Vec<f32>,
    before: u64,
}

impl<'m> Transcription<'m> {
    /// Begins one.
    ///
    /// # Errors
    /// A language or task that the model does not have, or a beam that is none.
    pub fn new(model: &'m SpeechModel, options: TranscribeOptions) -> Result<Self> {
        // Said at once rather than after the first window.
        model.special().prompt(options.language.as_deref(), options.task, true)?;
        if !(1..=babil_runtime::spec::GenerationSpec::MOST_BEAMS).contains(&options.beam) {
            let most = babil_runtime::spec::GenerationSpec::MOST_BEAMS;
            return Err(Error::BadRequest(format!("a beam of {}: it must be 1 to {most}", options.beam)));
        }
        let mut prompt = match &options.prompt {
            Some(text) => model.encode(&format!(" {}", text.trim()))?,
            None => Vec::new(),
        };
        prompt.truncate(most_before(model));
        let mut session = model.session()?;
        session.set_cancel(&options.cancel);
        Ok(Self {
            model,
            session,
            mel: LogMel::new(model.features())?,
            language: options.language.clone(),
            options,
            prompt,
            previous: Vec::new(),
            sound: Vec::new(),
            before: 0,
        })
    }

    /// What writes it down.
    pub fn model(&self) -> &'m SpeechModel {
        self.model
    }

    /// The language, once it is known.
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    /// Seconds of sound that are written down.
    pub fn done(&self) -> f64 {
        self.before as f64 / SAMPLE_RATE as f64
    }

    /// Adds sound, and gives `sink` the segments that are complete; [`ControlFlow::Break`] cancels.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or the model's own.
    pub fn push(&mut self, samples: &[f32], sink: &mut dyn FnMut(Segment) -> ControlFlow<()>) -> Result<()> {
        self.sound.extend_from_slice(samples);
        while self.sound.len() >= self.window() {
            self.next_window(sink)?;
        }
        Ok(())
    }

    /// Writes down what is left: nothing more of this stretch of sound comes. Sound that is pushed afterwards begins a new
    /// one.
    ///
    /// # Errors
    /// As [`Transcription::push`].
    pub fn finish(&mut self, sink: &mut dyn FnMut(Segment) -> ControlFlow<()>) -> Result<()> {
        while self.sound.len() >= LEAST {
            self.next_window(sink)?;
        }
        self.forget(self.sound.len());
        Ok(())
    }

    /// Tells of sound in which nobody speaks and which is not pushed.
    pub fn skip(&mut self, samples: u64) {
        self.before += samples;
    }

    /// Writes down what is said in `stretch`, which comes behind the sound so far.
    ///
    /// # Errors
    /// As [`Transcription::push`].
    pub fn stretch(&mut self, stretch: &Stretch, sink: &mut dyn FnMut(Segment) -> ControlFlow<()>) -> Result<()> {
        self.skip(stretch.start.saturating_sub(self.before));
        self.push(&stretch.sound, sink)?;
        self.finish(sink)
    }

    /// Goes on as if it had just written down `segments` from the stretch before the sample `end`, in which it heard
    /// `language`.
    pub fn resume(&mut self, end: u64, language: Option<&str>, segments: &[Segment]) {
        self.before = end;
        self.language = language.map(str::to_owned);
        segments.iter().for_each(|segment| self.remember(&segment.tokens, segment.temperature));
    }

    /// The most probable text of `sound`, a window at most, while the rest of what is said there is still to come.
    /// Nothing is remembered of it. The text is empty where probably nobody speaks, or where it repeats itself.
    ///
    /// # Errors
    /// The model's own.
    pub fn guess(&mut self, sound: &[f32]) -> Result<String> {
        let state = self.hear(sound)?;
        let language = match &self.language {
            Some(known) => Some(known.clone()),
            None => self.language_of(&state)?,
        };
        let (prompt, most) = self.beginning(language.as_deref())?;
        let window = Prompted::new(&mut self.session, state, self.model.special(), &prompt)?;
        let found = window.decode(&mut self.session, Search::Beam(1), most)?;
        let text = self.model.text(&found.tokens).trim().to_owned();
        let limits = self.options.limits;
        let nothing =
            limits.silence(window.no_speech(), found.log_prob) || compression_ratio(&text) > limits.compression;
        Ok(if nothing { String::new() } else { text })
    }

    /// Samples of a window.
    fn window(&self) -> usize {
        self.model.window() * HOP
    }

    fn forget(&mut self, samples: usize) {
        self.sound.drain(..samples);
        self.before += samples as u64;
    }

    /// Writes down the beginning of `sound`.
    fn next_window(&mut self, sink: &mut dyn FnMut(Segment) -> ControlFlow<()>) -> Result<()> {
        let length = self.sound.len().min(self.window());
        let seconds = length as f64 / SAMPLE_RATE as f64;
        let sound = std::mem::take(&mut self.sound);
        let state = self.hear(&sound[..length]);
        self.sound = sound;
        let state = state?;
        // It is settled by the first window in which something is said: music has no language.
        let language = match &self.language {
            Some(known) => Some(known.clone()),
            None => self.language_of(&state)?,
        };
        let special = self.model.special();
        let found = self.decode(state, language.as_deref(), length.div_ceil(HOP))?;
        let start = self.done();
        if self.options.limits.silence(found.no_speech, found.log_prob) {
            self.forget(length);
            return Ok(());
        }
        let cut = segment(special, &found.tokens, seconds);
        let mut last = [String::new(), String::new()];
        // Segments follow one another in the window's tokens.
        let mut at = 0;
        for part in cut.segments {
            let pieces = found.pieces(self.model, at..at + part.tokens.len());
            at += part.tokens.len();
            let text = self.model.text(&part.tokens).trim().to_owned();
            // A model that goes in circles says the same again and again. And nothing is said in no time.
            let brief = part.end - part.start < LEAST as f64 / SAMPLE_RATE as f64;
            let again = last.iter().all(|last| *last == text);
            if text.is_empty() || brief || (again && found.no_good) {
                continue;
            }
            last.swap(0, 1);
            last[1].clone_from(&text);
            let mut words = Words::of_language(language.as_deref()).join(pieces);
            begin_with_speech(&mut words);
            let within = said(&words, part.start..part.end);
            let segment = Segment {
                start: start + within.start,
                end: start + within.end,
                words: words.into_iter().map(|word| placed(word, start, &within)).collect(),
                text,
                language: language.clone(),
                log_prob: found.log_prob,
                no_speech: found.no_speech,
                temperature: found.temperature,
                tokens: part.tokens,
            };
            self.remember(&segment.tokens, found.temperature);
            self.language.clone_from(&segment.language);
            if sink(segment).is_break() {
                return Err(Error::Cancelled);
            }
        }
        let done = (cut.done * SAMPLE_RATE as f64).round() as usize;
        self.forget(done.clamp(1, length));
        Ok(())
    }

    /// Encodes `sound`, at most a window.
    fn hear(&mut self, sound: &[f32]) -> Result<Sequence> {
        let frames = match self.options.exact {
            true => self.model.window(),
            false => (sound.len().div_ceil(HOP) + MARGIN).min(self.model.window()),
        };
        let mel = self.mel.compute(sound, frames * HOP)?;
        self.session.encode_frames(&mel)
    }

    /// The language that is spoken, if the model knows several.
    fn language_of(&mut self, state: &Sequence) -> Result<Option<String>> {
        let special = self.model.special();
        let Some(tokens) = &special.multilingual else { return Ok(None) };
        let found = languages(&mut self.session, state, special, tokens)?;
        let best = (0..found.len()).max_by(|&a, &b| found[a].total_cmp(&found[b]));
        Ok(best.map(|best| tokens.languages[best].0.clone()))
    }

    /// What comes before the text of a window, and the most tokens that the text may have.
    fn beginning(&self, language: Option<&str>) -> Result<(Vec<Token>, usize)> {
        let special = self.model.special();
        let mut prompt = Vec::new();
        if !(self.prompt.is_empty() && self.previous.is_empty()) {
            prompt.push(special.previous);
            prompt.extend(self.prompt.iter().chain(&self.previous));
        }
        prompt.extend(special.prompt(language, self.options.task, true)?);
        // The end has a position, too: it is read once more where the times of words are asked for.
        let room = self.model.positions().saturating_sub(prompt.len() + 1);
        Ok((prompt, room.min(self.model.positions() / 2)))
    }

    /// Keeps a segment, timestamps included, for the next window, unless it was a guess.
    fn remember(&mut self, tokens: &[Token], temperature: f32) {
        if !self.options.previous_text || temperature > 0.5 {
            self.previous.clear();
            return;
        }
        self.previous.extend_from_slice(tokens);
        let most = most_before(self.model) - self.prompt.len();
        self.previous.drain(..self.previous.len().saturating_sub(most));
    }

    /// The text of a window, and its temperature: the most probable one, or one drawn at random where that is no good.
    /// Of the window, `frames` frames are sound.
    fn decode(&mut self, state: Sequence, language: Option<&str>, frames: usize) -> Result<Written> {
        let (prompt, most) = self.beginning(language)?;
        let limits = self.options.limits;
        let window = Prompted::new(&mut self.session, state, self.model.special(), &prompt)?;
        let mut run = |search| window.decode(&mut self.session, search, most);
        let is_no_good = |found: &Decoded| limits.is_no_good(&self.model.text(&found.tokens), found.log_prob);
        let is_silence = |found: &Decoded| limits.silence(window.no_speech(), found.log_prob);
        let (mut found, mut temperature) = (run(Search::Beam(self.options.beam))?, 0.0);
        let (mut no_good, mut temperatures) = (is_no_good(&found), TEMPERATURES.into_iter());
        while no_good && !is_silence(&found) {
            let Some(next) = temperatures.next() else { break };
            found = run(Search::Sample { temperature: next, count: DRAWS, seed: self.options.seed })?;
            (temperature, no_good) = (next, is_no_good(&found));
        }
        let times = match self.options.words && !found.tokens.is_empty() && !is_silence(&found) {
            true => {
                let heads = self.model.alignment_heads();
                let weights = window.attention_to_source(&mut self.session, &found.tokens, &heads)?;
                let rows = found.tokens.len() + 1;
                let positions = weights.len() / (heads.len() * rows);
                token_times(&weights, rows, positions, frames.div_ceil(FRAMES_PER_POSITION))
            }
            false => Vec::new(),
        };
        Ok(Written {
            tokens: found.tokens,
            times,
            no_good,
            log_prob: found.log_prob,
            no_speech: window.no_speech(),
            temperature,
        })
    }
}

/// Writes down what is said in `sound`, blocks of mono samples at 16 kHz: silence is left out, and costs next to nothing.
///
/// # Errors
/// Those of the sound, or as [`Transcription::push`].
pub fn transcribe(
    sound: impl Iterator<Item = Result<Vec<f32>>>,
    transcription: &mut Transcription<'_>,
    sink: &mut dyn FnMut(Segment) -> ControlFlow<()>,
) -> Result<()> {
    let mut speech = Speech::new(transcription.model)?;
    for block in sound {
        for stretch in speech.push(&block?) {
            transcription.stretch(&stretch, sink)?;
        }
    }
    speech.finish().iter().try_for_each(|stretch| transcription.stretch(stretch, sink))
}

/// A stretch of speech that a model can hear at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Samples of the sound before it.
    pub start: u64,
    /// Its samples.
    pub sound: Vec<f32>,
}

impl Stretch {
    /// Samples of the sound before its end.
    pub fn end(&self) -> u64 {
        self.start + self.sound.len() as u64
    }
}

/// Finds stretches of speech in sound that comes in blocks. The blocks do not matter.
pub struct Speech {
    segmenter: Segmenter,
    /// Sound that may still be part of a stretch, and the number of samples before it.
    kept: Vec<f32>,
    before: u64,
}

impl Speech {
    /// At the beginning of a sound, for `model`'s windows.
    ///
    /// # Errors
    /// A model whose window is shorter than speech and a pause.
    pub fn new(model: &SpeechModel) -> Result<Self> {
        let window = (model.window() * HOP) as f32 / SAMPLE_RATE as f32;
        let longest = SegmentOptions::default().most.min(0.9 * window);
        let segmenter = Segmenter::new(SegmentOptions { most: longest, ..SegmentOptions::default() })?;
        Ok(Self { segmenter, kept: Vec::new(), before: 0 })
    }

    /// Takes the next samples; gives the stretches that are over.
    pub fn push(&mut self, block: &[f32]) -> Vec<Stretch> {
        self.kept.extend_from_slice(block);
        let over = self.segmenter.push(block);
        let over = over.into_iter().map(|segment| self.stretch(segment)).collect();
        let needed = self.over().saturating_sub(KEPT).max(self.before);
        self.kept.drain(..(needed - self.before) as usize);
        self.before = needed;
        over
    }

    /// The last stretches: the sound has ended, and what follows is a new one.
    pub fn finish(&mut self) -> Vec<Stretch> {
        let last = self.segmenter.finish();
        let last = last.into_iter().map(|segment| self.stretch(segment)).collect();
        self.kept.clear();
        self.before = 0;
        last
    }

    /// The stretch that is not over, as far as it goes: the samples before it, and its own.
    pub fn so_far(&self) -> Option<(u64, &[f32])> {
        self.segmenter.so_far().map(|segment| (segment.start, self.sound(segment)))
    }

    /// Samples of sound in which every stretch is over.
    pub fn over(&self) -> u64 {
        self.segmenter.unfinished().unwrap_or(self.before + self.kept.len() as u64)
    }

    fn stretch(&self, segment: SpeechSegment) -> Stretch {
        Stretch { start: segment.start, sound: self.sound(segment).to_vec() }
    }

    fn sound(&self, segment: SpeechSegment) -> &[f32] {
        let place = |sample: u64| (sample.saturating_sub(self.before) as usize).min(self.kept.len());
        &self.kept[place(segment.start)..place(segment.end)]
    }
}

/// Samples of silence that are kept, because a segment begins a little before the voice.
const KEPT: u64 = SAMPLE_RATE as u64;

/// The text of a window.
struct Written {
    tokens: Vec<Token>,
    /// When each token and the end begin, in seconds from the beginning of the window; empty where nobody asks.
    times: Vec<f64>,
    /// Whether it repeats itself or is improbable, at every temperature.
    no_good: bool,
    log_prob: f32,
    no_speech: f32,
    temperature: f32,
}

impl Written {
    /// The text of some tokens, and when it is said; nothing where that is not known.
    fn pieces<'t>(&'t self, model: &'t SpeechModel, tokens: Range<usize>) -> impl Iterator<Item = Piece<'t>> {
        tokens.filter_map(move |i| {
            let (&start, &end) = (self.times.get(i)?, self.times.get(i + 1)?);
            Some(Piece { bytes: model.token_bytes(self.tokens[i]), start, end })
        })
    }
}

/// Tokens that a window is told of what came before, at most: half of the positions are for the text itself.
fn most_before(model: &SpeechModel) -> usize {
    (model.positions() / 2).saturating_sub(1)
}

/// When the words of a segment are said, which lasts that long by its timestamps: models let segments begin in the noise
/// before them.
fn said(words: &[TimedWord], by_timestamps: Range<f64>) -> Range<f64> {
    let Range { start, end } = by_timestamps;
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return start..end };
    let begins = if first.start > start + REST { first.start.min(end) } else { start };
    let ends = if last.end < end - REST { last.end.max(begins) } else { end };
    begins..ends
}

/// A word of a segment that lasts from `within.start` to `within.end` in a window that begins at `window`, all seconds.
fn placed(word: TimedWord, window: f64, within: &Range<f64>) -> Word {
    let time = |seconds: f64| Duration::from_secs_f64(window + seconds.clamp(within.start, within.end));
    Word { start: time(word.start), end: time(word.end), text: word.text }
}

/// How many times larger a text is than deflated: about 2 for prose, more for what repeats itself.
fn compression_ratio(text: &str) -> f32 {
    let deflated = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6);
    text.len() as f32 / deflated.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_deflates_well() {
        let prose = "The river was high that spring, and nobody in the village slept well.";
        let circles = "Thank you. ".repeat(20);
        assert!(compression_ratio(prose) < 1.3);
        assert!(compression_ratio(&circles) > Limits::default().compression);
    }
}
