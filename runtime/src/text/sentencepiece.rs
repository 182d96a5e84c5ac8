//! SentencePiece models: text to pieces by the most probable split, and back.
//!
//! ```text
//! text -> normalizer -> "▁Hello▁world" -> best path over the piece trie -> ids
//! ids -> pieces -> DecodeState (stream.rs): spaces, bytes, unknowns -> text
//! ```
//!
//! Ids and texts are those of Google's SentencePiece (release 0.2.3), byte for byte, for every input;
//! the vectors in `runtime/tests/sentencepiece` hold that fast. Unigram models are read; other types are refused.
//!
//! The search is our own because the `tokenizers` crate's `Unigram` answers differently: it sums
//! scores as `f64` where SentencePiece rounds every sum to `f32` (ties then break elsewhere), finds
//! control, byte and unused pieces in the text, and knows no user-defined symbols; its normaliser
//! applies rules to grapheme clusters rather than to the longest match. Where these do not matter
//! the two agree, and the tests say so.

mod normalizer;
mod proto;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use self::normalizer::{Normalizer, SPACE, char_len};
use self::proto::{ModelProto, bad};
use super::stream::{DecodeState, Detokenize};
use super::trie::Trie;
use crate::{Error, Result, Token};

/// What an entry of the vocabulary is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PieceKind {
    /// A piece of text.
    Normal,
    /// Stands for whatever no piece covers. A model has exactly one.
    Unknown,
    /// A mark such as the end of a sentence: never found in text, invisible in decoded text.
    Control,
    /// A symbol that is kept whole wherever it occurs in the text.
    UserDefined,
    /// A reserved place, never found in text.
    Unused,
    /// One byte of a character that no piece covers; its text is `<0x00>` to `<0xFF>`.
    Byte,
}

/// A SentencePiece model of the Unigram type.
#[derive(Debug)]
pub struct SentencePiece {
    /// All pieces' text, end to end; piece `id` is `ends[id - 1]..ends[id]`.
    text: String,
    ends: Vec<u32>,
    scores: Vec<f32>,
    kinds: Vec<PieceKind>,
    normalizer: Normalizer,
    /// The pieces that text is made of: normal, user-defined and unused.
    trie: Trie,
    /// The others by their text: unknown, control and byte.
    reserved: HashMap<String, Token>,
    /// The ids of the 256 byte pieces, if the model has them.
    byte_ids: Option<Vec<Token>>,
    /// The score of a character that no piece covers.
    unknown_score: f32,
    unknown_surface: String,
    strip_leading: LeadingSpace,
    unk_id: Token,
    bos_id: Option<Token>,
    eos_id: Option<Token>,
    pad_id: Option<Token>,
}

/// Which spaces at the beginning of decoded text are not the text's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeadingSpace {
    /// None: the model adds no space.
    Keep,
    /// The one the model puts before the text.
    DropOne,
    /// All: the model removes them when it encodes.
    DropAll,
}

/// The penalty of an unknown character over the least probable piece, SentencePiece's constant.
const UNKNOWN_PENALTY: f32 = 10.0;

