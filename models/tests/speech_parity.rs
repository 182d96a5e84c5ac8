//! Whisper models of the native backend against transformers, on the tiny random models of `parity/speech` (see its
//! README): encoder output and logits within 1e-4 of the row's largest value on every instruction set this machine has,
//! tokens of greedy and beam search identical, languages, silence, and the segments of a long recording. And the other
//! way round: the mistakes of `parity/speech/MUTATIONS.json` must be noticed.
#![cfg(feature = "audio")]

#[path = "support/tensors.rs"]
mod tensors;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families::whisper::{Config, Names};
use babil_models::files::ModelFiles;
use babil_models::speech::decode::{Prompted, Search, languages};
use babil_models::speech::rules::Rules;
use babil_models::speech::segments::segment;
use babil_models::speech::words::token_times;
use babil_models::speech::{FRAMES_PER_POSITION, SAMPLE_RATE, SpecialTokens};
use babil_runtime::Token;
use babil_runtime::audio::HOP;
use babil_runtime::generate::generate_within;
use babil_runtime::kernels::{Activation, Kernels};
use babil_runtime::model::{FrameEncoder, Logits, Model, Row, Want};
use babil_runtime::plan::EncoderDecoderPlan;
use babil_runtime::quant::BlockType;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::spec::{
    AttentionBias, AttentionSpec, EarlyStopping, EncoderDecoderSpec, GenerationSpec, Input, Mixer, Norm, NormPlacement,
    Span, StackSpec,
};
use babil_runtime::text::{Marks, Tokenizer};
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::{Encoding, Weights};
use serde::Deserialize;
use serde_json::Value;
use tensors::Tensors;

const MODELS: [&str; 5] = ["tiny", "en", "v3", "turbo", "distil"];
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    window: Window,
    max_new_tokens: usize,
    beams: usize,
    decoded: Vec<Case>,
    languages: Vec<Languages>,
    long: Vec<Long>,
    token_times: Vec<TokenTimes>,
}

/// When the tokens of a window were said.
#[derive(Deserialize)]
struct TokenTimes {
    frames: [usize; 2],
    /// Frames that are sound, where not the whole window counts.
    num_frames: Option<usize>,
    prompt: Vec<Token>,
    tokens: Vec<Token>,
    times: Vec<f64>,
}

/// A decoded window, padded to the model's length with zeros.
#[derive(Deserialize)]
struct Case {
    frames: [usize; 2],
    timestamps: bool,
    prompt: Vec<Token>,
    no_speech: f32,
    greedy: Greedy,
    beam: Beam,
}

#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<Token>,
    avg_logprob: f32,
}

#[derive(Deserialize)]
struct Beam {
    tokens: Vec<Token>,
    score: f32,
}

#[derive(Deserialize)]
struct Languages {
    frames: [usize; 2],
    id: Token,
}

/// A recording longer than a window.
#[derive(Deserialize)]
struct Long {
    frames: [usize; 2],
    previous_text: bool,
    /// Below this, and above that of silence, a window is nothing.
    logprob_threshold: Option<f32>,
    no_speech_threshold: Option<f32>,
    prompt: Vec<Token>,
    segments: Vec<Segment>,
    windows: Vec<Sought>,
}

#[derive(Deserialize)]
struct Segment {
    start: f64,
    end: f64,
    tokens: Vec<Token>,
}

/// Where a window begins, in frames, and its tokens, the end included.
#[derive(Deserialize)]
struct Sought {
    seek: usize,
    tokens: Vec<Token>,
    skipped: bool,
}

/// A window whose encoder output and logits are known.
#[derive(Deserialize)]
struct Window {
    frames: [usize; 2],
    /// Rows of the encoder's output that are known; `None` for all.
    encoder_rows: Option<Vec<usize>>,
    forced: Vec<Forced>,
}

/// Tokens, and those of them after which the logits are known.
#[derive(Deserialize)]
struct Forced {
    tokens: Vec<Token>,
    rows: Vec<usize>,
}

/// A fixture.
struct Fixture {
    config: Config,
    spec: EncoderDecoderSpec,
    weights: Weights,
    expected: Expected,
    tensors: Weights,
    special: SpecialTokens,
    /// Source positions that the decoder does not see.
    dropped: usize,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/speech").join(name)
}

