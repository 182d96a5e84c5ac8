//! Hugging Face folders as GGUF files: the tiny random models of `parity/lm`, every family of them. The same tensors and
//! keys as in the GGUF files beside them, which were compared with those of llama.cpp's converter, the same logits and
//! the same tokens as the folder's.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families;
use babil_models::quantize::{Mix, Options, Written, quantize_gguf};
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row, Want};
use babil_runtime::plan::DecoderPlan;
use babil_runtime::session::{DecoderSession, KvType};
use babil_runtime::text::Marks;
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::gguf::Value as Meta;
use babil_runtime::weights::{Encoding, TensorToWrite, Weights, quantized, write_safetensors};
use babil_runtime::{Result, Token};
use serde_json::{Value, json};
use support::{MODELS, parity};
use tempfile::TempDir;

/// Positions of a text; LongRoPE chooses its factors by it.
const CONTEXT: usize = 96;
const TEMPLATE: &str = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}";

/// A folder of the model `name`, and a place for the file that is made of it.
struct Folder(TempDir);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::create_dir(folder.path("model")).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(parity(name, file), folder.path("model").join(file)).unwrap();
        }
        let theirs = Weights::open(parity(name, "model.gguf")).unwrap();
        folder.write("tokenizer.json", &support::tokenizer_json(theirs.gguf_metadata().unwrap()));
        fs::write(folder.path("model/chat_template.jinja"), TEMPLATE).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, json: &Value) {
        fs::write(self.path("model").join(name), json.to_string()).unwrap();
    }

    /// The model's config.json with other values.
    fn configure(&self, changes: Value) {
        let path = self.path("model/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        fs::write(path, config.to_string()).unwrap();
    }

    fn quantize(&self, mix: &str, force: bool) -> Result<Written> {
        let options = Options { mix: Mix::named(mix).unwrap(), force, threads: 2 };
        quantize_gguf(&self.path("model"), &self.path("out.gguf"), &options, &mut |_| ControlFlow::Continue(()))
    }

    /// What is said of the folder, which cannot be a GGUF file.
    fn refused(&self) -> String {
        let error = self.quantize("f32", false).unwrap_err().to_string();
        assert!(!self.path("out.gguf").exists());
        error.replace(self.0.path().to_str().unwrap(), "FOLDER")
    }
}

/// Logits after every token of `tokens`, `[tokens, vocab]`.
fn logits(path: &Path, tokens: &[Token]) -> Vec<Vec<f32>> {
    let opened = families::open(path, Some(CONTEXT)).unwrap();
    let plan = DecoderPlan::new(opened.language.spec, &opened.weights, &*opened.language.names, Kernels::detect());
    let mut session = DecoderSession::new(Arc::new(plan.unwrap()), Arc::new(ThreadPool::new(1)), KvType::F32).unwrap();
    let (mut state, mut logits) = (session.sequence(), Logits::default());
    session.step(&mut [Row { state: &mut state, tokens, want: Want::All }], &mut logits).unwrap();
    (0..tokens.len()).map(|row| logits.row(row).to_vec()).collect()
}

/// The largest difference, relative to the row's largest value.
fn worst(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let row = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
        let largest = expected.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest);
        // A NaN is a difference too.
        differences.fold(0f32, |worst, d| if d <= worst { worst } else { d })
    };
    found.iter().zip(expected).map(row).fold(0.0, f32::max)
}

/// The tokens of the longest case.
fn tokens(name: &str) -> Vec<Token> {
    let expected: Value = serde_json::from_slice(&fs::read(parity(name, "expected.json")).unwrap()).unwrap();
    serde_json::from_value(expected["cases"][0]["tokens"].clone()).unwrap()
}

#[test]
fn a_folder_and_its_file_compute_the_same() {
    for name in MODELS {
        let folder = Folder::new(name);
        folder.quantize("f32", false).unwrap();
        let tokens = tokens(name);
        let expected = logits(&folder.path("model"), &tokens);
        let found = logits(&folder.path("out.gguf"), &tokens);
        let difference = worst(&found, &expected);
        assert!(difference <= 1e-5, "{name}: logits differ by {difference}");
        // Short and long factors are both there.
        let longer = families::open(&folder.path("model"), None).unwrap().language.spec;
        let again = families::open(&folder.path("out.gguf"), None).unwrap().language.spec;
        assert_eq!(again.stack.max_positions, longer.stack.max_positions);
    }
}

