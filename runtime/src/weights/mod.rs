//! A weight file -> [`Weights`]: mapped memory, a name index, and typed views. Nothing is copied.

pub mod gguf;
mod quantize;
mod safetensors;
pub mod whisper_ggml;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::quantize::{packed_copies_of, packed_copy, quantized};
pub use self::write::{Content, TensorToWrite, write_safetensors};
use crate::quant::quantize::quantize_row;
use crate::quant::{BlockType, BlocksView, PackedView, packed_len};
use crate::{Error, Result};

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// IEEE float32, little-endian.
    F32,
    /// IEEE float16.
    F16,
    /// bfloat16.
    Bf16,
    /// Quantised blocks, row after row, as in GGUF.
    Blocks(BlockType),
    /// Packed quantised blocks, see [`crate::quant`].
    Packed(BlockType),
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::Blocks(block) | Self::Packed(block) => block.name(),
        })
    }
}

impl Encoding {
    /// Bytes of a tensor of `shape` (slowest dimension first); `None` where its rows are not whole blocks, or where the
    /// number does not fit `usize`.
    pub fn byte_len(self, shape: &[usize]) -> Option<usize> {
        let count = || shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        match self {
            Self::F32 => count()?.checked_mul(4),
            Self::F16 | Self::Bf16 => count()?.checked_mul(2),
            Self::Blocks(block) => {
                let (cols, rows) = shape.split_last()?;
                block.tensor_bytes(rows.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?, *cols)
            }
            Self::Packed(block) => match *shape {
                [rows, cols] => packed_len(block, rows, cols),
                _ => None,
            },
        }
    }

    /// Writes the values `x` of a row to its bytes `out`.
    ///
    /// # Panics
    /// `out` has not as many bytes, `x` is not whole blocks, or the encoding has no rows of its own (packed blocks, and
    /// I2_S).
    pub fn encode_row(self, x: &[f32], out: &mut [u8]) {
        assert_eq!(self.byte_len(&[x.len()]), Some(out.len()), "bytes of {} values as {self}", x.len());
        match self {
            Self::F32 => out.as_chunks_mut().0.iter_mut().zip(x).for_each(|(out, v)| *out = v.to_le_bytes()),
            Self::F16 => {
                let values = x.iter().map(|v| half::f16::from_f32(*v).to_le_bytes());
                out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(out, v)| *out = v);
            }
            Self::Bf16 => {
                let values = x.iter().map(|v| half::bf16::from_f32(*v).to_le_bytes());
                out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(out, v)| *out = v);
            }
            Self::Blocks(block) => quantize_row(block, x, out),
            Self::Packed(_) => unreachable!("a row has no length"),
        }
    }
}

/// The bytes of one file.
enum Source {
    Mapped(memmap2::Mmap, Stamp),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

/// What tells a mapped file from an older one of its name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    name: String,
    offset: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// A part of a file that somebody has opened, such as an asset inside an app's package. It must stay as it is while it is
/// mapped.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file; it can be closed once it is mapped.
    pub file: Arc<File>,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What errors call it. Packed copies are found again by it.
    pub name: String,
}

impl FilePart {
    /// Maps it read-only.
    #[allow(unsafe_code)]
    fn map(&self) -> Result<Source> {
        let Self { file, offset, length, name } = self;
        let metadata = file.metadata().map_err(|e| Error::io("read", name, e))?;
        if offset.checked_add(*length).is_none_or(|end| end > metadata.len()) {
            let problem = format!("bytes {offset} to {offset} + {length} of a file of {} bytes", metadata.len());
            return Err(Error::bad_file(name, problem));
        }
        let length_here =
            usize::try_from(*length).map_err(|_| Error::bad_file(name, "is too large for this machine"))?;
        let mut options = memmap2::MmapOptions::new();
        options.offset(*offset).len(length_here);
        // SAFETY: the map is read-only and private to this process. As with every memory-mapped model, truncating or
        // rewriting the file while it is mapped is outside the contract (model files are replaced by rename, which
        // leaves the mapped inode intact); all values read from it are plain numbers, valid for any bit pattern.
        let map = unsafe { options.map(&**file) }.map_err(|e| Error::io("map", name, e))?;
        let modified = metadata.modified().ok();
        Ok(Source::Mapped(map, Stamp { name: name.clone(), offset: *offset, length: *length, modified }))
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Maps `path` read-only.
    fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let length = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
        FilePart { file: Arc::new(file), offset: 0, length, name: path.display().to_string() }.map()
    }
}

/// One tensor of a weight file: a typed range of shared, usually mapped, bytes. Cheap to clone.
#[derive(Clone)]
pub struct Tensor {
    source: Arc<Source>,
    range: Range<usize>,
    encoding: Encoding,
    shape: Vec<usize>,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} at bytes {:?}", self.encoding, self.shape, self.range)
    }
}

