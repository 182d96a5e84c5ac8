//! Listening while somebody speaks, on the small random models of `parity/speech` and the recording of
//! `recipes/speech-en-tiny`: finals are those of a file however the sound is cut, partials only grow, silence costs
//! nothing, and a slow machine gives up partials first.
#![cfg(feature = "audio")]

#[path = "../../cli/tests/support/sound.rs"]
mod sound;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use babil_models::Quant;
use babil_models::speech::{SAMPLE_RATE, SpeechModel, SpeechOptions};
use babil_models::tasks::live::{Event, Final, Live, Partial, Partials, Statistics};
use babil_models::tasks::transcribe::{Limits, Segment, TranscribeOptions, Transcription, transcribe};
use babil_runtime::audio::{Audio, AudioOptions, Block};
use proptest::prelude::*;

/// `tiny` has windows of 2 s, `distil` of 30 s.
fn model(name: &str) -> SpeechModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/speech").join(name);
    let options = SpeechOptions { quant: Some(Quant::F32), threads: Some(1), packed_folder: None };
    SpeechModel::open(&folder, &options).unwrap()
}

/// The first 12 s of the recording: silence, and three sentences with pauses between.
static SOUND: LazyLock<Vec<f32>> = LazyLock::new(|| recording()[..12 * SAMPLE_RATE].to_vec());

/// 40 s of a synthesiser that speaks English.
fn recording() -> Vec<f32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/speech-en-tiny/fixture/short.flac");
    let blocks: Vec<Vec<f32>> = Audio::open(file, &AudioOptions::default()).unwrap().map(Result::unwrap).collect();
    blocks.concat()
}

/// A random model goes in circles and is never sure of anything: its texts are taken as they are.
fn options() -> TranscribeOptions {
    let limits = Limits { compression: f32::INFINITY, log_prob: f32::NEG_INFINITY, no_speech: 1.0 };
    TranscribeOptions { limits, ..TranscribeOptions::default() }
}

/// What the file path makes of a sound.
fn of_file(model: &SpeechModel, sound: &[f32]) -> Vec<Segment> {
    let (mut transcription, mut segments) = (Transcription::new(model, options()).unwrap(), Vec::new());
    let blocks = sound.chunks(10_000).map(|block| Ok(block.to_vec()));
    let sink = &mut |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    };
    transcribe(blocks, &mut transcription, sink).unwrap();
    segments
}

/// A clock that goes `tick` further whenever somebody looks at it.
struct Clock {
    start: Instant,
    now: Cell<Duration>,
    tick: Duration,
}

impl Clock {
    fn new(tick: Duration) -> Self {
        Self { start: Instant::now(), now: Cell::default(), tick }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn look(&self) -> Instant {
        self.now.set(self.now.get() + self.tick);
        self.start + self.now.get()
    }

    /// Waits for what comes `at` so many seconds, unless that was before.
    fn wait(&self, seconds: f64) {
        self.now.set(self.now.get().max(Duration::from_secs_f64(seconds)));
    }
}

/// What a session with a random model says of `blocks`.
fn listen(
    model: &SpeechModel,
    partials: Partials,
    clock: &Clock,
    blocks: &[(u64, &[f32])],
) -> (Vec<Event>, Statistics) {
    listen_with(&mut Transcription::new(model, options()).unwrap(), partials, clock, blocks)
}

/// What a session says of `blocks` of sound, lost and not, which come as fast as they are played.
fn listen_with(
    transcription: &mut Transcription<'_>,
    partials: Partials,
    clock: &Clock,
    blocks: &[(u64, &[f32])],
) -> (Vec<Event>, Statistics) {
    let mut live = Live::with_clock(transcription, partials, || clock.look()).unwrap();
    let (mut events, mut came) = (Vec::new(), 0.0);
    for &(lost, samples) in blocks {
        came += (lost as usize + samples.len()) as f64 / SAMPLE_RATE as f64;
        clock.wait(came);
        events.extend(live.push(&Block { samples: samples.to_vec(), lost, at: clock.at(came) }).unwrap());
    }
    let (rest, statistics) = live.finish().unwrap();
    events.extend(rest);
    (events, statistics)
}

/// Blocks of a tenth of a second.
fn tenths(sound: &[f32]) -> Vec<(u64, &[f32])> {
    sound.chunks(SAMPLE_RATE / 10).map(|block| (0, block)).collect()
}

fn finals<'e>(events: &'e [Event]) -> Vec<&'e Final> {
    let of = |event: &'e Event| if let Event::Final(of) = event { Some(of) } else { None };
    events.iter().filter_map(of).collect()
}

