//! Decoder-only models against transformers, on the tiny random models of `parity/lm` (see the README of `parity`),
//! from safetensors and from GGUF: logits within 1e-4 of the row's largest value and greedy tokens identical, on every
//! instruction set this machine has. And the other way round: every mistake of `lm/MUTATIONS.json` must be noticed.

mod support;
#[path = "support/tensors.rs"]
mod tensors;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families::{self, HubNames, Opened};
use babil_runtime::Token;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::plan::DecoderPlan;
use babil_runtime::session::{DecoderSession, KvType, Sequence};
use babil_runtime::spec::{
    Activation, AttentionSpec, DecoderSpec, HeadNorm, Input, LayerSpec, Mixer, Norm, NormPlacement, OutputMatrix,
    Pairing, RopeScaling, TensorNames,
};
use babil_runtime::threads::{ThreadPool, Threads};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::Kind;
use serde::Deserialize;
use serde_json::Value;
use support::MODELS;
use tensors::{Tensors, written};

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    context: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    tokens: Vec<Token>,
    greedy: Vec<Token>,
}

struct Fixture {
    name: &'static str,
    context: usize,
    cases: Vec<Case>,
    /// Per case, `[tokens, vocab]`.
    logits: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name)
}

impl Fixture {
    fn open(name: &'static str) -> Self {
        let expected = std::fs::read(folder(name).join("expected.json")).unwrap();
        let Expected { context, cases } = serde_json::from_slice(&expected).unwrap();
        let tensors = Weights::open(folder(name).join("expected.safetensors")).unwrap();
        let logits = (0..cases.len()).map(|i| tensors.get(&format!("logits.{i}")).unwrap().to_f32()).collect();
        Self { name, context, cases, logits }
    }

    /// The model as a folder, and as a GGUF file.
    fn both(&self) -> [(&'static str, Opened); 2] {
        let open = |path: PathBuf| families::open(&path, Some(self.context)).unwrap();
        [("safetensors", open(folder(self.name))), ("GGUF", open(folder(self.name).join("model.gguf")))]
    }

    /// The largest difference of a logit from the expected one, relative to the row's largest value.
    fn difference(&self, session: &mut DecoderSession) -> f32 {
        let mut worst = 0f32;
        for (case, expected) in self.cases.iter().zip(&self.logits) {
            let found = all_logits(session, &case.tokens);
            let vocab = session.vocab();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.chunks_exact(vocab).zip(expected.chunks_exact(vocab)) {
                let largest = expected.iter().fold(0f32, |largest, v| largest.max(v.abs()));
                let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                // A NaN is a difference too.
                worst = difference.fold(worst, |worst, d| if d / largest <= worst { worst } else { d / largest });
            }
        }
        worst
    }
}

fn session(
    spec: DecoderSpec,
    weights: &Weights,
    names: &dyn TensorNames,
    kernels: Kernels,
    threads: impl Into<Threads>,
) -> DecoderSession {
    let plan = DecoderPlan::new(spec, weights, names, kernels).unwrap();
    DecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(threads)), KvType::F32).unwrap()
}

fn session_of(opened: &Opened, kernels: Kernels, threads: impl Into<Threads>) -> DecoderSession {
    session(opened.language.spec.clone(), &opened.weights, &*opened.language.names, kernels, threads)
}

/// Logits after every token, fed in one piece.
fn all_logits(session: &mut DecoderSession, tokens: &[Token]) -> Vec<f32> {
    let (mut state, mut logits) = (session.sequence(), Logits::default());
    session.step(&mut [Row { state: &mut state, tokens, want: Want::All }], &mut logits).unwrap();
    (0..tokens.len()).flat_map(|row| logits.row(row).to_vec()).collect()
}

#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    for name in MODELS {
        let fixture = Fixture::open(name);
        for (form, opened) in fixture.both() {
            for kernels in Kernels::all() {
                let isa = kernels.isa;
                let session = &mut session_of(&opened, kernels, 1);
                let difference = fixture.difference(session);
                assert!(difference <= TOLERANCE, "{name}, {form}, {isa:?}: logits differ by {difference}");
                for case in &fixture.cases {
                    assert_eq!(greedy(session, case), case.greedy, "{name}, {form}, {isa:?}");
                }
            }
        }
    }
}