impl Tensor {
    /// A tensor in memory.
    #[cfg(test)]
    pub(crate) fn of(encoding: Encoding, shape: &[usize], bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { source: Arc::new(Source::Owned(bytes)), range, encoding, shape: shape.to_vec() }
    }

    /// A tensor of float32 in memory.
    ///
    /// # Panics
    /// There are more or fewer values than `shape` says.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(Encoding::F32.byte_len(shape), Some(4 * values.len()), "values of a tensor of {shape:?}");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Self { source: Arc::new(Source::Owned(bytes)), range, encoding: Encoding::F32, shape: shape.to_vec() }
    }

    /// The same values under another shape of as many; `None` where that is not possible, as with quantised rows.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let float = matches!(self.encoding, Encoding::F32 | Encoding::F16 | Encoding::Bf16);
        let same = self.encoding.byte_len(shape) == Some(self.range.len());
        (float && same).then(|| Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// How the values are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Dimensions, slowest first: a linear layer's weight is `[out, in]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }

    /// The file that the bytes are mapped from, and their offset and length in it, where it has the name and the size that it
    /// was mapped with.
    #[cfg(feature = "npu")]
    pub(crate) fn place(&self) -> Option<(std::path::PathBuf, u64, u64)> {
        let Source::Mapped(map, stamp) = &*self.source else { return None };
        let metadata = std::fs::metadata(&stamp.name).ok().filter(std::fs::Metadata::is_file)?;
        let end = stamp.offset + map.len() as u64;
        let same = metadata.modified().ok() == stamp.modified && metadata.len() >= end;
        same.then(|| (stamp.name.clone().into(), stamp.offset + self.range.start as u64, self.range.len() as u64))
    }

    /// The values where they are stored as float32 and aligned for it; nothing is copied.
    #[allow(unsafe_code)]
    pub fn as_f32(&self) -> Option<&[f32]> {
        if self.encoding != Encoding::F32 || cfg!(target_endian = "big") {
            return None;
        }
        // SAFETY: every bit pattern is a valid f32; `align_to` puts unaligned ends into the prefix and suffix.
        let (prefix, values, suffix) = unsafe { self.bytes().align_to::<f32>() };
        (prefix.is_empty() && suffix.is_empty()).then_some(values)
    }

    /// A packed view, where the values are stored in packed blocks.
    pub fn as_packed(&self) -> Option<PackedView<'_>> {
        match (self.encoding, self.shape.as_slice()) {
            (Encoding::Packed(block), &[rows, cols]) => PackedView::new(block, rows, cols, self.bytes()),
            _ => None,
        }
    }

    /// A view of the blocks, where the values are stored in blocks.
    pub fn as_blocks(&self) -> Option<BlocksView<'_>> {
        match (self.encoding, self.shape.as_slice()) {
            (Encoding::Blocks(block), &[rows, cols]) => BlocksView::new(block, rows, cols, self.bytes()),
            _ => None,
        }
    }

    /// Decodes the values `range` (in elements, row-major) of a float tensor into `out`; `None` for packed ones.
    fn decode_range(&self, start: usize, out: &mut [f32]) -> Option<()> {
        let bytes = self.bytes();
        match self.encoding {
            Encoding::F32 => {
                for (value, b) in out.iter_mut().zip(bytes[4 * start..].as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*b);
                }
            }
            Encoding::F16 => {
                for (value, b) in out.iter_mut().zip(bytes[2 * start..].as_chunks::<2>().0) {
                    *value = half::f16::from_le_bytes(*b).to_f32();
                }
            }
            Encoding::Bf16 => {
                for (value, b) in out.iter_mut().zip(bytes[2 * start..].as_chunks::<2>().0) {
                    *value = half::bf16::from_le_bytes(*b).to_f32();
                }
            }
            Encoding::Blocks(_) | Encoding::Packed(_) => return None,
        }
        Some(())
    }

    /// All values as float32 (a copy): for small tensors, and for the float32 reference.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.iter().product()];
        if let Some(view) = self.as_packed() {
            for (row, out) in out.chunks_exact_mut(view.cols.max(1)).enumerate() {
                crate::quant::dequantize_row(view, row, out);
            }
        } else if let (Encoding::Blocks(block), Some(&cols)) = (self.encoding, self.shape.last()) {
            // Any number of dimensions: a file may have vectors of blocks.
            let cols = cols.max(1);
            let view = BlocksView::new(block, out.len() / cols, cols, self.bytes()).expect("checked with the header");
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                view.dequantize_row(row, out);
            }
        } else {
            self.decode_range(0, &mut out).expect("not quantised");
        }
        out
    }

    /// Decodes rows `first..first + out.len() / cols` of a float matrix into `out`; `None` where it is quantised.
    ///
    /// # Panics
    /// `first` is beyond the matrix.
    pub fn rows_to_f32(&self, first: usize, out: &mut [f32]) -> Option<()> {
        self.decode_range(first * self.shape.last()?, out)
    }
}

