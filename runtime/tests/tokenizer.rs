//! Tokenizers of language models against other implementations.
//!
//! `BABIL_VOCAB_DIR` names a folder of GGUF vocabularies with texts (`NAME.gguf.inp`) and the ids that the models' own
//! tokenizers make of them (`NAME.gguf.out`), as llama.cpp's `models` folder has them; all are checked. Without it, only
//! the small ones in `tests/tokenizer` are.

#[path = "support/scores_json.rs"]
mod scores_json;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use babil_runtime::text::{DecodeState, DecodeStream, Detokenize, Marks, PieceKind, Tokenizer};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{Array, Entries, Metadata};
use babil_runtime::{Error, Result, Token};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokenizer");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn open_json(name: &str) -> Tokenizer {
    Tokenizer::from_json(&std::fs::read(fixture(name)).unwrap(), name, 1000).unwrap()
}

/// The names of the small vocabularies that have a file of this kind.
fn names(extension: &str) -> Vec<String> {
    let Value::Object(names) = read_json("ids.json") else { panic!() };
    names.into_iter().map(|(name, _)| name).filter(|name| fixture(&format!("{name}.{extension}")).exists()).collect()
}

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

/// Every small vocabulary, from each of its files.
fn small() -> Vec<(String, Tokenizer)> {
    let ggufs = names("gguf").into_iter().map(|name| {
        let tokenizer = open(&fixture(&format!("{name}.gguf"))).unwrap();
        (name, tokenizer)
    });
    let jsons = names("json").into_iter().map(|name| {
        let tokenizer = open_json(&format!("{name}.json"));
        (name, tokenizer)
    });
    ggufs.chain(jsons).collect()
}

/// The ids of each text; none where two tokenizers mean to differ.
type Ids = Vec<Option<Vec<Token>>>;

#[test]
fn ids_are_those_of_other_tokenizers() {
    let texts: Vec<String> = serde_json::from_value(read_json("texts.json")).unwrap();
    // By vocabulary, and by what becomes of marks.
    let ids: BTreeMap<String, BTreeMap<String, Ids>> = serde_json::from_value(read_json("ids.json")).unwrap();
    for (name, tokenizer) in small() {
        for (key, marks) in [("text", Marks::AsText), ("marked", Marks::Parse)] {
            let Some(expected) = ids[&name].get(key) else { continue };
            for (text, expected) in texts.iter().zip(expected) {
                let Some(expected) = expected else { continue };
                let ids = tokenizer.encode(text, marks).unwrap();
                assert_eq!(&ids, expected, "{name}: {text:?}");
                let mut stream = DecodeStream::from_state(&tokenizer, DecodeState::default().showing_marks());
                let streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
                // These vocabularies know one kind of space.
                let spaces = matches!(name.as_str(), "gemma4" | "llama" | "prepend");
                let expected = if spaces { text.replace('▁', " ") } else { text.clone() };
                // Some put a space before what follows an added word, which is then part of the text.
                let same = !text.contains("<tool>") || !matches!(name.as_str(), "llama" | "prepend");
                if marks == Marks::AsText && same {
                    assert_eq!(streamed + &stream.finish(), expected, "{name}");
                }
            }
        }
    }
}

/// Texts of all kinds, most of them hostile.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'", "the", " river", "HTTP", "été", "é", "Ж", "中文", "のです", "세계",
            "नमस्ते", "\u{301}", "\u{200d}", "\u{3000}", "1", "23", "4567", "٣", "½", ".", "...", "!?", "/", "<|im_end|>",
            "<tool>", "<|", "▁", "😀", "👩‍👩‍👧", "\0", "ſ", "ǅ", "aaaaaaaa",
        ]).prop_map(str::to_owned),
        2 => "[ -~]{0,6}",
        1 => any::<String>(),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// How many texts are compared: `BABIL_VOCAB_TEXTS`.
fn cases(default: u32) -> u32 {
    std::env::var("BABIL_VOCAB_TEXTS").map_or(default, |count| count.parse().unwrap())
}

fn compare(label: &str, ours: &Tokenizer, theirs: &mut tokenizers::Tokenizer, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    for marks in [Marks::AsText, Marks::Parse] {
        theirs.set_encode_special_tokens(marks == Marks::AsText);
        let compared = runner.run(&text(), |text| {
            let expected = theirs.encode_fast(text.as_str(), false).unwrap();
            prop_assert_eq!(ours.encode(&text, marks).unwrap(), expected.get_ids());
            Ok(())
        });
        if let Err(problem) = compared {
            panic!("{label}, {marks:?}: {problem}");
        }
    }
}