fn greedy(session: &mut DecoderSession, case: &Case) -> Vec<Token> {
    let (mut state, mut logits) = (session.sequence(), Logits::default());
    let mut next = case.tokens.clone();
    let mut found = Vec::new();
    while found.len() < case.greedy.len() {
        session.step(&mut [Row::new(&mut state, &next)], &mut logits).unwrap();
        let best = (0..session.vocab()).max_by(|&a, &b| logits.row(0)[a].total_cmp(&logits.row(0)[b])).unwrap();
        next = vec![best as Token];
        found.push(best as Token);
    }
    found
}

/// In one piece, in chunks, token by token, in a batch, on several threads, after forks, truncations and restores.
#[test]
fn the_bits_do_not_depend_on_how_tokens_arrive() {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for name in MODELS {
        let fixture = Fixture::open(name);
        let [_, (_, opened)] = fixture.both();
        for kernels in Kernels::all() {
            let whole = &mut session_of(&opened, kernels, 1);
            let vocab = whole.vocab();
            let expected: Vec<Vec<u32>> =
                fixture.cases.iter().map(|case| bits(&all_logits(whole, &case.tokens))).collect();
            let uneven = [Threads { decode: 1, prefill: 3 }, Threads { decode: 3, prefill: 2 }];
            for (chunk, threads) in [(1, 2.into()), (7, uneven[0]), (7, uneven[1]), (usize::MAX, 4.into())] {
                let session = &mut session_of(&opened, kernels, threads);
                let mut logits = Logits::default();
                let mut states: Vec<Sequence> = fixture.cases.iter().map(|_| session.sequence()).collect();
                let mut found = vec![Vec::new(); states.len()];
                while states.iter().zip(&fixture.cases).any(|(state, case)| state.position() < case.tokens.len()) {
                    let mut rows = Vec::new();
                    let mut of = Vec::new();
                    for (i, state) in states.iter_mut().enumerate() {
                        let rest = &fixture.cases[i].tokens[state.position()..];
                        let tokens = &rest[..rest.len().min(chunk)];
                        if !tokens.is_empty() {
                            of.extend(vec![i; tokens.len()]);
                            rows.push(Row { state, tokens, want: Want::All });
                        }
                    }
                    session.step(&mut rows, &mut logits).unwrap();
                    for (row, &i) in of.iter().enumerate() {
                        found[i].extend(bits(logits.row(row)));
                    }
                }
                let isa = kernels.isa;
                assert!(found == expected, "{name} on {isa:?}, chunks of {chunk}, {threads:?}");

                // A fork, a truncated and a restored sequence continue as if nothing had happened.
                for (case, (state, expected)) in fixture.cases.iter().zip(states.iter_mut().zip(&expected)) {
                    let mut fork = state.fork();
                    session.step(&mut [Row::new(&mut fork, &[3, 4, 5])], &mut logits).unwrap();
                    let mut restored = session.restore(&session.save(state)).unwrap();
                    session.step(&mut [Row::new(&mut restored, &[3, 4, 5])], &mut logits).unwrap();
                    let after_restore = bits(logits.row(0));
                    session.step(&mut [Row::new(&mut state.fork(), &[3, 4, 5])], &mut logits).unwrap();
                    assert_eq!(bits(logits.row(0)), after_restore, "{name}: after a restore");
                    for back in [1, case.tokens.len() / 2, case.tokens.len() - 1] {
                        let reached = state.truncate(case.tokens.len() - back);
                        assert!(reached <= case.tokens.len() - back && reached == state.position());
                        session.step(&mut [Row::new(state, &case.tokens[reached..])], &mut logits).unwrap();
                        let last = &expected[expected.len() - vocab..];
                        assert_eq!(bits(logits.row(0)), last, "{name}: after a fork and {back} positions back");
                    }
                }
            }
        }
    }
}

