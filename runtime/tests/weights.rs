//! Weight files: what is written is read back as it was, and damaged or hostile files are refused with words, never
//! with a panic.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use babil_runtime::quant::{BlockType, pack};
use babil_runtime::weights::{Encoding, FilePart, TensorToWrite, Weights, packed_copy, write_safetensors};
use proptest::prelude::*;

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
}

fn float(name: &str, shape: &[usize]) -> TensorToWrite<'static> {
    let values = values(shape.iter().product());
    TensorToWrite {
        name: name.to_owned(),
        encoding: Encoding::F32,
        shape: shape.to_vec(),
        content: Box::new(move |out| values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))),
    }
}

/// A file with a packed matrix `m` [20, 64], a float matrix `w` [3, 32] and a vector `b` [5].
fn sample() -> Vec<u8> {
    let packed = TensorToWrite {
        name: "m".to_owned(),
        encoding: Encoding::Packed(BlockType::Q8_0),
        shape: vec![20, 64],
        content: Box::new(|out| out.write_all(&pack(BlockType::Q8_0, &values(20 * 64), 20, 64))),
    };
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, &[packed, float("w", &[3, 32]), float("b", &[5])], &BTreeMap::new()).unwrap();
    bytes
}

fn error(bytes: Vec<u8>) -> String {
    Weights::from_vec(bytes, "model.safetensors").unwrap_err().to_string()
}

/// A file with the header `json` and `data` bytes of zeros.
fn with_header(json: &str, data: usize) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn what_is_written_is_read_back() {
    let weights = Weights::from_vec(sample(), "sample").unwrap();
    assert_eq!(weights.expect("w", &[3, 32]).unwrap().to_f32(), values(96));
    assert_eq!(weights.expect("b", &[5]).unwrap().to_f32(), values(5));
    let matrix = weights.expect("m", &[20, 64]).unwrap();
    assert_eq!(matrix.encoding(), Encoding::Packed(BlockType::Q8_0));
    for (found, expected) in matrix.to_f32().iter().zip(values(20 * 64)) {
        assert!((found - expected).abs() <= 1.0 / 250.0);
    }
}

#[test]
fn data_start_at_a_multiple_of_64_bytes() {
    let bytes = sample();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!((8 + header) % 64, 0);
}

/// A part of a file that is open, at any offset: what is mapped stays when the file is closed.
#[test]
fn a_part_of_an_open_file_is_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assets");
    for before in [0, 4, 4097] {
        std::fs::write(&path, [&vec![7; before][..], &sample(), &[7; 9]].concat()).unwrap();
        let part = |offset: u64, length: u64| FilePart {
            file: Arc::new(File::open(&path).unwrap()),
            offset,
            length,
            name: "an asset".to_owned(),
        };
        let (start, length) = (before as u64, sample().len() as u64);
        let weights = Weights::open_part(&part(start, length)).unwrap();
        assert_eq!(weights.expect("w", &[3, 32]).unwrap().to_f32(), values(96));
        assert_eq!(weights.expect("m", &[20, 64]).unwrap().bytes(), pack(BlockType::Q8_0, &values(20 * 64), 20, 64));
        for (offset, length) in [(start, length + 10), (u64::MAX, u64::MAX), (start + length + 9, 1)] {
            let error = Weights::open_part(&part(offset, length)).unwrap_err().to_string();
            assert!(error.starts_with("an asset: bytes "), "{error}");
        }
        assert!(Weights::open_part(&part(start, length - 8)).is_err(), "truncated");
    }
}