impl SentencePiece {
    /// Reads a `.spm` or `.model` file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// Reads a model file's content; `label` names it in errors.
    pub fn from_bytes(bytes: &[u8], label: &str) -> Result<Self> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(bad(label, 0, format!("{} bytes are more than any model has", bytes.len())));
        }
        let proto = ModelProto::read(bytes, label)?;
        check_supported(&proto, label)?;

        let mut text = String::with_capacity(proto.pieces.iter().map(|piece| piece.text.len()).sum());
        let mut ends = Vec::with_capacity(proto.pieces.len());
        let mut keys = Vec::with_capacity(proto.pieces.len());
        let mut symbols = Vec::new();
        let mut reserved = HashMap::new();
        let mut byte_ids = [None; 256];
        let mut unk_id = None;
        let mut min_score = f32::MAX;
        for (piece, id) in proto.pieces.iter().zip(0..) {
            let wrong = |problem: &str| bad(label, piece.offset, format!("piece {id} {:?} {problem}", piece.text));
            if piece.text.is_empty() || piece.text.contains('\0') {
                return Err(wrong("is empty or holds a NUL"));
            }
            if !piece.score.is_finite() {
                return Err(wrong("has a score that is not finite"));
            }
            text.push_str(piece.text);
            ends.push(text.len() as u32);
            match piece.kind {
                PieceKind::Normal => min_score = min_score.min(piece.score),
                PieceKind::UserDefined => symbols.push((piece.text.as_bytes(), id)),
                PieceKind::Unused | PieceKind::Control => {}
                PieceKind::Unknown if unk_id.replace(id).is_some() => {
                    return Err(wrong("is a second unknown piece"));
                }
                PieceKind::Unknown => {}
                PieceKind::Byte if !proto.trainer.byte_fallback => {
                    return Err(wrong("is a byte piece, but the model has no byte fallback"));
                }
                PieceKind::Byte => {
                    let byte = byte_value(piece.text).ok_or_else(|| wrong("is no byte piece (<0x00> to <0xFF>)"))?;
                    byte_ids[usize::from(byte)] = Some(id);
                }
            }
            match piece.kind {
                PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused => {
                    keys.push((piece.text.as_bytes(), id));
                }
                PieceKind::Unknown | PieceKind::Control | PieceKind::Byte => {
                    if reserved.insert(piece.text.to_owned(), id).is_some() {
                        return Err(wrong("occurs twice"));
                    }
                }
            }
        }
        let unk_id = unk_id.ok_or_else(|| bad(label, bytes.len(), "no piece is the unknown piece"))?;
        let byte_ids: Option<Vec<Token>> = byte_ids.into_iter().collect();
        if proto.trainer.byte_fallback && byte_ids.is_none() {
            return Err(bad(label, bytes.len(), "byte fallback without all 256 byte pieces"));
        }
        keys.sort_unstable();
        symbols.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let id = twice[1].1;
            let piece = &proto.pieces[id as usize];
            return Err(bad(label, piece.offset, format!("piece {id} {:?} occurs twice", piece.text)));
        }

        let spec = &proto.normalizer;
        let symbols = (!symbols.is_empty()).then(|| Trie::from_sorted(&symbols));
        let mut model = Self {
            text,
            ends,
            scores: proto.pieces.iter().map(|piece| piece.score).collect(),
            kinds: proto.pieces.iter().map(|piece| piece.kind).collect(),
            normalizer: Normalizer::new(spec, proto.trainer.treat_whitespace_as_suffix, symbols, label)?,
            trie: Trie::from_sorted(&keys),
            reserved,
            byte_ids,
            unknown_score: min_score - UNKNOWN_PENALTY,
            unknown_surface: proto.trainer.unk_surface.to_owned(),
            strip_leading: match (spec.remove_extra_whitespaces, spec.add_dummy_prefix) {
                (true, _) => LeadingSpace::DropAll,
                (false, true) => LeadingSpace::DropOne,
                (false, false) => LeadingSpace::Keep,
            },
            unk_id,
            bos_id: None,
            eos_id: None,
            pad_id: None,
        };
        let control = |piece| model.id(piece).filter(|&id| model.is_control(id));
        let (bos_id, eos_id, pad_id) =
            (control(proto.trainer.bos_piece), control(proto.trainer.eos_piece), control(proto.trainer.pad_piece));
        (model.bos_id, model.eos_id, model.pad_id) = (bos_id, eos_id, pad_id);
        Ok(model)
    }

    /// The ids of `text`, without marks of beginning or end. Never contains a control piece.
    pub fn encode(&self, text: &str) -> Vec<Token> {
        let mut ids = Vec::new();
        self.encode_with(text, |id, _| ids.push(id));
        ids
    }

    /// The pieces of `text`; a run of unknown characters is one piece, the characters themselves.
    pub fn encode_pieces(&self, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        self.encode_with(text, |_, piece| pieces.push(piece.to_owned()));
        pieces
    }

    /// Calls `found` with the id and text of each piece in turn.
    pub(super) fn encode_with(&self, text: &str, mut found: impl FnMut(Token, &str)) {
        let normalized = self.normalizer.normalize(text);
        let mut unknown: Range<usize> = 0..0;
        for (range, id) in self.best_path(&normalized) {
            if id == self.unk_id {
                if let Some(byte_ids) = &self.byte_ids {
                    for byte in normalized.as_bytes()[range].iter() {
                        let id = byte_ids[usize::from(*byte)];
                        found(id, self.piece(id).unwrap_or_default());
                    }
                } else {
                    unknown = if unknown.is_empty() { range } else { unknown.start..range.end };
                }
                continue;
            }
            if !unknown.is_empty() {
                found(self.unk_id, &normalized[unknown.clone()]);
                unknown = 0..0;
            }
            found(id, &normalized[range]);
        }
        if !unknown.is_empty() {
            found(self.unk_id, &normalized[unknown]);
        }
    }

    /// The most probable split of normalised text: each piece's place and id, in order.
    ///
    /// Every sum is rounded to `f32` and a path must be better than the one found before it, as in
    /// SentencePiece, so that ties break its way.
    fn best_path(&self, text: &str) -> Vec<(Range<usize>, Token)> {
        /// The best path to a position: its score and its last piece.
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            /// 0 where no path leads.
            length: u32,
            id: Token,
        }

        let bytes = text.as_bytes();
        let mut best = vec![Best { score: 0.0, length: 0, id: 0 }; bytes.len() + 1];
        let mut start = 0;
        while let Some(&lead) = bytes.get(start) {
            let before = best[start].score;
            let character = char_len(lead);
            let mut covered = false;
            for (length, id) in self.trie.prefixes(&bytes[start..]) {
                let score = match self.kinds[id as usize] {
                    PieceKind::Unused => continue,
                    PieceKind::UserDefined => user_defined_score(length),
                    _ => self.scores[id as usize],
                };
                covered |= length == character;
                let score = score + before;
                let target = &mut best[start + length];
                if target.length == 0 || score > target.score {
                    let length = length as u32;
                    *target = Best { score, length, id };
                }
            }
            if !covered {
                let score = self.unknown_score + before;
                let target = &mut best[start + character];
                if target.length == 0 || score > target.score {
                    *target = Best { score, length: character as u32, id: self.unk_id };
                }
            }
            start += character;
        }

        let mut path = Vec::new();
        let mut end = bytes.len();
        while end > 0 {
            let Best { length, id, .. } = best[end];
            let start = end - length as usize;
            path.push((start..end, id));
            end = start;
        }
        path.reverse();
        path
    }

    /// The text of piece `id`, spaces written as U+2581.
    pub fn piece(&self, id: Token) -> Option<&str> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.text.get(start..end)
    }

    /// The id of the piece with exactly this text, spaces written as U+2581.
    pub fn id(&self, piece: &str) -> Option<Token> {
        self.reserved.get(piece).copied().or_else(|| self.trie.get(piece.as_bytes()))
    }

    /// The number of pieces; ids are below it.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no pieces: never, a model has at least the unknown piece.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What piece `id` is for.
    pub fn kind(&self, id: Token) -> Option<PieceKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The log-probability of piece `id`.
    pub fn score(&self, id: Token) -> Option<f32> {
        self.scores.get(id as usize).copied()
    }

    /// Whether `id` is a mark that text never contains.
    pub fn is_control(&self, id: Token) -> bool {
        self.kind(id) == Some(PieceKind::Control)
    }

    /// Whether `id` stands for one byte.
    pub fn is_byte(&self, id: Token) -> bool {
        self.kind(id) == Some(PieceKind::Byte)
    }

    /// Whether `id` is the unknown piece.
    pub fn is_unknown(&self, id: Token) -> bool {
        id == self.unk_id
    }

    /// The unknown piece.
    pub fn unk_id(&self) -> Token {
        self.unk_id
    }

    /// The mark of a sentence's beginning, if the model has one.
    pub fn bos_id(&self) -> Option<Token> {
        self.bos_id
    }

    /// The mark of a sentence's end, if the model has one.
    pub fn eos_id(&self) -> Option<Token> {
        self.eos_id
    }

    /// The padding mark, if the model has one.
    pub fn pad_id(&self) -> Option<Token> {
        self.pad_id
    }

    /// The text of `ids`.
    ///
    /// Control pieces are invisible, the unknown piece reads ` ⁇ ` (or what the model says), and
    /// bytes that make no character become U+FFFD, one each. An id outside the vocabulary reads as
    /// the unknown piece.
    pub fn decode(&self, ids: &[Token]) -> String {
        Detokenize::decode(self, ids)
    }

    /// Appends to `out` what `piece` adds to the text.
    pub(super) fn decode_piece(&self, state: &mut DecodeState, piece: &str, out: &mut String) {
        let id = self.id(piece).unwrap_or(self.unk_id);
        let kind = self.kinds[id as usize];
        if kind == PieceKind::Byte
            && let Some(byte) = byte_value(piece)
        {
            state.has_text |= state.bytes.push(byte, out);
            return;
        }
        state.has_text |= state.bytes.flush(out);
        if state.space_dropped || state.has_text {
            state.begun = true;
        }
        state.space_dropped = false;
        let before = out.len();
        match kind {
            PieceKind::Control => {}
            PieceKind::Unknown if self.piece(id) == Some(piece) => out.push_str(&self.unknown_surface),
            PieceKind::Unknown => out.push_str(piece),
            _ => {
                let mut text = piece;
                if !state.begun
                    && self.strip_leading != LeadingSpace::Keep
                    && let Some(rest) = piece.strip_prefix(SPACE)
                {
                    text = rest;
                    state.space_dropped = self.strip_leading == LeadingSpace::DropOne;
                }
                for (index, word) in text.split(SPACE).enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    out.push_str(word);
                }
            }
        }
        state.has_text |= out.len() > before;
    }
}

