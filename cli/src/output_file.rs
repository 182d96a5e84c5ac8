//! Files that are complete or not there at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_runtime::Error;

/// A file that appears under its name only when it is complete; until then it is `NAME.part` beside it.
pub(crate) struct OutputFile {
    path: PathBuf,
    /// Where the file is until it is complete; `None` for what is not a regular file, such as a named pipe.
    part: Option<PathBuf>,
    file: BufWriter<File>,
    written: bool,
}

impl OutputFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let part = (!special).then(|| part_of(path));
        let target = part.as_deref().unwrap_or(path);
        let file = File::create(target).map_err(|error| Error::io("create", target, error))?;
        Ok(Self { path: path.to_owned(), part, file: BufWriter::new(file), written: false })
    }

    /// Gives the complete file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let cannot = |error| Error::io("write", &self.path, error);
        self.file.flush().map_err(cannot)?;
        if let Some(part) = &self.part {
            self.file.get_ref().sync_all().map_err(cannot)?;
            fs::rename(part, &self.path).map_err(|error| Error::io("rename", part, error))?;
        }
        Ok(())
    }

    /// Gives up on the rest of the file; returns where its part so far is kept, if there is any.
    pub(crate) fn abandon(mut self) -> Option<PathBuf> {
        let _ = self.file.flush();
        let part = self.part?;
        if self.written {
            return Some(part);
        }
        let _ = fs::remove_file(&part);
        None
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written |= !bytes.is_empty();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where the file `path` is until it is complete.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Whether both are the same existing file.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| real(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"text").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let empty = folder.path().join("empty.txt");
        assert_eq!(OutputFile::create(&empty).unwrap().abandon(), None);
        let mut half = OutputFile::create(&empty).unwrap();
        half.write_all(b"half").unwrap();
        let part = half.abandon().unwrap();
        assert_eq!(fs::read_to_string(part).unwrap(), "half");
        assert!(!empty.exists());
    }
}
