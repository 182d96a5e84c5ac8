//! Reading whisper.cpp's model files: a header, mel filters, a vocabulary, tensors. All little-endian, nothing aligned.
//!
//! ```text
//! u32 0x67676d6c   11 x i32: vocabulary, audio positions, width, heads, layers, text the same, mel bands, type
//! i32 bands, i32 bins, bands x bins f32     filters, which are everywhere the same
//! i32 count, count x {u32 length, bytes}    the tokens of text in the order of their ranks
//! {i32 dimensions, i32 name length, i32 type, dimensions x i32 (fastest first), name, data}    to the end of the file
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gguf::cursor::{Cursor, Problem, Read};
use super::{Source, Tensor, gguf};
use crate::{Error, Result};

/// What a file of this format starts with.
pub(super) const MAGIC: &[u8] = &0x6767_6d6c_u32.to_le_bytes();

/// More dimensions than this do not exist.
const MAX_DIMENSIONS: usize = 4;

/// What stands before the tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of whisper.cpp")]
pub struct Header {
    pub vocab: usize,
    pub audio_context: usize,
    pub audio_state: usize,
    pub audio_heads: usize,
    pub audio_layers: usize,
    pub text_context: usize,
    pub text_state: usize,
    pub text_heads: usize,
    pub text_layers: usize,
    pub mels: usize,
    /// The tokens of text, in the order of their ranks.
    pub tokens: Vec<Vec<u8>>,
}

/// The tensors of `source` by name, and its header; `file` is its name in errors.
pub(super) fn index(file: &str, source: &Arc<Source>) -> Result<(BTreeMap<String, Tensor>, Header)> {
    let bad = |problem: Problem| Error::bad_file(file, format!("byte {}: {}", problem.at, problem.text));
    let mut cursor = Cursor::new(source.bytes());
    let header = header(&mut cursor).map_err(bad)?;
    let mut tensors = BTreeMap::new();
    while cursor.left() > 0 {
        let (name, tensor) = tensor(source, &mut cursor).map_err(bad)?;
        if tensors.contains_key(&name) {
            let problem = "this name occurs twice".to_owned();
            return Err(Error::BadTensor { file: file.to_owned(), tensor: name, problem });
        }
        tensors.insert(name, tensor);
    }
    Ok((tensors, header))
}

/// An i32 that counts things, which is not negative.
fn number(cursor: &mut Cursor<'_>, what: &str) -> Read<usize> {
    let value = cursor.clone().u32()?;
    match i32::try_from(value) {
        Ok(_) => cursor.u32().map(|value| value as usize),
        Err(_) => cursor.problem(format!("{} {what}", value.cast_signed())),
    }
}

fn header(cursor: &mut Cursor<'_>) -> Read<Header> {
    cursor.u32()?;
    let mut next = |what: &str| number(cursor, what);
    let mut header = Header {
        vocab: next("tokens")?,
        audio_context: next("audio positions")?,
        audio_state: next("audio features")?,
        audio_heads: next("audio heads")?,
        audio_layers: next("audio layers")?,
        text_context: next("text positions")?,
        text_state: next("text features")?,
        text_heads: next("text heads")?,
        text_layers: next("text layers")?,
        mels: next("mel bands")?,
        tokens: Vec::new(),
    };
    cursor.u32()?;
    let (bands, bins) = (number(cursor, "mel bands")?, number(cursor, "bins of a spectrum")?);
    match bands.checked_mul(bins).and_then(|values| values.checked_mul(4)) {
        Some(bytes) => cursor.take(bytes)?,
        None => return cursor.problem(format!("{bands} x {bins} mel filters")),
    };
    let count = cursor.clone().u32()? as usize;
    // A token takes four bytes at least.
    if count > cursor.left() / 4 {
        return cursor.problem(format!("claims {count} tokens, more than the rest of the file has room for"));
    }
    cursor.u32()?;
    header.tokens.reserve_exact(count);
    for _ in 0..count {
        let length = cursor.u32()? as usize;
        header.tokens.push(cursor.take(length)?.to_vec());
    }
    Ok(header)
}

/// The next tensor and its name.
fn tensor(source: &Arc<Source>, cursor: &mut Cursor<'_>) -> Read<(String, Tensor)> {
    let (dimensions, length) = (number(cursor, "dimensions")?, number(cursor, "bytes of a name")?);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return cursor.problem(format!("a tensor of {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}"));
    }
    let id = cursor.u32()?;
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        shape.push(number(cursor, "as a dimension")?);
    }
    shape.reverse();
    let name = match str::from_utf8(cursor.take(length)?) {
        Ok(name) => name.to_owned(),
        Err(_) => return cursor.problem("the name of a tensor is not UTF-8"),
    };
    let Some(encoding) = gguf::weight_type(id) else {
        return cursor.problem(format!("`{name}` has the type {id}, which is not supported"));
    };
    let Some(len) = encoding.byte_len(&shape).filter(|_| !shape.contains(&0)) else {
        return cursor.problem(format!("`{name}` has the shape {shape:?}, which {encoding} cannot have"));
    };
    let start = cursor.at();
    cursor.take(len)?;
    Ok((name, Tensor { source: source.clone(), range: start..start + len, encoding, shape }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::weights::Weights;

    /// A file with one token and one tensor.
    pub(crate) fn sample() -> Vec<u8> {
        let numbers = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let mut file = MAGIC.to_vec();
        file.extend(numbers(&[3, 4, 8, 2, 1, 16, 8, 2, 1, 80, 1]));
        file.extend(numbers(&[1, 2]));
        file.extend([0.5f32, 0.25].iter().flat_map(|v| v.to_le_bytes()));
        file.extend(numbers(&[1, 2]));
        file.extend(b"ab");
        file.extend(numbers(&[2, 3, 0, 2, 1]));
        file.extend(b"w.x");
        file.extend([1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
        file
    }

    #[test]
    fn header_vocabulary_and_tensors_are_read() {
        let weights = Weights::from_vec(sample(), "test").unwrap();
        let header = weights.whisper_header().unwrap();
        assert_eq!((header.vocab, header.audio_context, header.mels), (3, 4, 80));
        assert_eq!(header.tokens, [b"ab"]);
        let tensor = weights.get("w.x").unwrap();
        assert_eq!((tensor.shape(), tensor.to_f32()), (&[1, 2][..], vec![1.0, -2.0]));
    }

    #[test]
    fn every_cut_and_every_wild_number_is_an_error_or_a_model() {
        let file = sample();
        for end in 4..file.len() {
            let result = Weights::from_vec(file[..end].to_vec(), "test");
            // Without its one tensor the file is whole.
            assert_eq!(result.is_ok(), end == file.len() - 31, "{end}");
        }
        for at in 4..file.len() - 4 {
            for value in [-1i32, i32::MAX, 1 << 20] {
                let mut file = file.clone();
                file[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let _ = Weights::from_vec(file, "test");
            }
        }
    }
}
