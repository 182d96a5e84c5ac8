//! Where somebody speaks: samples -> frames of 16 ms -> the probability of a voice in each -> segments of speech.
//!
//! A segment ends in a long pause, or, when it would become too long, in the longest pause it has. Frames are cut by counting
//! samples, so segments do not depend on the blocks in which samples come.

use earshot::Detector;

use super::SAMPLE_RATE;
use crate::error::{Error, Result};

/// Samples of a frame.
const FRAME: usize = 256;
/// A frame is speech from this probability of a voice on; and, inside of speech, from less.
const SPEECH: f32 = 0.5;
const STILL_SPEECH: f32 = 0.35;

/// What a segment is. Times are in seconds, and count in frames of 16 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentOptions {
    /// A pause as long as this ends a segment.
    pub pause: f32,
    /// What a segment has before its first and behind its last speech, at most the pause.
    pub padding: f32,
    /// Less speech than this is none: clicks, a cough.
    pub least: f32,
    /// The most a segment may last.
    pub most: f32,
}

impl Default for SegmentOptions {
    /// For windows of 30 s.
    fn default() -> Self {
        Self { pause: 0.6, padding: 0.2, least: 0.1, most: 28.0 }
    }
}

/// A stretch of speech: samples from the beginning of the sound, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first sample.
    pub start: u64,
    /// The sample after its last.
    pub end: u64,
}

/// Finds speech in a sound that comes in blocks.
pub struct Segmenter {
    detector: Box<Detector>,
    cutter: Cutter,
    /// Samples that are no frame yet.
    waiting: Vec<f32>,
    samples: u64,
}

impl Segmenter {
    /// At the beginning of a sound. [`Error::BadRequest`] for options that contradict each other.
    pub fn new(options: SegmentOptions) -> Result<Self> {
        let cutter = Cutter::new(options)?;
        Ok(Self { detector: Detector::default_boxed(), cutter, waiting: Vec::with_capacity(FRAME), samples: 0 })
    }

    /// Takes the next samples (mono, 16 kHz, -1 to 1); gives the segments that are complete with them.
    pub fn push(&mut self, mut samples: &[f32]) -> Vec<Segment> {
        self.samples += samples.len() as u64;
        let mut segments = Vec::new();
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(FRAME - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            samples = later;
            if self.waiting.len() == FRAME {
                self.frame(&mut segments);
            }
        }
        segments
    }

    /// Where the segment that is not complete yet begins; None in silence. What is before it, and in no segment, is silence.
    pub fn unfinished(&self) -> Option<u64> {
        self.cutter.run.as_ref().map(|run| run.start as u64 * FRAME as u64)
    }

    /// The segment that is not complete yet, as it would be if the sound ended now; None before there is enough speech.
    /// It grows with what is said, and in pauses it does not.
    pub fn so_far(&self) -> Option<Segment> {
        let run = self.cutter.run.as_ref()?;
        self.cutter.segment(run, self.cutter.speech_end(run))
    }

    /// The last segments: the sound has ended, and what follows is a new one.
    pub fn finish(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        if !self.waiting.is_empty() {
            self.waiting.resize(FRAME, 0.0);
            self.frame(&mut segments);
        }
        self.cutter.finish(&mut segments);
        let samples = std::mem::take(&mut self.samples);
        for segment in &mut segments {
            segment.end = segment.end.min(samples);
        }
        self.detector.reset();
        segments
    }

    fn frame(&mut self, segments: &mut Vec<Segment>) {
        let level = self.waiting.iter().map(|sample| sample * sample).sum();
        let voice = self.detector.predict_f32(&self.waiting);
        self.waiting.clear();
        self.cutter.push(voice, level, segments);
    }
}

/// Cuts segments out of frames. Everything is counted in frames.
struct Cutter {
    pause: usize,
    padding: usize,
    least: usize,
    most: usize,
    /// Frames so far.
    now: usize,
    /// Where the last segment ended.
    end: usize,
    run: Option<Run>,
}

