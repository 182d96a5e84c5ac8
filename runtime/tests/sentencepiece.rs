//! SentencePiece models against vectors that SentencePiece itself made.
//!
//! `tests/sentencepiece/make_vectors.py` makes the models and vectors, and says how to check a large
//! set of a model of your own with `BABIL_SPM_VECTORS`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use babil_runtime::text::{DecodeStream, Detokenize, PieceKind, PieceMap, PieceVocabulary, SentencePiece};
use babil_runtime::{Error, Token};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Model { model: PathBuf },
    Vocabulary { vocabulary: [PathBuf; 3] },
    Vector { text: Option<String>, ids: Vec<Token>, pieces: Option<Vec<String>>, decoded: String },
}

enum Tokenizer {
    Plain(Box<SentencePiece>),
    Mapped(PieceVocabulary),
}

impl Tokenizer {
    fn encode(&self, text: &str) -> Vec<Token> {
        match self {
            Self::Plain(model) => model.encode(text),
            Self::Mapped(vocabulary) => vocabulary.encode(text),
        }
    }

    fn detokenizer(&self) -> &dyn Detokenize {
        match self {
            Self::Plain(model) => model.as_ref(),
            Self::Mapped(vocabulary) => vocabulary,
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece").join(name)
}

fn model(name: &str) -> SentencePiece {
    SentencePiece::open(fixture(name)).unwrap()
}

fn streamed(vocabulary: &dyn Detokenize, ids: &[Token]) -> String {
    let mut stream = DecodeStream::new(vocabulary);
    let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text.push_str(&stream.finish());
    text
}

fn vocabulary(folder: &Path, [map, source, target]: &[PathBuf; 3]) -> PieceVocabulary {
    let map = Arc::new(PieceMap::open(folder.join(map), 1 << 20).unwrap());
    let open = |path| Arc::new(SentencePiece::open(folder.join(path)).unwrap());
    PieceVocabulary::new(open(source), open(target), Arc::clone(&map), map)
}

/// Checks a vectors file; returns how many vectors it has.
fn check(path: &Path) -> usize {
    let folder = path.parent().unwrap();
    let mut tokenizer = None;
    let (mut count, mut wrong) = (0, 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        match serde_json::from_str(line).unwrap() {
            Line::Model { model } => {
                let model = SentencePiece::open(folder.join(model)).unwrap();
                tokenizer = Some(Tokenizer::Plain(Box::new(model)));
            }
            Line::Vocabulary { vocabulary: paths } => {
                tokenizer = Some(Tokenizer::Mapped(vocabulary(folder, &paths)));
            }
            Line::Vector { text, ids, pieces, decoded } => {
                count += 1;
                let tokenizer = tokenizer.as_ref().unwrap();
                let mut right = tokenizer.detokenizer().decode(&ids) == decoded
                    && streamed(tokenizer.detokenizer(), &ids) == decoded;
                if let Some(text) = &text {
                    right &= tokenizer.encode(text) == ids;
                }
                if let (Some(text), Some(pieces), Tokenizer::Plain(model)) = (&text, &pieces, tokenizer) {
                    right &= model.encode_pieces(text) == *pieces;
                }
                if !right {
                    wrong += 1;
                    if wrong <= 10 {
                        eprintln!("expected: {line:.2000}");
                        eprintln!("ids:      {:?}", text.as_deref().map(|text| tokenizer.encode(text)));
                        eprintln!("decoded:  {:?}", tokenizer.detokenizer().decode(&ids));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, 0, "{wrong} of {count} vectors of {} differ", path.display());
    count
}

#[test]
fn small_models_agree_with_sentencepiece() {
    assert!(check(&fixture("vectors.jsonl")) > 1000);
}

#[test]
fn a_large_set_agrees_with_sentencepiece() {
    match std::env::var_os("BABIL_SPM_VECTORS") {
        Some(path) => println!("{} vectors agree", check(Path::new(&path))),
        None => println!("skipped: BABIL_SPM_VECTORS does not name a file made by make_vectors.py large"),
    }
}

/// Every fixture of the Unigram type.
const MODELS: [&str; 7] = [
    "nmt_nfkc.model",
    "identity.model",
    "bytes.model",
    "verbatim.model",
    "symbols.model",
    "suffix.model",
    "no_prefix.model",
];

#[test]
fn other_model_types_are_refused_by_name() {
    let error = SentencePiece::open(fixture("bpe.model")).unwrap_err();
    assert!(matches!(&error, Error::Unsupported(what) if what.contains("BPE")), "{error}");
}

#[test]
fn damage_is_named_with_its_place() {
    let problem = |bytes: &[u8]| SentencePiece::from_bytes(bytes, "x.spm").unwrap_err().to_string();
    let prefix = "x.spm: not a valid SentencePiece model: ";
    assert_eq!(problem(b""), format!("{prefix}no piece is the unknown piece (at byte 0)"));
    assert_eq!(problem(b"\x0a\x05\x0a\x01"), format!("{prefix}a field of 5 bytes, but 2 are left (at byte 2)"));
    assert_eq!(problem(b"\x0a\x03\x0a\x01\xff"), format!("{prefix}text that is not UTF-8 (at byte 4)"));
    assert_eq!(problem(b"\x0a\x05\x0a\x01a\x18\x09"), format!("{prefix}unknown piece type 9 (at byte 5)"));
    let twice = b"\x0a\x03\x0a\x01a\x0a\x03\x0a\x01a\x0a\x05\x0a\x01u\x18\x02";
    assert_eq!(problem(twice), format!("{prefix}piece 1 \"a\" occurs twice (at byte 7)"));
    assert!(problem(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80").contains("longer than 64 bits"));
    assert!(problem(b"\x0b").contains("wire type 3"));
}

#[test]
fn special_pieces_are_where_the_model_says() {
    let symbols = model("symbols.model");
    assert_eq!(symbols.unk_id(), 0);
    assert_eq!((symbols.bos_id(), symbols.eos_id(), symbols.pad_id()), (Some(1), Some(2), Some(3)));
    assert_eq!(symbols.piece(3), Some("<fill>"));
    assert!(symbols.is_control(symbols.id("<pad>").unwrap()));
    let river = symbols.id("river").unwrap();
    assert_eq!(symbols.kind(river), Some(PieceKind::UserDefined));
    assert_eq!(symbols.piece(symbols.len() as Token), None);

    let suffix = model("suffix.model");
    assert_eq!((suffix.eos_id(), suffix.unk_id()), (Some(0), 1));
    assert_eq!((suffix.bos_id(), suffix.pad_id()), (None, None));

    let bytes = model("bytes.model");
    assert!(bytes.is_byte(bytes.id("<0xFF>").unwrap()));
    assert!(bytes.is_unknown(0));
}

#[test]
fn every_piece_is_found_by_its_text() {
    for name in MODELS {
        let model = model(name);
        for id in (0..).take(model.len()) {
            assert_eq!(model.id(model.piece(id).unwrap()), Some(id), "{name}");
        }
    }
}

#[test]
fn an_id_outside_the_vocabulary_reads_as_unknown() {
    let model = model("identity.model");
    assert_eq!(model.decode(&[Token::MAX]), model.decode(&[model.unk_id()]));
}

#[test]
fn a_megabyte_takes_time_in_proportion() {
    for name in MODELS {
        let model = model(name);
        for unit in ["a", " ", "\u{301}", "<sep>", "the river ", "😀"] {
            let text = unit.repeat((1 << 20) / unit.len());
            let start = Instant::now();
            let ids = model.encode(&text);
            let encoding = start.elapsed();
            println!("{name}: 1 MiB of {unit:?}: {} ids in {encoding:?}", ids.len());
            assert!(encoding.as_secs() < 20, "{name}: {unit:?}: {encoding:?}");
        }
    }
}

/// The `tokenizers` crate searches the same pieces with `f64` sums. It must find paths as good as
/// ours, whatever ties it breaks, where its other differences cannot show: no user-defined symbols,
/// no special pieces in the text, and text that is normalised for both.
#[test]
fn the_tokenizers_crate_finds_paths_of_the_same_score() {
    for name in ["identity.model", "no_prefix.model"] {
        let model = model(name);
        let entry = |id| {
            let text = model.piece(id).unwrap();
            let normal = model.kind(id) == Some(PieceKind::Normal);
            let text = if normal { text.to_owned() } else { format!("\u{10fffd}{text}") };
            (text, f64::from(model.score(id).unwrap()))
        };
        let pieces: Vec<_> = (0..).take(model.len()).map(entry).collect();
        let lowest = pieces.iter().map(|piece| piece.1).fold(0.0, f64::min);
        let theirs = tokenizers::models::unigram::Unigram::from(pieces, Some(0), false).unwrap();
        let score = |pieces: &[String]| -> f64 {
            let one = |piece: &String| match model.id(piece) {
                Some(id) => f64::from(model.score(id).unwrap()),
                None => piece.chars().count() as f64 * (lowest - 10.0),
            };
            pieces.iter().map(one).sum()
        };
        let (mut texts, mut identical) = (0, 0);
        for text in vector_texts().filter(|text| !text.contains('\u{10fffd}')) {
            let ours = model.encode_pieces(&text);
            let found = theirs.encode(&ours.concat()).unwrap();
            let (ours_scores, found_scores) = (score(&ours), score(&found));
            let tolerance = 1e-5 * found_scores.abs();
            assert!((ours_scores - found_scores).abs() <= tolerance, "{name}: {ours:?} {found:?}");
            texts += 1;
            identical += usize::from(ours == found);
        }
        println!("{name}: {identical} of {texts} texts are split alike");
        assert!(identical > 100);
    }
}

/// The texts of the checked-in vectors.
fn vector_texts() -> impl Iterator<Item = String> {
    let lines = std::fs::read_to_string(fixture("vectors.jsonl")).unwrap();
    let text = |line: &str| match serde_json::from_str(line).unwrap() {
        Line::Vector { text, pieces: Some(_), .. } => text,
        _ => None,
    };
    lines.lines().filter_map(text).collect::<Vec<_>>().into_iter()
}

static BYTES: LazyLock<SentencePiece> = LazyLock::new(|| model("bytes.model"));
static VERBATIM: LazyLock<SentencePiece> = LazyLock::new(|| model("verbatim.model"));
static MAPPED: LazyLock<PieceVocabulary> = LazyLock::new(|| {
    let folder = fixture("");
    vocabulary(&folder, &["vocab.json", "identity.model", "symbols.model"].map(PathBuf::from))
});

/// Ids of which about half are bytes of characters, or other bytes.
fn ids(model: &'static SentencePiece) -> impl Strategy<Value = Vec<Token>> {
    let byte = |byte: u8| model.id(&format!("<0x{byte:02X}>")).unwrap();
    let run = prop_oneof![
        any::<char>().prop_map(move |character| { character.to_string().bytes().map(byte).collect::<Vec<_>>() }),
        prop::collection::vec(any::<u8>().prop_map(byte), 1..4),
        prop::collection::vec(0..model.len() as Token, 1..4),
        Just(vec![model.id("▁").unwrap()]),
    ];
    prop::collection::vec(run, 0..12).prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_gives_what_decoding_gives(bytes in ids(&BYTES), verbatim in ids(&VERBATIM)) {
        prop_assert_eq!(streamed(&*BYTES, &bytes), BYTES.decode(&bytes));
        prop_assert_eq!(streamed(&*VERBATIM, &verbatim), VERBATIM.decode(&verbatim));
    }

    #[test]
    fn a_mapped_stream_gives_what_decoding_gives(ids in prop::collection::vec(0u32..200, 0..40)) {
        let text = MAPPED.decode(&ids);
        prop_assert_eq!(text.trim(), &text);
        prop_assert_eq!(streamed(&*MAPPED, &ids), text);
    }

    #[test]
    fn text_comes_back_from_a_model_that_changes_nothing(text: String) {
        // U+2581 is how pieces write a space, so it does not survive.
        let text = text.replace('\u{2581}', "");
        prop_assert_eq!(VERBATIM.decode(&VERBATIM.encode(&text)), text);
    }

    #[test]
    fn control_pieces_never_come_from_text(text in "(<s>|</s>|<ctl>|<pad>|<unk>|<fill>|[a-c ]){0,8}") {
        let model = model("symbols.model");
        prop_assert!(!model.encode(&text).iter().any(|&id| model.is_control(id)));
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SentencePiece::from_bytes(&bytes, "random");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_models_never_panic(
        name in prop::sample::select(&MODELS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in prop::option::of(any::<prop::sample::Index>()),
        text: String,
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        match SentencePiece::from_bytes(&bytes, "damaged") {
            Ok(model) => {
                let text = format!("{text} the ﬁ e\u{301} <sep>한국어 Ａ");
                model.decode(&model.encode(&text));
            }
            Err(Error::BadFile { problem, .. }) => prop_assert!(problem.contains("at byte"), "{problem}"),
            Err(Error::Unsupported(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