/// Keys that the converter writes where they say what is true without them, or that say the same by another key.
const OTHERWISE: [(&str, &str); 7] = [
    ("hunyuan-dense", "rope.scaling.type"),
    ("hunyuan-dense", "rope.scaling.factor"),
    ("hunyuan-dense", "rope.scaling.original_context_length"),
    // The converter knows configurations that are wrong.
    ("hunyuan-dense", "context_length"),
    ("bitnet", "rope.scaling.type"),
    ("bitnet", "rope.scaling.factor"),
    // Ours is `rope.scaling.attn_factor`.
    ("ministral3", "rope.scaling.yarn_log_multiplier"),
];

#[test]
fn tensors_and_keys_are_those_of_the_converter() {
    for name in MODELS {
        let folder = Folder::new(name);
        let written = folder.quantize("f32", false).unwrap();
        assert_eq!(written.tensors.keys().collect::<Vec<_>>(), ["float32"]);
        let [ours, theirs] = [folder.path("out.gguf"), parity(name, "model.gguf")].map(|p| Weights::open(p).unwrap());
        let names = |weights: &Weights| weights.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{name}");
        for (tensor, theirs) in theirs.iter() {
            let ours = ours.get(tensor).unwrap();
            assert_eq!(ours.shape(), theirs.shape(), "{name}: {tensor}");
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs();
            assert!(ours.to_f32().iter().zip(&theirs.to_f32()).all(near), "{name}: {tensor}");
        }
        let [ours, theirs] = [&ours, &theirs].map(|weights| weights.gguf_metadata().unwrap());
        let architecture: &str = theirs.expect("general.architecture").unwrap();
        for (key, theirs) in theirs.iter() {
            let key_of_architecture = key.strip_prefix(architecture).and_then(|rest| rest.strip_prefix('.'));
            let otherwise = key_of_architecture.is_some_and(|key| OTHERWISE.contains(&(name, key)));
            // Merges tell the order of scores, not their values.
            if otherwise || matches!(key, "general.name" | "tokenizer.ggml.scores") {
                continue;
            }
            let ours = ours.get(key).unwrap_or_else(|| panic!("{name}: {key} is missing"));
            match (ours, theirs) {
                (Meta::F32(a), Meta::F32(b)) => {
                    assert!((a - b).abs() <= 1e-6 * b.abs(), "{name}: {key} is {a} instead of {b}");
                }
                _ => assert_eq!(ours.to_string(), theirs.to_string(), "{name}: {key}"),
            }
        }
        assert_eq!(ours.expect::<&str>("general.name").unwrap(), "model");
        assert_eq!(ours.expect::<&str>("tokenizer.chat_template").unwrap(), TEMPLATE);
    }
}

#[test]
fn texts_are_the_same_tokens() {
    for name in ["llama", "gemma3"] {
        let folder = Folder::new(name);
        folder.quantize("q8_0", false).unwrap();
        let [hub, file] = [folder.path("model"), folder.path("out.gguf")].map(|path| {
            let weights = families::open(&path, None).unwrap().weights;
            families::tokenizer(&path, &weights).unwrap()
        });
        for text in ["", "the train on time", "  an ant\n", "Nothing else<s>", "<unk>eat </s>tea"] {
            for marks in [Marks::AsText, Marks::Parse] {
                assert_eq!(hub.encode(text, marks).unwrap(), file.encode(text, marks).unwrap(), "{text:?}");
                assert_eq!(hub.prompt(text, marks).unwrap(), file.prompt(text, marks).unwrap(), "{text:?}");
            }
        }
        assert_eq!(hub.special(), file.special());
    }
}

