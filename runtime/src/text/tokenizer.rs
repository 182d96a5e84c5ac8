//! The tokenizer of a language model: byte pair encoding, in the two forms that model files have.
//!
//! ```text
//! text -> marks found whole (marks.rs) -> words (split.rs) -> symbols, joined pair by pair (merge.rs) -> ids
//! ids -> bytes (tokens.rs) -> whole characters (stream.rs) -> text
//! ```
//!
//! Which pairs are joined first is a list of merges, or the scores of the tokens they make. The first is what the
//! `tokenizers` library calls BPE and GGUF files `gpt2`, the second is SentencePiece's BPE, `llama` in GGUF files.
//! Symbols are the bytes of a word, or its characters, of which those that are no token are written byte by byte.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::marks::{Finder, Part};
use super::merge::{Merger, Merges};
use super::sentencepiece::PieceKind;
use super::special::SpecialTokens;
use super::split::Splitter;
use super::stream::{DecodeState, Detokenize};
use super::tokens::{Alphabet, Tokens};
use crate::{Error, Result, Token};

/// How vocabularies of [`Alphabet::Spaces`] write a space.
const SPACE: char = '\u{2581}';

/// Whether marks such as `<|im_end|>`, written out in a text, are those tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Marks {
    /// They are text like any other: right for what users write.
    AsText,
    /// They are tokens: right for what a chat template has written.
    Parse,
}

/// What decides which pair is joined first.
#[derive(Debug)]
pub(super) enum Joins {
    /// A list of pairs.
    Merges(Merges),
    /// The ranks of tokens, lower ones first: any pair may be joined that makes a token.
    Ranks(Vec<u32>),
}

/// Which parts of a text get a space before them, so that their first word is the same token as elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceBefore {
    Never,
    /// The beginning of the text, unless it begins with a mark or a space.
    Start,
    /// The beginning, and whatever follows a mark, unless there is a space.
    AfterMarks,
    /// The same, even where there is a space.
    AfterMarksAlways,
}

/// A language model's tokenizer. It is built once and shared.
///
/// Encoding never fails for want of a token where the vocabulary has tokens for bytes. Without, what no token covers
/// becomes the unknown token; a byte-level vocabulary leaves it out, as in llama.cpp and the `tokenizers` library.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) tokens: Tokens,
    pub(super) joins: Joins,
    pub(super) splitter: Splitter,
    /// A word that is a token is that token, whatever joining would give.
    pub(super) whole_words: bool,
    /// Text is brought into Unicode's composed form first.
    pub(super) nfc: bool,
    pub(super) space_before: SpaceBefore,
    /// A space at the beginning of decoded text is not the text's own.
    pub(super) strip_space: bool,
    /// What becomes of text that no token covers, where it is not left out.
    pub(super) missing: Option<Token>,
    pub(super) finder: Finder,
    pub(super) special: SpecialTokens,
}

impl Tokenizer {
    /// The ids of `text` alone; see [`Tokenizer::prompt`] for what a model is to continue.
    ///
    /// Tokens that somebody added to the vocabulary as words are found in any case.
    ///
    /// # Errors
    /// `text` has 4 GiB or more.
    pub fn encode(&self, text: &str, marks: Marks) -> Result<Vec<Token>> {
        if text.len() >= u32::MAX as usize - 1 {
            return Err(Error::BadRequest(format!("a text of {} bytes: 4 GiB are too much", text.len())));
        }
        let mut ids = Vec::new();
        let mut merger = Merger::default();
        let mut after_mark = true;
        self.finder.split(&self.tokens, text, marks, |part| match part {
            Part::Token(id) => {
                ids.push(id);
                after_mark = true;
            }
            Part::Text(text) => {
                let space = match self.space_before {
                    SpaceBefore::Never => false,
                    SpaceBefore::Start => ids.is_empty() && !text.starts_with([' ', SPACE]),
                    SpaceBefore::AfterMarks => after_mark && !text.starts_with([' ', SPACE]),
                    SpaceBefore::AfterMarksAlways => after_mark,
                };
                self.encode_text(text, space, &mut merger, &mut ids);
                after_mark = false;
            }
        });
        Ok(ids)
    }

    /// The ids of a text that a model is to continue: those of [`Tokenizer::encode`], and the mark of the beginning
    /// before them if the vocabulary wants one there and `text` does not have it already.
    ///
    /// An empty text is the mark of the beginning alone, wanted or not.
    ///
    /// # Errors
    /// `text` is empty and the vocabulary has no mark of the beginning; or those of `encode`.
    pub fn prompt(&self, text: &str, marks: Marks) -> Result<Vec<Token>> {
        let mut ids = self.encode(text, marks)?;
        match self.special.bos {
            Some(bos) if ids.is_empty() || (self.special.add_bos && ids[0] != bos) => ids.insert(0, bos),
            None if ids.is_empty() => {
                let problem = "the prompt is empty, and the model has no token for the beginning of a text";
                return Err(Error::BadRequest(problem.to_owned()));
            }
            _ => {}
        }
        Ok(ids)
    }

