//! The metadata of a GGUF file: keys and values, read where they lie.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::cursor::{Cursor, Read};
use super::value::{Array, FromValue, Kind, Value};
use super::{OtherTensor, Problem, Source};
use crate::{Error, Result};

/// A key and where its value lies.
struct Entry {
    key: String,
    kind: Kind,
    value: Range<usize>,
}

/// The metadata of a GGUF file. The values stay in the file; what is held here is a table of where they are.
pub struct Metadata {
    file: String,
    source: Arc<Source>,
    version: u32,
    /// In the file's order.
    entries: Vec<Entry>,
    /// Indices of `entries`, by key.
    sorted: Vec<usize>,
    pub(super) others: Vec<OtherTensor>,
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value.to_string()))).finish()
    }
}

impl Metadata {
    /// The table of `count` entries at the cursor.
    pub(super) fn read(
        file: &str,
        source: &Arc<Source>,
        version: u32,
        count: usize,
        cursor: &mut Cursor<'_>,
    ) -> Read<Self> {
        let mut entries = Vec::new();
        for _ in 0..count {
            let key = cursor.name()?;
            let within =
                |problem: Problem| Problem { at: problem.at, text: format!("metadata key `{key}`: {}", problem.text) };
            let kind = cursor.kind().map_err(within)?;
            let start = cursor.at();
            cursor.value(kind).map_err(within)?;
            entries.push(Entry { key: key.to_owned(), kind, value: start..cursor.at() });
        }
        let mut sorted: Vec<usize> = (0..count).collect();
        sorted.sort_by(|&a, &b| entries[a].key.cmp(&entries[b].key));
        for pair in sorted.windows(2) {
            let [first, second] = [&entries[pair[0]], &entries[pair[1]]];
            if first.key == second.key {
                let text = format!("metadata key `{}` occurs twice, first at byte {}", first.key, first.value.start);
                return Err(Problem { at: second.value.start, text });
            }
        }
        Ok(Self { file: file.to_owned(), source: source.clone(), version, entries, sorted, others: Vec::new() })
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Keys and values, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries.iter().map(|entry| (entry.key.as_str(), self.value(entry)))
    }

    /// The value of `key`, where the file has it.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let at = self.sorted.binary_search_by(|&i| self.entries[i].key.as_str().cmp(key)).ok()?;
        Some(self.value(&self.entries[self.sorted[at]]))
    }

    /// The value of `key` as a `T`, where the file has it.
    ///
    /// # Errors
    /// It has another type, or does not fit.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(key, format!("expected {}, found {}", T::EXPECTED, value.describe()))),
        }
    }

    /// The value of `key` as a `T`.
    ///
    /// # Errors
    /// The file does not have it, it has another type, or it does not fit.
    pub fn expect<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| self.bad(key, format!("is missing; expected {}", T::EXPECTED)))
    }

    /// An error about the value of `key`.
    pub fn bad(&self, key: &str, problem: impl fmt::Display) -> Error {
        Error::bad_file(&self.file, format!("metadata key `{key}`: {problem}"))
    }

    /// Tensors of types that are not weights (integers and float64), which [`Weights`](crate::weights::Weights) does
    /// not list.
    pub fn other_tensors(&self) -> &[OtherTensor] {
        &self.others
    }

    fn value(&self, entry: &Entry) -> Value<'_> {
        let bytes = &self.source.bytes()[entry.value.clone()];
        let value = match entry.kind {
            Kind::Array => Array::at(bytes).map(Value::Array),
            kind => Cursor::new(bytes).value(kind),
        };
        // Each was read when the file was opened: only a file that changes under its map could fail now.
        value.unwrap_or(Value::Str(&[]))
    }
}
