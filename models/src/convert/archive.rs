//! A torch file: where its description and its storages lie, and how to read a tensor.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use babil_runtime::weights::Encoding;
use babil_runtime::{Error, Result};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Storage, Value, View};

/// The longest description of tensors that is read: hundreds of thousands of tensors.
const MAX_PICKLE: u64 = 64 << 20;

/// How files before torch 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 15] =
    [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Where a storage's bytes lie in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    len: u64,
}

/// An open torch file.
pub(super) struct Archive {
    file: BufReader<File>,
    label: String,
    content: Value,
    places: HashMap<Rc<str>, Place>,
}

impl View {
    /// Bytes of the tensor's values; does not overflow once [`Archive::check`] has passed.
    pub(super) fn bytes(&self) -> usize {
        self.count() * element(&self.storage.class).map_or(0, |(_, size)| size)
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// One more than the last element of the storage that belongs to the view; `None` if that overflows.
    fn end(&self) -> Option<usize> {
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.map(|(&size, &stride)| size.checked_sub(1)?.checked_mul(stride));
        last.into_iter().try_fold(self.offset, |end, step| end.checked_add(step?))?.checked_add(1)
    }

    /// Whether the elements lie one after the other.
    fn contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }
}

/// The encoding (`None`: not a weight) and size of a storage class's elements.
fn element(class: &str) -> Option<(Option<Encoding>, usize)> {
    Some(match class {
        "FloatStorage" => (Some(Encoding::F32), 4),
        "HalfStorage" => (Some(Encoding::F16), 2),
        "BFloat16Storage" => (Some(Encoding::Bf16), 2),
        "DoubleStorage" | "LongStorage" => (None, 8),
        "IntStorage" => (None, 4),
        "ShortStorage" => (None, 2),
        "CharStorage" | "ByteStorage" | "BoolStorage" => (None, 1),
        _ => return None,
    })
}

impl Archive {
    /// Reads the description of the tensors in `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let mut file = BufReader::new(File::open(path).map_err(|e| Error::io("open", path, e))?);
        let mut magic = [0; LEGACY_MAGIC.len()];
        let legacy = file.read_exact(&mut magic).is_ok() && magic == LEGACY_MAGIC;
        let opened = if legacy { open_legacy(&mut file) } else { open_zip(&mut file) };
        let (content, places) = opened.map_err(|problem| Error::bad_file(&label, problem))?;
        Ok(Self { file, label, content, places })
    }

    /// How errors call the file.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Names and tensors, in the file's order.
    pub(super) fn tensors(&self) -> Result<Vec<(Rc<str>, View)>> {
        match &self.content {
            Value::Dict(dict) => {
                Ok(dict.borrow().iter().map(|(name, view)| (name.clone(), View::clone(view))).collect())
            }
            other => Err(Error::bad_file(&self.label, format!("holds {}, not tensors by name", other.kind()))),
        }
    }

    /// The encoding of a tensor whose values all lie inside the file; `None` if it is not a weight.
    pub(super) fn check(&self, name: &str, view: &View) -> Result<Option<Encoding>> {
        let bad = |problem: String| Error::BadTensor { file: self.label.clone(), tensor: name.to_owned(), problem };
        let Storage { key, class, len } = &*view.storage;
        let Some((encoding, size)) = element(class) else {
            return Err(bad(format!("has the unknown type {class}")));
        };
        if &**class == "DoubleStorage" {
            return Err(bad("has float64 values, which no model here uses".to_owned()));
        }
        let count = view.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        if count.is_none_or(|count| count == 0 || count > *len) || view.end().is_none_or(|end| end > *len) {
            return Err(bad(format!(
                "has shape {:?} from element {} on, which does not fit its storage of {len} elements",
                view.shape, view.offset
            )));
        }
        let place = self.places.get(key).ok_or_else(|| bad(format!("needs storage {key}, which is missing")))?;
        if Some(place.len) != (*len as u64).checked_mul(size as u64) {
            return Err(bad(format!("needs a storage of {len} {class} elements, the file has {} bytes", place.len)));
        }
        Ok(encoding)
    }

    /// The values of a tensor that has been checked, as they are stored, row-major.
    pub(super) fn read(&mut self, view: &View) -> std::io::Result<Vec<u8>> {
        let size = element(&view.storage.class).map_or(0, |(_, size)| size);
        let place = self.places[&view.storage.key];
        let end = view.end().unwrap_or(view.offset);
        self.file.seek(SeekFrom::Start(place.start + (view.offset * size) as u64))?;
        let mut span = vec![0; (end - view.offset) * size];
        self.file.read_exact(&mut span)?;
        if view.contiguous() {
            return Ok(span);
        }
        let mut values = Vec::with_capacity(view.bytes());
        let mut index = vec![0; view.shape.len()];
        for _ in 0..view.count() {
            let at: usize = index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum();
            values.extend_from_slice(&span[at * size..][..size]);
            for (i, &size) in index.iter_mut().zip(&view.shape).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Ok(values)
    }
}

