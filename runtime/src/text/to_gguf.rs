//! Tokenizers -> the keys `tokenizer.ggml.*` of GGUF files: what `gguf.rs` reads.
//!
//! A byte-level vocabulary is called `gpt2` there and needs a name for the way it cuts text into words. One over
//! characters is called `llama`, and has scores instead of merges; merges that come from scores, as those of
//! SentencePiece's models do, can be told from the others, and only they are written.
//!
//! Two things are left out, as in llama.cpp's converter: that text is composed first (NFC), and whether the space before
//! a text is put there again after a mark.

use super::gguf::{ADD_BOS, ADD_EOS, MERGES, MODEL, PRE, SCORES, SPACE_PREFIX, TOKENS, TYPES, id_key, whole_words};
use super::merge::{Merger, Merges};
use super::sentencepiece::PieceKind;
use super::special::{SpecialTokens, WellKnown};
use super::tokenizer::{Joins, SpaceBefore, Tokenizer};
use super::tokens::Alphabet;
use crate::weights::gguf::{Entries, Value};
use crate::{Error, Result, Token};

const MERGES_ALONE: &str = "its merges, which no scores of tokens give:";

impl Tokenizer {
    /// Appends the keys of this tokenizer to `entries`. `rows` is the number of rows of the model's embedding, at least
    /// [`Tokenizer::len`]: llama.cpp wants a token for each. `label` names the tokenizer's file in errors.
    ///
    /// # Errors
    /// The tokenizer does what GGUF files have no words for.
    pub fn to_gguf(&self, rows: usize, label: &str, entries: &mut Entries) -> Result<()> {
        let unsupported =
            |problem: String| Error::Unsupported(format!("{label}: a GGUF file cannot say this: {problem}"));
        let Joins::Merges(merges) = &self.joins else {
            return Err(unsupported("scores without their values".to_owned()));
        };
        let bytes = self.tokens.alphabet() == Alphabet::Bytes;
        let name = if bytes { self.pre() } else { self.plain().map(|()| "default") }.map_err(unsupported)?;
        entries.set(MODEL, Value::Str(if bytes { b"gpt2" } else { b"llama" }));
        entries.set(PRE, Value::Str(name.as_bytes()));
        let rows = rows.max(self.len());
        entries.set_strings(TOKENS, (0..rows).map(|id| self.spelling(id)));
        entries.set_i32s(TYPES, (0..rows).map(|id| self.kind_number(id)));
        if bytes {
            let join = |&[left, right, _]: &[Token; 3]| {
                let mut pair = Vec::new();
                self.tokens.spelling(left, &mut pair);
                pair.push(b' ');
                self.tokens.spelling(right, &mut pair);
                pair
            };
            entries.set_strings(MERGES, merges.all().iter().map(join));
        } else {
            let scores = self.scores(merges, rows).map_err(unsupported)?;
            entries.set_f32s(SCORES, scores.into_iter());
            entries.set(SPACE_PREFIX, Value::Bool(self.space_before != SpaceBefore::Never));
        }
        self.set_marks(entries, !bytes);
        Ok(())
    }

    /// Whether some marks take the white space behind them along. In GGUF files it is the model's name that says so: it
    /// has `phi-3` in it.
    pub fn strips_spaces(&self) -> bool {
        self.finder.strips_right()
    }

    fn spelling(&self, id: usize) -> Vec<u8> {
        let mut spelling = Vec::new();
        if id < self.len() {
            self.tokens.spelling(id as Token, &mut spelling);
        }
        // A place that nobody uses.
        if spelling.is_empty() { format!("[PAD{id}]").into_bytes() } else { spelling }
    }

    fn kind_number(&self, id: usize) -> i32 {
        let id = id as Token;
        match self.tokens.kind(id).unwrap_or(PieceKind::Unused) {
            PieceKind::Normal => 1,
            // A token of text that its name makes a mark, there as here.
            PieceKind::Unknown | PieceKind::Control if self.tokens.find(self.tokens.bytes(id)) == Some(id) => 1,
            // tokenizer.json does not tell it from other marks.
            PieceKind::Control if self.special.unk == Some(id) && self.tokens.alphabet() == Alphabet::Spaces => 2,
            PieceKind::Unknown => 2,
            PieceKind::Control => 3,
            PieceKind::UserDefined => 4,
            PieceKind::Unused => 5,
            PieceKind::Byte => 6,
        }
    }

