//! Encoders and prompts on a device of ONNX Runtime, beside the native engine: with its own provider for CPUs, which is the
//! very way that an NPU is reached, and with OpenVINO's plugin where that offers a device.
//!
//! `BABIL_ONNXRUNTIME` names the library (`just npu` installs it and runs this); without it nothing is checked here.
#![cfg(all(feature = "npu", feature = "audio", feature = "bundled"))]

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use babil_models::language::{LanguageModel, LanguageOptions, Request};
use babil_models::speech::{SpeechModel, SpeechOptions};
use babil_models::tasks::transcribe::{Segment, TranscribeOptions, Transcription, transcribe};
use babil_models::tasks::translate::{LanguagePair, SentenceTranslator, TranslateOptions};
use babil_models::{Device, DeviceOptions, OpenOptions, Quant, open_translator};
use babil_runtime::Token;
use babil_runtime::accelerator::{Precision, Report};
use babil_runtime::audio::{Audio, AudioOptions};
use babil_runtime::model::{FrameEncoder, Logits, Model, Row, State, Want};
use babil_runtime::npu::Devices;
use babil_runtime::quant::BlockType;
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::session::{DecoderSession, EncoderDecoderSession, KvType, Sequence};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Int8];

/// How far logits may be from the native ones, relative to the largest of the row. Random weights have no outliers and no
/// meaning: 8 bits are measured on real models, by their tokens.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 1e-4,
        Precision::F16 => 1e-2,
        Precision::Int8 => 1e-1,
    }
}

/// Whether there is a library.
fn is_here() -> bool {
    let here = std::env::var_os("BABIL_ONNXRUNTIME").is_some();
    match here {
        true => drop(Devices::detect().unwrap()),
        false => eprintln!("left out: BABIL_ONNXRUNTIME does not name an ONNX Runtime library (`just npu`)"),
    }
    here
}

/// ONNX Runtime's own code for CPUs, in place of an NPU.
fn device(precision: Precision) -> DeviceOptions {
    let stand_in = Some("CPUExecutionProvider".to_owned());
    DeviceOptions { device: Device::Npu, stand_in, precision: Some(precision), allow_fallback: false }
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= tolerance * largest, "{what}: off by {off} of {largest}");
    assert!(off > 0.0, "{what}: the same bits: nothing ran elsewhere");
}

/// That everything ran on the device, and the CPU nothing of what it could.
#[track_caller]
fn assert_ran(report: Option<Report>, runs: usize) {
    let report = report.unwrap();
    assert_eq!(report.failure, None);
    assert!(report.accelerator_used.as_deref().is_some_and(|used| used.contains("ExecutionProvider")), "{report:?}");
    let count = |of: fn(&babil_runtime::accelerator::SubgraphReport) -> usize| report.subgraphs.iter().map(of).sum();
    assert_eq!((count(|graph| graph.runs), count(|graph| graph.cpu_runs)), (runs, 0), "{report:?}");
    assert!(report.subgraphs.iter().all(|graph| graph.placement.ops > 0), "{report:?}");
}

fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/speech-en-tiny")
}

fn speech_parity(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/speech").join(name)
}

/// Some frames that look like speech to nobody, but differ from each other.
fn frames(features: usize, count: usize) -> Vec<f32> {
    (0..features * count).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * 0.8).collect()
}

/// The logits after each of some tokens, of a sequence.
fn logits<M: Model>(model: &mut M, state: &mut M::State, tokens: &[Token]) -> Vec<f32> {
    let mut logits = Logits::default();
    model.step(&mut [Row { state, tokens, want: Want::All }], &mut logits).unwrap();
    (0..tokens.len()).flat_map(|row| logits.row(row).to_vec()).collect()
}

fn heard(session: &mut EncoderDecoderSession, frames: &[f32]) -> Vec<f32> {
    let mut state = session.encode_frames(frames).unwrap();
    logits(session, &mut state, &[1, 5, 9])
}

/// Windows at the borders of the sizes that are compiled, and an odd number of frames.
#[test]
fn what_a_device_hears_is_what_the_engine_hears() {
    if !is_here() {
        return;
    }
    for name in ["tiny", "turbo"] {
        for precision in PRECISIONS {
            let options = SpeechOptions { quant: Some(Quant::F32), threads: Some(2), ..SpeechOptions::default() };
            let native = SpeechModel::open(&speech_parity(name), &options).unwrap();
            let options = SpeechOptions { device: device(precision), ..options };
            let model = SpeechModel::open(&speech_parity(name), &options).unwrap();
            let (mut own, mut other) = (native.session().unwrap(), model.session().unwrap());
            let window = native.window();
            let quarter = 2 * (window / 2).div_ceil(4);
            let counts = [1, quarter / 2 + 1, quarter - 1, quarter, quarter + 1, window / 2, window - 1, window];
            for count in counts {
                let frames = frames(native.features(), count);
                let (found, expected) = (heard(&mut other, &frames), heard(&mut own, &frames));
                assert_close(
                    &found,
                    &expected,
                    tolerance(precision),
                    &format!("{name}, {count} frames, {precision:?}"),
                );
            }
            assert_ran(model.accelerator(), counts.len());
            assert_eq!(model.accelerator().unwrap().subgraphs.len(), 3, "a quarter, a half, the whole window");
            assert_eq!(native.accelerator(), None);
        }
    }
}