impl Fixture {
    fn open(name: &str) -> Self {
        let files = ModelFiles::Folder(folder(name));
        let config: Config = files.json("config.json").unwrap().unwrap();
        let json = files.expect("generation_config.json").unwrap();
        Self {
            special: SpecialTokens::from_generation_config(&json, name, config.vocab_size).unwrap(),
            spec: config.spec().unwrap(),
            config,
            weights: files.weights().unwrap(),
            expected: files.json("expected.json").unwrap().unwrap(),
            tensors: Weights::open(folder(name).join("expected.safetensors")).unwrap(),
            dropped: 0,
        }
    }

    fn session(&self, kernels: Kernels, threads: usize) -> EncoderDecoderSession {
        let plan = EncoderDecoderPlan::new(self.spec.clone(), &self.weights, &Names::Transformers, kernels).unwrap();
        EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(threads)), KvType::F32).unwrap()
    }

    /// Some frames of the sound, `[features, count]`.
    fn frames(&self, [first, end]: [usize; 2]) -> Vec<f32> {
        let tensor = self.tensors.get("features").unwrap();
        let all = tensor.to_f32();
        all.chunks_exact(tensor.shape()[1]).flat_map(|feature| &feature[first..end]).copied().collect()
    }
}

impl Fixture {
    /// Some frames, filled up with zeros to the model's window.
    fn padded(&self, [first, end]: [usize; 2]) -> Vec<f32> {
        let window = 2 * self.config.max_source_positions;
        let frames = self.frames([first, end.min(first + window)]);
        let (count, mut all) = (frames.len() / self.config.num_mel_bins, Vec::new());
        for feature in frames.chunks_exact(count) {
            all.extend_from_slice(feature);
            all.resize(all.len() + window - count, 0.0);
        }
        all
    }

    /// The tokens without the end.
    fn text<'a>(&self, tokens: &'a [Token]) -> &'a [Token] {
        tokens.strip_suffix(&[self.special.end]).unwrap_or(tokens)
    }
}

/// The largest difference of two matrices, relative to each row's largest value.
fn largest_difference(found: &[f32], expected: &[f32], width: usize) -> f32 {
    assert_eq!(found.len(), expected.len());
    let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
    rows.map(|(found, expected)| {
        let largest = expected.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
    })
    .fold(0.0, f32::max)
}

fn rows_of(matrix: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|row| &matrix[row * width..][..width]).copied().collect()
}

#[test]
fn encoder_output_and_logits_are_those_of_transformers() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        for kernels in Kernels::all() {
            for threads in [1, 3] {
                let mut session = fixture.session(kernels, threads);
                let window = &fixture.expected.window;
                let frames = fixture.padded(window.frames);
                let expected = fixture.tensors.get("encoder").unwrap();
                let dim = expected.shape()[1];
                let output = session.encoder_output_of_frames(&frames).unwrap();
                let found = match &window.encoder_rows {
                    Some(rows) => rows_of(&output, dim, rows),
                    None => output,
                };
                let difference = largest_difference(&found, &expected.to_f32(), dim);
                assert!(difference < TOLERANCE, "{name}: encoder output differs by {difference}");
                for (i, forced) in window.forced.iter().enumerate() {
                    let mut state = session.encode_frames(&frames).unwrap();
                    let mut logits = Logits::default();
                    let row = Row { state: &mut state, tokens: &forced.tokens, want: Want::All };
                    session.step(&mut [row], &mut logits).unwrap();
                    let found: Vec<f32> = forced.rows.iter().flat_map(|&row| logits.row(row)).copied().collect();
                    let expected = fixture.tensors.get(&format!("logits.{i}")).unwrap();
                    let difference = largest_difference(&found, &expected.to_f32(), expected.shape()[1]);
                    assert!(difference < TOLERANCE, "{name}: logits {i} differ by {difference}");
                }
            }
        }
    }
}

