//! Reading safetensors: a u64 header length, a JSON header, data.
//!
//! Quantised tensors have no type of their own in safetensors: they are stored as `U8` byte strings, and the header's
//! `__metadata__` has a key `babil.packed`: a JSON object, tensor name -> `{"type": "q8_0", "shape": [rows, cols]}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::{Encoding, Source, Tensor};
use crate::quant::{BlockType, packed_len};
use crate::{Error, Result};

/// The `__metadata__` key that describes packed tensors.
pub(super) const PACKED_KEY: &str = "babil.packed";

/// What [`PACKED_KEY`] says of one tensor.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct PackedEntry {
    #[serde(rename = "type")]
    pub(super) block: String,
    pub(super) shape: [usize; 2],
}

/// The tensors and metadata of a file, by name.
type Index = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// The tensors of `source` and its metadata; `file` is its name in errors.
pub(super) fn index(file: &str, source: Arc<Source>) -> Result<Index> {
    let bytes = source.bytes();
    let (header_len, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| explain(file, bytes, &e))?;
    let packed = packed_entries(file, &metadata)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let bad = |problem: String| Error::BadTensor { file: file.to_owned(), tensor: name.clone(), problem };
        let range = 8 + header_len + info.data_offsets.0..8 + header_len + info.data_offsets.1;
        let (encoding, shape) = match (info.dtype, packed.get(&name)) {
            (Dtype::U8, Some(entry)) => {
                let block = BlockType::from_name(&entry.block)
                    .ok_or_else(|| bad(format!("has the unknown block type `{}`", entry.block)))?;
                let [rows, cols] = entry.shape;
                if packed_len(block, rows, cols) != Some(range.len()) {
                    return Err(bad(format!(
                        "holds {} bytes at offset {}, which is not a packed {} matrix of {rows} x {cols}",
                        range.len(),
                        range.start,
                        entry.block
                    )));
                }
                (Encoding::Packed(block), entry.shape.to_vec())
            }
            (Dtype::F32, None) => (Encoding::F32, info.shape.clone()),
            (Dtype::F16, None) => (Encoding::F16, info.shape.clone()),
            (Dtype::BF16, None) => (Encoding::Bf16, info.shape.clone()),
            // Integer and other tensors (position ids and the like) are not weights; a model that needs one by name
            // will say that it is missing.
            _ => continue,
        };
        tensors.insert(name.clone(), Tensor { source: source.clone(), range, encoding, shape });
    }
    Ok((tensors, metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()))
}

fn packed_entries(file: &str, metadata: &Metadata) -> Result<BTreeMap<String, PackedEntry>> {
    match metadata.metadata().as_ref().and_then(|m| m.get(PACKED_KEY)) {
        None => Ok(BTreeMap::new()),
        Some(json) => serde_json::from_str(json)
            .map_err(|e| Error::bad_file(file, format!("metadata key `{PACKED_KEY}` is malformed: {e}"))),
    }
}

/// Says in the user's terms why the header was refused; names the first tensor beyond the end of a truncated file.
fn explain(file: &str, bytes: &[u8], error: &safetensors::SafeTensorError) -> Error {
    let len = bytes.len();
    let Some(header_len) = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)) else {
        return Error::bad_file(file, format!("is not a safetensors file: it has only {len} bytes"));
    };
    let data_start = header_len.checked_add(8).filter(|&end| end <= len as u64);
    let Some(data_start) = data_start else {
        return Error::bad_file(
            file,
            format!(
                "is not a safetensors file or is truncated: its header claims {header_len} bytes, the file has {len}"
            ),
        );
    };
    #[derive(serde::Deserialize)]
    struct Entry {
        data_offsets: (u64, u64),
    }
    let header = &bytes[8..data_start as usize];
    if let Ok(entries) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(header) {
        let beyond = entries
            .into_iter()
            .filter_map(|(name, v)| Some((serde_json::from_value::<Entry>(v).ok()?.data_offsets, name)))
            .filter(|((_, end), _)| data_start.saturating_add(*end) > len as u64)
            .min();
        if let Some(((start, end), tensor)) = beyond {
            return Error::BadTensor {
                file: file.to_owned(),
                tensor,
                problem: format!(
                    "lies at bytes {} to {}, beyond the end of the file ({len} bytes): the file is truncated",
                    data_start.saturating_add(start),
                    data_start.saturating_add(end)
                ),
            };
        }
    }
    Error::bad_file(file, format!("is not a valid safetensors file: {error}"))
}