#[test]
fn both_forms_describe_the_same_model() {
    for name in MODELS {
        let [(_, folder), (_, file)] = Fixture::open(name).both();
        let plain = |opened: Opened| {
            let mut spec = opened.language.spec;
            each_norm(&mut spec, |norm| {
                if let Norm::Rms { offset, .. } = norm {
                    *offset = 0.0;
                }
            });
            let mut turns = Vec::new();
            for attention in spec.stack.layers.iter_mut().filter_map(attention) {
                if let Some(rope) = &mut attention.rope {
                    // GGUF files may have divisors, or a stretched base, instead of what they follow from.
                    turns.push(rope.frequencies());
                    rope.pairing = Pairing::Halves;
                    rope.theta = 1.0;
                    rope.scaling = RopeScaling::None;
                }
            }
            // Hunyuan's configurations name a length that the converter knows to be wrong.
            spec.stack.max_positions = 1;
            (spec, turns)
        };
        let ((folder, folder_turns), (file, file_turns)) = (plain(folder), plain(file));
        assert_eq!(folder, file, "{name}");
        for ((a, a_magnitude), (b, b_magnitude)) in folder_turns.iter().zip(&file_turns) {
            assert!((a_magnitude - b_magnitude).abs() < 1e-6 && a.len() == b.len(), "{name}");
            assert!(a.iter().zip(b).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{name}: {a:?} {b:?}");
        }
    }
}

#[test]
fn keys_that_nobody_handles_are_errors() {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).unwrap()).unwrap()
    };
    let with = |name: &str, key: &str, value: Value| {
        let mut config = read(name);
        config[key] = value;
        families::decoder_from_config("config.json", &config, 96)
    };
    for (name, key, value) in [
        ("llama", "quantization_config", serde_json::json!({"quant_method": "awq"})),
        ("llama", "hidden_act", "gelu_fast".into()),
        ("llama", "rope_scaling", serde_json::json!({"rope_type": "dynamic", "factor": 2.0})),
        ("llama", "llama_4_scaling_beta", serde_json::json!(0.1)),
        ("llama", "num_local_experts", 8.into()),
        ("llama", "sliding_window", 16.into()),
        ("gemma3", "attn_logit_softcapping", 50.0.into()),
        ("gemma3", "use_bidirectional_attention", true.into()),
        ("qwen3", "model_type", "qwen9".into()),
        ("smollm3", "no_rope_layers", serde_json::json!([1, 0])),
    ] {
        let error = with(name, key, value).expect_err(key).to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    for harmless in ["architectures", "bos_token_id", "torch_dtype"] {
        with("llama", harmless, Value::Null).unwrap();
    }
    with("llama", "some_future_switch", false.into()).unwrap();
}

/// The same configuration as newer and older files write it, and inside of a model that also sees.
#[test]
fn other_spellings_of_a_configuration_mean_the_same() {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).unwrap()).unwrap()
    };
    let spec = |config: &Value| families::decoder_from_config("config.json", config, 96).unwrap();
    let without = |config: &Value, keys: &[&str]| {
        let mut config = config.clone();
        keys.iter().for_each(|key| drop(config.as_object_mut().unwrap().remove(*key)));
        config
    };

    let old = read("gemma3");
    let mut new =
        without(&old, &["rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern", "model_type"]);
    new["rope_parameters"] = serde_json::json!({
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 20000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
    });
    let kinds = ["sliding_attention"; 5].into_iter().chain(["full_attention"]).collect::<Vec<_>>();
    new["layer_types"] = kinds.into();
    new["model_type"] = "gemma3_text".into();
    assert_eq!(spec(&new), spec(&old));
    let seeing = serde_json::json!({"model_type": "gemma3", "text_config": old, "vision_config": {"hidden_size": 7}});
    assert_eq!(spec(&seeing), spec(&old));

    // Mistral 7B is a Llama with windows.
    let llama = read("llama");
    let mut mistral = llama.clone();
    mistral["model_type"] = "mistral".into();
    mistral["sliding_window"] = 5.into();
    let mut expected = spec(&llama);
    let attentions = expected.stack.layers.iter_mut().filter_map(attention);
    attentions.for_each(|attention| attention.span = babil_runtime::spec::Span::window(5));
    assert_eq!(spec(&mistral), expected);

    // Defaults of the families, where the file is silent.
    for (name, keys) in [
        ("smollm3", &["no_rope_layers", "layer_types", "tie_word_embeddings"][..]),
        ("gemma3", &["tie_word_embeddings", "hidden_activation", "sliding_window_pattern"]),
        ("lfm2", &["tie_word_embeddings", "conv_bias", "conv_L_cache", "block_ffn_dim_multiplier"]),
        ("bitnet", &["hidden_act"]),
        ("qwen2", &["use_cache"]),
    ] {
        let config = read(name);
        assert_eq!(spec(&without(&config, keys)), spec(&config), "{name}");
    }
}

