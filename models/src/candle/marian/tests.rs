use std::path::PathBuf;

use babil_runtime::generate::generate;
use babil_runtime::model::Want;
use babil_runtime::spec::{EarlyStopping, GenerationSpec};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Expected {
    tolerance: f32,
    max_length: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    source: Vec<Token>,
    decoder_input: Vec<Token>,
    greedy: Hypothesis,
    beam: Vec<Hypothesis>,
}

#[derive(Deserialize)]
struct Hypothesis {
    /// End of sentence included.
    tokens: Vec<Token>,
    score: f32,
}

const SUPPORTED: [&str; 2] = ["swish", "relu"];
const EOS: Token = 0;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity").join(name)
}

fn expected(name: &str) -> Expected {
    serde_json::from_slice(&std::fs::read(folder(name).join("expected.json")).unwrap()).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let difference = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(difference <= tolerance * largest, "{what}: differs by {difference} of {largest}");
}

fn step(model: &mut CandleMarian, state: &mut CandleState, tokens: &[Token]) -> Result<Vec<f32>> {
    let mut logits = Logits::default();
    model.step(&mut [Row::new(state, tokens)], &mut logits)?;
    Ok(logits.row(0).to_vec())
}

#[test]
fn encoder_and_logits_are_those_of_transformers() {
    for name in SUPPORTED {
        let (expected, mut model) = (expected(name), CandleMarian::open(folder(name)).unwrap());
        let tensors = Weights::open(folder(name).join("expected.safetensors")).unwrap();
        for (i, case) in expected.cases.iter().enumerate() {
            let mut state = model.encode(&[&case.source]).unwrap().remove(0);
            let encoded = tensors.get(&format!("encoder.{i}")).unwrap().to_f32();
            let found: Vec<f32> = state.encoded.flatten_all().unwrap().to_vec1().unwrap();
            assert_close(&found, &encoded, expected.tolerance, &format!("{name}: encoder, case {i}"));
            let logits = tensors.get(&format!("logits.{i}")).unwrap().to_f32();
            // All at once, the first without logits, then one by one.
            for (skipped, want) in [(0, Want::All), (0, Want::Last), (1, Want::All)] {
                if case.decoder_input.len() <= skipped {
                    continue;
                }
                let (mut state, mut found) = (state.fork(), Logits::default());
                let (before, tokens) = case.decoder_input.split_at(skipped);
                if skipped > 0 {
                    model
                        .step(&mut [Row { state: &mut state, tokens: before, want: Want::Nothing }], &mut found)
                        .unwrap();
                }
                model.step(&mut [Row { state: &mut state, tokens, want }], &mut found).unwrap();
                let count = want.rows(tokens.len());
                for (row, expected_row) in logits.chunks_exact(model.vocab).rev().take(count).enumerate() {
                    let what = format!("{name}: case {i}, {want:?}");
                    assert_close(found.row(count - 1 - row), expected_row, expected.tolerance, &what);
                }
            }
            for (token, row) in case.decoder_input.iter().zip(logits.chunks_exact(model.vocab)) {
                let found = step(&mut model, &mut state, &[*token]).unwrap();
                let what = format!("{name}: case {i} at {}", state.position());
                assert_close(&found, row, expected.tolerance, &what);
            }
        }
    }
}

#[test]
fn greedy_and_beam_results_are_those_of_transformers() {
    for name in SUPPORTED {
        let (expected, mut model) = (expected(name), CandleMarian::open(folder(name)).unwrap());
        let pad = expected.cases[0].decoder_input[0];
        let mut spec = GenerationSpec {
            start: pad,
            eos: EOS,
            suppressed: vec![pad],
            max_tokens: expected.max_length - 1,
            forced_eos: true,
            beam: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            renormalize: true,
        };
        for case in &expected.cases {
            for (beam, hypotheses) in [(1, std::slice::from_ref(&case.greedy)), (4, &case.beam[..])] {
                spec.beam = beam;
                let states = model.encode(&[&case.source]).unwrap();
                let found =
                    generate(&mut model, states, &spec, |_| std::ops::ControlFlow::Continue(())).unwrap().remove(0);
                assert_eq!(found.len(), hypotheses.len());
                for (found, expected) in found.iter().zip(hypotheses) {
                    assert_eq!(expected.tokens.split_last(), Some((&EOS, &found.tokens[..])), "{name}, beam {beam}");
                    assert!((found.score - expected.score).abs() < 1e-4, "{} for {}", found.score, expected.score);
                }
            }
        }
    }
}