#[test]
fn ids_are_those_of_the_tokenizers_crate() {
    for name in names("json") {
        let json = std::fs::read(fixture(&format!("{name}.json"))).unwrap();
        let mut theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        compare(&name, &open_json(&format!("{name}.json")), &mut theirs, cases(100));
        if name != "prepend" {
            compare(&name, &open(&fixture(&format!("{name}.gguf"))).unwrap(), &mut theirs, cases(100));
        }
    }
}

/// As Gemma has them: tokens of text, and added once more.
#[test]
fn added_runs_of_spaces_are_found_in_text() {
    let mut json = read_json("gemma4.json");
    let runs: Vec<_> =
        json["model"]["vocab"].as_object().unwrap().iter().filter(|(text, _)| text.starts_with("▁▁")).collect();
    assert!(!runs.is_empty());
    let added = runs.iter().map(|(text, id)| {
        json!({"id": id, "content": text, "special": false, "normalized": false, "single_word": false, "lstrip": false,
            "rstrip": false})
    });
    let added: Vec<_> = added.collect();
    json["added_tokens"].as_array_mut().unwrap().extend(added);
    let json = json.to_string();
    let theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    let ours = Tokenizer::from_json(json.as_bytes(), "tokenizer.json", 1000).unwrap();
    for text in ["a  b", "a   b    c", "       ", "\n   x  \n"] {
        let expected = theirs.encode_fast(text, false).unwrap();
        assert_eq!(ours.encode(text, Marks::AsText).unwrap(), expected.get_ids(), "{text:?}");
    }
}

/// The `tokenizer.json` of a GGUF vocabulary: its tokens and merges in the pipeline of a small one.
fn json_of(path: &Path, pipeline: &str) -> Vec<u8> {
    let weights = Weights::open(path).unwrap();
    let metadata = weights.gguf_metadata().unwrap();
    let array = |key: &str| metadata.expect::<Array<'_>>(&format!("tokenizer.ggml.{key}")).unwrap();
    let strings = |key: &str| array(key).strings().unwrap().map(|text| String::from_utf8(text.to_vec()).unwrap());
    let mut json = read_json(pipeline);
    let (mut vocab, mut added) = (serde_json::Map::new(), Vec::new());
    for ((id, text), kind) in strings("tokens").enumerate().zip(array("token_type").i32s().unwrap()) {
        // Normal ones and bytes.
        if matches!(kind, 1 | 6) {
            vocab.insert(text, json!(id));
        } else {
            added.push(
                json!({"id": id, "content": text, "special": kind != 4, "normalized": false, "single_word": false,
                "lstrip": false, "rstrip": false}),
            );
        }
    }
    json["model"]["vocab"] = Value::Object(vocab);
    json["model"]["merges"] = strings("merges").collect();
    json["added_tokens"] = Value::Array(added);
    serde_json::to_vec(&json).unwrap()
}

#[test]
fn large_vocabularies_are_those_of_the_tokenizers_crate() {
    let Some(folder) = std::env::var_os("BABIL_VOCAB_DIR") else {
        return eprintln!("BABIL_VOCAB_DIR is not set: no large vocabularies to compare");
    };
    for path in vocabularies(Path::new(&folder)) {
        let weights = Weights::open(&path).unwrap();
        let find = |key: &str| weights.gguf_metadata().unwrap().find::<&str>(&format!("tokenizer.ggml.{key}")).unwrap();
        let pipeline = match find("pre").or(find("model")) {
            Some("starcoder" | "refact" | "command-r") => "smollm.json".to_owned(),
            Some(pre) if fixture(&format!("{pre}.json")).exists() => format!("{pre}.json"),
            _ => continue,
        };
        let json = json_of(&path, &pipeline);
        let mut theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        let label = path.display().to_string();
        compare(&label, &open(&path).unwrap(), &mut theirs, cases(100));
        let tokenizer = Tokenizer::from_json(&json, &label, 1 << 20).unwrap();
        compare(&label, &tokenizer, &mut theirs, cases(100));
        match through_gguf(&tokenizer, tokenizer.len()) {
            Ok((again, _)) => compare(&label, &again, &mut theirs, cases(100)),
            Err(problem) => eprintln!("not written: {problem}"),
        }
        eprintln!("{label}: as the tokenizers crate, by {pipeline}");
    }
}

