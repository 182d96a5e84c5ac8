//! The native backend against transformers, on the tiny random models of `parity/` (see its README): encoder output
//! and logits within 1e-4 of the row's largest value, greedy and beam tokens identical, on every instruction set this
//! machine has. And the other way round: every mistake of `parity/MUTATIONS.json` must be noticed.

#[path = "support/tensors.rs"]
mod tensors;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families::marian::{Config, GenerationConfig, Names};
use babil_models::files::ModelFiles;
use babil_runtime::Token;
use babil_runtime::generate::generate;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{EncoderDecoder, Logits, Model, Row, State, Want};
use babil_runtime::plan::{EncoderDecoderPlan, parameters};
use babil_runtime::quant::BlockType;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::spec::{
    AttentionSpec, EarlyStopping, EncoderDecoderSpec, Mixer, Norm, Pairing, Position, StackSpec,
};
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::{Weights, quantized, write_safetensors};
use serde::Deserialize;
use serde_json::Value;

const MODELS: [&str; 4] = ["swish", "relu", "separate", "pre-norm"];
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    source: Vec<Token>,
    decoder_input: Vec<Token>,
    greedy: Hypothesis,
    beam: Vec<Hypothesis>,
    early: Vec<Hypothesis>,
}

#[derive(Deserialize)]
struct Hypothesis {
    tokens: Vec<Token>,
    score: f32,
}

/// A fixture, parts of which a test may change before it is run.
struct Fixture {
    config: Value,
    generation: Value,
    spec: EncoderDecoderSpec,
    weights: tensors::Tensors,
    cases: Vec<Case>,
    tensors: Weights,
    /// Source positions that the decoder does not see.
    dropped: usize,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity").join(name)
}

impl Fixture {
    fn open(name: &str) -> Self {
        let files = ModelFiles::Folder(folder(name));
        let config: Value = files.json("config.json").unwrap().unwrap();
        let weights = files.weights().unwrap();
        let weights = tensors::read(&weights);
        let expected: Expected = files.json("expected.json").unwrap().unwrap();
        Self {
            spec: serde_json::from_value::<Config>(config.clone()).unwrap().spec().unwrap(),
            generation: files.json("generation_config.json").unwrap().unwrap(),
            config,
            weights,
            cases: expected.cases,
            tensors: Weights::open(folder(name).join("expected.safetensors")).unwrap(),
            dropped: 0,
        }
    }

    fn session(&self, kernels: Kernels) -> EncoderDecoderSession {
        let config: Config = serde_json::from_value(self.config.clone()).unwrap();
        let weights = tensors::written(&self.weights);
        let names = Names { shared: config.share_encoder_decoder_embeddings };
        let plan = EncoderDecoderPlan::new(self.spec.clone(), &weights, &names, kernels).unwrap();
        EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(1)), KvType::F32).unwrap()
    }

    /// The largest difference of encoder output and logits from the expected ones, relative to each row's largest
    /// value. `padding` tokens are appended to every source.
    fn difference(&self, session: &mut EncoderDecoderSession, padding: &[Token]) -> f32 {
        let mut worst = 0f32;
        for (i, case) in self.cases.iter().enumerate() {
            let source = [&case.source[..], padding].concat();
            let output = session.encoder_output(&[&source]).unwrap();
            let expected = self.tensors.get(&format!("encoder.{i}")).unwrap();
            let dim = expected.shape()[1];
            worst = worst.max(largest_difference(&output[..case.source.len() * dim], &expected.to_f32(), dim));
            let expected = self.tensors.get(&format!("logits.{i}")).unwrap();
            let mut one_piece = Logits::default();
            let mut state = session.encode(&[&source]).unwrap().remove(0);
            state.keep_source(source.len() - self.dropped);
            let row = Row { state: &mut state, tokens: &case.decoder_input, want: Want::All };
            session.step(&mut [row], &mut one_piece).unwrap();
            let logits = (0..case.decoder_input.len()).flat_map(|row| one_piece.row(row)).copied();
            let logits: Vec<f32> = logits.collect();
            worst = worst.max(largest_difference(&logits, &expected.to_f32(), expected.shape()[1]));
        }
        worst
    }

    /// What is wrong, if anything, with the hypotheses of beams of `beam` where `early` ones are expected.
    fn wrong_hypotheses(
        &self,
        session: &mut EncoderDecoderSession,
        beam: usize,
        early: EarlyStopping,
    ) -> Option<String> {
        let fallback: GenerationConfig = serde_json::from_value(self.config.clone()).unwrap();
        let own: GenerationConfig = serde_json::from_value(self.generation.clone()).unwrap();
        let mut spec = own.spec(&fallback).unwrap();
        spec.beam = beam;
        for (i, case) in self.cases.iter().enumerate() {
            let states = session.encode(&[&case.source]).unwrap();
            let found = generate(session, states, &spec, |_| ControlFlow::Continue(())).unwrap().remove(0);
            let expected = match (beam, early) {
                (1, _) => std::slice::from_ref(&case.greedy),
                (_, EarlyStopping::No) => &case.beam[..],
                (_, EarlyStopping::Yes) => &case.early[..],
            };
            if found.len() != expected.len() {
                return Some(format!("case {i}: {} hypotheses, not {}", found.len(), expected.len()));
            }
            for (found, expected) in found.iter().zip(expected) {
                let tokens = expected.tokens.strip_suffix(&[spec.eos]).unwrap_or(&expected.tokens);
                if found.tokens != tokens || (found.score - expected.score).abs() > 3e-4 {
                    return Some(format!("case {i}: {found:?}, not {tokens:?} with score {}", expected.score));
                }
            }
        }
        None
    }
}

