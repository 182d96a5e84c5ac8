//! Weights as they come -> packed blocks: written once to a file that is mapped from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::{Encoding, Source, Tensor, TensorToWrite, Weights, write_safetensors};
use crate::quant::quantize::quantize_row;
use crate::quant::{BlockType, PackedMut, PackedView, Scales, TILE_ROWS, packed_len};
use crate::{Error, Result};

/// The `__metadata__` key of a packed copy that says what it was made from.
const ORIGIN_KEY: &str = "babil.origin";

/// The tensors named by `parameters` (name, whether it is a matrix), ready to write: matrices of blocks are packed as they
/// are, matrices of floats are quantised to `floats` (see [`BlockType::for_rows`]; or stay floats if that is `None`), and
/// everything else keeps its encoding. Packed matrices come first, so that their data stay aligned.
pub fn quantized<'a>(
    weights: &'a Weights,
    parameters: &[(String, bool)],
    floats: Option<BlockType>,
) -> Vec<TensorToWrite<'a>> {
    let mut tensors: Vec<_> = parameters
        .iter()
        .filter_map(|(name, matrix)| {
            let tensor = weights.get(name)?;
            let encoding = match (tensor.encoding(), tensor.shape(), floats) {
                (Encoding::Blocks(block), &[_, _], _) => Encoding::Packed(block),
                (Encoding::Blocks(_), ..) => Encoding::F32,
                (float @ (Encoding::F32 | Encoding::F16 | Encoding::Bf16), &[_, cols], Some(block)) if *matrix => {
                    block.for_rows(cols).map_or(float, Encoding::Packed)
                }
                (encoding, ..) => encoding,
            };
            let content: super::Content<'_> = match encoding {
                Encoding::Packed(block) if encoding != tensor.encoding() => {
                    Box::new(move |out| pack(tensor, block, out))
                }
                Encoding::F32 if encoding != tensor.encoding() => {
                    Box::new(|out| tensor.to_f32().iter().try_for_each(|v| out.write_all(&v.to_le_bytes())))
                }
                _ => Box::new(|out| out.write_all(tensor.bytes())),
            };
            Some(TensorToWrite { name: name.clone(), encoding, shape: tensor.shape().to_vec(), content })
        })
        .collect();
    tensors.sort_by_key(|tensor| !matches!(tensor.encoding, Encoding::Packed(_)));
    tensors
}

/// Bytes of a packed matrix that are made before they are written: as many as stay in a cache.
const PIECE: usize = 1 << 20;
/// Bytes that are written before the system is asked to store them. Otherwise it begins at the end, and a start waits for it.
const STORED_TOGETHER: usize = 16 << 20;

/// Writes a matrix of blocks or floats as packed blocks of type `block`, a piece of its rows after the other; what remains in
/// memory are the scales of all rows, which come last.
fn pack(tensor: &Tensor, block: BlockType, out: &mut dyn Write) -> std::io::Result<()> {
    let (rows, cols) = (tensor.shape()[0], tensor.shape()[1]);
    let group = packed_len(block, TILE_ROWS, cols).expect("about as large as the rows it comes from");
    let step = (PIECE / group.max(1)).max(1) * TILE_ROWS;
    let (mut bytes, mut scales) = (Vec::new(), Vec::new());
    for first in (0..rows).step_by(step) {
        let piece = first..rows.min(first + step);
        pack_rows(tensor, block, piece.clone(), &mut bytes);
        let packed = PackedView::new(block, piece.len(), cols, &bytes).expect("of this length");
        out.write_all(packed.codes)?;
        if first == 0 {
            scales.reserve_exact(packed.scales.len() * rows.div_ceil(step));
        }
        match block.format().scales {
            Scales::Tensor => scales = packed.scales.to_vec(),
            _ => scales.extend_from_slice(packed.scales),
        }
    }
    out.write_all(&scales)
}

