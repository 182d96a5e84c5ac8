//! Reading GGUF, versions 2 and 3: a header, metadata, a table of tensors, data. All little-endian.
//!
//! ```text
//! "GGUF"  u32 version  u64 tensors  u64 keys
//! keys:     string key, u32 type, value             string = u64 length, bytes
//! tensors:  string name, u32 n, n x u64 dimension (fastest first), u32 type, u64 offset
//! data:     from the next multiple of `general.alignment` (32), where offsets start; each is such a multiple too
//! ```
//!
//! The file is walked once. Nothing in it is trusted: every count is compared with what is left of the file before it
//! decides anything, and what is wrong is an error that names the file, the key or tensor, and the byte.

pub(super) mod cursor;
mod metadata;
mod value;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::cursor::{Cursor, Problem, Read};
pub use self::metadata::Metadata;
pub use self::value::{Array, Elements, FromValue, Kind, Numbers, Strings, Value};
pub use self::write::{Entries, TensorHeader, Writer, alignment};
use super::{Encoding, Source, Tensor};
use crate::quant::BlockType;
use crate::{Error, Result};

/// What a file of this format starts with.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// More dimensions than this do not exist.
const MAX_DIMENSIONS: usize = 4;

/// A tensor that is no weight: integers and float64.
#[derive(Clone, Debug)]
pub struct OtherTensor {
    /// Its name.
    pub name: String,
    /// The name of its type.
    pub kind: &'static str,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
}

/// The type of a tensor's values.
#[derive(Clone, Copy)]
enum TensorType {
    Weight(Encoding),
    /// Name and bytes of a value.
    Other(&'static str, usize),
}

impl TensorType {
    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::Weight(Encoding::F32),
            1 => Self::Weight(Encoding::F16),
            30 => Self::Weight(Encoding::Bf16),
            24 => Self::Other("i8", 1),
            25 => Self::Other("i16", 2),
            26 => Self::Other("i32", 4),
            27 => Self::Other("i64", 8),
            28 => Self::Other("f64", 8),
            _ => Self::Weight(Encoding::Blocks(BlockType::from_ggml_id(id)?)),
        })
    }

    /// Values that a row must be a multiple of.
    fn block_columns(self) -> usize {
        match self {
            Self::Weight(Encoding::Blocks(block)) => block.block_columns(),
            _ => 1,
        }
    }

    fn byte_len(self, shape: &[usize]) -> Option<usize> {
        match self {
            Self::Weight(encoding) => encoding.byte_len(shape),
            Self::Other(_, bytes) => shape.iter().try_fold(bytes, |n, &d| n.checked_mul(d)),
        }
    }
}

/// The encoding of ggml's type number `id`; `None` where it is unknown or no weight.
pub(super) fn weight_type(id: u32) -> Option<Encoding> {
    match TensorType::from_id(id)? {
        TensorType::Weight(encoding) => Some(encoding),
        TensorType::Other(..) => None,
    }
}

/// The number of an encoding in the file; `None` where files do not have it.
fn type_id(encoding: Encoding) -> Option<u32> {
    match encoding {
        Encoding::F32 => Some(0),
        Encoding::F16 => Some(1),
        Encoding::Bf16 => Some(30),
        Encoding::Blocks(block) => block.ggml_id(),
        Encoding::Packed(_) => None,
    }
}

/// What the table says of one tensor.
struct Info {
    name: String,
    /// Where its entry stands in the file.
    at: usize,
    kind: TensorType,
    shape: Vec<usize>,
    offset: u64,
    len: usize,
}

/// The tensors of `source` by name, and its metadata; `file` is its name in errors.
pub(super) fn index(file: &str, source: &Arc<Source>) -> Result<(BTreeMap<String, Tensor>, Metadata)> {
    let bytes = source.bytes();
    let whole = |problem: Problem| Error::bad_file(file, format!("byte {}: {}", problem.at, problem.text));
    let mut cursor = Cursor::new(bytes);
    let (version, tensors, keys) = header(&mut cursor).map_err(whole)?;
    let mut metadata = Metadata::read(file, source, version, keys, &mut cursor).map_err(whole)?;
    let mut infos = Vec::new();
    for index in 0..tensors {
        let name = cursor.name().map_err(|p| whole(Problem { text: format!("tensor {index}: {}", p.text), ..p }))?;
        let at = cursor.at();
        infos.push(info(name, at, &mut cursor).map_err(|problem| bad_tensor(file, name, &problem))?);
    }
    let alignment = alignment(&metadata)?.into();
    let data = (cursor.at() as u64).next_multiple_of(alignment);
    let mut placed = Vec::with_capacity(infos.len());
    for info in &infos {
        placed.push((place(info, data, alignment, bytes.len()).map_err(|p| bad_tensor(file, &info.name, &p))?, info));
    }
    placed.sort_by_key(|(range, _)| range.start);
    for pair in placed.windows(2) {
        let [(first, before), (second, info)] = [&pair[0], &pair[1]];
        if second.start < first.end {
            let text = format!("bytes {second:?} overlap those of `{}`, {first:?}", before.name);
            return Err(bad_tensor(file, &info.name, &Problem { at: info.at, text }));
        }
    }
    let mut index = BTreeMap::new();
    let mut others = BTreeMap::new();
    for (range, Info { name, at, kind, shape, .. }) in placed {
        let (name, shape) = (name.clone(), shape.clone());
        if index.contains_key(&name) || others.contains_key(&name) {
            return Err(bad_tensor(file, &name, &Problem { at: *at, text: "this name occurs twice".to_owned() }));
        }
        match *kind {
            TensorType::Weight(encoding) => {
                index.insert(name, Tensor { source: source.clone(), range, encoding, shape });
            }
            TensorType::Other(kind, _) => {
                others.insert(name.clone(), OtherTensor { name, kind, shape });
            }
        }
    }
    metadata.others = others.into_values().collect();
    Ok((index, metadata))
}