/// Logits after every token of `input`, fed one at a time.
fn teacher_forced(session: &mut EncoderDecoderSession, source: &[Token], input: &[Token]) -> Vec<f32> {
    let mut state = session.encode(&[source]).unwrap().remove(0);
    let mut logits = Logits::default();
    let mut all = Vec::new();
    for token in input {
        session.step(&mut [Row::new(&mut state, &[*token])], &mut logits).unwrap();
        all.extend_from_slice(logits.row(0));
    }
    all
}

fn largest_difference(found: &[f32], expected: &[f32], dim: usize) -> f32 {
    assert_eq!(found.len(), expected.len());
    let rows = found.chunks_exact(dim).zip(expected.chunks_exact(dim));
    rows.map(|(found, expected)| {
        let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        found
            .iter()
            .zip(expected)
            .fold(0f32, |m, (a, b)| if (a - b).is_nan() { f32::INFINITY } else { m.max((a - b).abs()) })
            / scale
    })
    .fold(0.0, f32::max)
}

#[test]
fn native_float32_equals_transformers() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        for kernels in Kernels::all() {
            let session = &mut fixture.session(kernels);
            let difference = fixture.difference(session, &[]);
            assert!(difference <= TOLERANCE, "{name} on {:?}: {difference}", kernels.isa);
            for beam in [1, 4] {
                let wrong = fixture.wrong_hypotheses(session, beam, EarlyStopping::No);
                assert_eq!(wrong, None, "{name} on {:?}, beam {beam}", kernels.isa);
            }
            let mut stopping = Fixture::open(name);
            stopping.generation["early_stopping"] = Value::Bool(true);
            let wrong = stopping.wrong_hypotheses(session, 4, EarlyStopping::Yes);
            assert_eq!(wrong, None, "{name} on {:?}, early stopping", kernels.isa);
        }
    }
}

/// Prompts in one piece, in pieces and token by token, alone and in a batch: the same bits.
#[test]
fn logits_do_not_depend_on_chunks_batches_forks_or_threads() {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for name in MODELS {
        let fixture = Fixture::open(name);
        for kernels in Kernels::all() {
            let mut session = fixture.session(kernels);
            let reference: Vec<_> = fixture
                .cases
                .iter()
                .map(|case| {
                    let logits = teacher_forced(&mut session, &case.source, &case.decoder_input);
                    bits(&logits[logits.len() - session.vocab()..])
                })
                .collect();
            let sources: Vec<&[Token]> = fixture.cases.iter().map(|case| &case.source[..]).collect();
            for (chunk, threads) in [(usize::MAX, 1), (3, 2), (usize::MAX, 4)] {
                let mut session = fixture.session(kernels);
                if threads > 1 {
                    session = session.with_pool(Arc::new(ThreadPool::new(threads)));
                }
                let mut states = session.encode(&sources).unwrap();
                let mut logits = Logits::default();
                let mut last = vec![Vec::new(); states.len()];
                let pieces: Vec<Vec<&[Token]>> =
                    fixture.cases.iter().map(|case| case.decoder_input.chunks(chunk.min(64)).collect()).collect();
                for round in 0..pieces.iter().map(Vec::len).max().unwrap() {
                    let alive: Vec<_> = (0..pieces.len()).filter(|&i| round < pieces[i].len()).collect();
                    let mut rows: Vec<_> = states
                        .iter_mut()
                        .enumerate()
                        .filter(|(i, _)| alive.contains(i))
                        .map(|(i, state)| Row::new(state, pieces[i][round]))
                        .collect();
                    session.step(&mut rows, &mut logits).unwrap();
                    for (row, &i) in alive.iter().enumerate() {
                        last[i] = bits(logits.row(row));
                    }
                }
                assert!(last == reference, "{name} on {:?}, chunks of {chunk}, {threads} threads", kernels.isa);

                // A fork and a truncated state continue as if nothing had happened.
                let (case, state) = (&fixture.cases[0], &mut states[0]);
                let mut fork = state.fork();
                session.step(&mut [Row::new(&mut fork, &[1, 2])], &mut logits).unwrap();
                let reached = state.truncate(case.decoder_input.len() - 1);
                let rest = &case.decoder_input[reached..];
                session.step(&mut [Row::new(state, rest)], &mut logits).unwrap();
                assert_eq!(bits(logits.row(0)), reference[0], "{name}: after a fork and a truncation");
            }
        }
    }
}