fn transcript(model: &SpeechModel, file: &str) -> Vec<Segment> {
    let mut transcription = Transcription::new(model, TranscribeOptions::default()).unwrap();
    let mut segments = Vec::new();
    let sink = &mut |segment| {
        segments.push(segment);
        ControlFlow::Continue(())
    };
    let sound = Audio::open(recipe().join("fixture").join(file), &AudioOptions::default()).unwrap();
    transcribe(sound, &mut transcription, sink).unwrap();
    segments
}

/// The small model that understands something, with its weights in 8 bits as everybody runs it.
#[test]
fn real_speech_is_written_down_alike() {
    if !is_here() {
        return;
    }
    let native = SpeechModel::open(&recipe().join("model"), &SpeechOptions::default()).unwrap();
    let texts = |segments: Vec<Segment>| segments.into_iter().map(|segment| segment.text).collect::<Vec<_>>();
    let expected = texts(transcript(&native, "short.flac"));
    assert!(!expected.is_empty());
    for precision in PRECISIONS {
        let options = SpeechOptions { device: device(precision), ..SpeechOptions::default() };
        let model = SpeechModel::open(&recipe().join("model"), &options).unwrap();
        assert_eq!(texts(transcript(&model, "short.flac")), expected, "{precision:?}");
        let report = model.accelerator().unwrap();
        assert!(report.failure.is_none() && report.accelerator_used.is_some(), "{report:?}");
    }
}

const SENTENCES: [&str; 6] = [
    "Where is the station?",
    "No.",
    "I have never seen such a beautiful sunset.",
    "She said that she would come back before dinner, but nobody believed her.",
    "The children are playing in the garden behind the old house.",
    "When the train arrived at the small station in the mountains, the old man who had been waiting there since the \
     morning stood up, took his suitcase in one hand and his hat in the other, and walked slowly towards the last door.",
];