/// A segment that is not complete.
struct Run {
    /// The first frame, padding included.
    start: usize,
    /// The frames from there on.
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    speech: bool,
    level: f32,
}

impl Run {
    /// The frame behind the last speech.
    fn speech_end(&self) -> usize {
        self.start + self.frames.iter().rposition(|frame| frame.speech).map_or(0, |last| last + 1)
    }

    fn speech(&self) -> usize {
        self.frames.iter().filter(|frame| frame.speech).count()
    }
}

impl Cutter {
    fn new(options: SegmentOptions) -> Result<Self> {
        let SegmentOptions { pause, padding, least, most } = options;
        let frames = |seconds: f32| (seconds * SAMPLE_RATE as f32 / FRAME as f32).round() as usize;
        let valid = [pause, padding, least, most].iter().all(|seconds| (0.0..=3600.0).contains(seconds));
        if !valid || frames(pause) == 0 || padding > pause || most < pause + 2.0 * padding + least {
            return Err(Error::BadRequest(format!(
                "segments with pauses of {pause} s, padding of {padding} s, {least} s of speech and {most} s in all: the padding \
                 must fit the pause, and pause, padding and speech the whole"
            )));
        }
        let [pause, padding, least, most] = [pause, padding, least, most].map(frames);
        Ok(Self { pause, padding, least, most, now: 0, end: 0, run: None })
    }

    /// Takes a frame: the probability of a voice, and its power.
    fn push(&mut self, voice: f32, level: f32, segments: &mut Vec<Segment>) {
        let (before, at) = (self.now, self.now);
        self.now += 1;
        match &mut self.run {
            None if voice >= SPEECH => {
                // What was before is known only to be no speech.
                let start = before.saturating_sub(self.padding).max(self.end);
                let mut frames = vec![Frame { speech: false, level: f32::INFINITY }; at - start];
                frames.push(Frame { speech: true, level });
                self.run = Some(Run { start, frames });
            }
            None => {}
            Some(run) => {
                let within = run.frames.last().is_some_and(|frame| frame.speech);
                let speech = voice >= if within { STILL_SPEECH } else { SPEECH };
                run.frames.push(Frame { speech, level });
                if self.now - run.speech_end() >= self.pause {
                    self.close(segments);
                } else if run.frames.len() >= self.most {
                    self.cut(segments);
                }
            }
        }
    }

    fn finish(&mut self, segments: &mut Vec<Segment>) {
        self.close(segments);
        (self.now, self.end) = (0, 0);
    }

    /// Ends the run behind its last speech.
    fn close(&mut self, segments: &mut Vec<Segment>) {
        let Some(run) = self.run.take() else { return };
        let end = self.speech_end(&run);
        self.emit(&run, end, segments);
    }

    /// The frame behind the last speech and its padding.
    fn speech_end(&self, run: &Run) -> usize {
        (run.speech_end() + self.padding).min(self.now)
    }

    /// `run` up to the frame `end`, if there is enough speech in it.
    fn segment(&self, run: &Run, end: usize) -> Option<Segment> {
        let enough = run.speech() >= self.least.max(1);
        enough.then(|| Segment { start: (run.start * FRAME) as u64, end: (end * FRAME) as u64 })
    }

    fn emit(&mut self, run: &Run, end: usize, segments: &mut Vec<Segment>) {
        if let Some(segment) = self.segment(run, end) {
            segments.push(segment);
            self.end = end;
        }
    }