#[test]
fn sequences_do_not_influence_each_other() {
    let expected = expected("swish");
    let mut model = CandleMarian::open(folder("swish")).unwrap();
    let sources: Vec<&[Token]> = expected.cases.iter().map(|case| &case.source[..]).collect();
    let mut together = model.encode(&sources).unwrap();
    let mut logits = Logits::default();
    for tokens in [[95, 7], [8, 9], [7, 7]] {
        let mut rows: Vec<_> = together.iter_mut().map(|state| Row::new(state, &tokens)).collect();
        model.step(&mut rows, &mut logits).unwrap();
    }
    for (i, source) in sources.iter().enumerate() {
        let mut alone = model.encode(&[source]).unwrap().remove(0);
        assert_eq!(step(&mut model, &mut alone, &[95, 7, 8, 9, 7, 7]).unwrap().len(), logits.row(i).len());
        // Going back and another way, then the same way again.
        let mut fork = alone.fork();
        assert_eq!(fork.truncate(4), 4);
        step(&mut model, &mut fork, &[50]).unwrap();
        assert_eq!(alone.truncate(4), 4);
        let again = step(&mut model, &mut alone, &[7, 7]).unwrap();
        assert_close(&again, logits.row(i), 1e-5, "alone and together");
    }
}

#[test]
fn old_folders_hold_a_torch_file_only() {
    let old = tempfile::tempdir().unwrap();
    std::fs::copy(folder("swish").join("config.json"), old.path().join("config.json")).unwrap();
    std::fs::copy(folder("pytorch/pytorch_model.bin"), old.path().join("pytorch_model.bin")).unwrap();
    let expected = expected("swish");
    let logits = [old.path(), &folder("swish")].map(|folder| {
        let mut model = CandleMarian::open(folder).unwrap();
        let mut state = model.encode(&[&expected.cases[2].source]).unwrap().remove(0);
        step(&mut model, &mut state, &expected.cases[2].decoder_input).unwrap()
    });
    assert_eq!(logits[0], logits[1]);
}

#[test]
fn what_candle_cannot_do_is_refused_by_key() {
    let refused = |folder: &Path| match CandleMarian::open(folder) {
        Err(Error::Unsupported(what)) => what,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened {}", folder.display()),
    };
    assert!(refused(&folder("separate")).contains("`share_encoder_decoder_embeddings` is false"));
    assert!(refused(&folder("pre-norm")).contains("`normalize_before` is true"));
    let changed = tempfile::tempdir().unwrap();
    std::fs::copy(folder("swish").join("model.safetensors"), changed.path().join("model.safetensors")).unwrap();
    let text = std::fs::read(folder("swish").join("config.json")).unwrap();
    for (key, value) in [
        ("encoder_attention_heads", serde_json::json!(2)),
        ("activation_function", "mish".into()),
        ("tie_word_embeddings", false.into()),
        ("model_type", "bart".into()),
        ("max_position_embeddings", 0.into()),
        ("d_model", 0.into()),
    ] {
        let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        config[key] = value;
        std::fs::write(changed.path().join("config.json"), config.to_string()).unwrap();
        let what = refused(changed.path());
        assert!(what.contains(&format!("`{key}` is ")), "{what}");
    }
}

#[test]
fn bad_files_and_requests_are_typed_errors() {
    let mut model = CandleMarian::open(folder("swish")).unwrap();
    let mut state = model.encode(&[&[5, EOS]]).unwrap().remove(0);
    for tokens in [&[96][..], &[], &[1; 65]] {
        assert!(matches!(step(&mut model, &mut state, tokens), Err(Error::BadRequest(_))), "{tokens:?}");
        assert!(matches!(model.encode(&[tokens]), Err(Error::BadRequest(_))), "{tokens:?}");
        assert_eq!(state.position(), 0);
    }
    let changed = tempfile::tempdir().unwrap();
    std::fs::copy(folder("swish").join("model.safetensors"), changed.path().join("model.safetensors")).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder("swish").join("config.json")).unwrap()).unwrap();
    config["decoder_ffn_dim"] = 96.into();
    std::fs::write(changed.path().join("config.json"), config.to_string()).unwrap();
    let error = CandleMarian::open(changed.path()).err().unwrap().to_string();
    assert!(error.contains("model.decoder.layers.0.fc1.weight") && error.contains("[96, 32]"), "{error}");
    let missing = tempfile::tempdir().unwrap();
    assert!(matches!(CandleMarian::open(missing.path()), Err(Error::Io { action: "read", .. })));
}
