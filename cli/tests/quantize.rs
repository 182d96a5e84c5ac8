//! `babil quantize` of GGUF files with the real binary. What it writes is tested in babil-models.
#![cfg(unix)]

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
        said(&[folder.path().to_str().unwrap(), &to, "--type", "q4_k_m"], 2),
    ];
    insta::assert_snapshot!(messages.concat());
    assert_eq!(
        said(&[&from, &to, "--type", "q9"], 2).lines().next(),
        Some("error: invalid value 'q9' for '--type <TYPE>'")
    );
    assert_eq!(Weights::open(&to).unwrap().get("blk.0.attn_q.weight").unwrap().encoding().to_string(), "q4_0");
}