    /// Ends a run that is too long in its longest pause, the last of several; without a pause in the quietest frame of its second
    /// half. What is behind goes on as a run of its own.
    fn cut(&mut self, segments: &mut Vec<Segment>) {
        let Some(mut run) = self.run.take() else { return };
        let first = run.frames.iter().position(|frame| frame.speech).unwrap_or(0);
        // Pauses between speech: where they begin and end, from the start of the run.
        let (mut pauses, mut since) = (Vec::new(), None);
        for (at, frame) in run.frames.iter().enumerate().skip(first) {
            match (frame.speech, since) {
                (false, None) => since = Some(at),
                (true, Some(start)) => {
                    pauses.push((start, at));
                    since = None;
                }
                _ => {}
            }
        }
        // The last one may go on.
        pauses.extend(since.map(|start| (start, run.frames.len())));
        let longest = pauses.into_iter().max_by_key(|&(start, end)| end - start);
        let (end, next) = longest.unwrap_or_else(|| {
            let half = run.frames.len() / 2;
            let levels = run.frames.iter().enumerate().skip(half);
            let quietest = levels.min_by(|(_, a), (_, b)| a.level.total_cmp(&b.level)).map_or(half, |(at, _)| at);
            (quietest, quietest)
        });
        let middle = end + (next - end) / 2;
        let rest: Vec<Frame> = run.frames.drain(middle..).collect();
        let end = (run.start + end + self.padding).min(run.start + middle);
        let start = run.start + middle;
        self.emit(&run, end, segments);
        self.end = self.end.max(end);
        // The rest begins with its own speech and padding.
        if let Some(speech) = rest.iter().position(|frame| frame.speech) {
            let skip = speech.saturating_sub(self.padding);
            self.run = Some(Run { start: start + skip, frames: rest[skip..].to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    /// The segments of frames with these probabilities, in frames.
    fn cut(options: SegmentOptions, voices: &[f32]) -> Vec<(usize, usize)> {
        let (mut cutter, mut segments) = (Cutter::new(options).unwrap(), Vec::new());
        for &voice in voices {
            cutter.push(voice, 1.0, &mut segments);
        }
        cutter.finish(&mut segments);
        segments.iter().map(|segment| (segment.start as usize / FRAME, segment.end as usize / FRAME)).collect()
    }

    /// So many frames with a voice, then so many without, and so on.
    fn turns(lengths: &[usize]) -> Vec<f32> {
        let turn = |(index, &length): (usize, &usize)| vec![if index % 2 == 0 { 0.9 } else { 0.1 }; length];
        lengths.iter().enumerate().flat_map(turn).collect()
    }

    /// Pauses of 10 frames, padding of 3, at least 2 of speech, at most 100 in all.
    const SMALL: SegmentOptions = SegmentOptions { pause: 0.16, padding: 0.048, least: 0.032, most: 1.6 };

    #[test]
    fn segments_end_in_pauses() {
        assert_eq!(cut(SMALL, &turns(&[0, 20, 30, 9, 10, 40, 1, 40, 5])), [(17, 72), (157 - 10, 155)]);
        assert_eq!(cut(SMALL, &turns(&[1, 50])), []);
        assert_eq!(cut(SMALL, &turns(&[2, 50])), [(0, 5)]);
        assert_eq!(cut(SMALL, &[]), []);
    }

    #[test]
    fn what_is_too_long_is_cut_in_its_longest_pause() {
        // Of the pauses of 2, 6 and 4 frames that of 6.
        assert_eq!(cut(SMALL, &turns(&[20, 2, 30, 6, 25, 4, 40])), [(0, 55), (55, 127)]);
        // Without a pause it is the quietest frame.
        let (mut cutter, mut segments) = (Cutter::new(SMALL).unwrap(), Vec::new());
        for at in 0..150 {
            cutter.push(0.9, if at == 77 { 0.1 } else { 1.0 }, &mut segments);
        }
        assert_eq!(segments, [Segment { start: 0, end: 77 * FRAME as u64 }]);
    }

    #[test]
    fn contradictions_are_refused() {
        let error = |options| Segmenter::new(options).err().unwrap().to_string();
        insta::assert_snapshot!(error(SegmentOptions { padding: 1.0, ..SegmentOptions::default() }));
        assert!(Segmenter::new(SegmentOptions { most: f32::NAN, ..SegmentOptions::default() }).is_err());
        assert!(Segmenter::new(SegmentOptions { pause: 0.0, padding: 0.0, ..SegmentOptions::default() }).is_err());
    }

    /// Something like vowels at 16 kHz: a pulse of 120 Hz with its harmonics under three formants, swelling 4 times a second.
    fn vowels(seconds: f32) -> Vec<f32> {
        let weight = |hertz: f32| {
            [700.0f32, 1200.0, 2600.0]
                .iter()
                .map(|formant| 1.0 / (1.0 + ((hertz - formant) / 120.0).powi(2)))
                .sum::<f32>()
        };
        (0..(seconds * 16_000.0) as usize)
            .map(|i| {
                let t = i as f32 / 16_000.0;
                let pitch = 120.0 + 15.0 * (TAU * 2.0 * t).sin() / (TAU * 2.0 * t).max(1.0);
                let harmonics =
                    (1..30).map(|k| weight(k as f32 * pitch) * (TAU * k as f32 * pitch * t).sin()).sum::<f32>();
                0.06 * harmonics * (0.55 - 0.45 * (TAU * 4.0 * t).cos())
            })
            .collect()
    }

    /// Steady noise that has nothing of a voice, and vowels between.
    fn scene() -> Vec<f32> {
        let mut state = 1u32;
        let mut noise = |count: usize| {
            let next = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state as f32 / u32::MAX as f32 - 0.5) * 0.004
            };
            (0..count).map(next).collect::<Vec<f32>>()
        };
        [noise(32_000), vowels(1.5), noise(24_000), vowels(1.0), noise(32_000)].concat()
    }

    fn segments(sound: &[f32], pieces: &[usize]) -> Vec<Segment> {
        let mut segmenter = Segmenter::new(SegmentOptions::default()).unwrap();
        let (mut all, mut rest) = (Vec::new(), sound);
        for &piece in pieces {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            all.extend(segmenter.push(now));
            rest = later;
        }
        all.extend(segmenter.push(rest));
        all.extend(segmenter.finish());
        assert_eq!(segmenter.unfinished(), None);
        all
    }

    #[test]
    fn voices_are_found_and_noise_is_not() {
        let found = segments(&scene(), &[]);
        let expected = [(32_000, 56_000), (80_000, 96_000)];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (segment, (start, end)) in found.iter().zip(expected) {
            // Padding included, and the detector's memory of what it heard.
            assert!(segment.start.abs_diff(start) < 4800 && segment.end.abs_diff(end) < 8000, "{found:?}");
        }
        assert_eq!(segments(&vec![0.0; 50_000], &[]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn blocks_do_not_matter(pieces in prop::collection::vec(1usize..9000, 0..40)) {
            let sound = scene();
            prop_assert_eq!(segments(&sound, &pieces), segments(&sound, &[]));
        }
    }

    proptest! {
        /// What is said so far is what would be left if the sound ended here, but for samples that are no frame yet.
        #[test]
        fn so_far_is_the_segment_of_a_sound_that_ends_here(frames in 0usize..400) {
            let sound = &scene()[..frames * FRAME];
            let mut segmenter = Segmenter::new(SegmentOptions::default()).unwrap();
            segmenter.push(sound);
            let so_far = segmenter.so_far();
            prop_assert_eq!(so_far, segmenter.finish().first().copied());
        }
    }

    proptest! {
        /// Segments follow one another, none is too long, and no speech is lost but what is too little.
        #[test]
        fn segments_are_in_order_and_complete(lengths in prop::collection::vec(0usize..130, 0..16)) {
            let voices = turns(&lengths);
            let found = cut(SMALL, &voices);
            let mut end = 0;
            for &(start, stop) in &found {
                prop_assert!(start >= end && stop > start && stop <= voices.len() && stop - start <= 100, "{:?}", found);
                end = stop;
            }
            let mut at = 0;
            for (index, &length) in lengths.iter().enumerate() {
                let inside = |frame: usize| found.iter().any(|&(start, stop)| (start..stop).contains(&frame));
                if index % 2 == 0 && length > 2 {
                    let lost = (at..at + length).filter(|&frame| !inside(frame)).count();
                    // A cut leaves at most a remainder that is too little.
                    prop_assert!(lost <= 1, "{} of {} at {}: {:?}", lost, length, at, found);
                }
                at += length;
            }
        }
    }
}