    fn encode_text(&self, text: &str, space_before: bool, merger: &mut Merger, ids: &mut Vec<Token>) {
        let mut text = Cow::Borrowed(text);
        if self.nfc && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            text = text.nfc().collect::<String>().into();
        }
        if self.tokens.alphabet() == Alphabet::Spaces && text.contains(SPACE) {
            text = text.replace(SPACE, " ").into();
        }
        if space_before {
            text = format!(" {text}").into();
        }
        self.splitter.split(&text, &mut |word| self.encode_word(word, merger, ids));
    }

    fn encode_word(&self, word: &str, merger: &mut Merger, ids: &mut Vec<Token>) {
        if self.whole_words
            && let Some(id) = self.tokens.find(word.as_bytes())
        {
            ids.push(id);
            return;
        }
        self.join_word(word.as_bytes(), merger, ids);
    }

    /// Joins the symbols of `word`, a whole word whether it is a token or not.
    pub(super) fn join_word(&self, word: &[u8], merger: &mut Merger, ids: &mut Vec<Token>) {
        merger.clear();
        match &self.joins {
            Joins::Merges(merges) => {
                // What is no token is replaced before anything is joined.
                for symbol in self.symbols(word) {
                    match self.tokens.find(symbol) {
                        Some(id) => merger.push(Some(id), 1),
                        None => self.write_bytes(symbol, |id| merger.push(Some(id), 1)),
                    }
                }
                merger.run(|left, right| merges.find(left.id?, right.id?));
            }
            Joins::Ranks(ranks) => {
                for symbol in self.symbols(word) {
                    merger.push(self.tokens.find(symbol), symbol.len() as u32);
                }
                merger.run(|left, right| {
                    let id = self.tokens.find(&word[left.start as usize..right.end() as usize])?;
                    Some((ranks[id as usize], id))
                });
            }
        }
        for symbol in merger.symbols() {
            match symbol.id {
                Some(id) => ids.push(id),
                None => {
                    self.write_bytes(&word[symbol.start as usize..symbol.end() as usize], |id| ids.push(id));
                }
            }
        }
    }

    /// What joining begins with: the bytes of `word`, or its characters.
    fn symbols<'a>(&self, word: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.tokens.alphabet() == Alphabet::Bytes;
        let mut rest = word;
        std::iter::from_fn(move || {
            // The first byte of a character says its length.
            let length = if bytes { 1 } else { (rest.first()?.leading_ones() as usize).max(1) };
            let symbol;
            (symbol, rest) = rest.split_at_checked(length)?;
            Some(symbol)
        })
    }

    /// Calls `found` with the tokens of the bytes of a symbol that is no token, or with the unknown token.
    fn write_bytes(&self, symbol: &[u8], mut found: impl FnMut(Token)) {
        if symbol.iter().all(|&byte| self.tokens.byte_token(byte).is_some()) {
            symbol.iter().filter_map(|&byte| self.tokens.byte_token(byte)).for_each(found);
        } else if let Some(unk) = self.missing {
            found(unk);
        }
    }

    /// The number of tokens; ids are below it.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes.
    pub fn held_bytes(&self) -> usize {
        let joins = match &self.joins {
            Joins::Merges(merges) => merges.held_bytes(),
            Joins::Ranks(ranks) => size_of::<u32>() * ranks.capacity(),
        };
        let lists = size_of::<Token>() * self.special.eog.capacity() + size_of::<usize>() * self.splitter.0.capacity();
        self.tokens.held_bytes() + joins + self.finder.held_bytes() + lists
    }

    /// The bytes that token `id` stands for: of a mark, its name. Not always whole characters.
    pub fn token_bytes(&self, id: Token) -> Option<&[u8]> {
        ((id as usize) < self.len()).then(|| self.tokens.bytes(id))
    }

    /// What token `id` is for.
    pub fn kind(&self, id: Token) -> Option<PieceKind> {
        self.tokens.kind(id)
    }

    /// The token that is written `text`: a mark or word found whole, or a token of text with these bytes.
    pub fn token(&self, text: &str) -> Option<Token> {
        self.finder.token(text).or_else(|| self.tokens.find(text.as_bytes()))
    }

    /// The vocabulary's marks.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Whether nothing more is to be generated after token `id`.
    pub fn is_end(&self, id: Token) -> bool {
        self.special.eog.binary_search(&id).is_ok()
    }
}

impl Detokenize for Tokenizer {
    fn push(&self, state: &mut DecodeState, id: Token, out: &mut String) {
        // An id outside the vocabulary adds nothing: models have more rows than tokens.
        let Some(kind) = self.tokens.kind(id) else { return };
        let hidden = matches!(kind, PieceKind::Control | PieceKind::Unknown | PieceKind::Unused);
        if hidden && !state.shows_marks {
            return;
        }
        let mut bytes = self.tokens.bytes(id);
        if !state.begun && !hidden {
            state.begun = true;
            if self.strip_space && kind != PieceKind::Byte {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        state.bytes.extend(bytes, out);
    }

    fn finish(&self, state: &mut DecodeState, out: &mut String) {
        state.bytes.flush(out);
        *state = DecodeState::default();
    }
}
