//! The tokens of a vocabulary as bytes, in one buffer: 150,000 of them are two allocations, not 150,000.
//!
//! Files do not spell tokens as the bytes they stand for. A byte-level vocabulary writes every byte as a character of
//! its own ([`Alphabet::Bytes`]), others write spaces as U+2581 ([`Alphabet::Spaces`]). Here they are bytes, and the
//! index finds them by those.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::sentencepiece::PieceKind;
use crate::Token;

/// How a file spells the tokens of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// GPT-2's: one character per byte, printable ones as themselves, others from U+0100 on.
    Bytes,
    /// UTF-8, but for spaces, which are U+2581.
    Spaces,
}

/// The spelling of a space.
const SPACE: &[u8] = "\u{2581}".as_bytes();

/// GPT-2's spelling of each byte: itself where it is printable in Latin-1, else the next free character from U+0100.
const SPELLINGS: [u16; 256] = {
    let mut spellings = [0; 256];
    let mut free = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        spellings[byte] = if printable { byte as u16 } else { free };
        free += if printable { 0 } else { 1 };
        byte += 1;
    }
    spellings
};

/// The byte that each character below U+0144 spells.
const SPELLED: [Option<u8>; 0x144] = {
    let mut spelled = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        spelled[SPELLINGS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    spelled
};

impl Alphabet {
    /// Appends to `out` the spelling of `bytes`, which [`Alphabet::decode`] takes back.
    pub(super) fn encode(self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match self {
                Self::Bytes => {
                    let spelling = char::from_u32(SPELLINGS[usize::from(byte)].into()).expect("below U+0144");
                    out.extend_from_slice(spelling.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Self::Spaces if byte == b' ' => out.extend_from_slice(SPACE),
                Self::Spaces => out.push(byte),
            }
        }
    }

    /// Appends to `out` the bytes that `spelling` stands for; says whether it stands for any.
    pub(super) fn decode(self, spelling: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Bytes => {
                let Ok(spelling) = str::from_utf8(spelling) else { return false };
                for character in spelling.chars() {
                    match SPELLED.get(character as usize) {
                        Some(&Some(byte)) => out.push(byte),
                        _ => return false,
                    }
                }
                true
            }
            Self::Spaces => {
                let mut rest = spelling;
                while let [first, tail @ ..] = rest {
                    if let Some(after) = rest.strip_prefix(SPACE) {
                        out.push(b' ');
                        rest = after;
                    } else if *first == b' ' {
                        return false;
                    } else {
                        out.push(*first);
                        rest = tail;
                    }
                }
                true
            }
        }
    }
}

/// Tokens by id and by their bytes.
#[derive(Debug)]
pub(super) struct Tokens {
    alphabet: Alphabet,
    /// All tokens' bytes, end to end; token `id` is `ends[id - 1]..ends[id]`.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<PieceKind>,
    /// The tokens that text is made of, by their bytes.
    index: HashTable<Token>,
    hasher: DefaultHashBuilder,
    longest: usize,
    byte_tokens: [Option<Token>; 256],
}

impl Tokens {
    /// No tokens yet, but room for `count`, which the caller has compared with the length of a file.
    pub(super) fn new(alphabet: Alphabet, count: usize) -> Self {
        Self {
            alphabet,
            bytes: Vec::new(),
            ends: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            index: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
            longest: 0,
            byte_tokens: [None; 256],
        }
    }

    /// Appends a token as a file spells it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn push(&mut self, spelling: &[u8], kind: PieceKind) -> Result<(), String> {
        let id = self.ends.len() as Token;
        let start = self.bytes.len();
        let mut in_text = false;
        match kind {
            PieceKind::Byte => {
                let byte = byte_value(spelling).ok_or("is no byte token (<0x00> to <0xFF>)")?;
                self.bytes.push(byte);
                self.byte_tokens[usize::from(byte)].get_or_insert(id);
            }
            PieceKind::Normal => {
                in_text = self.alphabet.decode(spelling, &mut self.bytes);
                if !in_text {
                    // Never made from text, but a model may still write it: as it stands.
                    self.bytes.truncate(start);
                    self.bytes.extend_from_slice(spelling);
                }
            }
            // These are written as they read. Those that read the same in the spelling of text are found in text, too.
            PieceKind::UserDefined | PieceKind::Unused => {
                in_text = self.alphabet.decode(spelling, &mut self.bytes) && &self.bytes[start..] == spelling;
                self.bytes.truncate(start);
                self.bytes.extend_from_slice(spelling);
            }
            PieceKind::Control | PieceKind::Unknown => self.bytes.extend_from_slice(spelling),
        }
        let end = u32::try_from(self.bytes.len()).map_err(|_| "lies beyond 4 GiB of tokens")?;
        self.ends.push(end);
        self.kinds.push(kind);
        let length = self.bytes.len() - start;
        if in_text && length > 0 {
            let Self { bytes, ends, index, hasher, .. } = self;
            let token = |id: Token| slice(bytes, ends, id);
            let hash = hasher.hash_one(token(id));
            if let Some(&twin) = index.find(hash, |&other| token(other) == token(id)) {
                return Err(format!("is token {twin} again"));
            }
            index.insert_unique(hash, id, |&other| hasher.hash_one(token(other)));
            self.longest = self.longest.max(length);
        }
        Ok(())
    }

    /// The number of tokens; ids are below it.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory that they take.
    pub(super) fn held_bytes(&self) -> usize {
        let lists = size_of::<u32>() * self.ends.capacity() + size_of::<PieceKind>() * self.kinds.capacity();
        self.bytes.capacity() + lists + self.index.allocation_size()
    }

    pub(super) fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    /// The bytes of token `id`, which is one of these.
    pub(super) fn bytes(&self, id: Token) -> &[u8] {
        slice(&self.bytes, &self.ends, id)
    }

    pub(super) fn kind(&self, id: Token) -> Option<PieceKind> {
        self.kinds.get(id as usize).copied()
    }

    /// Says that token `id`, which is one of these, is for something else than its file says.
    pub(super) fn set_kind(&mut self, id: Token, kind: PieceKind) {
        self.kinds[id as usize] = kind;
    }

    /// Token `id`, which is one of these, as a file spells it: what [`Tokens::push`] takes.
    pub(super) fn spelling(&self, id: Token, out: &mut Vec<u8>) {
        let bytes = self.bytes(id);
        match self.kinds[id as usize] {
            PieceKind::Byte => out.extend_from_slice(format!("<0x{:02X}>", bytes[0]).as_bytes()),
            // What is never made from text stands as it is.
            PieceKind::Normal if self.find(bytes) == Some(id) => self.alphabet.encode(bytes, out),
            _ => out.extend_from_slice(bytes),
        }
    }

    /// The token that text with exactly these bytes can become.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<Token> {
        if bytes.len() > self.longest {
            return None;
        }
        self.index.find(self.hasher.hash_one(bytes), |&id| self.bytes(id) == bytes).copied()
    }

    /// The token of one byte.
    pub(super) fn byte_token(&self, byte: u8) -> Option<Token> {
        self.byte_tokens[usize::from(byte)].or_else(|| self.find(&[byte]))
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], id: Token) -> &'a [u8] {
    let id = id as usize;
    let start = id.checked_sub(1).map_or(0, |before| ends[before] as usize);
    &bytes[start..ends[id] as usize]
}