/// A key of the architecture by another name is one that nobody handles.
#[test]
fn metadata_that_nobody_handles_are_errors() {
    let bytes = std::fs::read(folder("granite").join("model.gguf")).unwrap();
    let with = |from: &str, to: &str| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        families::decoder_from_gguf(&Weights::from_vec(bytes, "model.gguf").unwrap(), 96)
    };
    let error = with("granite.residual_scale", "granite.residual_other").unwrap_err().to_string();
    assert!(error.contains("granite.residual_other") && error.contains("0.22"), "{error}");
    let error = with("granite.block_count", "granite.block_other").unwrap_err().to_string();
    assert!(error.contains("granite.block_count"), "{error}");
}

/// Whatever numbers a file has: a description or an error, and nothing allocated by them.
#[test]
fn absurd_numbers_are_no_reason_to_panic() {
    for name in MODELS {
        let config: Value = serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).unwrap()).unwrap();
        for (key, value) in config.as_object().unwrap() {
            let numbers = [0u64, 1, 3, u64::from(u32::MAX), u64::MAX].map(Value::from);
            for absurd in numbers.into_iter().chain([(-1.0).into(), 1e300.into()]) {
                let mut config = config.clone();
                config[key] = match value {
                    Value::Array(values) => vec![absurd; values.len().min(3)].into(),
                    Value::Number(_) => absurd,
                    _ => continue,
                };
                let _ = families::decoder_from_config("config.json", &config, 96);
            }
        }
        let bytes = std::fs::read(folder(name).join("model.gguf")).unwrap();
        let weights = Weights::from_vec(bytes.clone(), "model.gguf").unwrap();
        for (key, value) in weights.gguf_metadata().unwrap().iter() {
            let size = match value.kind() {
                Kind::U32 | Kind::F32 => 4,
                _ => continue,
            };
            let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len() + 4;
            for absurd in [0u32, 1, 3, 1 << 20, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[at..at + size].copy_from_slice(&absurd.to_le_bytes());
                let Ok(mut weights) = Weights::from_vec(bytes, "model.gguf") else { continue };
                if let Ok(spec) = families::decoder_from_gguf(&weights, 96) {
                    let _ = families::split_joined(&mut weights, &spec);
                }
            }
        }
    }
}

// --- mistakes on purpose
// ---------------------------------------------------------------------------------------------

/// The engine with a mistake differs from transformers by as much as the script measured: it is the same mistake.
#[test]
fn every_mutation_is_noticed() {
    let list: Value = serde_json::from_slice(&std::fs::read(folder("MUTATIONS.json")).unwrap()).unwrap();
    for name in MODELS {
        let fixture = Fixture::open(name);
        let [(_, opened), _] = fixture.both();
        let tensors = tensors::read(&opened.weights);
        for mutation in list["mutations"].as_array().unwrap() {
            let Some(measured) = mutation["measured"][name]["largest"].as_f64() else { continue };
            let (mut spec, mut tensors) = (opened.language.spec.clone(), tensors.clone());
            let names = HubNames::new(&spec);
            mutate(&mut spec, &mut tensors, &mutation["change"]);
            let weights = written(&tensors);
            let session = &mut session(spec, &weights, &names, Kernels::detect(), 1);
            let difference = f64::from(fixture.difference(session));
            let what = &mutation["name"];
            assert!(difference > 5.0 * f64::from(TOLERANCE), "{what} passes unnoticed on {name}: {difference}");
            let ratio = difference / measured;
            assert!((0.95..1.05).contains(&ratio), "{what} on {name} moves logits by {difference}, not by {measured}");
        }
    }
}

fn attention(layer: &mut LayerSpec) -> Option<&mut AttentionSpec> {
    match &mut layer.mixer {
        Mixer::Attention(attention) => Some(attention),
        Mixer::ShortConv { .. } => None,
    }
}

fn each_norm(spec: &mut DecoderSpec, change: impl Fn(&mut Norm)) {
    for layer in &mut spec.stack.layers {
        change(&mut layer.norm);
        layer.ffn.sub_norm.iter_mut().for_each(&change);
        if let Some(attention) = attention(layer) {
            attention.sub_norm.iter_mut().for_each(&change);
            attention.head_norm.iter_mut().for_each(|(_, norm)| change(norm));
        }
    }
    spec.stack.final_norm.iter_mut().for_each(change);
}

