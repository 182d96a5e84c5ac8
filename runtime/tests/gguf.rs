//! GGUF files: what gguf-py wrote is read as it was, and damaged or hostile files are refused with words.

#[path = "gguf/builder.rs"]
mod builder;
#[path = "gguf/hostile.rs"]
mod hostile;

use babil_runtime::quant::BlockType;
use babil_runtime::weights::gguf::{Numbers, Strings, TensorHeader, Value, Writer, alignment};
use babil_runtime::weights::{Encoding, Tensor, Weights};
use builder::{ARRAY, File, STRING, U32, array, sample, string};
use hostile::hostile;
use proptest::prelude::*;

fn open(bytes: Vec<u8>) -> babil_runtime::Result<Weights> {
    Weights::from_vec(bytes, "model.gguf")
}

fn tiny() -> Weights {
    Weights::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gguf/tiny.gguf")).unwrap()
}

#[test]
fn metadata_are_what_gguf_py_wrote() {
    let weights = tiny();
    let metadata = weights.gguf_metadata().unwrap();
    let listed: Vec<String> = metadata.iter().map(|(key, value)| format!("{key} = {} {value}", value.kind())).collect();
    insta::assert_snapshot!(listed.join("\n"));
    assert_eq!(metadata.get("type.uint64"), Some(Value::U64(u64::MAX)));
    assert_eq!(metadata.get("type.float64"), Some(Value::F64(0.1)));
    assert_eq!(metadata.expect::<u32>("type.uint32").unwrap(), 4_000_000_000);
    assert_eq!(metadata.expect::<i64>("type.int64").unwrap(), i64::MIN);
    assert_eq!(metadata.expect::<usize>("type.uint8").unwrap(), 200);
    assert_eq!(metadata.expect::<f32>("type.float32").unwrap(), 0.1);
    assert!(metadata.expect::<bool>("type.bool").unwrap());
    assert_eq!(metadata.expect::<&str>("type.string").unwrap(), "größer");
    assert_eq!(metadata.find::<u32>("absent").unwrap(), None);
    let tokens: Vec<&[u8]> = metadata.expect::<Strings<'_>>("tokenizer.ggml.tokens").unwrap().collect();
    assert_eq!(tokens, [b"<unk>", "▁a".as_bytes(), b"", b"b"]);
    let scores: Vec<f32> = metadata.expect::<Numbers<'_, f32>>("tokenizer.ggml.scores").unwrap().collect();
    assert_eq!(scores, [0.0, -1.5, -2.25, 3.0]);
    let types = metadata.expect::<Numbers<'_, i32>>("tokenizer.ggml.token_type").unwrap();
    assert_eq!((types.len(), types.collect::<Vec<_>>()), (4, vec![2, 1, 1, 6]));
    assert_eq!(metadata.expect::<Numbers<'_, bool>>("flags").unwrap().collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn tensors_are_what_gguf_py_wrote() {
    let weights = tiny();
    let value = |row: usize, column: usize| (row * 64 + column) as f32 / 8.0 - 24.0;
    let rows = |rows: usize, columns: usize| -> Vec<f32> {
        (0..rows * columns).map(|i| value(i / columns, i % columns)).collect()
    };
    assert_eq!(weights.expect("f32", &[3, 5]).unwrap().to_f32(), rows(3, 5));
    assert_eq!(weights.expect("f16", &[6, 64]).unwrap().to_f32(), rows(6, 64));
    assert_eq!(weights.expect("bf16", &[6, 64]).unwrap().to_f32(), rows(6, 64));
    // Row 0 counts up from -24 in eighths: its first block's largest magnitude is 24.
    let q8_0 = weights.expect("q8_0", &[6, 64]).unwrap();
    assert_eq!(q8_0.encoding(), Encoding::Blocks(BlockType::Q8_0));
    assert_eq!(q8_0.bytes().len(), 6 * 2 * 34);
    assert_eq!(q8_0.bytes()[..2], half::f16::from_f32(24.0 / 127.0).to_le_bytes());
    assert_eq!(q8_0.bytes()[2] as i8, -127);
    let q4_0 = weights.expect("q4_0", &[6, 64]).unwrap();
    assert_eq!((q4_0.encoding(), q4_0.bytes().len()), (Encoding::Blocks(BlockType::Q4_0), 6 * 2 * 18));
    let [other] = weights.gguf_metadata().unwrap().other_tensors() else { panic!("one tensor of integers") };
    assert_eq!((other.name.as_str(), other.kind, &other.shape[..]), ("positions", "i32", &[5][..]));
    assert!(weights.get("positions").is_none());
}

#[test]
fn nested_arrays_and_version_2_are_read() {
    let weights = open(File { version: 2, ..sample() }.bytes()).unwrap();
    let metadata = weights.gguf_metadata().unwrap();
    assert_eq!(metadata.version(), 2);
    let Some(Value::Array(nested)) = metadata.get("nested") else { panic!("an array") };
    let inner: Vec<_> = nested.iter().map(|value| value.to_string()).collect();
    assert_eq!(inner, ["1 x u32: [7]", "0 x string: []"]);
    assert_eq!(weights.expect("k", &[2, 256]).unwrap().bytes().len(), 288);
}

/// Written by nobody, but in a damaged file a norm may look like this.
#[test]
fn vectors_and_cubes_of_blocks_are_decoded() {
    let file = File::new(34 * 8 + 32).tensor("v", &[64], 8, 0).tensor("cube", &[32, 3, 2], 8, 96);
    let mut bytes = file.bytes();
    // A scale of 0.5 and the codes 1, 2, 3, ... in the second block of `v`.
    let start = bytes.len() - (34 * 8 + 32) + 34;
    bytes[start..start + 2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
    (1..=32).for_each(|code| bytes[start + 1 + usize::from(code)] = code);
    let weights = open(bytes).unwrap();
    let second: Vec<f32> = (1..=32).map(|code| 0.5 * code as f32).collect();
    assert_eq!(weights.get("v").unwrap().to_f32(), [vec![0.0; 32], second].concat());
    assert_eq!(weights.get("cube").unwrap().to_f32(), [0.0; 192]);
}

#[test]
fn a_vocabulary_without_tensors_needs_no_data() {
    let weights = open(File::new(0).key("a", U32, &[0; 4]).bytes()).unwrap();
    assert_eq!(weights.iter().count(), 0);
}

#[test]
fn getters_name_the_key_and_both_types() {
    let invalid = File::new(0).key("bytes", STRING, &string(b"a\xffb")).key("alignment", ARRAY, &array(U32, 0, &[]));
    let invalid = open(invalid.bytes()).unwrap();
    let invalid = invalid.gguf_metadata().unwrap();
    let weights = tiny();
    let metadata = weights.gguf_metadata().unwrap();
    let messages = [
        metadata.expect::<u32>("type.int8").unwrap_err(),
        metadata.expect::<u32>("type.uint64").unwrap_err(),
        metadata.expect::<usize>("type.string").unwrap_err(),
        metadata.expect::<f32>("type.int32").unwrap_err(),
        metadata.expect::<&str>("type.bool").unwrap_err(),
        metadata.expect::<bool>("type.uint8").unwrap_err(),
        metadata.expect::<u32>("absent").unwrap_err(),
        metadata.expect::<Strings<'_>>("tokenizer.ggml.scores").err().unwrap(),
        metadata.expect::<Numbers<'_, u32>>("tokenizer.ggml.tokens").err().unwrap(),
        metadata.expect::<Numbers<'_, i32>>("type.int32").err().unwrap(),
        invalid.expect::<&str>("bytes").unwrap_err(),
        invalid.expect::<u32>("alignment").unwrap_err(),
    ];
    let messages: Vec<String> = messages.iter().map(|error| error.to_string()).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gguf/");
    insta::assert_snapshot!(messages.join("\n").replace(folder, ""));
    assert_eq!(invalid.expect::<&[u8]>("bytes").unwrap(), b"a\xffb");
}

#[test]
fn hostile_files_are_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let messages: Vec<String> = hostile()
        .into_iter()
        .map(|(name, bytes)| {
            std::fs::write(&path, bytes).unwrap();
            let error = Weights::open(&path).err().unwrap_or_else(|| panic!("{name}: was opened"));
            format!("{name}\n    {}", error.to_string().replace(path.to_str().unwrap(), "model.gguf"))
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample().bytes();
    // The last tensor is followed by padding.
    let end = whole.len() - (32 * 36 - 352 - 288);
    assert!(open(whole[..end].to_vec()).is_ok());
    for len in 0..end {
        assert!(open(whole[..len].to_vec()).is_err(), "{len} bytes");
    }
}

#[test]
fn parts_are_opened_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let part = |number: u16, tensor: &str| {
        let path = folder.path().join(format!("m-{:05}-of-00003.gguf", number + 1));
        let file = File::new(32).key("split.no", 2, &number.to_le_bytes()).key("split.count", 2, &3u16.to_le_bytes());
        std::fs::write(&path, file.tensor(tensor, &[8], 0, 0).bytes()).unwrap();
        path
    };
    let (first, second) = (part(0, "a"), part(1, "b"));
    let said = |error: babil_runtime::Error| error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER");
    let missing = said(Weights::open(&first).unwrap_err());
    let third = part(2, "a");
    let twice = said(Weights::open(&first).unwrap_err());
    part(2, "c");
    let weights = Weights::open(&first).unwrap();
    assert_eq!(weights.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
    let not_first = said(Weights::open(&second).unwrap_err());
    std::fs::rename(&third, folder.path().join("other.gguf")).unwrap();
    insta::assert_snapshot!([missing, twice, not_first].join("\n"));
}

#[test]
fn rows_are_split_without_copying() {
    let mut weights = open(sample().bytes()).unwrap();
    let parts = |parts: &[(&str, usize)]| parts.iter().map(|(name, n)| (name.to_string(), *n)).collect::<Vec<_>>();
    let whole = weights.get("matrix").unwrap().clone();
    let errors = [
        weights.split_rows("matrix", &parts(&[("q", 2), ("k", 1)])).unwrap_err(),
        weights.split_rows("absent", &parts(&[("q", 2)])).unwrap_err(),
        weights.clone().split_rows("matrix", &parts(&[("q", 3), ("norm", 1)])).unwrap_err(),
        weights.split_rows("matrix", &parts(&[("q", usize::MAX), ("k", 5)])).unwrap_err(),
    ];
    insta::assert_snapshot!(errors.map(|error| error.to_string()).join("\n"));
    weights.split_rows("matrix", &parts(&[("q", 3), ("v", 1)])).unwrap();
    assert!(weights.get("matrix").is_none());
    let (q, v) = (weights.expect("q", &[3, 64]).unwrap(), weights.expect("v", &[1, 64]).unwrap());
    assert_eq!(q.bytes().as_ptr(), whole.bytes().as_ptr());
    assert_eq!([q.bytes(), v.bytes()].concat(), whole.bytes());
    assert_eq!(v.encoding(), Encoding::Blocks(BlockType::Q8_0));
    weights.split_rows("norm", &parts(&[("a", 3), ("b", 5)])).unwrap();
    assert_eq!(weights.expect("b", &[5]).unwrap().to_f32(), [0.0; 5]);
}

/// Opens a file and looks at everything in it.
fn look(bytes: Vec<u8>) {
    let Ok(weights) = open(bytes) else { return };
    let metadata = weights.gguf_metadata().expect("GGUF");
    for (key, value) in metadata.iter() {
        let _ = (value.to_string(), metadata.get(key), metadata.find::<u32>(key), metadata.find::<Strings<'_>>(key));
        if let Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len());
        }
    }
    for (_, tensor) in weights.iter() {
        tensor.bytes().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    }
}

/// Every byte of a valid header replaced by a few others, and runs of eight by numbers that overflow.
#[test]
fn every_byte_may_be_wrong() {
    let whole = sample().bytes();
    let header = whole.len() - 32 * 36;
    for at in 4..header {
        for byte in [0, 1, 2, 8, 9, 32, 127, 128, 255, whole[at] ^ 1] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            look(bytes);
        }
        for number in [u64::MAX, i64::MAX as u64, 1 << 32, 1 << 61] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            look(bytes);
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((0usize..700, any::<u8>()), 1..6),
        cut in 0usize..2000,
    ) {
        let mut bytes = sample().bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(1000)));
        look(bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        look([&b"GGUF\x03\0\0\0"[..], &bytes].concat());
    }
}

#[test]
fn what_is_written_is_read_back() {
    let weights = tiny();
    let metadata = weights.gguf_metadata().unwrap();
    let entries: Vec<_> = metadata.iter().collect();
    let header = |(name, tensor): (&str, &Tensor)| TensorHeader {
        name: name.to_owned(),
        encoding: tensor.encoding(),
        shape: tensor.shape().to_vec(),
    };
    let headers: Vec<TensorHeader> = weights.iter().map(header).collect();
    let mut writer = Writer::new(Vec::new(), &entries, &headers, alignment(metadata).unwrap()).unwrap();
    for (_, tensor) in weights.iter() {
        for part in tensor.bytes().chunks(1000) {
            writer.write(part).unwrap();
        }
    }
    let again = open(writer.finish().unwrap()).unwrap();
    assert_eq!(again.gguf_metadata().unwrap().iter().collect::<Vec<_>>(), entries);
    assert!(again.iter().map(|(name, _)| name).eq(weights.iter().map(|(name, _)| name)));
    for ((_, found), (name, expected)) in again.iter().zip(weights.iter()) {
        let found = (found.encoding(), found.shape(), found.bytes());
        assert_eq!(found, (expected.encoding(), expected.shape(), expected.bytes()), "{name}");
    }
}
