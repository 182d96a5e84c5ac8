//! Writing safetensors, tensor by tensor, each of which is made while it is written.

use std::collections::BTreeMap;
use std::io::Write;

use super::Encoding;
use super::safetensors::{PACKED_KEY, PackedEntry};

/// Data starts at, and every tensor's data is padded to, a multiple of this many bytes, so that mapped SIMD loads
/// never straddle cache lines.
const ALIGNMENT: usize = 64;

/// Makes the bytes of a tensor and writes them, in as many pieces as it likes.
pub type Content<'a> = Box<dyn Fn(&mut dyn Write) -> std::io::Result<()> + 'a>;

/// A tensor to write.
pub struct TensorToWrite<'a> {
    /// Its name.
    pub name: String,
    /// How its bytes are to be read.
    pub encoding: Encoding,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Writes the bytes; their number follows from encoding and shape.
    pub content: Content<'a>,
}

/// Writes a safetensors file to `out`, tensors in the given order, with `metadata` in its header.
///
/// safetensors forbids holes between tensors, so a tensor whose size is not a multiple of 64 bytes leaves the next
/// ones unaligned: give the matrices first.
///
/// # Errors
/// `out` cannot be written.
///
/// # Panics
/// A tensor's content has another length than its shape says, its size overflows, or it is blocks that are not packed.
pub fn write_safetensors(
    out: &mut impl Write,
    tensors: &[TensorToWrite<'_>],
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut packed = BTreeMap::new();
    let mut offset = 0;
    for tensor in tensors {
        let len = tensor.encoding.byte_len(&tensor.shape).expect("tensor size fits memory");
        let (dtype, shape) = match (tensor.encoding, tensor.shape.as_slice()) {
            (Encoding::F32, shape) => ("F32", shape.to_vec()),
            (Encoding::F16, shape) => ("F16", shape.to_vec()),
            (Encoding::Bf16, shape) => ("BF16", shape.to_vec()),
            (Encoding::Blocks(_), _) => panic!("`{}` must be packed for safetensors", tensor.name),
            (Encoding::Packed(block), shape) => {
                let shape = shape.try_into().expect("packed tensors are matrices");
                packed.insert(&tensor.name, PackedEntry { block: block.name().to_owned(), shape });
                ("U8", vec![len])
            }
        };
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len]});
        header.insert(tensor.name.clone(), entry);
        offset += len;
    }
    let mut metadata = metadata.clone();
    if !packed.is_empty() {
        metadata.insert(PACKED_KEY.to_owned(), serde_json::to_string(&packed)?);
    }
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), serde_json::to_value(&metadata)?);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize((header.len() + 8).next_multiple_of(ALIGNMENT) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in tensors {
        let mut counted = Counted { out, written: 0 };
        (tensor.content)(&mut counted)?;
        assert_eq!(Some(counted.written), tensor.encoding.byte_len(&tensor.shape), "content of `{}`", tensor.name);
    }
    out.flush()
}

/// Passes on what is written, and counts it.
struct Counted<'a, W> {
    out: &'a mut W,
    written: usize,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
