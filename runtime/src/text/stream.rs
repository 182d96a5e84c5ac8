//! Text from ids, one at a time.
//!
//! A token need not be a whole character, and how it reads can depend on what came before. A
//! [`DecodeStream`] hands out text as soon as nothing later can change it, in whole characters: what
//! it has handed out, put together, is what decoding all ids at once gives.

use crate::Token;

/// A vocabulary that can turn ids into text as they come.
pub trait Detokenize {
    /// Appends to `out` the text that has become certain with `id`.
    fn push(&self, state: &mut DecodeState, id: Token, out: &mut String);

    /// Appends to `out` what `state` still held back, and makes `state` new again.
    fn finish(&self, state: &mut DecodeState, out: &mut String);

    /// The text of all `ids`.
    fn decode(&self, ids: &[Token]) -> String {
        let mut state = DecodeState::default();
        let mut text = String::new();
        for &id in ids {
            self.push(&mut state, id, &mut text);
        }
        self.finish(&mut state, &mut text);
        text
    }
}

/// Where the decoding of one text stands. A new one stands at the beginning.
#[derive(Debug, Clone, Default)]
pub struct DecodeState {
    /// Marks are written out; for vocabularies of language models.
    pub(super) shows_marks: bool,
    /// Bytes that do not make a character yet.
    pub(super) bytes: PartialChar,
    /// Some text has been produced.
    pub(super) has_text: bool,
    /// The space that belongs to no text can no longer come.
    pub(super) begun: bool,
    /// The last piece lost its leading space.
    pub(super) space_dropped: bool,
    /// Spaces that are part of the text only if more text follows; used by vocabularies that trim.
    pub(super) trailing: String,
    /// Text to be trimmed has begun.
    pub(super) trimmed_start: bool,
    /// Used by tokenizers that decode as a whole.
    #[cfg(feature = "tokenizers")]
    pub(super) recent: super::json::Recent,
}

impl DecodeState {
    /// A state in the middle of a text: a space that comes first is the text's own.
    pub fn within_text() -> Self {
        Self { begun: true, ..Self::default() }
    }

    /// Has marks such as `<|im_end|>` written out, which are invisible otherwise. Vocabularies of translators have no
    /// written form of theirs.
    pub fn showing_marks(self) -> Self {
        Self { shows_marks: true, ..self }
    }
}

/// Decodes one text, id by id.
#[derive(Debug)]
pub struct DecodeStream<'a, D: ?Sized> {
    vocabulary: &'a D,
    state: DecodeState,
}

impl<'a, D: Detokenize + ?Sized> DecodeStream<'a, D> {
    /// A stream at the beginning of a text.
    pub fn new(vocabulary: &'a D) -> Self {
        Self::from_state(vocabulary, DecodeState::default())
    }

    /// A stream that goes on from `state`.
    pub fn from_state(vocabulary: &'a D, state: DecodeState) -> Self {
        Self { vocabulary, state }
    }

    /// The text that has become certain with `id`; often empty.
    pub fn push(&mut self, id: Token) -> String {
        let mut out = String::new();
        self.vocabulary.push(&mut self.state, id, &mut out);
        out
    }

    /// The rest of the text.
    pub fn finish(mut self) -> String {
        let mut out = String::new();
        self.vocabulary.finish(&mut self.state, &mut out);
        out
    }
}

/// The beginning of a UTF-8 character.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartialChar {
    bytes: [u8; 4],
    length: usize,
}

impl PartialChar {
    /// Adds a byte, and appends to `out` what is now certain; says whether that was anything.
    pub(super) fn push(&mut self, byte: u8, out: &mut String) -> bool {
        self.bytes[self.length] = byte;
        self.length += 1;
        self.drain(false, out)
    }

    /// Adds bytes, and appends to `out` what is now certain.
    pub(super) fn extend(&mut self, bytes: &[u8], out: &mut String) {
        match str::from_utf8(bytes) {
            Ok(text) if self.length == 0 => out.push_str(text),
            _ => bytes.iter().for_each(|&byte| _ = self.push(byte, out)),
        }
    }

    /// Appends U+FFFD for every byte still held; says whether there was any.
    pub(super) fn flush(&mut self, out: &mut String) -> bool {
        self.drain(true, out)
    }

    /// Moves whole characters to `out`. A byte that begins none becomes U+FFFD, alone.
    fn drain(&mut self, at_end: bool, out: &mut String) -> bool {
        let before = out.len();
        while self.length > 0 {
            let consumed = match std::str::from_utf8(&self.bytes[..self.length]) {
                Ok(text) => {
                    out.push_str(text);
                    self.length
                }
                Err(error) if error.error_len().is_none() && error.valid_up_to() == 0 && !at_end => {
                    break;
                }
                Err(error) if error.valid_up_to() > 0 => {
                    out.push_str(&String::from_utf8_lossy(&self.bytes[..error.valid_up_to()]));
                    error.valid_up_to()
                }
                Err(_) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    1
                }
            };
            self.bytes.copy_within(consumed..self.length, 0);
            self.length -= consumed;
        }
        out.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> String {
        let mut partial = PartialChar::default();
        let mut out = String::new();
        for &byte in bytes {
            partial.push(byte, &mut out);
        }
        partial.flush(&mut out);
        out
    }

    #[test]
    fn whole_characters_pass() {
        let text = "aé€😀\0";
        assert_eq!(decode(text.as_bytes()), text);
    }

    #[test]
    fn every_byte_of_a_broken_character_is_replaced() {
        assert_eq!(decode(b"\xf0\x9f\x98"), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(decode(b"\xe0\x80\x80a"), "\u{fffd}\u{fffd}\u{fffd}a");
        assert_eq!(decode(b"\xf0\x9f\xc3\xa9"), "\u{fffd}\u{fffd}é");
        assert_eq!(decode(b"\xed\xa0\x80"), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(decode(b"\xf4\x90\x80\x80"), "\u{fffd}".repeat(4));
    }

    #[test]
    fn a_character_comes_with_its_last_byte() {
        let mut partial = PartialChar::default();
        let mut out = String::new();
        for &byte in &"😀".as_bytes()[..3] {
            assert!(!partial.push(byte, &mut out));
        }
        assert!(partial.push("😀".as_bytes()[3], &mut out));
        assert_eq!(out, "😀");
    }
}
