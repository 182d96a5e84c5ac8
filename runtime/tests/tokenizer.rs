//! Tokenizers of language models against other implementations.
//!
//! `BABIL_VOCAB_DIR` names a folder of GGUF vocabularies with texts (`NAME.gguf.inp`) and the ids that the models' own
//! tokenizers make of them (`NAME.gguf.out`), as llama.cpp's `models` folder has them; all are checked. Without it, only
//! the small ones in `tests/tokenizer` are.

use std::path::{Path, PathBuf};

use babil_runtime::text::{DecodeState, Detokenize, Marks, Tokenizer};
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result, Token};

fn open(path: &Path) -> Result<Tokenizer> {
    Tokenizer::from_gguf(Weights::open(path)?.gguf_metadata().expect("a GGUF file"))
}

/// Vocabularies in `folder` that have vectors.
fn vocabularies(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).collect();
    files.retain(|path| path.with_extension("gguf.out").exists());
    files.sort();
    files
}

/// The texts and ids beside a vocabulary.
fn vectors(path: &Path) -> Vec<(String, Vec<Token>)> {
    let texts = std::fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
    let mut texts: Vec<_> = texts.split("\n__ggml_vocab_test__\n").collect();
    if texts.last() == Some(&"") {
        texts.pop();
    }
    let ids = std::fs::read_to_string(path.with_extension("gguf.out")).unwrap();
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect());
    let ids: Vec<Vec<Token>> = ids.collect();
    assert_eq!(texts.len(), ids.len(), "{}", path.display());
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

fn check(path: &Path) {
    let tokenizer = match open(path) {
        Ok(tokenizer) => tokenizer,
        Err(Error::Unsupported(problem)) => return eprintln!("left out: {problem}"),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    for (text, expected) in vectors(path) {
        let ids = tokenizer.encode(&text, Marks::AsText).unwrap();
        assert_eq!(ids, expected, "{}: {text:?}", path.display());
        let decoded = tokenizer.decode(&ids);
        assert_eq!(decoded, text, "{}", path.display());
    }
    eprintln!("{}: as expected", path.display());
}

#[test]
fn other_peoples_vectors() {
    let Some(folder) = std::env::var_os("BABIL_VOCAB_DIR") else {
        return eprintln!("BABIL_VOCAB_DIR is not set: no large vocabularies to check");
    };
    let files = vocabularies(Path::new(&folder));
    assert!(!files.is_empty(), "no NAME.gguf with NAME.gguf.out in {}", Path::new(&folder).display());
    files.iter().for_each(|path| check(path));
}
