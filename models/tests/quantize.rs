//! Quantised GGUF files against those of llama.cpp: the same type for every tensor, and the same bytes.
//! `quantize/llama_cpp.py` made the expectations, from the same models.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use babil_models::quantize::{MIXES, Mix, Options, Written, quantize_gguf};
use babil_runtime::weights::gguf::{TensorHeader, Value, Writer};
use babil_runtime::weights::{Encoding, Weights};
use babil_runtime::{Error, Result};
use sha2::{Digest, Sha256};

/// As in the script.
const ROWS: usize = 3;

struct Model {
    width: usize,
    ffn: usize,
    layers: usize,
    heads: u32,
    kv_heads: u32,
    untied: bool,
}

const NARROW: Model = Model { width: 96, ffn: 256, layers: 17, heads: 3, kv_heads: 1, untied: false };
const WIDE: Model = Model { width: 256, ffn: 384, layers: 9, heads: 8, kv_heads: 2, untied: true };

/// The script's numbers: in -1..1, with a few large ones.
fn weights(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| {
        let bits = ((i + seed * 1_000_003) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let value = bits as f32 / (1 << 23) as f32 - 1.0;
        value * value * value
    };
    (0..count).map(value).collect()
}

impl Model {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = BTreeMap::new();
        shapes.insert("token_embd.weight".to_owned(), vec![ROWS, self.width]);
        shapes.insert("output_norm.weight".to_owned(), vec![self.width]);
        match self.untied {
            true => shapes.insert("output.weight".to_owned(), vec![ROWS, self.width]),
            false => shapes.insert("blk.0.odd.weight".to_owned(), vec![ROWS, 24]),
        };
        for layer in 0..self.layers {
            for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"] {
                shapes.insert(format!("blk.{layer}.{name}.weight"), vec![ROWS, self.width]);
            }
            shapes.insert(format!("blk.{layer}.ffn_down.weight"), vec![ROWS, self.ffn]);
            shapes.insert(format!("blk.{layer}.attn_norm.weight"), vec![self.width]);
        }
        shapes
    }

    /// Writes the model; `change` may make its weights bad.
    fn write(&self, path: &Path, change: impl Fn(&str, &mut [f32])) {
        let metadata = [
            ("general.architecture", Value::Str(b"llama")),
            ("general.file_type", Value::U32(0)),
            ("llama.block_count", Value::U32(self.layers as u32)),
            ("llama.attention.head_count", Value::U32(self.heads)),
            ("llama.attention.head_count_kv", Value::U32(self.kv_heads)),
            ("split.count", Value::U16(1)),
        ];
        let shapes = self.shapes();
        let header = |(name, shape): (&String, &Vec<usize>)| TensorHeader {
            name: name.clone(),
            encoding: Encoding::F32,
            shape: shape.clone(),
        };
        let headers: Vec<TensorHeader> = shapes.iter().map(header).collect();
        let mut writer = Writer::new(Vec::new(), &metadata, &headers, 32).unwrap();
        for (seed, (name, shape)) in shapes.iter().enumerate() {
            let mut values = weights(shape.iter().product(), seed);
            change(name, &mut values);
            writer.write(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        }
        std::fs::write(path, writer.finish().unwrap()).unwrap();
    }
}

fn quantize(from: &Path, to: &Path, mix: &str, force: bool) -> Result<Written> {
    let options = Options { mix: Mix::named(mix).unwrap(), force, threads: 2 };
    quantize_gguf(from, to, &options, &mut |_| ControlFlow::Continue(()))
}

/// The number of an encoding in GGUF.
fn type_id(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Bf16 => 30,
        Encoding::Blocks(block) | Encoding::Packed(block) => block.ggml_id().unwrap(),
    }
}

#[derive(serde::Deserialize)]
struct Expected {
    types: String,
    sha256: String,
}

#[test]
fn mixes_are_those_of_llama_cpp() {
    let expected: BTreeMap<String, BTreeMap<String, Expected>> =
        serde_json::from_str(include_str!("quantize/expected.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    for (model, name) in [(NARROW, "narrow"), (WIDE, "wide")] {
        model.write(&from, |_, _| ());
        for mix in MIXES {
            quantize(&from, &to, mix.name, true).unwrap();
            // llama.cpp has nothing to put in place of Q1_0 where rows are not whole blocks.
            let Some(expected) = expected[name].get(mix.name) else {
                assert_eq!((name, mix.name), ("narrow", "q1_0"));
                continue;
            };
            let found = Weights::open(&to).unwrap();
            let metadata = found.gguf_metadata().unwrap();
            assert_eq!(metadata.expect::<u32>("general.file_type").unwrap(), mix.file_type);
            assert!(metadata.get("split.count").is_none());
            let types: Vec<String> = found.iter().map(|(_, t)| type_id(t.encoding()).to_string()).collect();
            assert_eq!(types.join(" "), expected.types, "{name} {}", mix.name);
            // The script's bytes of a tensor include what pads it to 32.
            let mut hash = Sha256::new();
            for (_, tensor) in found.iter() {
                let mut bytes = tensor.bytes().to_vec();
                bytes.resize(bytes.len().next_multiple_of(32), 0);
                hash.update(bytes);
            }
            let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, expected.sha256, "{name} {}", mix.name);
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_said_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (from, to) = (path("in.gguf"), path("out.gguf"));
    let said = |error: Error| error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER");
    let mut messages = Vec::new();
    for bad in [f32::NAN, f32::INFINITY, 1e6] {
        NARROW.write(&from, |name, values| {
            if name == "blk.3.ffn_up.weight" {
                values[100] = bad;
            }
        });
        messages.push(said(quantize(&from, &to, "q4_k_m", false).unwrap_err()));
    }
    quantize(&from, &path("bf16.gguf"), "bf16", false).unwrap();

    WIDE.write(&from, |_, _| ());
    let options = Options { mix: Mix::named("q8_0").unwrap(), force: false, threads: 1 };
    let mut calls = 0;
    let cancelled = quantize_gguf(&from, &to, &options, &mut |_| {
        calls += 1;
        if calls == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    messages.push(said(cancelled.unwrap_err()));
    messages.push(said(quantize(&from, &path("absent/out.gguf"), "q8_0", false).unwrap_err()));
    assert!(!to.exists());

    quantize(&from, &to, "q8_0", false).unwrap();
    let whole = std::fs::read(&to).unwrap();
    messages.push(said(quantize(&from, &to, "q4_0", false).unwrap_err()));
    messages.push(said(quantize(&to, &path("again.gguf"), "q4_0", false).unwrap_err()));
    // Nothing is quantised twice: what has its type already is copied.
    quantize(&to, &path("again.gguf"), "q8_0", false).unwrap();
    assert_eq!(std::fs::read(path("again.gguf")).unwrap(), whole);
    std::fs::write(&from, b"{}").unwrap();
    messages.push(said(quantize(&from, &to, "q8_0", true).unwrap_err()));
    assert_eq!(std::fs::read(&to).unwrap(), whole);
    insta::assert_snapshot!(messages.join("\n"));

    // No temporary files.
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["again.gguf", "bf16.gguf", "in.gguf", "out.gguf"]);
}
