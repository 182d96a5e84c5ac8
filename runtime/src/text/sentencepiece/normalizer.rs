//! Normalisation: the text as the pieces were trained on it.
//!
//! A model carries its character map in compiled form: a double-array trie of source strings and
//! the replacements it points to. At each position the longest source string wins; it may span
//! several characters and need not end a grapheme cluster. Text that no rule covers stays as it is.

use super::super::trie::Trie;
use super::proto::{NormalizerSpec, bad};
use crate::Result;

/// U+2581, which stands for a space inside pieces.
pub(super) const SPACE: &str = "\u{2581}";

#[derive(Debug)]
pub(super) struct Normalizer {
    rules: Option<CharsMap>,
    /// Kept as they are wherever they occur.
    user_defined: Option<Trie>,
    dummy_prefix: bool,
    dummy_suffix: bool,
    remove_extra_whitespaces: bool,
    /// What replaces a space.
    space: &'static str,
}

impl Normalizer {
    /// `user_defined` holds the symbols that no rule may touch; `file` names the model in errors.
    pub(super) fn new(
        spec: &NormalizerSpec<'_>,
        whitespace_is_suffix: bool,
        user_defined: Option<Trie>,
        file: &str,
    ) -> Result<Self> {
        let (charsmap, offset) = spec.charsmap;
        Ok(Self {
            rules: if charsmap.is_empty() { None } else { Some(CharsMap::read(charsmap, offset, file)?) },
            user_defined,
            dummy_prefix: spec.add_dummy_prefix && !whitespace_is_suffix,
            dummy_suffix: spec.add_dummy_prefix && whitespace_is_suffix,
            remove_extra_whitespaces: spec.remove_extra_whitespaces,
            space: if spec.escape_whitespaces { SPACE } else { " " },
        })
    }

    pub(super) fn normalize(&self, text: &str) -> String {
        let mut rest = text.as_bytes();
        if self.remove_extra_whitespaces {
            while let (" ", consumed) = self.next(rest) {
                rest = &rest[consumed..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }

        let mut normalized = String::with_capacity(rest.len() + rest.len() / 2 + self.space.len());
        if self.dummy_prefix {
            normalized.push_str(self.space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut part, consumed) = self.next(rest);
            rest = &rest[consumed..];
            if after_space {
                part = part.trim_start_matches(' ');
            }
            for (index, word) in part.split(' ').enumerate() {
                if index > 0 {
                    normalized.push_str(self.space);
                }
                normalized.push_str(word);
            }
            if !part.is_empty() {
                after_space = part.ends_with(' ');
            }
            after_space &= self.remove_extra_whitespaces;
        }
        if self.remove_extra_whitespaces {
            normalized.truncate(normalized.trim_end_matches(self.space).len());
        }
        if self.dummy_suffix {
            normalized.push_str(self.space);
        }
        normalized
    }

    /// The replacement of the beginning of `text`, and how many bytes it replaces (0 at the end).
    fn next<'a>(&'a self, text: &'a [u8]) -> (&'a str, usize) {
        if let Some((length, _)) = self.user_defined.as_ref().and_then(|symbols| symbols.prefixes(text).last())
            && let Ok(symbol) = std::str::from_utf8(&text[..length])
        {
            return (symbol, length);
        }
        if let Some(replaced) = self.rules.as_ref().and_then(|rules| rules.longest(text)) {
            return replaced;
        }
        match text.first() {
            None => ("", 0),
            Some(&lead) => {
                let length = char_len(lead).min(text.len());
                // A damaged map can end a rule inside a character; SentencePiece then goes on byte by byte.
                std::str::from_utf8(&text[..length]).map_or(("\u{fffd}", 1), |character| (character, length))
            }
        }
    }
}

/// The length of the UTF-8 character that begins with `lead`.
pub(super) fn char_len(lead: u8) -> usize {
    match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

/// A compiled character map: `u32` size of the trie, the trie's units (`u32`), the replacements.
///
/// All integers are little-endian; each replacement ends with a NUL.
#[derive(Debug)]
struct CharsMap {
    units: Vec<u32>,
    replacements: String,
}

/// No rule's source is nearly as long; a bound against tries that loop.
const LONGEST_RULE: usize = 1024;

/// Nor is any replacement (Unicode's longest has 33 bytes); a bound on how much a text can grow.
const LONGEST_REPLACEMENT: usize = 1024;

impl CharsMap {
    fn read(blob: &[u8], offset: usize, file: &str) -> Result<Self> {
        let Some((size, rest)) = blob.split_first_chunk() else {
            return Err(bad(file, offset, "a character map without a size"));
        };
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || !size.is_multiple_of(4) || size >= rest.len() {
            let problem = format!("a character map of {} bytes with a trie of {size}", blob.len());
            return Err(bad(file, offset, problem));
        }
        let (trie, replacements) = rest.split_at(size);
        let replacements = std::str::from_utf8(replacements).map_err(|source| {
            bad(file, offset + 4 + size + source.valid_up_to(), "a character map with replacements that are not UTF-8")
        })?;
        if !replacements.ends_with('\0') {
            return Err(bad(file, offset + blob.len(), "a character map whose last replacement has no end"));
        }
        if let Some(long) = replacements.split('\0').find(|text| text.len() > LONGEST_REPLACEMENT) {
            let problem = format!("a character map with a replacement of {} bytes", long.len());
            return Err(bad(file, offset, problem));
        }
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        Ok(Self { units: units.collect(), replacements: replacements.to_owned() })
    }

    /// The replacement of the longest rule that begins `text`, and that rule's length in bytes.
    fn longest(&self, text: &[u8]) -> Option<(&str, usize)> {
        let mut found = None;
        let mut unit = *self.units.first()?;
        let mut node = offset(unit);
        for (index, &byte) in text.iter().take(LONGEST_RULE).enumerate() {
            node ^= usize::from(byte);
            let Some(&next) = self.units.get(node) else {
                break;
            };
            unit = next;
            // A leaf has bit 31 set and so is no byte's node.
            if unit & 0x8000_00ff != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit & 0x100 != 0
                && let Some(&leaf) = self.units.get(node)
            {
                found = Some((leaf & 0x7fff_ffff, index + 1));
            }
        }
        let (start, length) = found?;
        let replacement = self.replacements.get(start as usize..)?;
        Some((&replacement[..replacement.find('\0')?], length))
    }
}

/// How far a double-array unit's children are, to be XORed with its position.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 0x200) >> 6)) as usize
}