/// What `MUTATIONS.json` measures: the largest difference of the logits of the first window.
fn logits_moved(fixture: &Fixture, frames: &[f32]) -> f32 {
    let mut session = fixture.session(Kernels::detect(), 1);
    let moved = |(i, forced): (usize, &Forced)| {
        let mut state = session.encode_frames(frames).unwrap();
        state.keep_source(frames.len() / fixture.config.num_mel_bins / FRAMES_PER_POSITION - fixture.dropped);
        let mut logits = Logits::default();
        session.step(&mut [Row { state: &mut state, tokens: &forced.tokens, want: Want::All }], &mut logits).unwrap();
        let found: Vec<f32> = forced.rows.iter().flat_map(|&row| logits.row(row)).copied().collect();
        let expected = fixture.tensors.get(&format!("logits.{i}")).unwrap();
        largest_difference(&found, &expected.to_f32(), expected.shape()[1])
    };
    fixture.expected.window.forced.iter().enumerate().map(moved).fold(0.0, f32::max)
}

/// Mistakes that cannot be made with a model's description, weights and input, because code makes these choices: what
/// the convolutions read and their activation, the rules of timestamps, seeking, and the path of token times. The script
/// asserts that expected values of the tests above move with each of them.
const IN_CODE: [&str; 14] = [
    "conv-gelu-tanh",
    "conv-padding",
    "conv2-phase",
    "first-timestamp",
    "timestamp-pairs",
    "timestamps-rising",
    "timestamp-mass",
    "single-ending",
    "seek",
    "dtw-median",
    "dtw-normalise",
    "dtw-prompt",
    "dtw-crop",
    "dtw-jump",
];

/// Every other mistake of the list, made here, moves our results as far as the script measured.
#[test]
fn mutations_are_noticed() {
    let list: Value = serde_json::from_slice(&std::fs::read(folder("MUTATIONS.json")).unwrap()).unwrap();
    let mut seen = 0;
    for mutation in list["mutations"].as_array().unwrap() {
        let what = mutation["name"].as_str().unwrap();
        if IN_CODE.contains(&what) {
            continue;
        }
        seen += 1;
        for (model, measured) in mutation["measured"].as_object().unwrap() {
            let mut fixture = Fixture::open(model);
            let mut tensors = tensors::read(&fixture.weights);
            let mut frames = fixture.padded(fixture.expected.window.frames);
            mutate(&mut fixture, &mut tensors, &mut frames, &mutation["change"]);
            fixture.weights = tensors::written(&tensors);
            match mutation["effect"].as_str().unwrap() {
                "logits" => {
                    let (moved, expected) = (logits_moved(&fixture, &frames), measured["largest"].as_f64().unwrap());
                    assert!(moved > 3.0 * TOLERANCE, "{what} passes unnoticed on {model}: {moved}");
                    let ratio = f64::from(moved) / expected;
                    assert!((0.9..1.1).contains(&ratio), "{what} on {model} moves logits by {moved}, not {expected}");
                }
                "none" => {
                    let moved = logits_moved(&fixture, &frames);
                    assert!(moved < TOLERANCE, "{what} moves {model} by {moved}");
                }
                "tokens" => {
                    let changed = measured["cases_changed"].as_u64().unwrap();
                    assert_eq!(cases_changed(&fixture) as u64, changed, "{what} on {model}");
                }
                "times" => assert!(times_moved(&fixture) > 0.04 + 1e-6, "{what} passes unnoticed on {model}"),
                other => panic!("unknown effect {other}"),
            }
        }
    }
    assert_eq!(seen + IN_CODE.len(), list["mutations"].as_array().unwrap().len());
}

/// How many windows' greedy tokens are not the expected ones.
fn cases_changed(fixture: &Fixture) -> usize {
    let mut session = fixture.session(Kernels::detect(), 1);
    let timed = fixture.expected.decoded.iter();
    let changed = |case: &&Case| {
        let state = session.encode_frames(&fixture.padded(case.frames)).unwrap();
        let prompted = Prompted::new(&mut session, state, &fixture.special, &case.prompt).unwrap();
        let most = fixture.expected.max_new_tokens;
        let found = prompted.decode(&mut session, Search::Beam(1), most).unwrap();
        found.tokens != fixture.text(&case.greedy.tokens)
    };
    timed.filter(changed).count()
}

