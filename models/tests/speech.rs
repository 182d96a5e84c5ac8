//! Sound -> words, cues and subtitles, on the small speech model of `recipes/speech-en-tiny`: a recording of ten minutes
//! of sentences that it never heard, with silence, noise and music between them, and the truth beside it.
#![cfg(feature = "audio")]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use babil_models::Quant;
use babil_models::speech::{SpeechModel, SpeechOptions, Task};
use babil_models::tasks::live::{Event, Live, Partials};
use babil_models::tasks::transcribe::{Limits, Segment, TranscribeOptions, Transcription, transcribe};
use babil_runtime::audio::{Audio, AudioOptions, Block, HOP, LogMel};
use babil_runtime::model::{FrameEncoder, Logits, Model, Row, Want};
use babil_runtime::{Error, Result};
use serde::Deserialize;

/// What is in a recording. Times are in seconds.
#[derive(Deserialize)]
struct Truth {
    seconds: f64,
    cues: Vec<Spoken>,
    rests: Vec<Rest>,
}

#[derive(Deserialize)]
struct Spoken {
    start: f64,
    end: f64,
    text: String,
}

/// Where nobody speaks.
#[derive(Deserialize)]
struct Rest {
    start: f64,
    end: f64,
    kind: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/speech-en-tiny")
}

static MODEL: LazyLock<SpeechModel> =
    LazyLock::new(|| SpeechModel::open(&folder().join("model"), &SpeechOptions::default()).unwrap());

static TRUTH: LazyLock<Truth> =
    LazyLock::new(|| serde_json::from_slice(&std::fs::read(folder().join("fixture/long.json")).unwrap()).unwrap());

/// What is heard in the long recording.
static HEARD: LazyLock<Vec<Segment>> =
    LazyLock::new(|| heard(Audio::open(folder().join("fixture/long.opus"), &AudioOptions::default()).unwrap()));

fn options() -> TranscribeOptions {
    TranscribeOptions { words: true, ..TranscribeOptions::default() }
}

fn heard(sound: impl Iterator<Item = Result<Vec<f32>>>) -> Vec<Segment> {
    heard_with(options(), sound)
}

/// What is heard in the short recording.
fn short(options: TranscribeOptions) -> Vec<Segment> {
    heard_with(options, Audio::open(folder().join("fixture/short.flac"), &AudioOptions::default()).unwrap())
}

fn heard_with(options: TranscribeOptions, sound: impl Iterator<Item = Result<Vec<f32>>>) -> Vec<Segment> {
    let mut transcription = Transcription::new(&MODEL, options).unwrap();
    let mut segments = Vec::new();
    let sink = &mut |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    };
    transcribe(sound, &mut transcription, sink).unwrap();
    segments
}

