//! A model's own numbering of pieces over SentencePiece models.
//!
//! Some translation models are trained with two SentencePiece models, one to split the source text
//! and one to join the target text, and number the pieces themselves in a JSON file. SentencePiece's
//! ids never reach such a model: pieces are looked up by their text.
//!
//! Texts and ids are those of the tokenizer that ships with these models in `transformers`
//! (`skip_special_tokens=True`), except that special tokens written out in a text are text here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::sentencepiece::SentencePiece;
use super::stream::{DecodeState, Detokenize};
use crate::{Error, Result, Token};

/// What unknown pieces become.
const UNK: &str = "<unk>";
/// Ends a sentence.
const EOS: &str = "</s>";
/// Fills up a batch, and often begins the decoder's text.
const PAD: &str = "<pad>";

/// A JSON object of pieces and their ids.
#[derive(Debug)]
pub struct PieceMap {
    /// Sorted by id.
    pieces: Vec<(Token, Arc<str>)>,
    ids: HashMap<Arc<str>, Token>,
    unk: Token,
    eos: Token,
    pad: Option<Token>,
}

impl PieceMap {
    /// Reads a file; see [`PieceMap::from_json`].
    pub fn open(path: impl AsRef<Path>, size: usize) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
        Self::from_json(&bytes, &path.display().to_string(), size)
    }

    /// Reads `{"piece": id, ...}`; `label` names it in errors.
    ///
    /// `size` is the number of rows of the model's embedding: ids are below it. No piece and no id
    /// may occur twice, and `<unk>` and `</s>` must be there.
    pub fn from_json(json: &[u8], label: &str, size: usize) -> Result<Self> {
        let Entries(mut pieces) = serde_json::from_slice(json)
            .map_err(|source| Error::bad_file(label, format!("not a vocabulary of pieces and ids: {source}")))?;
        let bad = |problem: String| Err(Error::bad_file(label, problem));
        pieces.sort_unstable();
        if let Some((id, piece)) = pieces.last().filter(|(id, _)| *id as usize >= size) {
            return bad(format!("piece {piece:?} has the id {id}, but the model has {size} rows"));
        }
        if let Some(pair) = pieces.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return bad(format!("pieces {:?} and {:?} have the same id {}", pair[0].1, pair[1].1, pair[0].0));
        }
        let mut ids = HashMap::with_capacity(pieces.len());
        for (id, piece) in &pieces {
            if ids.insert(Arc::clone(piece), *id).is_some() {
                return bad(format!("piece {piece:?} occurs twice"));
            }
        }
        let (Some(&unk), Some(&eos)) = (ids.get(UNK), ids.get(EOS)) else {
            return bad(format!("no entry {UNK} or {EOS}"));
        };
        let pad = ids.get(PAD).copied();
        Ok(Self { pieces, ids, unk, eos, pad })
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<Token> {
        self.ids.get(piece).copied()
    }

    /// The piece of an id.
    pub fn piece(&self, id: Token) -> Option<&str> {
        let index = self.pieces.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.pieces[index].1)
    }

    /// The number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there are no pieces: never, `<unk>` is required.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// The entries of a JSON object in the file's order, doubles included.
struct Entries(Vec<(Token, Arc<str>)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of pieces and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some((piece, id)) = map.next_entry::<String, u64>()? {
                    let id = Token::try_from(id).map_err(|_| A::Error::custom(format!("id {id} is too large")))?;
                    entries.push((id, Arc::from(piece)));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// A model's vocabulary: source text to ids, ids to target text.
#[derive(Debug)]
pub struct PieceVocabulary {
    source: Arc<SentencePiece>,
    target: Arc<SentencePiece>,
    source_map: Arc<PieceMap>,
    target_map: Arc<PieceMap>,
    /// The model's id of each piece of `source`.
    model_ids: Vec<Token>,
}

impl PieceVocabulary {
    /// Joins the two SentencePiece models with the maps of the source and the target language, which
    /// are one and the same in most models.
    pub fn new(
        source: Arc<SentencePiece>,
        target: Arc<SentencePiece>,
        source_map: Arc<PieceMap>,
        target_map: Arc<PieceMap>,
    ) -> Self {
        let model_id = |id| source.piece(id).and_then(|piece| source_map.id(piece)).unwrap_or(source_map.unk);
        let model_ids = (0..).take(source.len()).map(model_id).collect();
        Self { source, target, source_map, target_map, model_ids }
    }

    /// The ids of `text`, without `</s>`.
    ///
    /// A language token such as `>>fra<<` at the very beginning is one id and not split; `<unk>` if
    /// the vocabulary has no such token.
    pub fn encode(&self, text: &str) -> Vec<Token> {
        let (language, text) = split_language_token(text);
        let mut ids = Vec::new();
        if let Some(token) = language {
            ids.push(self.source_map.id(token).unwrap_or(self.source_map.unk));
        }
        self.encode_into(text, &mut ids);
        ids
    }

    /// The ids of `text`, in which no beginning is taken for a language token.
    pub fn encode_plain(&self, text: &str) -> Vec<Token> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids);
        ids
    }

    fn encode_into(&self, text: &str, ids: &mut Vec<Token>) {
        let unk = self.source.unk_id();
        self.source.encode_with(text, |id, piece| {
            ids.push(if id == unk {
                self.source_map.id(piece).unwrap_or(self.source_map.unk)
            } else {
                self.model_ids[id as usize]
            });
        });
    }

    /// The text of `ids`: joined by the target model, without special tokens and outer white space.
    ///
    /// An id outside the vocabulary adds nothing, like a special token.
    pub fn decode(&self, ids: &[Token]) -> String {
        Detokenize::decode(self, ids)
    }

    /// The id of a source piece.
    pub fn id(&self, piece: &str) -> Option<Token> {
        self.source_map.id(piece)
    }

    /// The target piece of an id.
    pub fn piece(&self, id: Token) -> Option<&str> {
        self.target_map.piece(id)
    }

    /// The id of a target language's token, `>>{language}<<`.
    pub fn language_token(&self, language: &str) -> Option<Token> {
        self.source_map.id(&format!(">>{language}<<"))
    }

    /// The target languages that have a token, in no particular order.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.source_map.pieces.iter().filter_map(|(_, piece)| piece.strip_prefix(">>")?.strip_suffix("<<"))
    }

    /// What ends a sentence.
    pub fn eos_id(&self) -> Token {
        self.source_map.eos
    }

    /// What stands for an unknown piece.
    pub fn unk_id(&self) -> Token {
        self.source_map.unk
    }

    /// What fills up a batch, if the vocabulary has it.
    pub fn pad_id(&self) -> Option<Token> {
        self.source_map.pad
    }
}