/// Packs `rows` of a matrix of blocks or floats into `bytes`, 16 rows at a time on every core: floats never exist in float32
/// as a whole.
fn pack_rows(tensor: &Tensor, block: BlockType, rows: Range<usize>, bytes: &mut Vec<u8>) {
    let cols = tensor.shape()[1];
    bytes.resize(packed_len(block, rows.len(), cols).expect("about as large as the rows it comes from"), 0);
    let mut packed = PackedMut::new(block, rows.len(), cols, bytes).expect("of this length");
    let first = rows.start;
    if let Some(blocks) = tensor.as_blocks() {
        packed.set_tensor_scale(blocks.tensor_scale());
        on_every_core(packed.groups().collect(), |groups| {
            for group in groups {
                let rows = group.rows();
                group.pack(blocks.rows_bytes(first + rows.start..first + rows.end));
            }
        });
    } else {
        on_every_core(packed.groups().collect(), |groups| {
            let (mut values, mut blocks) = (Vec::new(), Vec::new());
            for group in groups {
                let rows = group.rows();
                values.resize(rows.len() * cols, 0.0);
                blocks.resize(block.row_bytes(values.len()).expect("whole blocks"), 0);
                tensor.rows_to_f32(first + rows.start, &mut values).expect("a float tensor");
                quantize_row(block, &values, &mut blocks);
                group.pack(&blocks);
            }
        });
    }
}

/// Calls `f` with shares of `items`, as many as there are cores, on a thread each.
fn on_every_core<T: Send>(mut items: Vec<T>, f: impl Fn(Vec<T>) + Sync) {
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    let share = items.len().div_ceil(cores);
    thread::scope(|scope| {
        while !items.is_empty() {
            let part = items.split_off(items.len().saturating_sub(share));
            scope.spawn(|| f(part));
        }
    });
}

/// A packed copy of `weights` (see [`quantized`]), mapped from `folder`, where it is written on first use. Where the
/// folder cannot be written, a warning is logged and `weights` are returned as they are: they can be computed with, but more
/// slowly. Where nothing has to be packed there is no copy. A copy that is damaged, or was made from another file or by another build, is made again.
///
/// # Errors
/// Reading back what was written.
pub fn packed_copy(
    weights: &Weights,
    parameters: &[(String, bool)],
    floats: Option<BlockType>,
    folder: &Path,
) -> Result<Weights> {
    let tensors = quantized(weights, parameters, floats);
    if tensors.iter().all(|new| weights.get(&new.name).is_some_and(|old| old.encoding() == new.encoding)) {
        return Ok(weights.clone());
    }
    let origin = origin(weights, floats);
    let mut hasher = DefaultHasher::new();
    origin.hash(&mut hasher);
    let path = folder.join(format!("{:016x}.safetensors", hasher.finish()));
    if let Ok(copy) = open_copy(&path, &origin) {
        return Ok(copy);
    }
    let metadata = BTreeMap::from([(ORIGIN_KEY.to_owned(), origin.clone())]);
    match write_copy(&path, &tensors, &metadata) {
        Ok(()) => open_copy(&path, &origin),
        Err(error) => {
            tracing::warn!("running from unpacked weights: cannot write a packed copy to {}: {error}", path.display());
            Ok(weights.clone())
        }
    }
}

/// The packed copies in `folder` that were made from `file`, which need not exist any more.
pub fn packed_copies_of(file: &str, folder: &Path) -> Vec<PathBuf> {
    // What follows the name in `origin`.
    let start = format!("{file} [");
    let made_from_file = |path: &PathBuf| {
        let copy = Weights::open(path).ok();
        copy.is_some_and(|copy| copy.safetensors_metadata(ORIGIN_KEY).is_some_and(|origin| origin.starts_with(&start)))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).filter(made_from_file).collect()
}

/// Opens `path` if it holds a copy made from `origin`.
fn open_copy(path: &Path, origin: &str) -> Result<Weights> {
    let copy = Weights::open(path)?;
    match copy.safetensors_metadata(ORIGIN_KEY) {
        Some(found) if found == origin => Ok(copy),
        _ => Err(Error::bad_file(copy.file, "was packed from other weights or by another version")),
    }
}