/// The byte a token like `<0x0A>` stands for.
fn byte_value(spelling: &[u8]) -> Option<u8> {
    let digits = spelling.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let upper_hex = |digit: &u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit);
    let digits = (digits.len() == 2 && digits.iter().all(upper_hex)).then_some(digits)?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_of_bytes_is_gpt2s() {
        // From GPT-2's own encoder: a space is Ġ, a line feed Ċ, 0xAD the last of the free ones.
        let spell = |byte: u8| char::from_u32(SPELLINGS[usize::from(byte)].into()).unwrap();
        assert_eq!(
            [0, b'\n', b' ', b'!', b'a', 0x7f, 0xa0, 0xad, 0xff].map(spell),
            ['Ā', 'Ċ', 'Ġ', '!', 'a', 'ġ', 'ł', 'Ń', 'ÿ']
        );
        for byte in 0..=255 {
            let mut out = Vec::new();
            assert!(Alphabet::Bytes.decode(spell(byte).to_string().as_bytes(), &mut out));
            assert_eq!(out, [byte]);
            let mut spelling = Vec::new();
            Alphabet::Bytes.encode(&out, &mut spelling);
            assert_eq!(spelling, spell(byte).to_string().as_bytes());
        }
        for other in ["\u{144}", "a b", "中"] {
            assert!(!Alphabet::Bytes.decode(other.as_bytes(), &mut Vec::new()));
        }
    }

    #[test]
    fn tokens_are_found_by_what_they_stand_for() {
        let mut tokens = Tokens::new(Alphabet::Spaces, 8);
        tokens.push("▁a".as_bytes(), PieceKind::Normal).unwrap();
        tokens.push(b"<0x0A>", PieceKind::Byte).unwrap();
        tokens.push(b"<s>", PieceKind::Control).unwrap();
        tokens.push(b"b c", PieceKind::UserDefined).unwrap();
        tokens.push(b"bc", PieceKind::UserDefined).unwrap();
        assert_eq!((tokens.bytes(0), tokens.bytes(1), tokens.bytes(2)), (&b" a"[..], &b"\n"[..], &b"<s>"[..]));
        assert_eq!((tokens.find(b" a"), tokens.find(b"<s>"), tokens.find(b"b c")), (Some(0), None, None));
        assert_eq!((tokens.find(b"bc"), tokens.byte_token(b'\n'), tokens.byte_token(b'a')), (Some(4), Some(1), None));
        assert_eq!(tokens.push("▁a".as_bytes(), PieceKind::Normal).unwrap_err(), "is token 0 again");
        for malformed in ["<0x-1>", "<0x0a>", "<0x100>", "<0x+1>", "<0x>", ""] {
            assert!(tokens.push(malformed.as_bytes(), PieceKind::Byte).unwrap_err().contains("no byte token"));
        }
    }
}