fn partials<'e>(events: &'e [Event]) -> Vec<&'e Partial> {
    let of = |event: &'e Event| if let Event::Partial(of) = event { Some(of) } else { None };
    events.iter().filter_map(of).collect()
}

fn segments(events: &[Event]) -> Vec<Segment> {
    finals(events).iter().flat_map(|of| of.segments.clone()).collect()
}

/// Events without their latencies, which depend on when sound comes.
fn timeless(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    for event in &mut events {
        match event {
            Event::Partial(partial) => partial.latency = Duration::ZERO,
            Event::Final(of) => of.latency = Duration::ZERO,
        }
    }
    events
}

#[test]
fn partials_come_within_a_second_and_what_is_stable_stays() {
    for name in ["tiny", "distil"] {
        let (model, sound) = (model(name), sound::speech(4));
        let (events, statistics) = listen(&model, Partials::Always, &Clock::new(Duration::ZERO), &tenths(&sound));
        assert_eq!(segments(&events), of_file(&model, &sound), "{name}");
        assert_eq!(finals(&events).len(), 4, "{name}");
        let mut partial = partials(&events).into_iter().peekable();
        for of in finals(&events) {
            let first = partial.peek().unwrap();
            assert!(first.start == of.start && first.end - first.start <= 1.0, "{name}: {first:?} for {of:?}");
            let mut stable = String::new();
            while let Some(next) = partial.next_if(|partial| partial.start == of.start) {
                assert!(next.stable.starts_with(&stable), "{name}: {stable:?} was taken back: {next:?}");
                assert!(!(next.stable.clone() + &next.tail).is_empty());
                stable.clone_from(&next.stable);
            }
            // Nothing takes any time, but a stretch ends with its pause, of which 0.2 s are its own.
            assert!(of.latency <= Duration::from_millis(600), "{name}: {of:?}");
        }
        assert_eq!(partial.next(), None, "{name}: every partial has its final");
        assert_eq!((statistics.partials.worst, statistics.skipped), (Duration::ZERO, 0));
        let heard = |event: &Event| match event {
            Event::Partial(partial) => partial.end - partial.start,
            Event::Final(of) => of.end - of.start,
        };
        let decoded: f64 = events.iter().map(heard).sum();
        assert!((statistics.decoded.as_secs_f64() - decoded).abs() < 1e-6, "{name}: {statistics:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(1usize..40_000, 0..60)) {
        static TINY: LazyLock<SpeechModel> = LazyLock::new(|| model("tiny"));
        static WHOLE: LazyLock<Vec<Event>> = LazyLock::new(|| {
            let clock = Clock::new(Duration::ZERO);
            timeless(&listen(&TINY, Partials::Always, &clock, &[(0, &SOUND)]).0)
        });
        let (mut blocks, mut rest) = (Vec::new(), &SOUND[..]);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            blocks.push((0, now));
            rest = later;
        }
        blocks.push((0, rest));
        let (events, _) = listen(&TINY, Partials::Always, &Clock::new(Duration::ZERO), &blocks);
        prop_assert_eq!(timeless(&events), WHOLE.clone());
        prop_assert_eq!(segments(&events), of_file(&TINY, &SOUND));
    }
}

/// The model that understands the recording, which has 12 sentences.
#[test]
fn what_is_stable_is_what_was_said() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/speech-en-tiny");
    let model = SpeechModel::open(&recipe.join("model"), &SpeechOptions::default()).unwrap();
    let sound = recording();
    let options = TranscribeOptions { beam: 1, ..TranscribeOptions::default() };
    let (mut transcription, mut file) = (Transcription::new(&model, options.clone()).unwrap(), Vec::new());
    let sink = &mut |segment| {
        file.push(segment);
        ControlFlow::Continue(())
    };
    transcribe([Ok(sound.clone())].into_iter(), &mut transcription, sink).unwrap();

    let clock = Clock::new(Duration::ZERO);
    let mut transcription = Transcription::new(&model, options).unwrap();
    let (events, statistics) = listen_with(&mut transcription, Partials::Always, &clock, &tenths(&sound));
    assert_eq!(segments(&events), file);
    let words = |text: &str| -> Vec<String> {
        let bare = |word: &str| word.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        text.split_whitespace().map(bare).collect()
    };
    let (mut stable, mut kept, mut said) = (0, 0, 0);
    for of in finals(&events) {
        let text: Vec<&str> = of.segments.iter().map(|segment| segment.text.as_str()).collect();
        let last = partials(&events).into_iter().rfind(|partial| partial.start == of.start);
        let (text, last) = (words(&text.join(" ")), last.map_or(Vec::new(), |last| words(&last.stable)));
        said += text.len();
        stable += last.len();
        kept += text.iter().zip(&last).filter(|(one, other)| one == other).count();
    }
    println!("{said} words, {stable} of them stable before their final, {kept} of these the same in it");
    assert!(said >= 60 && stable * 2 >= said && kept * 10 >= stable * 9);
    // Each partial waits for an eighth more of the stretch than the one before had.
    assert!(statistics.decoded < 10 * statistics.heard, "{statistics:?}");
}

