//! Whisper models of the native backend against transformers, on the tiny random models of `parity/speech` (see its
//! README): encoder output and logits within 1e-4 of the row's largest value, on every instruction set this machine has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families::whisper::{Config, Names};
use babil_models::files::ModelFiles;
use babil_runtime::Token;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row, SpeechModel, Want};
use babil_runtime::plan::EncoderDecoderPlan;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::Weights;
use serde::Deserialize;

const MODELS: [&str; 1] = ["tiny"];
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    window: Window,
}

/// A window whose encoder output and logits are known.
#[derive(Deserialize)]
struct Window {
    frames: [usize; 2],
    encoder_rows: Vec<usize>,
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
    weights: Weights,
    expected: Expected,
    tensors: Weights,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/speech").join(name)
}

impl Fixture {
    fn open(name: &str) -> Self {
        let files = ModelFiles::Folder(folder(name));
        Self {
            config: files.json("config.json").unwrap().unwrap(),
            weights: files.weights().unwrap(),
            expected: files.json("expected.json").unwrap().unwrap(),
            tensors: Weights::open(folder(name).join("expected.safetensors")).unwrap(),
        }
    }

    fn session(&self, kernels: Kernels, threads: usize) -> EncoderDecoderSession {
        let spec = self.config.spec().unwrap();
        let plan = EncoderDecoderPlan::new(spec, &self.weights, &Names::Transformers, kernels).unwrap();
        EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(threads)), KvType::F32).unwrap()
    }

    /// Some frames of the sound, `[features, count]`.
    fn frames(&self, [first, end]: [usize; 2]) -> Vec<f32> {
        let tensor = self.tensors.get("features").unwrap();
        let all = tensor.to_f32();
        all.chunks_exact(tensor.shape()[1]).flat_map(|feature| &feature[first..end]).copied().collect()
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
                let frames = fixture.frames(window.frames);
                let expected = fixture.tensors.get("encoder").unwrap();
                let dim = expected.shape()[1];
                let output = session.encoder_output_of_frames(&frames).unwrap();
                let found = rows_of(&output, dim, &window.encoder_rows);
                let difference = largest_difference(&found, &expected.to_f32(), dim);
                assert!(difference < TOLERANCE, "{name}: encoder output differs by {difference}");
                for (i, forced) in window.forced.iter().enumerate() {
                    let mut state = session.listen(&frames).unwrap();
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