/// The largest distance of a token's time from the expected one, in seconds.
fn times_moved(fixture: &Fixture) -> f64 {
    let mut session = fixture.session(Kernels::detect(), 1);
    let cases = fixture.expected.token_times.iter();
    let distances = cases.flat_map(|case| {
        let times = fixture.token_times(&mut session, case);
        times.into_iter().zip(&case.times).map(|(found, expected)| (found - expected).abs()).collect::<Vec<_>>()
    });
    distances.fold(0.0, f64::max)
}

/// Applies a change of `MUTATIONS.json`.
fn mutate(fixture: &mut Fixture, tensors: &mut Tensors, frames: &mut Vec<f32>, change: &Value) {
    let table = |part: &str| format!("model.{part}.embed_positions.weight");
    for (part, changes) in change.as_object().unwrap() {
        for (key, value) in changes.as_object().unwrap() {
            let (spec, special) = (&mut fixture.spec, &mut fixture.special);
            match (part.as_str(), key.as_str()) {
                ("weights", pattern) => {
                    // A star or a question mark stands for what this text does not say.
                    let parts: Vec<_> = pattern.trim_start_matches('*').split('?').collect();
                    let fits = |name: &str| name.ends_with(parts[parts.len() - 1]) && name.contains(parts[0]);
                    let factor = value.as_f64().unwrap() as f32;
                    let matching = tensors.iter_mut().filter(|(name, _)| fits(name));
                    assert!(matching.map(|(_, (_, v))| v.iter_mut().for_each(|v| *v *= factor)).count() > 0);
                }
                ("bias", _) => {
                    for stack in [&mut spec.encoder, &mut spec.decoder.stack] {
                        attentions(stack, |attention| attention.bias = AttentionBias::All);
                    }
                    let biases = tensors.iter().filter(|(name, _)| name.ends_with(".q_proj.bias"));
                    let copies = biases.map(|(name, bias)| (name.replace("q_proj", "k_proj"), bias.clone()));
                    let copies: Vec<_> = copies.collect();
                    tensors.extend(copies);
                }
                ("features", "cut") => *frames = shorter(frames, fixture.config.num_mel_bins, value),
                ("features", "shift") => {
                    let window = frames.len() / fixture.config.num_mel_bins;
                    for feature in frames.chunks_exact_mut(window) {
                        feature.rotate_left(1);
                        feature[window - 1] = 0.0;
                    }
                }
                ("spec", "position_table") => {
                    let of = |key: &str| changes.get(key).filter(|value| !value.is_null());
                    let (shape, values) = tensors.get_mut(&table("encoder")).unwrap();
                    let half = shape[1] / 2;
                    let steps = if of("position_steps").is_some() { half } else { half - 1 };
                    let base = of("position_base").map_or(10_000.0, |base| base.as_f64().unwrap());
                    *values = sinusoids(base, half, steps, of("position_pairing").is_some(), 0..shape[0]);
                }
                ("spec", "position_base" | "position_pairing" | "position_steps") => {}
                ("spec", "encoder_position_offset") => {
                    let (shape, values) = tensors.get_mut(&table("encoder")).unwrap();
                    *values = sinusoids(10_000.0, shape[1] / 2, shape[1] / 2 - 1, false, 1..shape[0] + 1);
                }
                ("spec", "decoder_position_offset") => {
                    let (shape, values) = tensors.get_mut(&table("decoder")).unwrap();
                    values.rotate_left(shape[1]);
                }
                ("spec", "norm_eps") => {
                    let norm = Norm::Layer { eps: value.as_f64().unwrap() as f32 };
                    for stack in [&mut spec.encoder, &mut spec.decoder.stack] {
                        stack.layers.iter_mut().for_each(|layer| layer.norm = norm);
                        stack.final_norm = Some(norm);
                    }
                }
                ("spec", "activation") => {
                    let activation = if value == "relu" { Activation::Relu } else { Activation::GeluTanh };
                    for stack in [&mut spec.encoder, &mut spec.decoder.stack] {
                        stack.layers.iter_mut().for_each(|layer| layer.ffn.activation = activation);
                    }
                }
                ("spec", "conv_kernel_reversed") => {
                    for conv in ["conv1", "conv2"] {
                        let (_, values) = tensors.get_mut(&format!("model.encoder.{conv}.weight")).unwrap();
                        values.as_chunks_mut::<3>().0.iter_mut().for_each(|kernel| kernel.reverse());
                    }
                }
                ("spec", "mel_order") => {
                    let window = frames.len() / fixture.config.num_mel_bins;
                    *frames = frames.chunks_exact(window).rev().flatten().copied().collect();
                }
                ("spec", "head_scale") => {
                    let factor = value.as_f64().unwrap() as f32;
                    for stack in [&mut spec.encoder, &mut spec.decoder.stack] {
                        attentions(stack, |attention| attention.scale *= factor);
                    }
                }
                ("spec", "encoder_heads" | "decoder_heads") => {
                    let stack = if key == "encoder_heads" { &mut spec.encoder } else { &mut spec.decoder.stack };
                    let dim = stack.dim;
                    attentions(stack, |attention| {
                        let heads = (attention.heads as f64 * value.as_f64().unwrap()).round() as usize;
                        *attention = AttentionSpec {
                            bias: attention.bias,
                            span: attention.span,
                            ..AttentionSpec::causal(heads, heads, dim / heads)
                        };
                    });
                }
                ("spec", "causal_window") => {
                    let ahead = value.as_i64().unwrap() as isize;
                    for layer in &mut spec.decoder.stack.layers {
                        let Mixer::Attention(attention) = &mut layer.mixer else { panic!("attention") };
                        attention.span.ahead = ahead;
                    }
                }
                ("spec", "encoder_causal") => attentions(&mut spec.encoder, |a| a.span = Span::CAUSAL),
                ("spec", "cross_positions_dropped") => fixture.dropped = value.as_u64().unwrap() as usize,
                ("spec", "cross_memory_layer") => {
                    let first = "model.decoder.layers.0.encoder_attn.";
                    let of_first =
                        tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(first)?.to_owned(), t)));
                    let of_first: Vec<_> = of_first.filter(|(name, _)| name.starts_with(['k', 'v'])).collect();
                    let layers = 1..fixture.config.decoder_layers;
                    let copies = layers.flat_map(|layer| {
                        let name = move |name: &String| format!("model.decoder.layers.{layer}.encoder_attn.{name}");
                        of_first.iter().map(move |(part, tensor)| (name(part), (*tensor).clone()))
                    });
                    let copies: Vec<_> = copies.collect();
                    tensors.extend(copies);
                }
                ("spec", "encoder_final_norm") => spec.encoder.final_norm = None,
                ("spec", "decoder_final_norm") => spec.decoder.stack.final_norm = None,
                ("spec", "norm_order") => {
                    for stack in [&mut spec.encoder, &mut spec.decoder.stack] {
                        stack.layers.iter_mut().for_each(|layer| layer.placement = NormPlacement::Post);
                    }
                }
                ("spec", "embedding_scale") => {
                    let stack = &mut spec.decoder.stack;
                    stack.input = Input::Tokens { vocab: stack.vocab(), scale: (stack.dim as f32).sqrt() };
                }
                ("rules", "suppress") => special.suppressed.clear(),
                ("rules", "suppress_at_begin") => special.not_first.clear(),
                ("rules", "max_initial") => special.latest_start = special.timestamps,
                ("rules", "heads") => {
                    let heads = 0..fixture.config.decoder_attention_heads;
                    let layers = 0..fixture.config.decoder_layers;
                    special.alignment_heads =
                        layers.flat_map(|layer| heads.clone().map(move |head| [layer, head])).collect();
                }
                other => panic!("unknown change {other:?}"),
            }
        }
    }
}

