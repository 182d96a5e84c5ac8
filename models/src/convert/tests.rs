use std::fs;
use std::path::{Path, PathBuf};

use babil_runtime::Error;
use babil_runtime::weights::{Encoding, Weights};
use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity").join(name)
}

fn convert(bin: &Path) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    pytorch_to_safetensors(bin, &MARIAN_COMPUTED, &mut out)?;
    Ok(out)
}

fn open(bytes: Vec<u8>) -> Weights {
    Weights::from_vec(bytes, "converted").unwrap()
}

#[test]
fn a_whole_model_becomes_the_safetensors_that_transformers_writes() {
    let bytes = convert(&fixture("pytorch/pytorch_model.bin")).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert!((8 + header).is_multiple_of(64), "data starts at {}", 8 + header);
    let (converted, expected) = (open(bytes), Weights::open(fixture("swish/model.safetensors")).unwrap());
    // The same names: tied tensors once, position tables dropped.
    let names = |weights: &Weights| weights.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&converted), names(&expected));
    for (name, tensor) in expected.iter() {
        let found = converted.get(name).unwrap();
        assert_eq!((found.shape(), found.encoding()), (tensor.shape(), tensor.encoding()), "{name}");
        assert!(found.bytes() == tensor.bytes(), "{name}");
    }
}

#[test]
fn half_precision_the_old_format_and_transposed_storage_are_read() {
    let expected = Weights::open(fixture("swish/model.safetensors")).unwrap();
    for (file, encoding) in [("pytorch/float16.bin", Encoding::F16), ("pytorch/legacy.bin", Encoding::F32)] {
        let converted = open(convert(&fixture(file)).unwrap());
        assert_eq!(converted.iter().count(), 4, "two of six tensors are tied: {file}");
        for (name, tensor) in converted.iter() {
            assert_eq!(tensor.encoding(), encoding);
            let mut values = expected.expect(name, tensor.shape()).unwrap().to_f32();
            if encoding == Encoding::F16 {
                values.iter_mut().for_each(|value| *value = half::f16::from_f32(*value).to_f32());
            }
            assert!(tensor.to_f32() == values, "{name} of {file}");
        }
    }
}

#[test]
fn tensors_are_told_without_converting() {
    for file in ["pytorch/pytorch_model.bin", "pytorch/float16.bin", "pytorch/legacy.bin"] {
        let mut told = torch_tensors(&fixture(file), &MARIAN_COMPUTED).unwrap();
        let converted = open(convert(&fixture(file)).unwrap());
        let mut found: Vec<_> =
            converted.iter().map(|(_, tensor)| (tensor.encoding(), tensor.shape().to_vec())).collect();
        let order = |tensor: &(Encoding, Vec<usize>)| tensor.1.clone();
        told.sort_by_key(order);
        found.sort_by_key(order);
        assert_eq!(told, found, "{file}");
    }
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("pytorch_model.bin");
    fs::copy(fixture("pytorch/pytorch_model.bin"), &bin).unwrap();
    let cache = folder.path().join("cache");
    assert_eq!(converted(&bin, &cache).unwrap(), None);
    let made = safetensors_of(&bin, &MARIAN_COMPUTED, &cache).unwrap();
    assert_eq!(converted(&bin, &cache).unwrap(), Some(made));
}

#[test]
fn conversion_happens_once_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("pytorch_model.bin");
    fs::copy(fixture("pytorch/legacy.bin"), &bin).unwrap();
    let cache = folder.path().join("cache");
    let first = safetensors_of(&bin, &MARIAN_COMPUTED, &cache).unwrap();
    assert_eq!(first, folder.path().join("model.safetensors"));
    Weights::open(&first).unwrap();
    let written = first.metadata().unwrap().modified().unwrap();
    assert_eq!(safetensors_of(&bin, &MARIAN_COMPUTED, &cache).unwrap(), first);
    assert_eq!(first.metadata().unwrap().modified().unwrap(), written);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_failed_conversion_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("pytorch_model.bin");
    fs::write(&bin, b"PK but not really").unwrap();
    let error = safetensors_of(&bin, &[], &folder.path().join("cache")).unwrap_err();
    assert!(matches!(&error, Error::BadFile { file, .. } if file.ends_with("pytorch_model.bin")), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_sends_the_result_to_the_cache() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bin = folder.path().join("pytorch_model.bin");
    fs::copy(fixture("pytorch/legacy.bin"), &bin).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if File::create(folder.path().join("probe")).is_ok() {
        return; // the superuser may write anywhere
    }
    let cache = cache.path().join("converted");
    let first = safetensors_of(&bin, &MARIAN_COMPUTED, &cache).unwrap();
    assert_eq!(first.parent(), Some(cache.as_path()));
    assert_eq!(safetensors_of(&bin, &MARIAN_COMPUTED, &cache).unwrap(), first);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
}

