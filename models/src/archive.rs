//! The files of a model in one file: a zip archive that compresses nothing (`zip -0`). Small files are read, weights are
//! mapped where they lie; so an archive can itself be a part of a file, as an app's asset is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use babil_runtime::weights::FilePart;
use babil_runtime::{Error, Result};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// How a zip archive begins that has something in it.
const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// An archive that is open.
#[derive(Clone, Debug)]
pub struct Archive {
    file: FilePart,
    /// Offset within the part and length, in bytes.
    places: Arc<BTreeMap<String, (u64, u64)>>,
}

impl Archive {
    /// Whether a part of a file begins like an archive. One that the file does not have does not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_one(file: &FilePart) -> Result<bool> {
        if !is_within(file)? {
            return Ok(false);
        }
        let mut magic = Vec::new();
        let read = PartReader { part: file, position: 0 }.take(MAGIC.len() as u64).read_to_end(&mut magic);
        read.map_err(|error| Error::io("read", &file.name, error))?;
        Ok(magic == MAGIC)
    }

    /// The archive that a file is.
    ///
    /// # Errors
    /// As [`Archive::of_part`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let length = file.metadata().map_err(|error| Error::io("read", path, error))?.len();
        Self::of_part(FilePart { file: Arc::new(file), offset: 0, length, name: path.display().to_string() })
    }

    /// The archive that a part of an open file is. Folders in it do not count: files are known by the last part of their
    /// names.
    ///
    /// # Errors
    /// It is none, is damaged, or something in it is compressed.
    pub fn of_part(file: FilePart) -> Result<Self> {
        let bad = |problem: String| Error::bad_file(&file.name, problem);
        let explain = |error: ZipError| bad(format!("is not a zip archive that can be read: {error}"));
        if !is_within(&file)? {
            return Err(bad(format!("is not in its file: {} bytes from {} on", file.length, file.offset)));
        }
        let mut zip = ZipArchive::new(BufReader::new(PartReader { part: &file, position: 0 })).map_err(explain)?;
        let mut places = BTreeMap::new();
        for i in 0..zip.len() {
            let entry = zip.by_index_raw(i).map_err(explain)?;
            let path = entry.name().map_err(explain)?;
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            if name.is_empty() {
                continue;
            }
            if entry.compression() != CompressionMethod::Stored {
                return Err(bad(format!("{path} is compressed in it: weights are mapped, so make it with `zip -0`")));
            }
            let start = entry.data_start().ok_or_else(|| bad(format!("does not say where {path} begins")))?;
            let length = entry.size();
            if start.checked_add(length).is_none_or(|last| last > file.length) {
                return Err(bad(format!("{path} lies beyond its end")));
            }
            if places.insert(name, (start, length)).is_some() {
                return Err(bad(format!("{path} is in it twice, in different folders perhaps")));
            }
        }
        Ok(Self { file, places: Arc::new(places) })
    }

    /// How messages name the archive.
    pub fn label(&self) -> &str {
        &self.file.name
    }

    /// Where a file of it lies; `None` where there is none of that name.
    pub fn part(&self, name: &str) -> Option<FilePart> {
        let &(start, length) = self.places.get(name)?;
        let FilePart { file, offset, name: archive, .. } = &self.file;
        Some(FilePart { file: file.clone(), offset: offset + start, length, name: format!("{archive}/{name}") })
    }

    /// The content of a small file; `None` where there is none of that name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(part) = self.part(name) else { return Ok(None) };
        // The archive was long enough for it when it was opened.
        let mut content = Vec::with_capacity(usize::try_from(part.length).unwrap_or(0));
        let read = PartReader { part: &part, position: 0 }.read_to_end(&mut content);
        read.map_err(|error| Error::io("read", &part.name, error))?;
        Ok(Some(content))
    }
}

/// Whether the file is long enough to have the part.
fn is_within(part: &FilePart) -> Result<bool> {
    let length = part.file.metadata().map_err(|error| Error::io("read", &part.name, error))?.len();
    Ok(part.offset.checked_add(part.length).is_some_and(|end| end <= length))
}

/// Reads a part of a file by offsets: whoever else has the same open file may be reading it, too.
struct PartReader<'p> {
    part: &'p FilePart,
    position: u64,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.part.length.saturating_sub(self.position);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = read_at(&self.part.file, &mut buffer[..count], self.part.offset + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for PartReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.part.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // An offset that a file cannot have is no position, either.
        let position = position.filter(|position| self.part.offset.checked_add(*position).is_some());
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip_of(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// `bytes` in a file, with something before and after them.
    fn part_of(bytes: &[u8]) -> FilePart {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&b"before"[..], bytes, b"after"].concat()).unwrap();
        FilePart { file: Arc::new(file), offset: 6, length: bytes.len() as u64, name: "an asset".to_owned() }
    }

    #[test]
    fn files_are_found_where_they_lie() {
        let files: [(&str, &[u8]); 3] = [("en-fr/config.json", b"{}"), ("en-fr/source.spm", b"pieces"), ("vocab", b"")];
        let archive = Archive::of_part(part_of(&zip_of(&files, CompressionMethod::Stored))).unwrap();
        assert_eq!(archive.read("config.json").unwrap().unwrap(), b"{}");
        assert_eq!(archive.read("source.spm").unwrap().unwrap(), b"pieces");
        assert_eq!(archive.read("vocab").unwrap().unwrap(), b"");
        assert_eq!(archive.read("target.spm").unwrap(), None);
        let part = archive.part("source.spm").unwrap();
        assert_eq!((part.length, &*part.name), (6, "an asset/source.spm"));
        let mut there = [0; 6];
        read_at(&part.file, &mut there, part.offset).unwrap();
        assert_eq!(&there, b"pieces", "in the file itself");
    }

    #[test]
    fn what_cannot_be_mapped_is_refused_with_advice() {
        let message = |part| Archive::of_part(part).unwrap_err().to_string();
        let twice = zip_of(&[("a/x", b"1"), ("b/x", b"2")], CompressionMethod::Stored);
        assert!(message(part_of(&twice)).contains("twice"));
        // The method of the first file, in its own header and in the directory: what it says is all that counts.
        let mut compressed = zip_of(&[("x", b"1")], CompressionMethod::Stored);
        let directory = compressed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        compressed[8] = 8;
        compressed[directory + 10] = 8;
        assert!(message(part_of(&compressed)).contains("zip -0"), "{}", message(part_of(&compressed)));
        assert!(message(part_of(b"nothing of the kind")).contains("not a zip archive"));
        let whole = zip_of(&[("x", &[7; 100])], CompressionMethod::Stored);
        assert!(Archive::of_part(part_of(&whole[..60])).is_err());
        assert!(message(FilePart { length: 1 << 40, ..part_of(&whole) }).contains("bytes from 6 on"));
        assert!(Archive::is_one(&part_of(&whole)).unwrap());
        let nowhere = FilePart { offset: u64::MAX / 2, length: u64::MAX / 2, ..part_of(&whole) };
        assert!(!Archive::is_one(&nowhere).unwrap() && !Archive::is_one(&part_of(b"GGUF")).unwrap());
    }

    #[test]
    fn damaged_archives_are_errors_or_give_what_is_theirs() {
        let whole = zip_of(&[("config.json", b"{}"), ("model.safetensors", &[1; 40])], CompressionMethod::Stored);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let Ok(archive) = Archive::of_part(part_of(&damaged)) else { continue };
                for name in archive.places.keys() {
                    assert!(archive.read(name).unwrap().unwrap().len() <= whole.len());
                }
            }
        }
    }
}