/// Frames without the last ones.
fn shorter(frames: &[f32], features: usize, cut: &Value) -> Vec<f32> {
    let window = frames.len() / features;
    let left = window - cut.as_u64().unwrap() as usize;
    frames.chunks_exact(window).flat_map(|feature| &feature[..left]).copied().collect()
}

fn sinusoids(base: f64, half: usize, steps: usize, interleaved: bool, places: std::ops::Range<usize>) -> Vec<f32> {
    let angle = |place: usize, i: usize| place as f64 * (-base.ln() / steps as f64 * i as f64).exp();
    let row = |place| {
        let sines = (0..half).map(move |i| angle(place, i).sin());
        let cosines = (0..half).map(move |i| angle(place, i).cos());
        match interleaved {
            true => sines.zip(cosines).flat_map(|(sine, cosine)| [sine, cosine]).collect::<Vec<_>>(),
            false => sines.chain(cosines).collect(),
        }
    };
    places.flat_map(row).map(|value| value as f32).collect()
}

fn attentions(stack: &mut StackSpec, change: impl Fn(&mut AttentionSpec)) {
    for layer in &mut stack.layers {
        let Mixer::Attention(attention) = &mut layer.mixer else { panic!("attention") };
        change(attention);
        layer.cross.iter_mut().for_each(&change);
    }
}