/// Decoding by the definition: all bytes, and every one that belongs to no character replaced.
fn decode_naively(tokenizer: &Tokenizer, ids: &[Token]) -> String {
    let visible =
        |&id: &Token| matches!(tokenizer.kind(id), Some(PieceKind::Normal | PieceKind::Byte | PieceKind::UserDefined));
    let bytes: Vec<u8> =
        ids.iter().copied().filter(visible).flat_map(|id| tokenizer.token_bytes(id).unwrap().to_vec()).collect();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[test]
fn streams_never_split_a_character() {
    for (name, tokenizer) in small() {
        let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
        // One beyond the vocabulary, too: it adds nothing.
        let ids = prop::collection::vec(0..=tokenizer.len() as Token, 0..40);
        let checked = TestRunner::new(config).run(&ids, |ids| {
            let mut stream = DecodeStream::from_state(&tokenizer, DecodeState::within_text());
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            prop_assert_eq!(&streamed, &decode_naively(&tokenizer, &ids));
            // At the beginning, at most a space is missing.
            let decoded = tokenizer.decode(&ids);
            prop_assert!(decoded == streamed || streamed.strip_prefix(' ') == Some(&decoded));
            Ok(())
        });
        if let Err(problem) = checked {
            panic!("{name}: {problem}");
        }
    }
}

#[test]
fn long_words_are_joined_in_time() {
    // Each would take hours if the time grew with the square of the length.
    for (_, tokenizer) in small() {
        for unit in ["a", "ab", "\n", " ", "中", "<", "é"] {
            let text = unit.repeat(100_000);
            let ids = tokenizer.encode(&text, Marks::Parse).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

#[test]
fn a_prompt_begins_once() {
    let llama = open(&fixture("llama.gguf")).unwrap();
    let bos = llama.special().bos.unwrap();
    assert_eq!(llama.prompt("", Marks::Parse).unwrap(), [bos]);
    let ids = llama.prompt("a b", Marks::Parse).unwrap();
    assert_eq!((ids[0], &ids[1..]), (bos, &llama.encode("a b", Marks::Parse).unwrap()[..]));
    // As a template writes it; the same text from a user is text.
    assert_eq!(llama.prompt("<s>a b", Marks::Parse).unwrap(), ids);
    assert_ne!(llama.encode("<s>", Marks::AsText).unwrap(), [bos]);

    let gpt2 = open(&fixture("gpt-2.gguf")).unwrap();
    assert_eq!(gpt2.prompt("a", Marks::Parse).unwrap(), gpt2.encode("a", Marks::Parse).unwrap());
    let error = gpt2.prompt("", Marks::Parse).unwrap_err().to_string();
    assert_eq!(error, "the prompt is empty, and the model has no token for the beginning of a text");
}

#[test]
fn ends_and_marks_are_known() {
    let mut tokenizer = open(&fixture("qwen2.gguf")).unwrap();
    let id = |text: &str| tokenizer.token(text).unwrap();
    let (end, turn, tool) = (id("<|endoftext|>"), id("<|im_end|>"), id("<tool>"));
    assert_eq!((tokenizer.special().eos, tokenizer.special().eot), (Some(end), Some(turn)));
    assert_eq!(tokenizer.special().eog, [end, turn]);
    assert!(tokenizer.is_end(turn) && !tokenizer.is_end(tool));
    assert_eq!((tokenizer.kind(turn), tokenizer.kind(tool)), (Some(PieceKind::Control), Some(PieceKind::UserDefined)));
    assert_eq!(tokenizer.decode(&[id("a"), turn, tool]), "a<tool>");
    assert_eq!((tokenizer.token_bytes(id(" ")), tokenizer.token_bytes(1000)), (Some(&b" "[..]), None));
    let a = id("a");
    tokenizer.set_ends(Some(a), &[tool, 1000], None);
    assert_eq!((tokenizer.special().bos, &tokenizer.special().eog[..]), (Some(a), &[end, turn, tool][..]));
}

#[test]
fn what_is_not_supported_is_named() {
    let problem = |change: &dyn Fn(&mut Value)| {
        let mut json = read_json("qwen2.json");
        change(&mut json);
        Tokenizer::from_json(json.to_string().as_bytes(), "tokenizer.json", 483).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            problem(&|json| json["model"]["type"] = json!("WordPiece")),
            problem(&|json| json["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.5]]})),
            problem(&|json| json["normalizer"] = json!({"type": "Lowercase"})),
            problem(&|json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\w+|\s")),
            problem(&|json| json["pre_tokenizer"] = json!({"type": "Whitespace"})),
            problem(&|json| json["decoder"] = json!({"type": "WordPiece"})),
            problem(&|json| json["model"]["merges"][0] = json!(["a", "<no>"])),
            problem(&|json| json["model"]["merges"][0] = json!("ab")),
            problem(&|json| json["model"]["vocab"]["too far"] = json!(483)),
            problem(&|json| json["model"]["vocab"]["again"] = json!(7)),
            problem(&|json| json["added_tokens"][0]["single_word"] = json!(true)),
            problem(&|json| json["model"] = Value::Null),
        ]
        .join("\n")
    );
}

#[test]
fn a_token_far_away_takes_no_memory() {
    let mut json = read_json("qwen2.json");
    json["model"]["vocab"]["too far"] = json!(u32::MAX);
    let json = json.to_string();
    let error = Tokenizer::from_json(json.as_bytes(), "tokenizer.json", usize::MAX).unwrap_err().to_string();
    let bytes = json.len();
    assert_eq!(
        error,
        format!("tokenizer.json: there is a token 4294967295, more than a file of {bytes} bytes can have")
    );
}

/// A value of metadata.
#[derive(Clone, Copy)]
enum Meta<'a> {
    Text(&'a str),
    Texts(&'a [&'a str]),
    Types(&'a [i32]),
    Scores(&'a [f32]),
}

/// What a GGUF file with these keys `tokenizer.ggml.*` and no tensors is as a tokenizer.
fn gguf(keys: &[(&str, Meta<'_>)]) -> Result<Tokenizer> {
    fn string(file: &mut Vec<u8>, text: &str) {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    }
    fn array(file: &mut Vec<u8>, kind: u32, len: usize) {
        file.extend(9u32.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((len as u64).to_le_bytes());
    }
    let mut file = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        string(&mut file, &format!("tokenizer.ggml.{key}"));
        match value {
            Meta::Text(text) => {
                file.extend(8u32.to_le_bytes());
                string(&mut file, text);
            }
            Meta::Texts(texts) => {
                array(&mut file, 8, texts.len());
                texts.iter().for_each(|text| string(&mut file, text));
            }
            Meta::Types(types) => {
                array(&mut file, 5, types.len());
                file.extend(types.iter().flat_map(|value| value.to_le_bytes()));
            }
            Meta::Scores(scores) => {
                array(&mut file, 6, scores.len());
                file.extend(scores.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    Tokenizer::from_gguf(Weights::from_vec(file, "file.gguf")?.gguf_metadata().unwrap())
}

#[test]
fn damaged_vocabularies_are_refused() {
    use Meta::{Scores, Text, Texts, Types};
    let problem = |keys: &[(&str, Meta<'_>)]| gguf(keys).unwrap_err().to_string();
    let (gpt2, pre, llama) = (("model", Text("gpt2")), ("pre", Text("gpt-2")), ("model", Text("llama")));
    let ab = ("tokens", Texts(&["a", "b"]));
    insta::assert_snapshot!(
        [
            problem(&[]),
            problem(&[("model", Text("bert"))]),
            problem(&[gpt2]),
            problem(&[gpt2, ("pre", Text("new-one"))]),
            problem(&[gpt2, pre]),
            problem(&[gpt2, pre, ("tokens", Types(&[1]))]),
            problem(&[gpt2, pre, ab]),
            problem(&[gpt2, pre, ab, ("token_type", Types(&[1]))]),
            problem(&[gpt2, pre, ab, ("token_type", Types(&[1, 7]))]),
            problem(&[gpt2, pre, ("tokens", Texts(&["a", "a"]))]),
            problem(&[gpt2, pre, ab, ("merges", Texts(&["ab"]))]),
            problem(&[gpt2, pre, ab, ("merges", Texts(&[""]))]),
            problem(&[llama, ("tokens", Texts(&["a", "<0x-1>"])), ("token_type", Types(&[1, 6]))]),
            problem(&[llama, ab]),
            problem(&[llama, ab, ("scores", Scores(&[0.0]))]),
            problem(&[llama, ab, ("scores", Scores(&[0.0, f32::NAN]))]),
        ]
        .join("\n")
    );
}

#[test]
fn small_and_odd_vocabularies_work() {
    use Meta::{Scores, Text, Texts, Types};
    // Characters without token and bytes without token: the unknown token, once for each.
    let llama = gguf(&[
        ("model", Text("llama")),
        ("tokens", Texts(&["<unk>", "<s>", "</s>", "▁", "a", "▁a", "", "aa"])),
        ("scores", Scores(&[0.0, 0.0, 0.0, -3.0, -2.0, -1.0, 0.0, -0.5])),
        ("token_type", Types(&[2, 3, 3, 1, 1, 1, 1, 1])),
    ]);
    let llama = llama.unwrap();
    assert_eq!(llama.encode("aé", Marks::AsText).unwrap(), [5, 0]);
    // The higher score is joined first, the left one of equals.
    assert_eq!(llama.encode("aaaa", Marks::AsText).unwrap(), [3, 7, 7]);
    assert_eq!(llama.encode("</s>a", Marks::Parse).unwrap(), [2, 5]);
    assert_eq!(llama.special().eog, [2]);
    assert_eq!(llama.decode(&[1, 5, 3, 4, 6, 99]), "a a");
    let gpt2 = gguf(&[
        ("model", Text("gpt2")),
        ("pre", Text("gpt-2")),
        ("tokens", Texts(&["a", "Ġ", "Ġa", "</s>"])),
        ("merges", Texts(&["Ġ a"])),
    ]);
    let gpt2 = gpt2.unwrap();
    // What has no token is left out.
    assert_eq!(gpt2.encode("a a\n", Marks::AsText).unwrap(), [0, 2]);
    // A vocabulary that was cut, with merges to and of tokens that it does not have.
    let cut = gguf(&[
        ("model", Text("gpt2")),
        ("pre", Text("gpt-2")),
        ("tokens", Texts(&["a", "b", "c", "bc"])),
        ("merges", Texts(&["a b", "ab c", "b c", "x y", "中 a"])),
    ]);
    assert_eq!(cut.unwrap().encode("abcab", Marks::AsText).unwrap(), [0, 3, 0, 1]);
    // Known by its name, whatever its type.
    assert_eq!((gpt2.kind(3), &gpt2.special().eog[..]), (Some(PieceKind::Control), &[3][..]));
}

/// The tokenizer as a GGUF file says it, and read again.
fn through_gguf(tokenizer: &Tokenizer, rows: usize) -> Result<(Tokenizer, Weights)> {
    let mut entries = Entries::default();
    tokenizer.to_gguf(rows, "tokenizer.json", &mut entries)?;
    let weights = Weights::from_entries("new.gguf".to_owned(), &entries, BTreeMap::new())?;
    Ok((Tokenizer::from_gguf(weights.gguf_metadata().unwrap())?, weights))
}

/// That two tokenizers make the same of any text.
fn same_ids(name: &str, one: &Tokenizer, other: &Tokenizer) {
    let config = ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&text(), |text| {
        for marks in [Marks::AsText, Marks::Parse] {
            let ids = one.encode(&text, marks).unwrap();
            prop_assert_eq!(&ids, &other.encode(&text, marks).unwrap());
            prop_assert_eq!(one.decode(&ids), other.decode(&ids));
        }
        Ok(())
    });
    if let Err(problem) = checked {
        panic!("{name}: {problem}");
    }
}

#[test]
fn gguf_keys_say_what_tokenizer_json_says() {
    for name in names("json") {
        let mut tokenizer = open_json(&format!("{name}.json"));
        // Its merges were not made from scores.
        if matches!(name.as_str(), "gemma4" | "prepend") {
            continue;
        }
        let id = |text: &str| tokenizer.token(text);
        let (bos, ends, pad) = (id("a"), [id("<|im_end|>").unwrap(), id("<tool>").unwrap()], id("b"));
        tokenizer.set_ends(bos, &ends, pad);
        let (again, weights) = through_gguf(&tokenizer, tokenizer.len() + 2).unwrap();
        same_ids(&name, &tokenizer, &again);
        // An end that has no name is that of a message.
        let mut special = tokenizer.special().clone();
        special.eom = Some(ends[1]);
        assert_eq!(again.special(), &special, "{name}");
        for id in 0..tokenizer.len() as Token {
            assert_eq!(again.kind(id), tokenizer.kind(id));
            assert_eq!(again.token_bytes(id), tokenizer.token_bytes(id));
        }
        // A token for every row of the model.
        assert_eq!(again.len(), tokenizer.len() + 2);
        assert_eq!(again.kind(tokenizer.len() as Token), Some(PieceKind::Unused));

        // As another writer's file of the same vocabulary.
        let theirs = Weights::open(fixture(&format!("{name}.gguf"))).unwrap();
        let [ours, theirs] = [&weights, &theirs].map(|weights| weights.gguf_metadata().unwrap());
        let pre = |metadata: &Metadata| metadata.expect::<&str>("tokenizer.ggml.pre").unwrap().to_owned();
        assert_eq!((pre(ours), ours.expect::<&str>("tokenizer.ggml.model").unwrap()), (pre(theirs), "gpt2"));
        let merges = |metadata: &Metadata| {
            let merges = metadata.expect::<Array<'_>>("tokenizer.ggml.merges").unwrap();
            merges.strings().unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(merges(ours), merges(theirs));
    }
}

/// The `tokenizer.json` of the SentencePiece vocabulary in a GGUF file.
fn json_of_scores(path: &Path) -> Value {
    let weights = Weights::open(path).unwrap();
    let mut json = read_json("prepend.json");
    scores_json::fill(&mut json, weights.gguf_metadata().unwrap());
    json
}

#[test]
fn merges_made_from_scores_become_scores_again() {
    let path = fixture("llama.gguf");
    let original = open(&path).unwrap();
    let json = json_of_scores(&path).to_string();
    let mut tokenizer = Tokenizer::from_json(json.as_bytes(), "tokenizer.json", 1000).unwrap();
    tokenizer.set_ends(original.special().bos, &[original.special().eos.unwrap()], None);
    let (again, weights) = through_gguf(&tokenizer, tokenizer.len()).unwrap();
    let model = weights.gguf_metadata().unwrap().expect::<&str>("tokenizer.ggml.model").unwrap();
    assert_eq!(model, "llama");
    same_ids("against the file it comes from", &original, &again);
    assert_eq!(again.special().eog, original.special().eog);
    assert_eq!((again.special().bos, again.special().unk), (original.special().bos, original.special().unk));
    let texts: Vec<String> = serde_json::from_value(read_json("texts.json")).unwrap();
    let expected: Ids = serde_json::from_value(read_json("ids.json")["llama"]["text"].clone()).unwrap();
    for (text, expected) in texts.iter().zip(expected) {
        // SentencePiece's own ids.
        if let Some(expected) = expected {
            assert_eq!(again.encode(text, Marks::AsText).unwrap(), expected, "{text:?}");
        }
    }
}

#[test]
fn what_gguf_files_cannot_say_is_named() {
    let problem = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut json = read_json(name);
        change(&mut json);
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), "tokenizer.json", 1000).unwrap();
        through_gguf(&tokenizer, tokenizer.len()).map(drop).unwrap_err().to_string()
    };
    let scores = |change: &dyn Fn(&mut Value)| {
        let mut json = json_of_scores(&fixture("llama.gguf"));
        change(&mut json);
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), "tokenizer.json", 1000).unwrap();
        through_gguf(&tokenizer, tokenizer.len()).map(drop).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            // Patterns that are known, together as nobody has them.
            problem("qwen2.json", &|json| {
                let digits = json!({"type": "Digits", "individual_digits": true});
                json["pre_tokenizer"]["pretokenizers"].as_array_mut().unwrap().insert(0, digits);
            }),
            // A word that is no longer joined from its bytes, but looked up.
            problem("qwen2.json", &|json| {
                json["model"]["ignore_merges"] = json!(true);
                json["model"]["merges"].as_array_mut().unwrap().truncate(50);
            }),
            problem("gemma4.json", &|_| ()),
            problem("prepend.json", &|_| ()),
            scores(&|json| {
                json["model"]["merges"].as_array_mut().unwrap().remove(3);
            }),
            scores(&|json| {
                let merges = json["model"]["merges"].as_array_mut().unwrap();
                let of = |merge: &Value| [0, 1].map(|part| merge[part].as_str().unwrap().to_owned()).concat();
                let twice = merges.windows(2).position(|pair| of(&pair[0]) == of(&pair[1])).unwrap();
                let last = merges.remove(twice);
                merges.push(last);
            }),
            scores(&|json| {
                json["decoder"]["decoders"].as_array_mut().unwrap().pop();
            }),
        ]
        .join("\n")
    );
}