fn translations(translator: &dyn SentenceTranslator, sentences: &[&str]) -> Vec<String> {
    let (pair, options) = (LanguagePair::new("en", "fr"), TranslateOptions::default());
    let found = translator.translate(sentences, &pair, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    found.into_iter().map(|translation| translation.hypotheses[0].text.clone()).collect()
}

/// The bundled translator, in lengths of different sizes, on several threads.
#[test]
fn sentences_are_translated_alike() {
    if !is_here() {
        return;
    }
    for precision in PRECISIONS {
        for threads in [1, 2] {
            let options = OpenOptions { threads: Some(threads), ..OpenOptions::default() };
            let native = open_translator(&options).unwrap();
            let options = OpenOptions { device: device(precision), ..options };
            let translator = open_translator(&options).unwrap();
            // The last one is longer than what the small model understands: its words hang by a thread.
            let sentences = if precision == Precision::Int8 { &SENTENCES[..5] } else { &SENTENCES };
            assert_eq!(translations(&*translator, sentences), translations(&*native, sentences), "{precision:?}");
            assert_ran(translator.accelerator(), sentences.len());
            let sizes = if precision == Precision::Int8 { 1 } else { 2 };
            assert_eq!(translator.accelerator().unwrap().subgraphs.len(), sizes, "up to 32 tokens and up to 64");
        }
    }
}

fn open_language(path: &Path, kv: KvType, device: DeviceOptions, cache: &Path) -> LanguageModel {
    let options = LanguageOptions {
        threads: Some(2),
        context: Some(2048),
        kv: Some(kv),
        packed_folder: cache.join("packed"),
        device,
        ..LanguageOptions::default()
    };
    LanguageModel::open(path, &options).unwrap()
}

fn tokens(count: usize, vocab: usize) -> Vec<Token> {
    (0..count).map(|i| ((i * 31 + i * i / 7) % vocab) as Token).collect()
}

/// Logits of the last token of a prompt that comes in these pieces, and of a few tokens generated after it.
fn read(session: &mut DecoderSession, pieces: &[usize]) -> Vec<f32> {
    let prompt = tokens(pieces.iter().sum(), session.vocab());
    let mut state: Sequence = session.sequence();
    let (mut rest, mut found, mut logits) = (&prompt[..], Vec::new(), Logits::default());
    for &piece in pieces {
        let (tokens, others) = rest.split_at(piece);
        rest = others;
        session.step(&mut [Row { state: &mut state, tokens, want: Want::Last }], &mut logits).unwrap();
        found = logits.row(0).to_vec();
    }
    for token in [3, 4] {
        session.step(&mut [Row::new(&mut state, &[token])], &mut logits).unwrap();
        found.extend(logits.row(0));
    }
    assert_eq!(state.position(), prompt.len() + 2);
    found
}

/// Every family, with prompts at the borders of chunks, after a past, with a past of the CPU's and longer than one step.
#[test]
fn prompts_on_a_device_are_what_the_engine_makes_of_them() {
    if !is_here() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let cases: [(&[usize], usize); 6] =
        [(&[64], 1), (&[128], 1), (&[129], 1), (&[256, 200], 2), (&[7, 100, 3], 1), (&[600], 3)];
    for name in support::MODELS.into_iter().filter(|&name| name != "lfm2") {
        let path = support::parity(name, "model.gguf");
        let native = open_language(&path, KvType::F32, DeviceOptions::default(), cache.path());
        let model = open_language(&path, KvType::F32, device(Precision::F32), cache.path());
        let (mut own, mut other) = (native.session().unwrap(), model.session().unwrap());
        for (pieces, _) in cases {
            let (found, expected) = (read(&mut other, pieces), read(&mut own, pieces));
            assert_close(&found, &expected, tolerance(Precision::F32), &format!("{name}, {pieces:?}"));
        }
        assert_ran(model.accelerator(), cases.iter().map(|case| case.1).sum());
    }
}

#[test]
fn prompts_in_fewer_bits_are_near() {
    if !is_here() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    for name in ["llama", "qwen3", "gemma3"] {
        for (precision, kv) in [(Precision::F16, KvType::F16), (Precision::Int8, KvType::F16)] {
            let path = support::parity(name, "model.gguf");
            let native = open_language(&path, kv, DeviceOptions::default(), cache.path());
            let model = open_language(&path, kv, device(precision), cache.path());
            let (mut own, mut other) = (native.session().unwrap(), model.session().unwrap());
            let (found, expected) = (read(&mut other, &[256, 100]), read(&mut own, &[256, 100]));
            assert_close(&found, &expected, tolerance(precision), &format!("{name}, {precision:?}"));
            assert_ran(model.accelerator(), 2);
        }
    }
}

/// What no accelerator computes runs on the CPU, to the bit, and the report says so.
#[test]
fn a_model_that_does_not_fit_runs_on_the_cpu() {
    if !is_here() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let path = support::parity("lfm2", "model.gguf");
    let native = open_language(&path, KvType::F32, DeviceOptions::default(), cache.path());
    let model = open_language(&path, KvType::F32, device(Precision::F32), cache.path());
    let prompts = [&[100][..], &[64, 64]];
    for pieces in prompts {
        assert_eq!(read(&mut model.session().unwrap(), pieces), read(&mut native.session().unwrap(), pieces));
    }
    let report = model.accelerator().unwrap();
    assert!(report.failure.unwrap().contains("short convolutions") && report.accelerator_used.is_none());
}

/// A real model, stories260K, whose files are not part of the repository: the reference's own greedy tokens, after prompts that
/// are the beginning of its story. With weights of 8 bits the engine rounds what they are multiplied with to 8 bits, too, which
/// no device does: the two go on alike for a while.
#[test]
fn a_real_model_tells_the_same_story() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/stories260k");
    let folder = std::env::var_os("BABIL_STORIES").map_or(beside, PathBuf::from);
    let path = folder.join("stories260K.gguf");
    if !is_here() || !path.exists() {
        eprintln!("left out: {} is not there (BABIL_STORIES names its folder)", path.display());
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let tokens = std::fs::read(folder.join("stories260K.greedy_tokens.json")).unwrap();
    let tokens: Vec<Token> = serde_json::from_slice(&tokens).unwrap();
    let told = |model: &LanguageModel, start: usize, count: usize| {
        let bos = model.tokenizer().special().bos.unwrap();
        let prompt = [&[bos], &tokens[..start]].concat();
        let request = Request { sampling: SamplingOptions::greedy(), max_tokens: count, ..Request::default() };
        let mut generator = model.generator().unwrap();
        generator.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).unwrap();
        generator.tokens()[1 + start..].to_vec()
    };
    for quant in [None, Some(BlockType::Q8_0)] {
        let open = |device: DeviceOptions| {
            let packed_folder = cache.path().join("packed");
            let options = LanguageOptions { quant, device, packed_folder, ..LanguageOptions::default() };
            LanguageModel::open(&path, &options).unwrap()
        };
        let native = open(DeviceOptions::default());
        for precision in PRECISIONS {
            let model = open(device(precision));
            for start in [80, 140] {
                let expected = match quant {
                    None => tokens[start..start + 40].to_vec(),
                    Some(_) => told(&native, start, 16),
                };
                let found = told(&model, start, expected.len());
                assert_eq!(found, expected, "{quant:?}, {precision:?}, after {start}");
            }
            assert_ran(model.accelerator(), 2);
        }
    }
}