/// Every mistake of the list, made here.
#[test]
fn every_mutation_is_noticed() {
    let list: Value = serde_json::from_slice(&std::fs::read(folder("MUTATIONS.json")).unwrap()).unwrap();
    let kernels = Kernels::detect();
    for mutation in list["mutations"].as_array().unwrap() {
        let name = mutation["name"].as_str().unwrap();
        for model in MODELS {
            let mut fixture = Fixture::open(model);
            let only = mutation["only"].as_object().unwrap();
            let present = |key: &str| fixture.config.get(key).cloned().unwrap_or(Value::Bool(false));
            if only.iter().any(|(key, value)| present(key) != *value) {
                continue;
            }
            let padding = mutate(&mut fixture, &mutation["change"]);
            let session = &mut fixture.session(kernels);
            match mutation["effect"].as_str().unwrap() {
                "logits" => {
                    let difference = fixture.difference(session, &padding);
                    assert!(difference > 10.0 * TOLERANCE, "{name} passes unnoticed on {model}: {difference}");
                }
                "generation" => {
                    let moved = mutation["measured"][model].as_u64().is_none_or(|sources| sources > 0);
                    let noticed = fixture.wrong_hypotheses(session, 4, EarlyStopping::No).is_some();
                    assert!(noticed || !moved, "{name} passes unnoticed on {model}");
                }
                "none" => assert!(fixture.difference(session, &padding) <= TOLERANCE, "{name} moves {model}"),
                other => panic!("unknown effect {other}"),
            }
        }
    }
}

/// Applies a change; returns the padding to append to sources.
fn mutate(fixture: &mut Fixture, change: &Value) -> Vec<Token> {
    let mut padding = Vec::new();
    for (part, changes) in change.as_object().unwrap() {
        for (key, value) in changes.as_object().unwrap() {
            match (part.as_str(), key.as_str()) {
                ("weights", pattern) => {
                    let factor = value.as_f64().unwrap() as f32;
                    let suffix = pattern.trim_start_matches('*');
                    let matching = fixture.weights.iter_mut().filter(|(name, _)| name.ends_with(suffix));
                    assert!(matching.map(|(_, (_, v))| v.iter_mut().for_each(|v| *v *= factor)).count() > 0);
                }
                ("config", key) => {
                    let old = &fixture.config[key];
                    let heads = value.as_f64().zip(old.as_u64()).map(|(factor, old)| (factor * old as f64) as u64);
                    fixture.config[key] = heads.map_or_else(|| value.clone(), Value::from);
                    fixture.spec = serde_json::from_value::<Config>(fixture.config.clone()).unwrap().spec().unwrap();
                }
                ("input", "source_padding") => {
                    let pad = fixture.config["pad_token_id"].as_u64().unwrap() as Token;
                    padding = vec![pad; value.as_u64().unwrap() as usize];
                }
                ("generation", key) => {
                    let replaced =
                        if value.is_null() && key == "bad_words_ids" { Value::Array(vec![]) } else { value.clone() };
                    fixture.generation[key] = replaced;
                    if key == "forced_eos_token_id" {
                        fixture.config[key] = Value::Null;
                    }
                }
                ("spec", "position_pairing") => {
                    positions(&mut fixture.spec, |_, pairing, _| *pairing = Pairing::Interleaved);
                }
                ("spec", "position_base") => positions(&mut fixture.spec, |base, _, _| *base = 1000.0),
                ("spec", "encoder_position_offset") => {
                    position(&mut fixture.spec.encoder.position, |_, _, first| *first = 1)
                }
                ("spec", "decoder_position_offset") => {
                    position(&mut fixture.spec.decoder.stack.position, |_, _, first| *first = 1)
                }
                ("spec", "norm_eps") => {
                    let norm = Norm::Layer { eps: value.as_f64().unwrap() as f32 };
                    for stack in [&mut fixture.spec.encoder, &mut fixture.spec.decoder.stack] {
                        stack.layers.iter_mut().for_each(|layer| layer.norm = norm);
                        stack.final_norm = stack.final_norm.map(|_| norm);
                    }
                }
                ("spec", "attention_scale") => {
                    attentions(&mut fixture.spec.encoder, &|attention| attention.scale = 1.0);
                    attentions(&mut fixture.spec.decoder.stack, &|attention| attention.scale = 1.0);
                }
                ("spec", "causal_window") => {
                    let ahead = value.as_i64().unwrap() as isize;
                    for layer in &mut fixture.spec.decoder.stack.layers {
                        let Mixer::Attention(attention) = &mut layer.mixer else { panic!("attention") };
                        attention.span.ahead = ahead;
                    }
                }
                ("spec", "cross_positions_dropped") => fixture.dropped = value.as_u64().unwrap() as usize,
                other => panic!("unknown change {other:?}"),
            }
        }
    }
    padding
}