impl Detokenize for PieceVocabulary {
    fn push(&self, state: &mut DecodeState, id: Token, out: &mut String) {
        let map = &self.target_map;
        if id == map.unk || id == map.eos || Some(id) == map.pad {
            return;
        }
        let Some(piece) = map.piece(id) else { return };
        let mut text = String::new();
        self.target.decode_piece(state, piece, &mut text);
        push_trimmed(state, &text, out);
    }

    fn finish(&self, state: &mut DecodeState, out: &mut String) {
        let mut text = String::new();
        state.bytes.flush(&mut text);
        push_trimmed(state, &text, out);
        *state = DecodeState::default();
    }
}

/// Appends `text`, but holds back the white space before and after everything.
fn push_trimmed(state: &mut DecodeState, text: &str, out: &mut String) {
    for character in text.chars() {
        // Pieces that the target model does not know come through as they are.
        let character = if character == '\u{2581}' { ' ' } else { character };
        if is_space(character) {
            if state.trimmed_start {
                state.trailing.push(character);
            }
        } else {
            state.trimmed_start = true;
            out.push_str(&state.trailing);
            state.trailing.clear();
            out.push(character);
        }
    }
}

/// White space as Python's `str.strip` sees it: Unicode's and the four information separators.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Splits `>>xxx<<` from the beginning of `text`.
fn split_language_token(text: &str) -> (Option<&str>, &str) {
    match text.find("<<") {
        Some(end) if text.starts_with(">>") => {
            let (token, rest) = text.split_at(end + 2);
            (Some(token), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str, size: usize) -> String {
        PieceMap::from_json(json.as_bytes(), "vocab.json", size).unwrap_err().to_string()
    }

    #[test]
    fn a_map_finds_pieces_and_ids() {
        let json = r#"{"</s>": 0, "<unk>": 1, "▁a": 5}"#;
        let map = PieceMap::from_json(json.as_bytes(), "vocab.json", 6).unwrap();
        assert_eq!((map.id("▁a"), map.piece(5), map.len()), (Some(5), Some("▁a"), 3));
        assert_eq!((map.id("b"), map.piece(2), map.pad), (None, None, None));
    }

    #[test]
    fn a_map_says_what_is_wrong() {
        let valid = r#"{"</s>": 0, "<unk>": 1}"#;
        assert!(problem(valid, 1).contains("\"<unk>\" has the id 1, but the model has 1 rows"));
        assert!(problem(r#"{"</s>": 0, "<unk>": 0}"#, 9).contains("the same id 0"));
        assert!(problem(r#"{"</s>": 0, "<unk>": 1, "a": 2, "a": 3}"#, 9).contains("\"a\" occurs twice"));
        assert!(problem(r#"{"<unk>": 0}"#, 9).contains("no entry <unk> or </s>"));
        assert!(problem(r#"{"a": -1}"#, 9).contains("line 1"));
        assert!(problem(r#"{"a": 4294967296}"#, 9).contains("4294967296 is too large"));
        assert!(problem("[]", 9).contains("an object of pieces and ids"));
        assert!(problem("", 9).contains("vocab.json: not a vocabulary"));
    }

    #[test]
    fn language_tokens_are_split_off() {
        assert_eq!(split_language_token(">>fra<< a"), (Some(">>fra<<"), " a"));
        assert_eq!(split_language_token(" >>fra<< a"), (None, " >>fra<< a"));
        assert_eq!(split_language_token(">>fra a"), (None, ">>fra a"));
    }
}