#[test]
fn errors_name_the_file_the_tensor_and_the_place() {
    let whole = sample();
    let weights = Weights::from_vec(whole.clone(), "model.safetensors").unwrap();
    let entry = r#""a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}"#;
    let packed = |said: &str| {
        let said = said.replace('"', "\\\"");
        format!(
            r#"{{"__metadata__": {{"babil.packed": "{said}"}}, "a": {{"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}}}"#
        )
    };
    let messages = [
        error(Vec::new()),
        error(b"GGUF".to_vec()),
        error(whole[..100].to_vec()),
        error(whole[..whole.len() - 400].to_vec()),
        error(with_header("{", 8)),
        error(with_header(&format!("{{{entry}}}"), 4)),
        error(with_header(r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#, 8)),
        error(with_header(r#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 2], "data_offsets": [0, 8]}}"#, 8)),
        error(with_header(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#, 8)),
        error(with_header(&packed("nonsense"), 8)),
        error(with_header(&packed(r#"{"a": {"type": "q9_9", "shape": [16, 32]}}"#), 8)),
        error(with_header(&packed(r#"{"a": {"type": "q8_0", "shape": [16, 32]}}"#), 8)),
        error(with_header(&packed(r#"{"a": {"type": "q8_0", "shape": [18446744073709551615, 64]}}"#), 8)),
        error((u64::MAX).to_le_bytes().to_vec()),
        weights.expect("missing", &[1]).unwrap_err().to_string(),
        weights.expect("w", &[32, 3]).unwrap_err().to_string(),
        Weights::open("/nonexistent/model.safetensors").unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0usize..6000, byte: u8, cut in 0usize..6000) {
        let mut bytes = sample();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % 50);
        if let Ok(weights) = Weights::from_vec(bytes, "damaged") {
            for (_, tensor) in weights.iter() {
                tensor.to_f32();
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Weights::from_vec(bytes, "random");
    }
}

fn write(path: &Path, shape: &[usize]) -> Weights {
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, &[float("w", shape), float("b", &[5])], &BTreeMap::new()).unwrap();
    std::fs::write(path, bytes).unwrap();
    Weights::open(path).unwrap()
}

#[test]
fn a_packed_copy_is_made_once_and_again_when_it_is_damaged_or_stale() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let model = folder.path().join("model.safetensors");
    let parameters = [("w".to_owned(), true), ("b".to_owned(), false)];
    let copies = || {
        let files = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        files.collect::<Vec<_>>()
    };
    let weights = write(&model, &[20, 64]);
    let expected =
        packed_copy(&weights, &parameters, Some(BlockType::Q8_0), &cache).unwrap().get("w").unwrap().to_f32();
    let [copy] = &copies()[..] else { panic!("one copy") };
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let first = inode(copy);

    // A second start maps the same file.
    let again = packed_copy(&weights, &parameters, Some(BlockType::Q8_0), &cache).unwrap();
    assert_eq!((again.file(), inode(copy)), (copy.to_str().unwrap(), first));
    drop(again);

    // Truncated, foreign, empty: made again, with the same values.
    let whole = std::fs::read(copy).unwrap();
    for damaged in [&whole[..whole.len() - 1], &whole[..20], b"", &sample()] {
        std::fs::write(copy, damaged).unwrap();
        let healed = packed_copy(&weights, &parameters, Some(BlockType::Q8_0), &cache).unwrap();
        assert_eq!(healed.get("w").unwrap().to_f32(), expected);
        assert_eq!(std::fs::read(copy).unwrap(), whole);
    }

    // Another type, or a changed model, is another copy; no temporary files are left.
    packed_copy(&weights, &parameters, Some(BlockType::Q4_0), &cache).unwrap();
    let changed = write(&model, &[32, 64]);
    packed_copy(&changed, &parameters, Some(BlockType::Q8_0), &cache).unwrap();
    assert_eq!(copies().len(), 3);
    assert!(copies().iter().all(|path| path.extension().unwrap() == "safetensors"));
}

#[test]
fn without_a_folder_to_write_to_weights_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let weights = write(&folder.path().join("model.safetensors"), &[20, 64]);
    let parameters = [("w".to_owned(), true), ("b".to_owned(), false)];
    // A file stands where the folder should be.
    let block = Some(BlockType::Q8_0);
    let same = packed_copy(&weights, &parameters, block, &folder.path().join("model.safetensors")).unwrap();
    assert_eq!(same.get("w").unwrap().encoding(), Encoding::F32);
    assert_eq!(same.get("w").unwrap().to_f32(), values(20 * 64));
    assert_eq!(same.get("b").unwrap().to_f32(), values(5));
}