/// Words without marks and capitals.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Words to replace, insert and take away, at least.
fn edits(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[test]
fn nine_of_ten_words_are_right() {
    let said: Vec<_> = TRUTH.cues.iter().flat_map(|cue| words(&cue.text)).collect();
    let found: Vec<_> = HEARD.iter().flat_map(|segment| words(&segment.text)).collect();
    assert!(TRUTH.seconds > 600.0 && said.len() > 1000);
    let wrong = edits(&said, &found) as f64 / said.len() as f64;
    println!("word error rate {:.1} % of {} words", 100.0 * wrong, said.len());
    assert!(wrong <= 0.1, "{wrong}");
}

#[test]
fn sentences_begin_and_end_when_they_are_said() {
    let same = |segment: &&Segment| {
        let cues = TRUTH.cues.iter().filter(|cue| words(&cue.text) == words(&segment.text));
        let distance = |cue: &&Spoken| (cue.start - segment.start).abs();
        cues.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    let pairs: Vec<_> = HEARD.iter().filter_map(|segment| Some((segment, same(&segment)?))).collect();
    let off: Vec<_> = pairs.iter().map(|(s, c)| (s.start - c.start).abs().max((s.end - c.end).abs())).collect();
    let within = off.iter().filter(|&&off| off <= 0.3).count();
    println!("{within} of {} sentences begin and end within 0.3 s of the truth", pairs.len());
    assert!(pairs.len() > 100 && within * 100 >= pairs.len() * 98);
}

#[test]
fn words_are_those_of_the_text_and_follow_one_another() {
    let mut spread = 0;
    for segment in &*HEARD {
        let text: String = segment.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(text.trim(), segment.text);
        let times = segment.words.iter().flat_map(|word| [word.start.as_secs_f64(), word.end.as_secs_f64()]);
        let times: Vec<_> = [segment.start - 1e-6].into_iter().chain(times).chain([segment.end + 1e-6]).collect();
        assert!(times.is_sorted(), "{} {times:?}", segment.text);
        spread += usize::from(segment.words.last().unwrap().start > segment.words[0].end);
    }
    assert!(spread * 10 > HEARD.len() * 9, "words of one sentence are said one after the other");
}

/// The music is made of chords with the pace of speech; what is invented there is counted.
#[test]
fn nothing_is_heard_in_silence() {
    let mut invented = HashMap::new();
    for segment in &*HEARD {
        let within = |rest: &&Rest| segment.start >= rest.start - 0.3 && segment.end <= rest.end + 0.3;
        if let Some(rest) = TRUTH.rests.iter().find(within) {
            invented.entry(rest.kind.as_str()).or_insert_with(Vec::new).push(segment.text.as_str());
        }
    }
    let count = |kind: &str| TRUTH.rests.iter().filter(|rest| rest.kind == kind).count();
    let counts = ["silence", "noise", "music"].map(count);
    println!("in {counts:?} rests of silence, noise and music: {invented:?}");
    assert!(counts.iter().all(|&count| count >= 15));
    let music = invented.remove("music").unwrap_or_default();
    assert!(invented.is_empty() && music.len() <= 1, "{invented:?} {music:?}");
}

/// As it is said, in blocks of random lengths.
#[test]
fn listening_hears_what_is_in_the_file() {
    let sound = Audio::open(folder().join("fixture/long.opus"), &AudioOptions::default()).unwrap();
    let sound = sound.collect::<Result<Vec<_>>>().unwrap().concat();
    let mut transcription = Transcription::new(&MODEL, options()).unwrap();
    let mut live = Live::new(&mut transcription, Partials::Never).unwrap();
    let (mut rest, mut random, mut events) = (&sound[..], 1u32, Vec::new());
    while !rest.is_empty() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (now, later) = rest.split_at((1 + (random >> 8) as usize % 50_000).min(rest.len()));
        events.extend(live.push(&Block { samples: now.to_vec(), lost: 0, at: Instant::now() }).unwrap());
        rest = later;
    }
    events.extend(live.finish().unwrap().0);
    let segments = events.into_iter().flat_map(|event| match event {
        Event::Final(of) => of.segments,
        Event::Partial(partial) => panic!("{partial:?}"),
    });
    assert!(segments.eq(HEARD.iter().cloned()));
}

#[test]
fn the_blocks_in_which_sound_comes_do_not_matter() {
    let all = Audio::open(folder().join("fixture/short.flac"), &AudioOptions::default()).unwrap();
    let samples: Vec<f32> = all.map(|block| block.unwrap()).collect::<Vec<_>>().concat();
    let whole = heard([Ok(samples.clone())].into_iter());
    assert!(whole.len() > 8);
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    for longest in [7, 1000, 100_000] {
        let (mut rest, mut blocks) = (&samples[..], Vec::new());
        while !rest.is_empty() {
            let (block, later) = rest.split_at((1 + next() % longest).min(rest.len()));
            blocks.push(Ok(block.to_vec()));
            rest = later;
        }
        assert!(heard(blocks.into_iter()) == whole, "blocks of up to {longest} samples");
    }
}

#[test]
fn a_cancelled_transcription_keeps_what_was_heard() {
    let mut sound = Audio::open(folder().join("fixture/short.flac"), &AudioOptions::default()).unwrap();
    let mut transcription = Transcription::new(&MODEL, options()).unwrap();
    let mut texts = Vec::new();
    let result = transcribe(&mut sound, &mut transcription, &mut |segment: Segment| {
        texts.push(segment.text);
        if texts.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)) && texts.len() == 3, "{result:?} {texts:?}");
}