impl Detokenize for SentencePiece {
    fn push(&self, state: &mut DecodeState, id: Token, out: &mut String) {
        let unknown = || self.piece(self.unk_id).unwrap_or_default();
        self.decode_piece(state, self.piece(id).unwrap_or_else(unknown), out);
    }

    fn finish(&self, state: &mut DecodeState, out: &mut String) {
        state.bytes.flush(out);
        *state = DecodeState::default();
    }
}

/// The score of a user-defined symbol of `length` bytes: above any log-probability, and that of a
/// long symbol above those of shorter ones in its place. SentencePiece's formula, to the last bit.
fn user_defined_score(length: usize) -> f32 {
    (f64::from(length as f32 * 0.1) - 0.1) as f32
}

/// Refuses what would be decoded or encoded wrongly.
fn check_supported(proto: &ModelProto<'_>, label: &str) -> Result<()> {
    let kind = match proto.trainer.model_type {
        1 => None,
        2 => Some("BPE"),
        3 => Some("word"),
        4 => Some("character"),
        other => return Err(bad(label, 0, format!("unknown model type {other}"))),
    };
    if let Some(kind) = kind {
        return Err(Error::Unsupported(format!(
            "{label}: a SentencePiece model of type {kind} (Unigram is supported)"
        )));
    }
    if proto.has_denormalizer {
        return Err(Error::Unsupported(format!("{label}: a SentencePiece model with a denormaliser")));
    }
    Ok(())
}

/// The byte a piece like `<0x0A>` stands for.
fn byte_value(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper_hex = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
    (hex.len() == 2 && hex.bytes().all(upper_hex)).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}