/// Version, and how many tensors and keys there are.
fn header(cursor: &mut Cursor<'_>) -> Read<(u32, usize, usize)> {
    cursor.u32()?;
    let version = cursor.clone().u32()?;
    match version {
        2 | 3 => cursor.u32()?,
        1 => return cursor.problem("GGUF version 1 is not supported, versions 2 and 3 are"),
        _ if version.swap_bytes() <= 3 => return cursor.problem("big-endian GGUF is not supported"),
        _ => return cursor.problem(format!("GGUF version {version} is not supported, versions 2 and 3 are")),
    };
    // The shortest entries: a name of no bytes, one dimension; a key of no bytes, a value of one.
    let tensors = cursor.count(8 + 4 + 8 + 4 + 8, "tensors")?;
    let keys = cursor.count(8 + 4 + 1, "metadata keys")?;
    Ok((version, tensors, keys))
}

/// The rest of a tensor's entry, after its name.
fn info(name: &str, at: usize, cursor: &mut Cursor<'_>) -> Read<Info> {
    let dimensions = cursor.clone().u32()? as usize;
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return cursor.problem(format!("has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}"));
    }
    cursor.u32()?;
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        let dimension = cursor.clone().u64()?;
        match usize::try_from(dimension) {
            Ok(size @ 1..) => shape.push(size),
            _ => return cursor.problem(format!("has a dimension of {dimension}")),
        }
        cursor.u64()?;
    }
    shape.reverse();
    let id = cursor.clone().u32()?;
    let Some(kind) = TensorType::from_id(id) else {
        return cursor.problem(match unsupported(id) {
            Some(name) => format!("has the type {name} ({id}), which is not supported"),
            None => format!("has the unknown type {id}"),
        });
    };
    let (block, columns) = (kind.block_columns(), shape[dimensions - 1]);
    if !columns.is_multiple_of(block) {
        return cursor.problem(format!("has rows of {columns} values, not a multiple of its type's blocks of {block}"));
    }
    let Some(len) = kind.byte_len(&shape) else {
        return cursor.problem(format!("its shape {shape:?} has more bytes than can be counted"));
    };
    cursor.u32()?;
    Ok(Info { name: name.to_owned(), at, kind, shape, offset: cursor.u64()?, len })
}

/// Names of types that exist, but not here.
fn unsupported(id: u32) -> Option<&'static str> {
    Some(match id {
        9 => "q8_1",
        15 => "q8_k",
        16 => "iq2_xxs",
        17 => "iq2_xs",
        18 => "iq3_xxs",
        19 => "iq1_s",
        21 => "iq3_s",
        22 => "iq2_s",
        29 => "iq1_m",
        40 => "nvfp4",
        _ => return None,
    })
}

/// The bytes of the file (of `len` bytes) that hold a tensor; `data` is where offsets start.
fn place(info: &Info, data: u64, alignment: u64, len: usize) -> Read<Range<usize>> {
    let problem = |text| Err(Problem { at: info.at, text });
    if !info.offset.is_multiple_of(alignment) {
        return problem(format!("its offset {} is not a multiple of the alignment {alignment}", info.offset));
    }
    let start = data.checked_add(info.offset);
    match start.and_then(|start| Some((start, start.checked_add(info.len as u64)?))) {
        Some((start, end)) if end <= len as u64 => Ok(start as usize..end as usize),
        Some((start, end)) => problem(format!(
            "lies at bytes {start} to {end}, beyond the end of the file ({len} bytes): it is truncated"
        )),
        None => problem(format!("its offset {} is beyond any file", info.offset)),
    }
}

fn bad_tensor(file: &str, tensor: &str, problem: &Problem) -> Error {
    let problem = format!("byte {}: {}", problem.at, problem.text);
    Error::BadTensor { file: file.to_owned(), tensor: tensor.to_owned(), problem }
}

/// The paths of the other parts, where `path` is the first of several (`NAME-00001-of-00003.gguf`).
pub(super) fn other_parts(path: &Path, metadata: Option<&Metadata>) -> Result<Vec<PathBuf>> {
    const COUNT: &str = "split.count";
    let Some(metadata) = metadata else { return Ok(Vec::new()) };
    let count = metadata.find::<u32>(COUNT)?.unwrap_or(1);
    if count <= 1 {
        return Ok(Vec::new());
    }
    let number = metadata.find::<u32>("split.no")?.unwrap_or(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = name.strip_suffix(&format!("-00001-of-{count:05}.gguf")).filter(|_| number == 0) else {
        let problem = format!(
            "this is part {} of {count}; open the first, which must be called NAME-00001-of-{count:05}.gguf",
            u64::from(number) + 1
        );
        return Err(metadata.bad(COUNT, problem));
    };
    // A part that does not exist ends this, however many are claimed.
    let part = |number| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
    let parts: Vec<PathBuf> = (2..=count).map(part).take_while(|part| part.exists()).collect();
    if parts.len() as u32 != count - 1 {
        return Err(metadata
            .bad(COUNT, format!("there are {count} parts, {} is missing", part(parts.len() as u32 + 2).display())));
    }
    Ok(parts)
}