/// The file of whisper.cpp with the same weights, which float16 holds exactly.
#[test]
fn a_file_of_whisper_cpp_is_the_same_model() {
    let fixture = Fixture::open("tiny");
    let file = Weights::open(folder("tiny").join("model.bin")).unwrap();
    let header = file.whisper_header().unwrap();
    let config = Config::from_header(header);
    assert_eq!(config.spec().unwrap(), fixture.config.spec().unwrap());
    let tokenizer = Tokenizer::from_ranks(&header.tokens, "model.bin").unwrap();
    let json = std::fs::read(folder("tiny").join("tokenizer.json")).unwrap();
    let expected = Tokenizer::from_json(&json, "tokenizer.json", fixture.config.vocab_size).unwrap();
    for id in 0..tokenizer.len() as Token {
        assert_eq!(tokenizer.token_bytes(id), expected.token_bytes(id), "token {id}");
    }
    let text = " The weather is fine today, isn't it?";
    let ids = tokenizer.encode(text, Marks::AsText).unwrap();
    assert_eq!(ids, expected.encode(text, Marks::AsText).unwrap());

    let plan = EncoderDecoderPlan::new(config.spec().unwrap(), &file, &Names::OpenAi, Kernels::detect()).unwrap();
    let pool = Arc::new(ThreadPool::new(1));
    let mut ours = EncoderDecoderSession::new(Arc::new(plan), pool, KvType::F32).unwrap();
    let frames = fixture.padded(fixture.expected.window.frames);
    let found = ours.encoder_output_of_frames(&frames).unwrap();
    let expected = fixture.session(Kernels::detect(), 1).encoder_output_of_frames(&frames).unwrap();
    let difference = largest_difference(&found, &expected, fixture.config.d_model);
    assert!(difference < TOLERANCE, "{difference}");
    for case in &fixture.expected.decoded {
        let state = ours.encode_frames(&fixture.padded(case.frames)).unwrap();
        let prompted = Prompted::new(&mut ours, state, &fixture.special, &case.prompt).unwrap();
        let greedy = prompted.decode(&mut ours, Search::Beam(1), fixture.expected.max_new_tokens).unwrap();
        assert_eq!(greedy.tokens, fixture.text(&case.greedy.tokens));
    }
}

/// Packed or not, weights that whisper.cpp has quantised give the same bits on every instruction set, and an output near
/// that of the exact weights: 5 bits a weight, in a random model with attention as peaked as it is.
#[test]
fn a_quantised_file_of_whisper_cpp_computes_the_same_bits_everywhere() {
    let fixture = Fixture::open("tiny");
    let frames = fixture.padded(fixture.expected.window.frames);
    let file = Weights::open(folder("tiny").join("model-q5_1.bin")).unwrap();
    let blocks = file.iter().filter(|(_, tensor)| matches!(tensor.encoding(), Encoding::Blocks(BlockType::Q5_1)));
    assert!(blocks.count() > 10);
    let spec = Config::from_header(file.whisper_header().unwrap()).spec().unwrap();
    let mut first: Option<Vec<f32>> = None;
    for kernels in Kernels::all() {
        let isa = kernels.isa;
        let plan = EncoderDecoderPlan::new(spec.clone(), &file, &Names::OpenAi, kernels).unwrap();
        let mut session =
            EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(2)), KvType::F32).unwrap();
        let output = session.encoder_output_of_frames(&frames).unwrap();
        assert!(*first.get_or_insert_with(|| output.clone()) == output, "{isa:?}");
    }
    let expected = fixture.tensors.get("encoder").unwrap().to_f32();
    let (mut error, mut power) = (0.0, 0.0);
    for (found, expected) in first.unwrap().iter().zip(&expected) {
        error += (found - expected).powi(2);
        power += expected.powi(2);
    }
    assert!(error > 0.0 && error < 0.1 * power, "{}", error / power);
}

