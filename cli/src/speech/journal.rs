//! What an interrupted transcript is continued from: `NAME.part.jsonl` beside `NAME.part`.
//!
//! The first line says what the transcript is made from, each other one what was said in a stretch of speech. A line is
//! written when its stretch is complete, and one that was not written to its end does not count. The transcript itself
//! is made anew from these lines: so it is the one of an uninterrupted run, wherever the other one ended.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::tasks::transcribe::Segment;
use babil_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::write_error;
use crate::exit::UsageError;
use crate::output_file::part_of;

/// The latest time that a transcript can have, in seconds: thirty years.
const LATEST: f64 = 1e9;

/// What a transcript is made from: names and values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin(Map<String, Value>);

impl Origin {
    pub(crate) fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Adds the entries of an object.
    pub(crate) fn extend(&mut self, object: Value) {
        if let Value::Object(entries) = object {
            self.0.extend(entries);
        }
    }

    /// The first thing that is not the same.
    fn difference<'o>(&'o self, other: &'o Self) -> Option<&'o str> {
        let names = self.0.keys().chain(other.0.keys());
        names.map(String::as_str).find(|name| self.0.get(*name) != other.0.get(*name))
    }
}

/// What was said in a stretch of speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Samples of the sound before its end.
    pub(crate) end: u64,
    /// The language, once it is known.
    pub(crate) language: Option<String>,
    pub(crate) segments: Vec<Segment>,
}

impl Entry {
    /// Whether its times can be those of a transcript.
    fn is_possible(&self) -> bool {
        self.segments.iter().all(|segment| {
            let words = segment.words.iter().all(|word| word.start.max(word.end).as_secs_f64() < LATEST);
            words && 0.0 <= segment.start && segment.start <= segment.end && segment.end < LATEST
        })
    }
}

/// The journal of a transcript that is being written.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// What an earlier run wrote.
    earlier: Vec<Entry>,
    empty: bool,
}

impl Journal {
    /// The journal of the transcript `path`.
    pub(crate) fn path(path: &Path) -> PathBuf {
        let mut name = part_of(path).into_os_string();
        name.push(".jsonl");
        name.into()
    }

    /// Begins the journal of the transcript `path`.
    pub(crate) fn begin(path: &Path, origin: Origin) -> Result<Self> {
        let mut journal = Self::open(path)?;
        journal.restart(&origin)?;
        Ok(journal)
    }

    /// Goes on with the journal of the transcript `path`, or begins it if there is none.
    pub(crate) fn resume(path: &Path, origin: Origin) -> Result<Self> {
        let mut journal = Self::open(path)?;
        // With the same handle: on some systems the lock keeps out others of this process, too.
        let mut text = Vec::new();
        journal.file.read_to_end(&mut text).map_err(|error| Error::io("read", &journal.path, error))?;
        let mut lines = text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let first = lines.next();
        let Some(began) = first.and_then(|line| serde_json::from_slice::<Origin>(line).ok()) else {
            journal.restart(&origin)?;
            return Ok(journal);
        };
        if let Some(name) = origin.difference(&began) {
            let part = part_of(path);
            let problem = format!(
                "{} was written with another {name}: go on with that, or begin again with --force and without --resume",
                part.display()
            );
            return Err(UsageError::new(problem).into());
        }
        let mut good = first.map_or(0, <[u8]>::len);
        for line in lines {
            let Some(entry) = serde_json::from_slice::<Entry>(line).ok().filter(Entry::is_possible) else { break };
            good += line.len();
            journal.earlier.push(entry);
        }
        journal.cut(good as u64)?;
        journal.empty = journal.earlier.is_empty();
        Ok(journal)
    }