fn position(position: &mut Position, change: impl Fn(&mut f32, &mut Pairing, &mut usize)) {
    let Position::Sinusoid { base, pairing, first } = position else { panic!("sinusoids") };
    change(base, pairing, first);
}

fn positions(spec: &mut EncoderDecoderSpec, change: impl Fn(&mut f32, &mut Pairing, &mut usize)) {
    position(&mut spec.encoder.position, &change);
    position(&mut spec.decoder.stack.position, &change);
}

fn attentions(stack: &mut StackSpec, change: &dyn Fn(&mut AttentionSpec)) {
    for layer in &mut stack.layers {
        let Mixer::Attention(attention) = &mut layer.mixer else { panic!("attention") };
        change(attention);
        layer.cross.iter_mut().for_each(change);
    }
}

/// Quantised weights give the same bits on every instruction set. (How close they are to float32 is asked of a trained
/// model, in `bundled.rs`: these random ones, with attention as peaked as it is, are chaotic.)
#[test]
fn quantised_models_compute_the_same_bits_on_every_instruction_set() {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for name in MODELS {
        for block in [BlockType::Q8_0, BlockType::Q4_0] {
            let fixture = Fixture::open(name);
            let files = ModelFiles::Folder(folder(name));
            let config: Config = files.json("config.json").unwrap().unwrap();
            let names = Names { shared: config.share_encoder_decoder_embeddings };
            let float = files.weights().unwrap();
            let mut bytes = Vec::new();
            let parameters = parameters(&fixture.spec, &float, &names);
            write_safetensors(&mut bytes, &quantized(&float, &parameters, Some(block)), &BTreeMap::new()).unwrap();
            let packed = Weights::from_vec(bytes, name).unwrap();
            let case = &fixture.cases[fixture.cases.len() - 1];
            let mut first: Option<Vec<u32>> = None;
            for kernels in Kernels::all() {
                let isa = kernels.isa;
                let plan = EncoderDecoderPlan::new(fixture.spec.clone(), &packed, &names, kernels).unwrap();
                let mut session =
                    EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(1)), KvType::F32).unwrap();
                let logits = bits(&teacher_forced(&mut session, &case.source, &case.decoder_input));
                assert!(*first.get_or_insert_with(|| logits.clone()) == logits, "{name} {block:?} on {isa:?}");
            }
        }
    }
}

#[cfg(feature = "candle")]
#[test]
fn candle_gives_the_same_greedy_tokens_through_the_same_loop() {
    use babil_models::candle::CandleMarian;
    use babil_runtime::generate::Generated;
    for name in ["swish", "relu"] {
        let fixture = Fixture::open(name);
        let own: GenerationConfig = serde_json::from_value(fixture.generation.clone()).unwrap();
        let mut spec = own.spec(&serde_json::from_value(fixture.config.clone()).unwrap()).unwrap();
        spec.beam = 1;
        let mut model = CandleMarian::open(folder(name)).unwrap();
        for case in &fixture.cases {
            let states = model.encode(&[&case.source]).unwrap();
            let found = generate(&mut model, states, &spec, |_| ControlFlow::Continue(())).unwrap().remove(0);
            let tokens: &[Token] = case.greedy.tokens.strip_suffix(&[spec.eos]).unwrap_or(&case.greedy.tokens);
            let [Generated { tokens: found, .. }] = found.as_slice() else { panic!("one hypothesis") };
            assert_eq!(found, tokens, "{name}");
        }
    }
}