#[test]
fn truncated_files_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("cut.bin");
    for whole in ["pytorch/float16.bin", "pytorch/legacy.bin"] {
        let bytes = fs::read(fixture(whole)).unwrap();
        for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            fs::write(&bin, &bytes[..len]).unwrap();
            let error = convert(&bin).unwrap_err();
            let typed = matches!(error, Error::BadFile { .. } | Error::BadTensor { .. } | Error::Io { .. });
            assert!(typed, "{whole} cut to {len} bytes: {error}");
        }
    }
}

/// A pickle of `{"a": tensor}`: shape, strides, offset and number of elements of the storage as given.
fn pickle_of(shape: [i32; 2], strides: [i32; 2], offset: i32, elements: i32) -> Vec<u8> {
    let int = |value: i32| [b"J".as_slice(), &value.to_le_bytes()].concat();
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    [
        b"\x80\x02}".as_slice(),
        &text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &int(elements),
        b"tQ",
        &int(offset),
        &int(shape[0]),
        &int(shape[1]),
        b"\x86",
        &int(strides[0]),
        &int(strides[1]),
        b"\x86tRs.",
    ]
    .concat()
}

/// A file in the old format with one storage of `values`.
fn legacy_file(folder: &Path, content: &[u8], values: &[f32]) -> PathBuf {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    bytes.extend(content);
    bytes.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let path = folder.join("made.bin");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn views_must_lie_inside_their_storage() {
    let folder = tempfile::tempdir().unwrap();
    let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let read = |content: &[u8]| convert(&legacy_file(folder.path(), content, &values)).map(open);
    let transposed = read(&pickle_of([3, 2], [1, 3], 0, 6)).unwrap();
    assert_eq!(transposed.expect("a", &[3, 2]).unwrap().to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let tail = read(&pickle_of([2, 2], [2, 1], 2, 6)).unwrap();
    assert_eq!(tail.expect("a", &[2, 2]).unwrap().to_f32(), [2.0, 3.0, 4.0, 5.0]);
    for (shape, strides, offset, elements) in [
        ([2, 3], [3, 1], 1, 6),                      // one too far
        ([2, 3], [4, 1], 0, 6),                      // strides too far
        ([1000, 1000], [0, 0], 0, 6),                // more values than the storage has
        ([0, 3], [3, 1], 0, 6),                      // nothing
        ([-1, 3], [3, 1], 0, 6),                     // less than nothing
        ([2, 3], [3, 1], 0, 60),                     // the storage is smaller than it says
        ([i32::MAX, i32::MAX], [i32::MAX, 1], 0, 6), // overflows
    ] {
        let error = read(&pickle_of(shape, strides, offset, elements)).unwrap_err();
        assert!(matches!(error, Error::BadTensor { .. } | Error::BadFile { .. }), "{shape:?}: {error}");
    }
}

#[test]
fn nothing_but_descriptions_of_tensors_is_built() {
    let folder = tempfile::tempdir().unwrap();
    // os.system("echo") among the values is of no interest; it is not called.
    let harmless = b"\x80\x02}X\x01\x00\x00\x00bcos\nsystem\nX\x04\x00\x00\x00echo\x85Rs.";
    for (content, complaint) in [
        (harmless.to_vec(), "belongs to no tensor"),
        ([b"\x80\x02".as_slice(), &b")\x85".repeat(40), b"."].concat(), "holds a tuple"),
        ([b"\x80\x02)".as_slice(), &b"\x85".repeat(40), b"."].concat(), "nest too deep"),
        (b"\x80\x02h\x07.".to_vec(), "never stored"),
        (b"\x80\x02R.".to_vec(), "the stack is empty"),
        (b"\x80\x02i.".to_vec(), "instruction 0x69"),
        (b"\x80\x02X\xff\xff\xff\xff.".to_vec(), "a string of 4294967295 bytes"),
    ] {
        let error = convert(&legacy_file(folder.path(), &content, &[])).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(at in 0usize..3000, byte: u8, old_format: bool) {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("damaged.bin");
        let mut bytes = fs::read(fixture(if old_format { "pytorch/legacy.bin" } else { "pytorch/float16.bin" })).unwrap();
        // The descriptions lie at the start of both formats, the directory of a zip archive at its end.
        let at = if old_format || at < 1500 { at } else { bytes.len() - (at - 1499) };
        bytes[at] = byte;
        fs::write(&bin, &bytes).unwrap();
        let _ = convert(&bin);
    }
}