/// Applies a change of `MUTATIONS.json`.
fn mutate(spec: &mut DecoderSpec, tensors: &mut Tensors, change: &Value) {
    for (key, value) in change["model"].as_object().into_iter().flatten() {
        match key.as_str() {
            "embed_scale" => {
                spec.stack.input = Input::Tokens { vocab: spec.stack.vocab(), scale: 1.0 };
            }
            "logit_scale" => spec.logit_scale = 1.0,
            "softcap" => spec.logit_softcap = None,
            "final_norm" => spec.stack.final_norm = None,
            "tied" => spec.output = OutputMatrix::Tied,
            "eps" => {
                let factor = value["times"].as_f64().unwrap() as f32;
                each_norm(spec, |norm| match norm {
                    Norm::Rms { eps, .. } | Norm::Layer { eps } => *eps *= factor,
                });
            }
            other => panic!("unknown key {other}"),
        }
    }
    for (key, value) in change["layer"].as_object().into_iter().flatten().filter(|(key, _)| *key != "eps") {
        let before = spec.clone();
        let with_window = |layer: &LayerSpec| match &layer.mixer {
            Mixer::Attention(attention) => Some(attention.span.behind != usize::MAX),
            Mixer::ShortConv { .. } => None,
        };
        let wanted = change["where"].as_str().map(|kind| kind == "window");
        for (index, layer) in spec.stack.layers.iter_mut().enumerate() {
            if wanted.is_some() && with_window(layer) != wanted {
                continue;
            }
            match (key.as_str(), layer) {
                ("activation", layer) => {
                    layer.ffn.activation = if value == "gelu" { Activation::Gelu } else { Activation::Relu };
                }
                ("residual_scale", layer) => layer.residual_scale = 1.0,
                ("post_norm", layer) => layer.placement = NormPlacement::Pre,
                ("sub_norm", layer) => {
                    layer.ffn.sub_norm = None;
                    attention(layer).unwrap().sub_norm = None;
                }
                (key, LayerSpec { mixer: Mixer::Attention(attention), .. }) => {
                    if key == "kv_groups" {
                        exchange_heads(tensors, index, attention);
                    } else {
                        mutate_attention(attention, &before, key, value);
                    }
                }
                _ => {}
            }
        }
    }
    for (pattern, operation) in change["weights"].as_object().into_iter().flatten() {
        let (part, hub) = match pattern.as_str() {
            "*norm.weight" => ("norm", ".weight"),
            "*.attn_q.bias" => ("q_proj", ".bias"),
            "*.attn_k.bias" => ("k_proj", ".bias"),
            "*.attn_v.bias" => ("v_proj", ".bias"),
            "*.attn_output.bias" => ("o_proj", ".bias"),
            "*.ffn_gate.bias" => ("gate_proj", ".bias"),
            "*.ffn_up.bias" => ("up_proj", ".bias"),
            "*.ffn_down.bias" => ("down_proj", ".bias"),
            "*.shortconv.conv.weight" => ("conv.conv", ".weight"),
            "*.shortconv.in_proj.weight" => ("conv.in_proj", ".weight"),
            other => panic!("unknown pattern {other}"),
        };
        let hit = tensors.iter_mut().filter(|(name, _)| name.contains(part) && name.ends_with(hub));
        assert!(hit.map(|(_, (shape, values))| mutate_tensor(shape, values, operation)).count() > 0, "{pattern}");
    }
}