    /// The name of the way text is cut into words.
    fn pre(&self) -> std::result::Result<&'static str, String> {
        let names = self.splitter.names();
        if names.is_empty() {
            return Err(format!("the way its pre-tokenizer cuts text ({})", self.splitter));
        }
        let same = names.iter().find(|name| whole_words(name) == self.whole_words);
        match same.or_else(|| names.first().filter(|_| self.joins_every_token())) {
            Some(name) => Ok(name),
            None => Err(format!("`ignore_merges` ({}) with the pre-tokenizer {}", self.whole_words, names[0])),
        }
    }

    /// Refuses what no GGUF vocabulary over characters does.
    fn plain(&self) -> std::result::Result<(), String> {
        if !self.splitter.0.is_empty() {
            return Err(format!("a vocabulary over characters that cuts text ({})", self.splitter));
        }
        if self.strip_space != (self.space_before != SpaceBefore::Never) {
            return Err("a space before texts that decoding does not take away, or the other way round".to_owned());
        }
        if self.whole_words && !self.joins_every_token() {
            return Err("`ignore_merges` in a vocabulary over characters".to_owned());
        }
        Ok(())
    }

    /// Whether every token is what its own text is joined to, so that looking words up first changes nothing.
    fn joins_every_token(&self) -> bool {
        let (mut merger, mut ids) = (Merger::default(), Vec::new());
        (0..self.len() as Token).filter(|&id| self.tokens.find(self.tokens.bytes(id)) == Some(id)).all(|id| {
            ids.clear();
            self.join_word(self.tokens.bytes(id), &mut merger, &mut ids);
            ids == [id]
        })
    }

    /// The scores of `rows` tokens under which pairs are joined in the order of `merges`: the earlier a token is made,
    /// the higher. A token may be made of several pairs; they are all alike then, and the leftmost goes first.
    fn scores(&self, merges: &Merges, rows: usize) -> std::result::Result<Vec<f32>, String> {
        /// Of tokens that are never made.
        const LOWEST: f32 = -1e9;
        let text = |id: Token| String::from_utf8_lossy(self.tokens.bytes(id)).into_owned();
        let mut scores = vec![LOWEST; rows];
        let (mut made, mut last) = (0, None);
        // The score of the newest token that is more than one character again and again.
        let mut newest = f32::INFINITY;
        for (rank, &[left, right, both]) in (0..).zip(merges.all()) {
            let again = last == Some(both) || merges.find(left, right) != Some((rank, both));
            if again || self.tokens.kind(both) != Some(PieceKind::Normal) {
                continue;
            }
            last = Some(both);
            let shorter = self.shorter_run(both);
            if scores[both as usize] == LOWEST {
                scores[both as usize] = -(made as f32);
                made += 1;
                newest = if shorter.is_none() { scores[both as usize] } else { newest };
                continue;
            }
            // Runs of spaces often have the same score, and their merges are sorted by length then. From the left, the
            // longest run is made in either way, as long as nothing else is made between its merges.
            let own = scores[both as usize];
            if !shorter.is_some_and(|shorter| scores[shorter as usize] < own) || newest < own {
                return Err(format!("{MERGES_ALONE} {:?} is made at different ranks", text(both)));
            }
        }
        for id in (0..self.len() as Token).filter(|&id| self.tokens.kind(id) == Some(PieceKind::Normal)) {
            let token = self.tokens.bytes(id);
            if self.tokens.find(token) != Some(id) {
                continue;
            }
            for middle in (1..token.len()).filter(|&at| token[at] & 0xc0 != 0x80) {
                let (left, right) = (&token[..middle], &token[middle..]);
                let pair = self.tokens.find(left).zip(self.tokens.find(right));
                if let Some((left, right)) = pair.filter(|&(left, right)| merges.find(left, right).is_none()) {
                    let (left, right) = (text(left), text(right));
                    return Err(format!("{MERGES_ALONE} {left:?} and {right:?} are not joined"));
                }
            }
        }
        Ok(scores)
    }

    /// Of a token that repeats one character, the one that does it once less.
    fn shorter_run(&self, id: Token) -> Option<Token> {
        let text = str::from_utf8(self.tokens.bytes(id)).ok()?;
        let first = text.chars().next()?;
        let shorter = text.strip_prefix(first).filter(|shorter| shorter.chars().all(|character| character == first))?;
        self.tokens.find(shorter.as_bytes())
    }

    fn set_marks(&self, entries: &mut Entries, has_defaults: bool) {
        let special = &self.special;
        let mut known = WellKnown::default();
        for id in 0..self.len() as Token {
            known.note(id, self.tokens.bytes(id));
        }
        // Ends that nothing else tells get the places that are free.
        let mut told =
            SpecialTokens { eos: special.eos, eot: special.eot, eom: special.eom, ..SpecialTokens::default() };
        known.complete(&mut told);
        let mut untold = special.eog.iter().copied().filter(|id| !told.eog.contains(id));
        let eot = special.eot.or_else(|| untold.next());
        let eom = special.eom.or_else(|| untold.next());
        if let Some(id) = untold.next() {
            let name = String::from_utf8_lossy(self.tokens.bytes(id));
            tracing::warn!("token {id} {name:?} ends a text, but a GGUF file has no place for it");
        }
        let marks = [
            ("bos", special.bos),
            ("eos", special.eos),
            ("unknown", special.unk),
            ("padding", special.pad),
            ("eot", eot),
            ("eom", eom),
        ];
        for (name, id) in marks {
            // Without these keys there are some all the same.
            let none = (has_defaults && matches!(name, "bos" | "eos" | "unknown")).then_some(Token::MAX);
            if let Some(id) = id.or(none) {
                entries.set(&id_key(name), Value::U32(id));
            }
        }
        entries.set(ADD_BOS, Value::Bool(special.add_bos));
        entries.set(ADD_EOS, Value::Bool(special.add_eos));
    }
}