    fn open(path: &Path) -> Result<Self> {
        let path = Self::path(path);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| Error::io("open", &path, error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(UsageError::new(format!("{} is being written by another babil", path.display())).into())
            }
            // Where locks are not to be had, nobody has one.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, file, earlier: Vec::new(), empty: true }),
        }
    }

    fn restart(&mut self, origin: &Origin) -> Result<()> {
        self.cut(0)?;
        self.line(origin)
    }

    /// Leaves out what is behind the first `length` bytes.
    fn cut(&mut self, length: u64) -> Result<()> {
        let cut = self.file.set_len(length).and_then(|()| self.file.seek(std::io::SeekFrom::Start(length)));
        cut.map(|_| ()).map_err(|error| write_error(&self.path, error))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value)? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|error| write_error(&self.path, error))
    }

    /// What an earlier run wrote; once.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.earlier)
    }

    /// Adds what was said in the stretch that ends before the sample `end`.
    pub(crate) fn add(&mut self, end: u64, language: Option<&str>, segments: Vec<Segment>) -> Result<()> {
        self.empty = false;
        self.line(&Entry { end, language: language.map(str::to_owned), segments })
    }

    /// The transcript is complete.
    pub(crate) fn remove(self) -> Result<()> {
        Ok(fs::remove_file(&self.path).map_err(|error| Error::io("remove", &self.path, error))?)
    }

    /// The transcript is not complete; returns where there is anything to go on from.
    pub(crate) fn keep(self) -> Option<PathBuf> {
        if self.empty {
            let _ = fs::remove_file(&self.path);
            return None;
        }
        Some(self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use babil_models::tasks::subtitles::Word;

    use super::*;

    fn origin(beam: u32) -> Origin {
        let mut origin = Origin::default();
        origin.add("film", "a.wav");
        origin.add("beam", beam);
        origin
    }

    fn segment(text: &str, start: f64) -> Segment {
        Segment {
            start,
            end: start + 0.1,
            text: text.to_owned(),
            language: None,
            log_prob: -0.3,
            no_speech: 0.1,
            temperature: 0.2,
            tokens: vec![1, 2],
            words: vec![Word {
                text: " Oh".to_owned(),
                start: Duration::from_millis(20),
                end: Duration::from_micros(70_062),
            }],
        }
    }

    #[test]
    fn a_journal_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.srt");
        let mut journal = Journal::begin(&path, origin(1)).unwrap();
        let segments = || vec![segment("One.", 0.02), segment("Two.", 1.7)];
        journal.add(100, Some("en"), segments()).unwrap();
        journal.add(200, Some("en"), Vec::new()).unwrap();
        drop(journal);
        let name = Journal::path(&path);
        let whole = fs::read(&name).unwrap();
        let lines: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1).collect();
        for cut in 0..=whole.len() {
            fs::write(&name, &whole[..cut]).unwrap();
            let mut journal = Journal::resume(&path, origin(1)).unwrap();
            let entries = journal.take();
            assert_eq!(entries.len(), lines[1..].iter().filter(|end| **end <= cut).count(), "{cut}");
            if let Some(first) = entries.first() {
                for (found, expected) in first.segments.iter().zip(segments()) {
                    // Times may lose their last bit in JSON, which no file with a transcript shows.
                    assert!((found.start - expected.start).abs() < 1e-12 && (found.end - expected.end).abs() < 1e-12);
                    let (start, end) = (found.start, found.end);
                    assert_eq!(*found, Segment { start, end, ..expected });
                }
                assert_eq!(first.segments.len(), segments().len());
            }
            journal.add(300, None, vec![segment("Three.", 9.0)]).unwrap();
            drop(journal);
            let after = Journal::resume(&path, origin(1)).unwrap().take();
            assert_eq!(after.len(), entries.len() + 1, "{cut}");
        }
    }

    #[test]
    fn times_that_cannot_be_end_what_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.srt");
        for bad in [-1.0, f64::MAX] {
            let mut journal = Journal::begin(&path, origin(1)).unwrap();
            journal.add(100, None, vec![segment("One.", 0.0)]).unwrap();
            journal.add(200, None, vec![segment("Two.", bad)]).unwrap();
            journal.add(300, None, vec![segment("Three.", 3.0)]).unwrap();
            drop(journal);
            assert_eq!(Journal::resume(&path, origin(1)).unwrap().take().len(), 1);
        }
    }

    #[test]
    fn another_origin_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.srt");
        drop(Journal::begin(&path, origin(1)).unwrap());
        let error = Journal::resume(&path, origin(2)).err().unwrap().to_string();
        assert!(error.contains("a.srt.part was written with another beam"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_one_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.srt");
        let _first = Journal::begin(&path, origin(1)).unwrap();
        let error = Journal::begin(&path, origin(1)).err().unwrap().to_string();
        assert!(error.contains("another babil"), "{error}");
    }
}