#[test]
fn windows_are_decoded_as_by_transformers() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        let mut session = fixture.session(Kernels::detect(), 2);
        let Expected { max_new_tokens, beams, decoded, .. } = &fixture.expected;
        for (i, case) in decoded.iter().enumerate() {
            let state = session.encode_frames(&fixture.padded(case.frames)).unwrap();
            let special = &fixture.special;
            let prompted = Prompted::new(&mut session, state.clone(), special, &case.prompt).unwrap();
            let greedy = prompted.decode(&mut session, Search::Beam(1), *max_new_tokens).unwrap();
            assert_eq!(greedy.tokens, fixture.text(&case.greedy.tokens), "{name} {i}: greedy");
            // It is known without the text before.
            let close = case.prompt[0] != special.start || (prompted.no_speech() - case.no_speech).abs() < 1e-3;
            assert!(close, "{name} {i}: {} and {}", prompted.no_speech(), case.no_speech);
            let close = (greedy.log_prob - case.greedy.avg_logprob).abs() < 1e-3;
            assert!(close, "{name} {i}: {} and {}", greedy.log_prob, case.greedy.avg_logprob);
            // transformers does not normalise again what the rules have left.
            let (&start, before) = case.prompt.split_last().unwrap();
            let spec = GenerationSpec {
                start,
                eos: special.end,
                suppressed: Vec::new(),
                max_tokens: *max_new_tokens,
                forced_eos: false,
                beam: *beams,
                length_penalty: 1.0,
                early_stopping: EarlyStopping::No,
                renormalize: false,
            };
            let mut prompted = state.clone();
            if !before.is_empty() {
                session.step(&mut [Row::new(&mut prompted, before)], &mut Logits::default()).unwrap();
            }
            let rules = Rules::new(special, case.timestamps);
            let rules = |tokens: &[Token], logits: &mut [f32]| rules.apply(tokens, logits);
            let found = generate_within(&mut session, vec![prompted], &spec, &rules, |_| ControlFlow::Continue(()));
            let best = &found.unwrap()[0][0];
            assert_eq!(best.tokens, fixture.text(&case.beam.tokens), "{name} {i}: beam");
            assert!((best.score - case.beam.score).abs() < 1e-3, "{name} {i}: {} and {}", best.score, case.beam.score);
        }
    }
}