#[test]
fn shards_and_types_do_not_matter() {
    let folder = Folder::new("qwen3");
    folder.quantize("q4_k_m", false).unwrap();
    let whole = fs::read(folder.path("out.gguf")).unwrap();
    // The same from float32 by way of a file, as llama.cpp does it.
    folder.quantize("f32", true).unwrap();
    fs::rename(folder.path("out.gguf"), folder.path("float.gguf")).unwrap();
    let options = Options { mix: Mix::named("q4_k_m").unwrap(), force: true, threads: 1 };
    let (from, to) = (folder.path("float.gguf"), folder.path("again.gguf"));
    quantize_gguf(&from, &to, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(fs::read(&to).unwrap(), whole);

    // In shards: one for the first half of the tensors, one for the others.
    let weights = Weights::open(folder.path("model/model.safetensors")).unwrap();
    let names: Vec<&str> = weights.iter().map(|(name, _)| name).collect();
    let shard = |index: usize| format!("model-0000{index}-of-00002.safetensors");
    let mut map = BTreeMap::new();
    for (index, names) in (1..).zip([&names[..names.len() / 2], &names[names.len() / 2..]]) {
        let tensors: Vec<_> = names.iter().map(|name| (name.to_string(), false)).collect();
        let tensors = quantized(&weights, &tensors, None);
        let mut file = fs::File::create(folder.path("model").join(shard(index))).unwrap();
        write_safetensors(&mut file, &tensors, &BTreeMap::new()).unwrap();
        map.extend(names.iter().map(|name| (name.to_string(), shard(index))));
    }
    folder.write("model.safetensors.index.json", &json!({"weight_map": map}));
    fs::remove_file(folder.path("model/model.safetensors")).unwrap();
    folder.quantize("q4_k_m", true).unwrap();
    assert_eq!(fs::read(folder.path("out.gguf")).unwrap(), whole);
}

/// What a model does not read is not in its file, whatever it is called.
#[test]
fn other_tensors_of_a_folder_are_left_out() {
    let folder = Folder::new("llama");
    folder.quantize("f32", false).unwrap();
    let expected = fs::read(folder.path("out.gguf")).unwrap();
    let weights = Weights::open(folder.path("model/model.safetensors")).unwrap();
    let names: Vec<_> = weights.iter().map(|(name, _)| (name.to_owned(), false)).collect();
    let mut tensors = quantized(&weights, &names, None);
    let others =
        [".weight", ".bias", "", "vision.patch.weight", "model.layers.0.self_attn.k_proj.bias", "model.norm.bias"];
    tensors.extend(others.map(|name| TensorToWrite {
        name: name.to_owned(),
        encoding: Encoding::F32,
        shape: vec![3],
        content: Box::new(|out| out.write_all(&[0; 12])),
    }));
    let mut file = fs::File::create(folder.path("model/new.safetensors")).unwrap();
    write_safetensors(&mut file, &tensors, &BTreeMap::new()).unwrap();
    fs::rename(folder.path("model/new.safetensors"), folder.path("model/model.safetensors")).unwrap();
    folder.quantize("f32", true).unwrap();
    assert!(fs::read(folder.path("out.gguf")).unwrap() == expected);
}

#[test]
fn what_cannot_be_a_gguf_file_is_said() {
    let mut messages = Vec::new();
    let mut refused = |name: &str, change: &dyn Fn(&Folder)| {
        let folder = Folder::new(name);
        change(&folder);
        messages.push(folder.refused());
    };
    let remove = |file: &'static str| move |folder: &Folder| fs::remove_file(folder.path("model").join(file)).unwrap();
    refused("llama", &remove("config.json"));
    refused("llama", &remove("tokenizer.json"));
    refused("llama", &remove("model.safetensors"));
    refused("llama", &|folder| folder.configure(json!({"model_type": "abacus"})));
    refused("llama", &|folder| folder.configure(json!({"num_hidden_layers": 4})));
    // A window in a family whose files have none, a layer without positions in another place, a base without a key.
    refused("qwen2", &|folder| folder.configure(json!({"use_sliding_window": true, "max_window_layers": 0})));
    refused("smollm3", &|folder| folder.configure(json!({"no_rope_layers": [1, 0, 1, 1, 1]})));
    refused("gemma3", &|folder| folder.configure(json!({"query_pre_attn_scalar": 24})));
    refused("qwen2", &|folder| {
        folder.write("tokenizer.json", &json!({"model": {"type": "WordPiece", "vocab": {}}}));
    });
    refused("qwen2", &|folder| {
        let theirs = Weights::open(parity("qwen2", "model.gguf")).unwrap();
        let mut json = support::tokenizer_json(theirs.gguf_metadata().unwrap());
        json["model"]["merges"].as_array_mut().unwrap().pop();
        folder.write("tokenizer.json", &json);
    });
    let folder = Folder::new("llama");
    fs::write(folder.path("out.gguf"), "something").unwrap();
    messages.push(folder.quantize("f32", false).unwrap_err().to_string());
    let root = folder.0.path().to_str().unwrap();
    insta::assert_snapshot!(messages.join("\n").replace(root, "FOLDER"));
    assert_eq!(fs::read(folder.path("out.gguf")).unwrap(), b"something");
}