/// What is improbable is drawn again, at higher and higher temperatures, until it is probable enough; the rest stays.
#[test]
fn improbable_text_is_drawn_again() {
    let limits = |log_prob| TranscribeOptions {
        limits: Limits { compression: f32::INFINITY, log_prob, no_speech: 1.0 },
        ..TranscribeOptions::default()
    };
    let best = short(limits(f32::NEG_INFINITY));
    assert!(best.len() > 8 && best.iter().all(|segment| segment.temperature == 0.0));
    let mut probabilities: Vec<f32> = best.iter().map(|segment| segment.log_prob).collect();
    probabilities.sort_by(f32::total_cmp);
    let limit = probabilities[probabilities.len() / 2];
    let (kept, drawn): (Vec<_>, Vec<_>) =
        short(limits(limit)).into_iter().partition(|segment| segment.temperature == 0.0);
    let probable: Vec<_> = best.iter().filter(|segment| segment.log_prob >= limit).cloned().collect();
    assert_eq!(kept, probable);
    assert!(!drawn.is_empty());
    for segment in &drawn {
        let step = segment.temperature * 5.0;
        assert!(step.round() == step && (1.0..=5.0).contains(&step), "{segment:?}");
        assert!(segment.log_prob >= limit || segment.temperature == 1.0, "{segment:?}");
    }
    // Nothing is certain: all is drawn until the end, by the seed alone.
    let hopeless = |seed| short(TranscribeOptions { seed, ..limits(0.0) });
    let last = hopeless(1);
    assert!(!last.is_empty() && last.iter().all(|segment| segment.temperature == 1.0));
    assert!(hopeless(1) == last && hopeless(2) != last);
}

/// The encoder hears silence after the sound, and not a whole window of it, without loss.
#[test]
fn whole_windows_hear_no_more() {
    let exact = short(TranscribeOptions { exact: true, ..options() });
    let usual = short(options());
    let said = |segments: &[Segment]| segments.iter().flat_map(|segment| words(&segment.text)).collect::<Vec<_>>();
    let (exact, usual) = (said(&exact), said(&usual));
    let different = edits(&exact, &usual);
    println!("{different} of {} words differ when whole windows are heard", exact.len());
    assert!(exact.len() > 50 && different * 50 <= exact.len());
}

/// Squared error of the logits of quantised weights, relative to the variance of those of float32 weights: the mean of all
/// rows of a window whose text is known.
fn logits_error(quant: Quant) -> f64 {
    let [exact, quantised] = [Quant::F32, quant].map(|quant| {
        let options = SpeechOptions { quant: Some(quant), ..SpeechOptions::default() };
        let model = SpeechModel::open(&folder().join("model"), &options).unwrap();
        let sound = Audio::open(folder().join("fixture/short.flac"), &AudioOptions::default()).unwrap();
        let samples: Vec<f32> = sound.map(|block| block.unwrap()).collect::<Vec<_>>().concat();
        let mut mel = LogMel::new(model.features()).unwrap();
        let window = model.window() * HOP;
        // "I know Tom wanted to meet you. I'm going to Tokyo on Monday." and half of the next sentence.
        let frames = mel.compute(&samples[4 * 16_000..][..window], window).unwrap();
        let mut session = model.session().unwrap();
        let mut state = session.encode_frames(&frames).unwrap();
        let mut tokens = model.special().prompt(Some("en"), Task::Transcribe, false).unwrap();
        tokens.extend(model.encode(" I know Tom wanted to meet you. I'm going to Tokyo on Monday.").unwrap());
        let mut logits = Logits::default();
        session.step(&mut [Row { state: &mut state, tokens: &tokens, want: Want::All }], &mut logits).unwrap();
        (0..tokens.len()).flat_map(|row| logits.row(row).to_vec()).map(f64::from).collect::<Vec<_>>()
    });
    let mean = exact.iter().sum::<f64>() / exact.len() as f64;
    let variance: f64 = exact.iter().map(|value| (value - mean).powi(2)).sum();
    exact.iter().zip(&quantised).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / variance
}

