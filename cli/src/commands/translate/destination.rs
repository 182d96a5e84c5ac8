//! Where translations go.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_runtime::Error;

use super::Source;
use crate::exit::UsageError;
use crate::output_file::is_same_file;

/// Where one translation goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Stdout,
    File(PathBuf),
}

/// Where the translations of one command go.
pub(super) struct Plan<'p> {
    sources: &'p [Source],
    layout: Layout<'p>,
    force: bool,
    json: bool,
}

enum Layout<'p> {
    Stdout,
    /// Everything (there is one source) into this file.
    File(&'p Path),
    /// A file for each source in this folder.
    Folder(&'p Path),
    /// A file for each source in the source's own folder.
    Beside,
}

impl<'p> Plan<'p> {
    /// A single source goes to stdout unless `output` is given; several go beside their sources.
    pub(super) fn new(sources: &'p [Source], output: Option<&'p Path>, force: bool, json: bool) -> Result<Self> {
        let layout = match (output, sources) {
            (None, [_]) => Layout::Stdout,
            (None, _) => Layout::Beside,
            (Some(path), [source]) => {
                let named_folder = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
                match source {
                    Source::File(_) if path.is_dir() || named_folder => Layout::Folder(path),
                    _ if path.is_dir() => {
                        return Err(
                            UsageError::new(format!("{} is a folder: name a file in it", path.display())).into()
                        );
                    }
                    _ => Layout::File(path),
                }
            }
            (Some(path), _) if path.exists() && !path.is_dir() => {
                let problem = format!("{} is not a folder: several files need one", path.display());
                return Err(UsageError::new(problem).into());
            }
            (Some(path), _) => Layout::Folder(path),
        };
        if let Layout::Folder(path) = layout {
            fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
        }
        Ok(Self { sources, layout, force, json })
    }

    /// Looks at all destinations before anything is translated.
    pub(super) fn check(&self, to: &str) -> Result<()> {
        let mut seen = HashSet::new();
        for source in self.sources {
            if let Destination::File(path) = self.of(source, to)?
                && !seen.insert(path.clone())
            {
                let problem = format!("two of the files would be written to {}", path.display());
                return Err(UsageError::new(problem).into());
            }
        }
        Ok(())
    }

    /// Where the translation of `source` into the language `to` goes.
    pub(super) fn of(&self, source: &Source, to: &str) -> Result<Destination> {
        let path = match (&self.layout, source.path()) {
            (Layout::Stdout, _) => return Ok(Destination::Stdout),
            (Layout::File(path), _) => path.to_path_buf(),
            (Layout::Folder(folder), Some(source)) => folder.join(translated_name(source, to, self.json)),
            (Layout::Beside, Some(source)) => source.with_file_name(translated_name(source, to, self.json)),
            (Layout::Folder(_) | Layout::Beside, None) => return Ok(Destination::Stdout), // only files come in numbers
        };
        if source.path().is_some_and(|source| is_same_file(source, &path)) {
            return Err(UsageError::new(format!("{} would overwrite itself", path.display())).into());
        }
        if !self.force && path.is_file() {
            return Err(UsageError::new(format!("{} exists already; --force overwrites it", path.display())).into());
        }
        Ok(Destination::File(path))
    }
}

/// `notes.txt` -> `notes.fr.txt`, or `notes.fr.jsonl`.
fn translated_name(source: &Path, to: &str, json: bool) -> OsString {
    let mut name = source.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(to);
    let extension = if json { Some("jsonl".as_ref()) } else { source.extension() };
    if let Some(extension) = extension {
        name.push(".");
        name.push(extension);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_language() {
        let name = |source: &str, json| translated_name(source.as_ref(), "fr", json).into_string().unwrap();
        assert_eq!(name("a/notes.txt", false), "notes.fr.txt");
        assert_eq!(name("README", false), "README.fr");
        assert_eq!(name("a.b/page.en.md", false), "page.en.fr.md");
        assert_eq!(name("notes.txt", true), "notes.fr.jsonl");
        assert_eq!(name(".hidden", false), ".hidden.fr");
    }
}
