//! Float weights -> packed blocks: written once to a file that is mapped from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::{Encoding, Source, Tensor, TensorToWrite, Weights, write_safetensors};
use crate::quant::{BLOCK, BlockType, PackedMut, TILE_ROWS, packed_len};
use crate::{Error, Result};

/// The `__metadata__` key of a packed copy that says what it was made from.
const ORIGIN_KEY: &str = "babil.origin";

/// The tensors named by `parameters` (name, whether it is a matrix to quantise), ready to write: float matrices whose
/// rows are whole blocks become `block`, everything else keeps its encoding. Matrices come first, so that their data
/// stay aligned.
pub fn quantized<'a>(weights: &'a Weights, parameters: &[(String, bool)], block: BlockType) -> Vec<TensorToWrite<'a>> {
    let mut tensors: Vec<_> = parameters
        .iter()
        .filter_map(|(name, matrix)| {
            let tensor = weights.get(name)?;
            let encoding = match (*matrix, tensor.encoding(), tensor.shape()) {
                (true, Encoding::F32 | Encoding::F16 | Encoding::Bf16, &[_, cols]) if cols % BLOCK == 0 => {
                    Encoding::Packed(block)
                }
                (_, encoding, _) => encoding,
            };
            let content: super::Content<'_> = if encoding == tensor.encoding() {
                Box::new(|| tensor.bytes().to_vec())
            } else {
                Box::new(move || pack(tensor, block))
            };
            Some(TensorToWrite { name: name.clone(), encoding, shape: tensor.shape().to_vec(), content })
        })
        .collect();
    tensors.sort_by_key(|tensor| !matches!(tensor.encoding, Encoding::Packed(_)));
    tensors
}

/// A float matrix as packed blocks, tile by tile: it never exists in float32 as a whole.
fn pack(tensor: &Tensor, block: BlockType) -> Vec<u8> {
    let (rows, cols) = (tensor.shape()[0], tensor.shape()[1]);
    let mut bytes = vec![0; packed_len(block, rows, cols).expect("smaller than the float tensor it comes from")];
    let mut packed = PackedMut::new(block, rows, cols, &mut bytes).expect("of this length");
    let mut values = vec![0.0; TILE_ROWS * cols];
    for first in (0..rows).step_by(TILE_ROWS) {
        let values = &mut values[..TILE_ROWS.min(rows - first) * cols];
        tensor.rows_to_f32(first, values).expect("a float tensor");
        for (row, values) in values.chunks_exact(cols).enumerate() {
            packed.quantize_row(first + row, values);
        }
    }
    bytes
}

/// A packed copy of `weights` (see [`quantized`]), mapped from `folder`, where it is written on first use. Where the
/// folder cannot be written the copy is made in memory and a warning is logged. A copy that is damaged, or was made
/// from another file or by another build, is made again.
///
/// # Errors
/// Reading back what was written.
pub fn packed_copy(
    weights: &Weights,
    parameters: &[(String, bool)],
    block: BlockType,
    folder: &Path,
) -> Result<Weights> {
    let origin = origin(weights, block);
    let mut hasher = DefaultHasher::new();
    origin.hash(&mut hasher);
    let path = folder.join(format!("{:016x}.safetensors", hasher.finish()));
    if let Ok(copy) = open_copy(&path, &origin) {
        return Ok(copy);
    }
    let metadata = BTreeMap::from([(ORIGIN_KEY.to_owned(), origin.clone())]);
    let tensors = quantized(weights, parameters, block);
    match write_copy(&path, &tensors, &metadata) {
        Ok(()) => open_copy(&path, &origin),
        Err(error) => {
            tracing::warn!("running from memory: cannot write the packed weights to {}: {error}", path.display());
            let mut bytes = Vec::new();
            write_safetensors(&mut bytes, &tensors, &metadata).expect("writing to memory");
            Weights::from_vec(bytes, weights.file())
        }
    }
}

/// Opens `path` if it holds a copy made from `origin`.
fn open_copy(path: &Path, origin: &str) -> Result<Weights> {
    let copy = Weights::open(path)?;
    match copy.metadata.get(ORIGIN_KEY) {
        Some(found) if found == origin => Ok(copy),
        _ => Err(Error::bad_file(copy.file, "was packed from other weights or by another version")),
    }
}

/// Writes to a temporary file beside `path` and renames it, so that nobody ever maps half a file.
fn write_copy(path: &Path, tensors: &[TensorToWrite<'_>], metadata: &BTreeMap<String, String>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    write_safetensors(&mut BufWriter::new(temporary.as_file()), tensors, metadata)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// What a copy depends on: the source files' names, sizes, times and tensor table, the block type, and this build.
fn origin(weights: &Weights, block: BlockType) -> String {
    let mut table = DefaultHasher::new();
    let mut files: BTreeSet<&PathBuf> = BTreeSet::new();
    for (name, tensor) in weights.iter() {
        (name, tensor.shape(), tensor.range.start, tensor.encoding().to_string()).hash(&mut table);
        match &*tensor.source {
            Source::Owned(bytes) => bytes[tensor.range.clone()].hash(&mut table),
            Source::Mapped(_, path) => {
                files.insert(path);
            }
            Source::Static(_) => {}
        }
    }
    let state = |path: &&PathBuf| fs::metadata(path).ok().map(|file| (file.len(), file.modified().ok()));
    let files: Vec<_> = files.iter().map(state).collect();
    let (file, table, version) = (&weights.file, table.finish(), env!("CARGO_PKG_VERSION"));
    format!("{file} {files:?} {table:016x} {} babil {version}", block.name())
}
