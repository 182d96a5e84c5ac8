//! The tiny random models of `models/parity/lm`, variants of them, and the binary that runs them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use babil_runtime::weights::gguf::{TensorHeader, Value, Writer};
use babil_runtime::weights::{Encoding, Weights};
use tempfile::TempDir;

/// In the manner of the models that people have; the vocabulary has no other marks.
pub(crate) const TEMPLATE: &str = "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}\
                            {% if add_generation_prompt %}<s>assistant {% endif %}";

/// Characters that JSON needs, in place of the vocabulary's capitals.
const SYMBOLS: &[u8; 26] = b"0123456789{}[]\":,.<>|/-+_!";

pub(crate) fn babil(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_babil"));
    command.args(args).stdin(Stdio::null()).env_remove("BABIL_LOG").env_remove("BABIL_ISA");
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    babil(args).output().unwrap()
}

pub(crate) fn run_with_stdin(args: &[&str], stdin: &[u8]) -> Output {
    let mut command = babil(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // The command may end before it has read everything.
    let writer = thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
pub(crate) fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
}

/// The one line of JSON on stdout.
#[track_caller]
pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

pub(crate) fn interrupt(child: &std::process::Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// The folder of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/lm").join(name)
}

/// The GGUF file of a fixture.
pub(crate) fn model(name: &str) -> String {
    fixture(name).join("model.gguf").to_str().unwrap().to_owned()
}

/// A tensor to write: name, shape, bytes of float32.
pub(crate) type Tensor = (String, Vec<usize>, Vec<u8>);

/// A place for files of a test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The fixture `from` with other metadata and tensors.
    pub(crate) fn variant(
        &self,
        from: &str,
        name: &str,
        metadata: &[(&str, Value<'_>)],
        change: impl FnOnce(&mut Vec<Tensor>),
    ) -> String {
        let weights = Weights::open(model(from)).unwrap();
        let own = weights.gguf_metadata().unwrap().iter();
        let own = own.filter(|(key, _)| metadata.iter().all(|(other, _)| other != key));
        let entries: Vec<_> = own.chain(metadata.iter().copied()).collect();
        let tensors = weights.iter().map(|(name, t)| (name.to_owned(), t.shape().to_vec(), t.bytes().to_vec()));
        let mut tensors: Vec<Tensor> = tensors.collect();
        change(&mut tensors);
        let header = |(name, shape, _): &Tensor| TensorHeader {
            name: name.clone(),
            encoding: Encoding::F32,
            shape: shape.clone(),
        };
        let headers: Vec<_> = tensors.iter().map(header).collect();
        let mut writer = Writer::new(Vec::new(), &entries, &headers, 32).unwrap();
        tensors.iter().for_each(|(_, _, bytes)| writer.write(bytes).unwrap());
        self.write(name, writer.finish().unwrap())
    }

    /// The fixture `from` with a chat template.
    pub(crate) fn with_template(&self, from: &str, template: &str) -> String {
        self.variant(from, "chat.gguf", &[("tokenizer.chat_template", Value::Str(template.as_bytes()))], |_| ())
    }

    /// The llama fixture with [`SYMBOLS`] in its vocabulary.
    pub(crate) fn with_symbols(&self) -> String {
        let mut bytes = std::fs::read(model("llama")).unwrap();
        // A string is its length in eight bytes, and its bytes.
        let capital = |letter: u8| [&1u64.to_le_bytes()[..], &[letter]].concat();
        let first = [capital(b'A'), capital(b'B'), capital(b'C')].concat();
        let at = bytes.windows(first.len()).position(|window| window == first).unwrap();
        for (letter, symbol) in bytes[at..].chunks_exact_mut(9).zip(SYMBOLS) {
            letter[8] = *symbol;
        }
        self.write("symbols.gguf", bytes)
    }
}
