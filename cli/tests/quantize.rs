//! `babil quantize` of language models with the real binary. What it writes is tested in babil-models.
#![cfg(unix)]

#[path = "../../models/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use babil_runtime::weights::gguf::{TensorHeader, Value, Writer};
use babil_runtime::weights::{Encoding, Weights};

fn quantize(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_babil"));
    command.arg("quantize").args(args).stdin(Stdio::null()).env_remove("BABIL_LOG").output().unwrap()
}

/// A model with one matrix of 2 rows and one vector, of ones.
fn write_model(path: &Path) {
    let metadata = [("general.architecture", Value::Str(b"llama")), ("llama.block_count", Value::U32(1))];
    let header = |name: &str, shape: &[usize]| TensorHeader {
        name: name.to_owned(),
        encoding: Encoding::F32,
        shape: shape.to_vec(),
    };
    let headers = [header("blk.0.attn_q.weight", &[2, 256]), header("output_norm.weight", &[256])];
    let mut writer = Writer::new(Vec::new(), &metadata, &headers, 32).unwrap();
    writer.write(&1f32.to_le_bytes().repeat(512)).unwrap();
    writer.write(&1f32.to_le_bytes().repeat(256)).unwrap();
    std::fs::write(path, writer.finish().unwrap()).unwrap();
}

#[test]
fn a_gguf_file_is_quantised_and_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (path("in.gguf"), path("out.gguf"));
    write_model(Path::new(&from));

    let output = quantize(&[&from, &to, "--type", "q4_k_m", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = std::fs::metadata(&to).unwrap().len();
    let expected = serde_json::json!({
        "file": to, "type": "q4_k_m", "bytes": bytes, "tensors": { "q4_k": 1, "float32": 1 },
    });
    assert_eq!(report, expected);

    let said = |args: &[&str], code: i32| {
        let output = quantize(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(code), &b""[..]), "{stderr}");
        stderr.replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    let messages = [
        said(&[&from, &to], 5),
        said(&[&from, &to, "--force", "--type", "q4_0"], 0),
        said(&[&from, &path("pure.gguf"), "--type", "q3_k_m", "--pure"], 0),
        said(&[&to, &path("again.gguf"), "--type", "q5_0"], 4),
        said(&[&path("absent.gguf"), &to], 7),
        said(&[folder.path().to_str().unwrap(), &to], 4),
    ];
    insta::assert_snapshot!(messages.concat());
    assert_eq!(
        said(&[&from, &to, "--type", "q9"], 2).lines().next(),
        Some("error: invalid value 'q9' for '--type <TYPE>'")
    );
    assert_eq!(Weights::open(&to).unwrap().get("blk.0.attn_q.weight").unwrap().encoding().to_string(), "q4_0");
}

#[test]
fn a_folder_becomes_a_gguf_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (folder, to) = (path("tiny-qwen3"), path("out.gguf"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/lm/qwen3");
    std::fs::create_dir(&folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), Path::new(&folder).join(file)).unwrap();
    }
    let theirs = Weights::open(fixture.join("model.gguf")).unwrap();
    let tokenizer = support::tokenizer_json(theirs.gguf_metadata().unwrap());
    std::fs::write(Path::new(&folder).join("tokenizer.json"), tokenizer.to_string()).unwrap();

    let output = quantize(&[&folder, &to, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = std::fs::metadata(&to).unwrap().len();
    // Three layers of seven matrices, one for the tokens and one for the output, of which those with rows of 40 are
    // not whole blocks; four norms in a layer and one at the end.
    let tensors = serde_json::json!({ "q8_0": 20, "float16": 3, "float32": 13 });
    assert_eq!(report, serde_json::json!({ "file": to, "type": "q8_0", "bytes": bytes, "tensors": tensors }));
    let name: String = {
        let weights = Weights::open(&to).unwrap();
        weights.gguf_metadata().unwrap().expect::<&str>("general.name").unwrap().to_owned()
    };
    assert_eq!(name, "tiny-qwen3");
    let run = Command::new(env!("CARGO_BIN_EXE_babil")).args(["run", &to, "-n", "3", "once"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));

    let before = std::fs::read(&to).unwrap();
    let mut messages = String::new();
    let mut check = |code: i32, output: Output| {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        messages += &stderr.replace(scratch.path().to_str().unwrap(), "FOLDER");
    };
    check(5, quantize(&[&folder, &to]));
    // A limit on the size of files is the full disk that needs no privileges.
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_babil")])
        .args(["quantize", &folder, &to, "--force"])
        .output();
    check(7, full.unwrap());
    let change = |name: &str, value: &str| {
        let config = std::fs::read_to_string(fixture.join("config.json")).unwrap();
        let config = config.replace(&format!("\"{name}\": "), &format!("\"{name}\": {value}, \"_name_or_path\": "));
        std::fs::write(Path::new(&folder).join("config.json"), config).unwrap();
    };
    change("model_type", "\"gpt_oss\"");
    check(4, quantize(&[&folder, &to, "--force"]));
    change("model_type", "\"qwen3\"");
    std::fs::remove_file(Path::new(&folder).join("tokenizer.json")).unwrap();
    check(4, quantize(&[&folder, &to, "--force"]));
    change("model_type", "\"marian\"");
    check(2, quantize(&[&folder, &path("folder"), "--type", "q4_k_m"]));
    insta::assert_snapshot!(messages);
    assert_eq!(std::fs::read(&to).unwrap(), before);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2, "nothing half written is left");
}