/// The tensors of a model, by name. Cheap to clone; the bytes are shared.
#[derive(Clone)]
pub struct Weights {
    file: String,
    tensors: BTreeMap<String, Tensor>,
    about: About,
}

/// What a file says beside its tensors.
#[derive(Clone)]
enum About {
    Safetensors(BTreeMap<String, String>),
    Gguf(Arc<gguf::Metadata>),
    Whisper(Arc<whisper_ggml::Header>),
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors of {}", self.tensors.len(), self.file)
    }
}

impl Weights {
    /// Maps a safetensors, GGUF or whisper.cpp file. Of a GGUF file in parts, the others are opened with the first.
    ///
    /// # Errors
    /// The file cannot be read, is neither, is damaged, or is truncated (a tensor beyond its end is named).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut weights = Self::new(path.display().to_string(), Source::map(path)?)?;
        for part in gguf::other_parts(path, weights.gguf_metadata())? {
            let part = Self::new(part.display().to_string(), Source::map(&part)?)?;
            for (name, tensor) in part.tensors {
                if weights.tensors.contains_key(&name) {
                    let problem = format!("is in {} already", weights.file);
                    return Err(Error::BadTensor { file: part.file, tensor: name, problem });
                }
                weights.tensors.insert(name, tensor);
            }
        }
        Ok(weights)
    }

    /// Maps a part of a file that is open already.
    ///
    /// # Errors
    /// As [`Weights::open`]; a GGUF file in several parts is refused.
    pub fn open_part(part: &FilePart) -> Result<Self> {
        let weights = Self::new(part.name.clone(), part.map()?)?;
        match gguf::other_parts(Path::new(&part.name), weights.gguf_metadata())?.is_empty() {
            true => Ok(weights),
            false => Err(Error::bad_file(&part.name, "is in several parts: they have to be files of a folder")),
        }
    }

    /// Reads weights that are part of the program itself; `label` stands for the file's name in errors.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_static(bytes: &'static [u8], label: &str) -> Result<Self> {
        Self::new(label.to_owned(), Source::Static(bytes))
    }

    /// Reads weights from memory; `label` stands for the file's name in errors.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_vec(bytes: Vec<u8>, label: &str) -> Result<Self> {
        Self::new(label.to_owned(), Source::Owned(bytes))
    }

    /// Opens the shards that `model.safetensors.index.json` names, as one.
    ///
    /// # Errors
    /// As [`Weights::open`], or the index is malformed.
    pub fn open_sharded(index: impl AsRef<Path>) -> Result<Self> {
        let index = index.as_ref();
        let label = index.display().to_string();
        let text = std::fs::read(index).map_err(|e| Error::io("read", index, e))?;
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let parsed: Index =
            serde_json::from_slice(&text).map_err(|e| Error::bad_file(&label, format!("not a shard index: {e}")))?;
        let mut shards: Vec<&String> = parsed.weight_map.values().collect();
        shards.sort();
        shards.dedup();
        let folder = index.parent().unwrap_or(Path::new("."));
        let mut tensors = BTreeMap::new();
        for shard in shards {
            if Path::new(shard).components().count() != 1 || shard.starts_with('.') {
                return Err(Error::bad_file(&label, format!("shard name `{shard}` is not a plain file name")));
            }
            tensors.extend(Self::open(folder.join(shard))?.tensors);
        }
        Ok(Self { file: label, tensors, about: About::Safetensors(BTreeMap::new()) })
    }

    /// The weights of a GGUF file that is still to be written; `label` stands for its name in errors. What `tensors` are
    /// views of is not copied.
    ///
    /// # Errors
    /// A key was set twice.
    pub fn from_entries(label: String, entries: &gguf::Entries, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        Ok(Self { tensors, ..Self::new(label, Source::Owned(entries.file()))? })
    }

    /// Tensors in memory.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(tensors: [(&str, Tensor); N]) -> Self {
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into();
        Self { file: "test".to_owned(), tensors, about: About::Safetensors(BTreeMap::new()) }
    }

    fn new(file: String, source: Source) -> Result<Self> {
        let source = Arc::new(source);
        let (tensors, about) = if source.bytes().starts_with(gguf::MAGIC) {
            let (tensors, metadata) = gguf::index(&file, &source)?;
            (tensors, About::Gguf(Arc::new(metadata)))
        } else if source.bytes().starts_with(whisper_ggml::MAGIC) {
            let (tensors, header) = whisper_ggml::index(&file, &source)?;
            (tensors, About::Whisper(Arc::new(header)))
        } else {
            let (tensors, metadata) = safetensors::index(&file, source)?;
            (tensors, About::Safetensors(metadata))
        };
        Ok(Self { file, tensors, about })
    }

    /// A value of a safetensors file's `__metadata__`.
    fn safetensors_metadata(&self, key: &str) -> Option<&str> {
        match &self.about {
            About::Safetensors(metadata) => metadata.get(key).map(String::as_str),
            About::Gguf(_) | About::Whisper(_) => None,
        }
    }

    /// The metadata of a GGUF file; `None` for other formats.
    pub fn gguf_metadata(&self) -> Option<&gguf::Metadata> {
        match &self.about {
            About::Gguf(metadata) => Some(metadata),
            About::Safetensors(_) | About::Whisper(_) => None,
        }
    }

    /// What stands before the tensors of a whisper.cpp file; `None` for other formats.
    pub fn whisper_header(&self) -> Option<&whisper_ggml::Header> {
        match &self.about {
            About::Whisper(header) => Some(header),
            About::Safetensors(_) | About::Gguf(_) => None,
        }
    }

    /// What the tensors are parts of, each once: the bytes, and for a mapped file its name, size and time, which tell it from
    /// an older one of its name.
    pub fn sources(&self) -> Vec<(Option<String>, &[u8])> {
        let mut seen = BTreeSet::new();
        let sources = self.tensors.values().map(|tensor| &tensor.source);
        let each_once = sources.filter(|source| seen.insert(Arc::as_ptr(source)));
        let described = each_once.map(|source| {
            let stamp = match &**source {
                Source::Mapped(_, Stamp { name, offset, length, modified: Some(modified) }) => {
                    Some(format!("{name} {offset}+{length} {modified:?}"))
                }
                Source::Mapped(..) | Source::Static(_) | Source::Owned(_) => None,
            };
            (stamp, source.bytes())
        });
        described.collect()
    }

    /// The file's path, or the label it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor `name`, where it exists.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor `name`, which must have exactly `shape`.
    ///
    /// # Errors
    /// [`Error::BadTensor`] names the file, the tensor, and both shapes.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&Tensor> {
        let tensor = self.get(name).ok_or_else(|| self.bad(name, "is missing"))?;
        if tensor.shape != shape {
            return Err(self.bad(name, format!("has shape {:?}, the model needs {shape:?}", tensor.shape)));
        }
        Ok(tensor)
    }

    /// Replaces the tensor `name` by consecutive parts of its rows (its slowest dimension), each with a name and a
    /// number of rows: views of the same bytes. For matrices that a file joins and a model has apart.
    ///
    /// # Errors
    /// There is no such tensor, it does not have as many rows, its rows are not bytes of their own (packed blocks, and
    /// types with one scale for all), or a part's name is taken.
    pub fn split_rows(&mut self, name: &str, parts: &[(String, usize)]) -> Result<()> {
        let tensor = self.get(name).ok_or_else(|| self.bad(name, "is missing"))?.clone();
        let (rows, columns) = tensor.shape.split_first().ok_or_else(|| self.bad(name, "has no rows"))?;
        let has_rows = match tensor.encoding {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => true,
            Encoding::Blocks(block) => block != BlockType::I2S && !columns.is_empty(),
            Encoding::Packed(_) => false,
        };
        if !has_rows {
            return Err(self.bad(name, format!("cannot be split by rows: its type is {}", tensor.encoding)));
        }
        if parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.1)) != Some(*rows) {
            let sizes: Vec<usize> = parts.iter().map(|part| part.1).collect();
            return Err(self.bad(name, format!("has {rows} rows, the model needs parts of {sizes:?}")));
        }
        self.tensors.remove(name);
        let row_bytes = tensor.range.len() / rows.max(&1);
        let mut start = tensor.range.start;
        for (part, rows) in parts {
            let range = start..start + rows * row_bytes;
            start = range.end;
            let shape = std::iter::once(*rows).chain(columns.iter().copied()).collect();
            let view = Tensor { source: tensor.source.clone(), range, encoding: tensor.encoding, shape };
            if self.tensors.insert(part.clone(), view).is_some() {
                return Err(self.bad(part, format!("exists, and is a part of `{name}` too")));
            }
        }
        Ok(())
    }

    /// An [`Error::BadTensor`] about a tensor of this file.
    pub fn bad(&self, tensor: &str, problem: impl Into<String>) -> Error {
        Error::BadTensor { file: self.file.clone(), tensor: tensor.to_owned(), problem: problem.into() }
    }
}