fn mutate_attention(attention: &mut AttentionSpec, before: &DecoderSpec, key: &str, value: &Value) {
    let number = |operation: &str| value[operation].as_f64().unwrap() as f32;
    let spread = value.get("spread").is_some();
    let others = || {
        before.stack.layers.iter().filter_map(|layer| match &layer.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::ShortConv { .. } => None,
        })
    };
    match key {
        "scale" => attention.scale *= number("times"),
        "ahead" => attention.span.ahead = 1,
        "temperature" => attention.growth = None,
        "window" if spread => {
            attention.span = others().find(|other| other.span.behind != usize::MAX).unwrap().span;
        }
        "window" if value.is_null() => attention.span.behind = usize::MAX,
        "window" if attention.span.behind != usize::MAX => {
            let added = value["add"].as_i64().unwrap() as isize;
            attention.span.behind = attention.span.behind.checked_add_signed(added).unwrap();
        }
        "window" => {}
        "head_norm" if value.is_null() => attention.head_norm = None,
        "head_norm" => {
            let (place, _) = attention.head_norm.as_mut().unwrap();
            *place = match place {
                HeadNorm::BeforeRope => HeadNorm::AfterRope,
                HeadNorm::AfterRope => HeadNorm::BeforeRope,
            };
        }
        "rope" if spread => {
            if attention.rope.is_none() {
                attention.rope = others().find_map(|other| other.rope.clone());
            }
        }
        "rope" => attention.rope = None,
        _ => {
            let Some(rope) = &mut attention.rope else { return };
            match (key, &mut rope.scaling) {
                ("rope.pairing", _) => rope.pairing = Pairing::Interleaved,
                ("rope.theta", _) => rope.theta *= number("times"),
                ("rope.scaling", scaling) if spread => {
                    let mut all = others().filter_map(|other| other.rope.as_ref()).map(|rope| &rope.scaling);
                    *scaling = all.find(|scaling| **scaling != RopeScaling::None).unwrap().clone();
                }
                ("rope.scaling", scaling) => *scaling = RopeScaling::None,
                (_, RopeScaling::None) => {}
                (
                    "rope.scaling.factor",
                    RopeScaling::Linear { factor }
                    | RopeScaling::Llama3 { factor, .. }
                    | RopeScaling::Yarn { factor, .. },
                ) => *factor *= number("times"),
                (
                    "rope.scaling.original",
                    RopeScaling::Llama3 { original, .. } | RopeScaling::Yarn { original, .. },
                ) => {
                    *original *= number("times");
                }
                ("rope.scaling.low", RopeScaling::Llama3 { low, .. }) => *low *= number("times"),
                ("rope.scaling.high", RopeScaling::Llama3 { high, .. }) => *high *= number("times"),
                ("rope.scaling.beta_slow", RopeScaling::Yarn { beta_slow, .. }) => *beta_slow *= number("times"),
                ("rope.scaling.truncate", RopeScaling::Yarn { truncate, .. }) => *truncate = false,
                (
                    "rope.scaling.magnitude",
                    RopeScaling::Yarn { magnitude, .. } | RopeScaling::PerPair { magnitude, .. },
                ) => *magnitude = 1.0,
                ("rope.scaling.factors", RopeScaling::PerPair { factors, .. }) => factors.reverse(),
                other => panic!("unknown key {other:?}"),
            }
        }
    }
}

fn mutate_tensor(shape: &[usize], values: &mut [f32], operation: &Value) {
    let (name, argument) = operation.as_object().unwrap().iter().next().unwrap();
    let last = *shape.last().unwrap();
    match name.as_str() {
        "times" => values.iter_mut().for_each(|v| *v *= argument.as_f64().unwrap() as f32),
        "add" => values.iter_mut().for_each(|v| *v += argument.as_f64().unwrap() as f32),
        "reverse" => values.chunks_exact_mut(last).for_each(<[f32]>::reverse),
        "roll" => values.rotate_right(values.len() / argument.as_u64().unwrap() as usize),
        "shift" => {
            for row in values.chunks_exact_mut(last) {
                row.rotate_left(1);
                row[last - 1] = 0.0;
            }
        }
        other => panic!("unknown operation {other}"),
    }
}

/// Exchanges query heads so that head `h` reads key head `h % kv_heads`.
fn exchange_heads(tensors: &mut Tensors, layer: usize, attention: &AttentionSpec) {
    let AttentionSpec { heads, kv_heads, head_dim, .. } = *attention;
    let groups = heads / kv_heads;
    let old = |head: usize| head / groups + head % groups * kv_heads;
    for (name, (shape, values)) in tensors.iter_mut().filter(|(name, _)| name.contains(&format!("layers.{layer}."))) {
        // Values of a head that lie together, and how often heads follow each other.
        let run = match name {
            _ if name.contains(".q_proj.") => head_dim * shape.get(1).copied().unwrap_or(1),
            _ if name.ends_with("o_proj.weight") || name.ends_with("self_attn.out_proj.weight") => head_dim,
            _ if name.contains("attn_sub_norm") => head_dim,
            _ => continue,
        };
        for all in values.chunks_exact_mut(heads * run) {
            let before = all.to_vec();
            for (head, to) in all.chunks_exact_mut(run).enumerate() {
                to.copy_from_slice(&before[old(head) * run..][..run]);
            }
        }
    }
}