#[test]
fn silence_says_nothing_and_decodes_nothing() {
    let mut state = 1u32;
    let mut noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as f32 / u32::MAX as f32 - 0.5) * 0.002
    };
    let sound: Vec<f32> = (0..30 * SAMPLE_RATE).map(&mut noise).collect();
    let clock = Clock::new(Duration::ZERO);
    let (events, statistics) = listen(&model("distil"), Partials::Always, &clock, &tenths(&sound));
    assert_eq!(events, []);
    assert_eq!((statistics.decoded, statistics.heard), (Duration::ZERO, Duration::from_secs(30)));
    assert_eq!(listen(&model("distil"), Partials::Always, &clock, &[]).0, []);
}

#[test]
fn a_slow_machine_gives_up_partials_and_no_finals() {
    let model = model("distil");
    // Half a second passes whenever something is done.
    let slow = || Clock::new(Duration::from_millis(500));
    let (events, statistics) = listen(&model, Partials::InTime, &slow(), &tenths(&SOUND));
    assert_eq!(segments(&events), of_file(&model, &SOUND));
    assert!(statistics.skipped >= 5 && statistics.real_time_factor().unwrap() > 1.0, "{statistics:?}");
    assert!(statistics.finals.worst > Duration::from_secs(10) && statistics.finals.median().is_some());
    let all = listen(&model, Partials::Always, &slow(), &tenths(&SOUND));
    let made = statistics.partials.count + statistics.skipped;
    assert_eq!((all.1.partials.count, all.1.skipped), (made, 0));
    // Sound that comes faster than it is played, as from a file, is no reason to hurry.
    let mut transcription = Transcription::new(&model, options()).unwrap();
    let clock = Clock::new(Duration::from_millis(1));
    let mut live = Live::with_clock(&mut transcription, Partials::InTime, || clock.look()).unwrap();
    let at = clock.at(0.0);
    for samples in SOUND.chunks(SAMPLE_RATE) {
        live.push(&Block { samples: samples.to_vec(), lost: 0, at }).unwrap();
    }
    let (_, statistics) = live.finish().unwrap();
    assert_eq!((statistics.partials.count, statistics.skipped), (all.1.partials.count, 0));
    // Without partials there is nothing to give up.
    let (events, statistics) = listen(&model, Partials::Never, &slow(), &tenths(&SOUND));
    assert_eq!((segments(&events), partials(&events)), (of_file(&model, &SOUND), vec![]));
    assert_eq!(statistics.skipped, 0);
}

#[test]
fn lost_sound_is_silence_of_its_length() {
    let model = model("distil");
    let (from, to) = (5 * SAMPLE_RATE, 8 * SAMPLE_RATE);
    let mut sound = SOUND.clone();
    sound[from..to].fill(0.0);
    let clock = Clock::new(Duration::ZERO);
    let blocks = [(0, &SOUND[..from]), ((to - from) as u64, &SOUND[to..])];
    let (events, statistics) = listen(&model, Partials::Always, &clock, &blocks);
    assert_eq!(segments(&events), of_file(&model, &sound));
    assert_eq!((statistics.lost, statistics.heard), (Duration::from_secs(3), Duration::from_secs(12)));
}

#[test]
fn a_session_that_ends_early_finishes_what_it_heard() {
    let model = model("distil");
    // In the middle of the first sentence.
    let half = 5 * SAMPLE_RATE + 7000;
    let (events, _) = listen(&model, Partials::InTime, &Clock::new(Duration::ZERO), &tenths(&SOUND[..half]));
    assert_eq!(segments(&events), of_file(&model, &SOUND[..half]));
    assert!(!segments(&events).is_empty());
}
