//! What was found out once and holds at the next start: a small file in the cache folder.

use std::collections::BTreeMap;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Answers by name. A file that is missing, damaged or cannot be written costs finding out again and nothing else.
#[derive(Clone, Debug)]
pub struct Remembered<T> {
    path: PathBuf,
    answers: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Remembered<T> {
    /// Those in the file at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path, answers: PhantomData }
    }

    fn read(&self) -> BTreeMap<String, T> {
        fs::read(&self.path).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    /// The answer to `what`, if it is known.
    pub fn get(&self, what: &str) -> Option<T> {
        self.read().remove(what)
    }

    /// Remembers `answer`.
    pub fn put(&self, what: String, answer: T) {
        let mut all = self.read();
        all.insert(what, answer);
        if let Err(error) = self.write(&all) {
            tracing::debug!("{} cannot be written: {error}", self.path.display());
        }
    }

    fn write(&self, all: &BTreeMap<String, T>) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&temporary, all)?;
        temporary.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_remembered_and_damage_forgets_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/answers.json");
        let answers = || Remembered::<u32>::at(path.clone());
        assert_eq!(answers().get("a"), None);
        answers().put("a".to_owned(), 1);
        answers().put("b".to_owned(), 2);
        assert_eq!(["a", "b", "c"].map(|what| answers().get(what)), [Some(1), Some(2), None]);
        fs::write(&path, "{").unwrap();
        assert_eq!(answers().get("a"), None);
        answers().put("a".to_owned(), 3);
        assert_eq!(answers().get("a"), Some(3));
        // A folder that cannot be: nothing is remembered, and nothing fails.
        let nowhere = Remembered::at(path.join("answers.json"));
        nowhere.put("a".to_owned(), 1);
        assert_eq!(nowhere.get("a"), None);
    }
}
