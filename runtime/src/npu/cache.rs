//! Compiled subgraphs on disk: a folder for each, with a file that says what it was made from and what must be in it.
//!
//! A folder gets its name when it is complete, by rename. What is damaged, incomplete or made from something else is
//! deleted and made again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The file that says what is in a folder.
const MANIFEST: &str = "entry.json";
/// What the names of folders begin with that are being written, or used and not kept.
const UNFINISHED: &str = ".new-";
/// Such a folder that is older belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Length and checksum of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    checksum: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// All that the files depend on.
    key: String,
    files: BTreeMap<String, Stamp>,
}

/// The place of one subgraph.
pub(super) struct Entry {
    folder: PathBuf,
    key: String,
}

impl Entry {
    /// That of what `key` describes completely, in the cache folder `root`.
    pub(super) fn new(root: &Path, key: String) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self { folder: root.join(format!("{:016x}", hasher.finish())), key }
    }

    /// The folder, where it holds what it should; otherwise there is none afterwards.
    pub(super) fn open(&self) -> Option<&Path> {
        if !self.folder.is_dir() {
            return None;
        }
        match self.check() {
            Ok(true) => Some(&self.folder),
            found => {
                let why = found.err().map_or("it was made from something else".to_owned(), |error| error.to_string());
                tracing::debug!("compiling again: {}: {why}", self.folder.display());
                self.remove();
                None
            }
        }
    }

    fn check(&self) -> io::Result<bool> {
        let manifest: Manifest = serde_json::from_slice(&fs::read(self.folder.join(MANIFEST))?)?;
        if manifest.key != self.key {
            return Ok(false);
        }
        for (name, stamp) in &manifest.files {
            if Path::new(name).components().count() != 1 || stamp_of(&self.folder.join(name))? != *stamp {
                return Err(io::Error::other(format!("{name} is damaged")));
            }
        }
        Ok(true)
    }

    /// Deletes it.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!("cannot delete {}: {error}", self.folder.display());
        }
    }

    /// A folder to write to, which [`Entry::keep`] makes this entry; without it, it goes when it is dropped.
    pub(super) fn begin(&self) -> io::Result<tempfile::TempDir> {
        let root = self.folder.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(root)?;
        remove_abandoned(root, ABANDONED);
        tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(root)
    }

    /// Gives a complete folder its name. Where another process was first, its folder stays. What cannot be kept is still
    /// where it was.
    pub(super) fn keep(&self, folder: &tempfile::TempDir) -> io::Result<&Path> {
        let mut files = BTreeMap::new();
        for file in fs::read_dir(folder.path())? {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            File::open(&path)?.sync_all()?;
            files.insert(name, stamp_of(&path)?);
        }
        let manifest = Manifest { key: self.key.clone(), files };
        fs::write(folder.path().join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        match fs::rename(folder.path(), &self.folder) {
            Err(error) if self.open().is_none() => Err(error),
            _ => Ok(&self.folder),
        }
    }
}

/// Deletes what killed processes have left in `root`, if it is older than `age`.
fn remove_abandoned(root: &Path, age: Duration) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let old = || {
            entry.metadata().and_then(|data| data.modified()).is_ok_and(|time| time.elapsed().is_ok_and(|t| t >= age))
        };
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && old() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn stamp_of(path: &Path) -> io::Result<Stamp> {
    let (mut file, mut hasher, mut length) = (File::open(path)?, DefaultHasher::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(Stamp { length, checksum: hasher.finish() });
        }
        length += count as u64;
        hasher.write(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(entry: &Entry, text: &str) {
        let folder = entry.begin().unwrap();
        fs::write(folder.path().join("model.onnx"), text).unwrap();
        entry.keep(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_kept_can_be_used() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::new(root.path(), "model".to_owned());
        let folder = entry.begin().unwrap();
        fs::write(folder.path().join("model.onnx"), "compiled").unwrap();
        // A name that is taken, as on a disk that is full or read-only.
        fs::write(&entry.folder, "").unwrap();
        assert!(entry.keep(&folder).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("model.onnx")).unwrap(), "compiled");
        drop(folder);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "it goes when it is no longer used");
    }

    #[test]
    fn an_entry_is_what_was_kept_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::new(&root.path().join("accelerated"), "model 1 on a device".to_owned());
        assert!(entry.open().is_none());
        drop(entry.begin().unwrap());
        assert_eq!(fs::read_dir(root.path().join("accelerated")).unwrap().count(), 0, "what is not kept goes");
        make(&entry, "compiled");
        let folder = entry.open().unwrap();
        assert_eq!(fs::read_to_string(folder.join("model.onnx")).unwrap(), "compiled");
        // Another process was as fast.
        make(&entry, "compiled");
        assert!(entry.open().is_some());
    }

    #[test]
    fn what_killed_processes_left_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::new(root.path(), "model".to_owned());
        make(&entry, "compiled");
        fs::create_dir(root.path().join(".new-1")).unwrap();
        remove_abandoned(root.path(), ABANDONED);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
        remove_abandoned(root.path(), Duration::ZERO);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(entry.open().is_some());
    }

    #[test]
    fn what_is_damaged_or_foreign_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let entry = Entry::new(root.path(), "model 1 on a device".to_owned());
        let damages: [&dyn Fn(&Path); 5] = [
            &|folder| fs::write(folder.join("model.onnx"), "compileD").unwrap(),
            &|folder| fs::write(folder.join("model.onnx"), "compil").unwrap(),
            &|folder| fs::remove_file(folder.join("model.onnx")).unwrap(),
            &|folder| fs::write(folder.join(MANIFEST), "{").unwrap(),
            &|folder| {
                let text = fs::read_to_string(folder.join(MANIFEST)).unwrap().replace("model 1", "model 2");
                fs::write(folder.join(MANIFEST), text).unwrap();
            },
        ];
        for damage in damages {
            make(&entry, "compiled");
            damage(entry.open().unwrap());
            assert!(entry.open().is_none());
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        }
    }
}