/// A file's content and where its storages lie.
type Opened = pickle::Result<(Value, HashMap<Rc<str>, Place>)>;

/// A zip archive, nothing compressed: `NAME/data.pkl`, and the storages `NAME/data/KEY`.
fn open_zip(file: &mut BufReader<File>) -> Opened {
    let explain = |e: zip::result::ZipError| format!("is not a torch file: {e}");
    let file_len = file.get_ref().metadata().map_err(|e| e.to_string())?.len();
    let mut zip = ZipArchive::new(file).map_err(explain)?;
    let mut places = HashMap::new();
    let mut pickle = None;
    for i in 0..zip.len() {
        let entry = zip.by_index_raw(i).map_err(explain)?;
        let name = entry.name().map_err(explain)?;
        let Some((_, name)) = name.split_once('/') else { continue };
        if name == "data.pkl" {
            pickle = Some(i);
        } else if let Some(key) = name.strip_prefix("data/") {
            let start = entry.data_start().filter(|_| entry.compression() == CompressionMethod::Stored);
            let start = start.ok_or_else(|| format!("storage {key} is compressed"))?;
            let len = entry.size();
            if start.checked_add(len).is_none_or(|end| end > file_len) {
                return Err(format!("storage {key} lies beyond the end of the file"));
            }
            places.insert(Rc::from(key), Place { start, len });
        }
    }
    let pickle = pickle.ok_or("is a zip archive, but not one of torch's: it has no data.pkl")?;
    let entry = zip.by_index(pickle).map_err(explain)?;
    let content =
        pickle::read(&mut BufReader::new(entry.take(MAX_PICKLE))).map_err(|e| format!("its data.pkl: {e}"))?;
    Ok((content, places))
}

/// Pickles (version, system, content, keys), then of each key the number of elements and the elements.
fn open_legacy(file: &mut BufReader<File>) -> Opened {
    let mut pickles = file.take(MAX_PICKLE);
    let mut next = |what: &str| pickle::read(&mut pickles).map_err(|e| format!("its pickle of {what}: {e}"));
    next("the version")?;
    next("the system")?;
    let content = next("the tensors")?;
    let Value::List(keys) = next("the storages")? else { return Err("has no list of storages".to_owned()) };
    let Value::Dict(dict) = &content else {
        return Err(format!("holds {}, not tensors by name", content.kind()));
    };
    let storages: HashMap<_, _> =
        dict.borrow().iter().map(|(_, view)| (view.storage.key.clone(), view.storage.clone())).collect();
    let mut places = HashMap::new();
    let end = |e: std::io::Error| format!("its storages: {e}");
    let mut start = file.stream_position().map_err(end)?;
    let file_len = file.get_ref().metadata().map_err(end)?.len();
    for key in keys.borrow().iter() {
        let mut count = [0; 8];
        file.read_exact(&mut count).map_err(end)?;
        let storage = storages.get(key).ok_or_else(|| format!("storage {key} belongs to no tensor"))?;
        let (_, size) = element(&storage.class).ok_or_else(|| format!("storage {key} is a {}", storage.class))?;
        let len = u64::from_le_bytes(count).checked_mul(size as u64).filter(|&len| len <= file_len);
        let len = len.ok_or_else(|| format!("storage {key} is larger than the file"))?;
        places.insert(key.clone(), Place { start: start + 8, len });
        start += 8 + len;
        if start > file_len {
            return Err(format!("storage {key} lies beyond the end of the file: it is truncated"));
        }
        file.seek(SeekFrom::Start(start)).map_err(end)?;
    }
    Ok((content, places))
}