/// Writes to a temporary file beside `path` and renames it, so that nobody ever maps half a file.
fn write_copy(path: &Path, tensors: &[TensorToWrite<'_>], metadata: &BTreeMap<String, String>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    let file = temporary.as_file();
    thread::scope(|scope| {
        let (storing, requests) = mpsc::sync_channel(1);
        // An error is told once: it must not be lost.
        let stored = scope.spawn(move || requests.iter().try_for_each(|()| file.sync_data()));
        write_safetensors(&mut BufWriter::new(StoredEarly { file, waiting: 0, storing }), tensors, metadata)?;
        stored.join().expect("it does not panic")
    })?;
    file.sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

/// A file that is stored while more is written to it.
struct StoredEarly<'a> {
    file: &'a fs::File,
    /// Bytes that storing was not asked for yet.
    waiting: usize,
    storing: mpsc::SyncSender<()>,
}

impl Write for StoredEarly<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.waiting += written;
        // Where a request waits already, the next bytes ask again.
        if self.waiting >= STORED_TOGETHER && self.storing.try_send(()).is_ok() {
            self.waiting = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// What a copy depends on: the source files' names, sizes, times and tensor table, what floats become, and this build.
pub(super) fn origin(weights: &Weights, floats: Option<BlockType>) -> String {
    let mut table = DefaultHasher::new();
    let mut files = BTreeSet::new();
    for (name, tensor) in weights.iter() {
        (name, tensor.shape(), tensor.range.start, tensor.encoding().to_string()).hash(&mut table);
        match &*tensor.source {
            Source::Owned(bytes) => bytes[tensor.range.clone()].hash(&mut table),
            Source::Mapped(_, stamp) => {
                files.insert(stamp);
            }
            Source::Static(_) => {}
        }
    }
    let files: Vec<_> = files.iter().map(|stamp| (stamp.offset, stamp.length, stamp.modified)).collect();
    let (file, table, version) = (&weights.file, table.finish(), env!("CARGO_PKG_VERSION"));
    format!("{file} {files:?} {table:016x} {} babil {version}", floats.map_or("as it is", BlockType::name))
}

#[cfg(test)]
mod tests {
    use super::super::Encoding;
    use super::*;
    use crate::quant::testing::random_blocks;

    #[test]
    fn copies_are_found_by_what_they_were_made_from() {
        let folder = tempfile::tempdir().unwrap();
        let floats = Tensor::of(Encoding::F32, &[1, 64], vec![0; 4 * 64]);
        let mut weights = Weights::of([("w", floats)]);
        for file in ["a.gguf", "a.gguf.2"] {
            weights.file = file.to_owned();
            packed_copy(&weights, &[("w".to_owned(), true)], Some(BlockType::Q8_0), folder.path()).unwrap();
        }
        fs::write(folder.path().join("damaged.safetensors"), "a.gguf [").unwrap();
        let found = |file| packed_copies_of(file, folder.path());
        let [copy] = &found("a.gguf")[..] else { panic!("one copy") };
        assert_ne!(found("a.gguf.2"), std::slice::from_ref(copy));
        fs::remove_file(copy).unwrap();
        assert!(found("a.gguf").is_empty() && found("a").is_empty());
        assert!(packed_copies_of("a.gguf", &folder.path().join("none")).is_empty());
    }

    #[test]
    fn blocks_are_packed_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for block in BlockType::ALL {
            let (rows, cols) = (37, 256);
            let tensor = |rows| Tensor::of(Encoding::Blocks(block), &[rows, cols], random_blocks(block, rows, cols, 9));
            let floats = values(3 * 64);
            let float = Tensor::of(Encoding::F32, &[3, 64], floats.iter().flat_map(|v| v.to_le_bytes()).collect());
            let weights = Weights::of([("matrix", tensor(rows)), ("other", tensor(1)), ("float", float)]);
            let parameters = [("float", true), ("matrix", true), ("other", false)];
            let parameters = parameters.map(|(name, matrix)| (name.to_owned(), matrix));
            let copy = packed_copy(&weights, &parameters, None, folder.path()).unwrap();
            for name in ["matrix", "other"] {
                let (copy, original) = (copy.get(name).unwrap(), weights.get(name).unwrap());
                assert_eq!(copy.encoding(), Encoding::Packed(block));
                assert_eq!(copy.to_f32(), original.to_f32());
            }
            assert_eq!(copy.get("float").unwrap().encoding(), Encoding::F32);
            assert_eq!(copy.get("float").unwrap().to_f32(), floats);
        }
    }

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32 / 7.0).collect()
    }
}