#[test]
fn languages_are_those_that_transformers_hears() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        let mut session = fixture.session(Kernels::detect(), 1);
        for (i, case) in fixture.expected.languages.iter().enumerate() {
            let tokens = fixture.special.multilingual.as_ref().unwrap();
            let state = session.encode_frames(&fixture.padded(case.frames)).unwrap();
            let found = languages(&mut session, &state, &fixture.special, tokens).unwrap();
            let best = (0..found.len()).max_by(|&a, &b| found[a].total_cmp(&found[b])).unwrap();
            assert_eq!(tokens.languages[best].1, case.id);
            let expected = fixture.tensors.get(&format!("languages.{i}")).unwrap().to_f32();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4 * expected.max(0.1), "{name}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn long_recordings_are_cut_as_by_transformers() {
    let frame = HOP as f64 / SAMPLE_RATE as f64;
    for name in MODELS {
        let fixture = Fixture::open(name);
        let mut session = fixture.session(Kernels::detect(), 1);
        let window = FRAMES_PER_POSITION * fixture.config.max_source_positions;
        for case in &fixture.expected.long {
            let total = (case.frames[1] - case.frames[0]) as f64 * frame;
            let mut before: Vec<Token> = Vec::new();
            let (mut seek, mut windows, mut segments) = (case.frames[0], case.windows.iter(), case.segments.iter());
            while seek < case.frames[1] {
                let expected = windows.next().unwrap();
                assert_eq!(seek - case.frames[0], expected.seek, "{name}");
                let frames = [seek, case.frames[1].min(seek + window)];
                let state = session.encode_frames(&fixture.padded(frames)).unwrap();
                let mut prompt = Vec::new();
                if case.previous_text && !before.is_empty() {
                    let most = fixture.config.max_target_positions / 2 - 1;
                    prompt.push(fixture.special.previous);
                    prompt.extend(&before[before.len().saturating_sub(most)..]);
                }
                prompt.extend(&case.prompt);
                let prompted = Prompted::new(&mut session, state, &fixture.special, &prompt).unwrap();
                let found = prompted.decode(&mut session, Search::Beam(1), fixture.expected.max_new_tokens).unwrap();
                assert_eq!(found.tokens, fixture.text(&expected.tokens), "{name} at {seek}");
                let length = (frames[1] - seek) as f64 * frame;
                let silent = |limit| prompted.no_speech() > limit;
                let improbable = |limit| found.log_prob < limit;
                let skipped =
                    case.no_speech_threshold.is_some_and(silent) && case.logprob_threshold.is_some_and(improbable);
                assert_eq!(skipped, expected.skipped, "{name} at {seek}");
                if skipped {
                    seek = frames[1];
                    continue;
                }
                let found = segment(&fixture.special, &found.tokens, length);
                for part in &found.segments {
                    before.extend_from_slice(&part.tokens);
                    let expected = segments.next().unwrap();
                    let offset = (seek - case.frames[0]) as f64 * frame;
                    let text: Vec<_> =
                        part.tokens.iter().copied().filter(|&t| fixture.special.seconds(t).is_none()).collect();
                    let wanted: Vec<_> =
                        expected.tokens.iter().copied().filter(|&t| fixture.special.seconds(t).is_none()).collect();
                    assert_eq!(text, wanted);
                    // Nothing of ours ends after the recording.
                    let same = |ours: f64, theirs: f64| (ours + offset - theirs.min(total)).abs() < 1e-6;
                    // Where nothing follows, transformers starts with the window; ours with the first timestamp.
                    let starts = same(part.start, expected.start) || same(0.0, expected.start);
                    // A text with nothing but its beginning ends there for transformers, and with the window for us.
                    let [first, rest @ ..] = &part.tokens[..] else { panic!("an empty segment") };
                    let timed = |token: &Token| fixture.special.seconds(*token).is_some();
                    let begun = timed(first) && !rest.iter().any(timed);
                    let ends = same(part.end, expected.end) || begun && (part.end - length).abs() < 1e-6;
                    assert!(starts && ends, "{name} at {seek}");
                }
                seek += (found.done / frame).round() as usize;
            }
            assert!(windows.next().is_none() && segments.next().is_none());
        }
    }
}

impl Fixture {
    /// When the tokens of a case begin, without the end, which is not said.
    fn token_times(&self, session: &mut EncoderDecoderSession, case: &TokenTimes) -> Vec<f64> {
        let mut state = session.encode_frames(&self.padded(case.frames)).unwrap();
        session.step(&mut [Row::new(&mut state, &case.prompt)], &mut Logits::default()).unwrap();
        let said = &case.tokens[..case.tokens.len() - 1];
        let weights = session.attention_to_source(&mut state, said, &self.special.alignment_heads).unwrap();
        let positions = self.config.max_source_positions;
        let heard = case.num_frames.map_or(positions, |frames| frames / FRAMES_PER_POSITION);
        token_times(&weights, said.len(), positions, heard)
    }
}

#[test]
fn tokens_were_said_when_transformers_thinks() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        let mut session = fixture.session(Kernels::detect(), 2);
        for case in &fixture.expected.token_times {
            let found = fixture.token_times(&mut session, case);
            // The end repeats the time before.
            assert_eq!(found.len(), case.times.len() - 1);
            for (found, expected) in found.iter().zip(&case.times) {
                assert!((found - expected).abs() < 0.04 + 1e-6, "{name}: {found} and {expected}");
            }
        }
    }
}