#[test]
fn quantised_weights_are_close() {
    let [q8_0, q4_0] = [Quant::Q8_0, Quant::Q4_0].map(logits_error);
    println!("squared error of the logits, relative to their variance: q8_0 {q8_0:.1e}, q4_0 {q4_0:.1e}");
    assert!(q8_0 > 0.0 && q8_0 < 1e-3, "{q8_0}");
    assert!(q4_0 > q8_0 && q4_0 < 1e-1, "{q4_0}");
}

#[cfg(feature = "bundled")]
mod cascade {
    use std::time::Duration;

    use babil_models::tasks::document::{Job, Pace};
    use babil_models::tasks::subtitles::cascade::Cascade;
    use babil_models::tasks::subtitles::{Format, Layout, Subtitles};
    use babil_models::tasks::translate::{LanguagePair, TranslateOptions};
    use babil_models::{OpenOptions, open_translator};

    use super::*;

    #[test]
    fn the_recording_becomes_french_subtitles() {
        let translator = open_translator(&OpenOptions::default()).unwrap();
        let (pair, options) = (LanguagePair::new("en", "fr"), TranslateOptions::default());
        let job = Job {
            translator: &*translator,
            pair: &pair,
            options: &options,
            pace: Pace::default(),
            cancelled: &|| false,
        };
        let (mut cascade, mut file) = (Cascade::new(Layout::default(), Some(job)), Subtitles::new(Format::Srt));
        let mut sentences = Vec::new();
        for segment in &*HEARD {
            file.cues.extend(cascade.push(&segment.into()).unwrap());
            sentences.extend(cascade.heard());
        }
        let (cues, rest) = cascade.finish().unwrap();
        file.cues.extend(cues);
        sentences.extend(rest);

        // What was heard went through once, and every sentence has its translation.
        let source: Vec<_> = sentences.iter().flat_map(|sentence| words(&sentence.source.text)).collect();
        assert_eq!(source, HEARD.iter().flat_map(|segment| words(&segment.text)).collect::<Vec<_>>());
        let french: Vec<_> = sentences.iter().map(|sentence| sentence.translation.as_ref().unwrap()).collect();
        let french = french.iter().flat_map(|translation| words(&translation.hypotheses[0].text));

        // The file says it, readably and in order.
        let (read, warnings) = Subtitles::read(file.write().as_bytes(), Format::Srt);
        assert!(warnings.is_empty(), "{warnings:?}");
        let shown: Vec<_> = read.cues.iter().flat_map(|cue| words(&cue.text.shown())).collect();
        assert_eq!(shown, french.collect::<Vec<_>>());
        assert!(read.cues.windows(2).all(|pair| pair[0].start < pair[0].end && pair[0].end <= pair[1].start));
        for cue in &read.cues {
            let lines: Vec<_> = cue.text.shown().lines().map(str::to_owned).collect();
            assert!(lines.len() <= 2 && lines.iter().all(|line| line.chars().count() <= 42), "{lines:?}");
        }
        // Cues appear with a sentence. (Those that would be too short to read are joined with the next one.)
        let with_a_sentence = |start: Duration| {
            let mut starts = TRUTH.cues.iter().map(|sentence| Duration::from_secs_f64(sentence.start));
            starts.any(|sentence| sentence.abs_diff(start) < Duration::from_millis(300))
        };
        let on_time = read.cues.iter().filter(|cue| with_a_sentence(cue.start)).count();
        println!("{on_time} of {} cues appear within 0.3 s of the beginning of a sentence", read.cues.len());
        assert!(read.cues.len() > 120 && on_time * 100 >= read.cues.len() * 95);
    }
}
