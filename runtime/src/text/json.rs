//! `tokenizer.json`, run by the `tokenizers` crate.

use tokenizers::Tokenizer;

use super::stream::{DecodeState, Detokenize};
use super::vocabulary::Vocabulary;
use crate::{Error, Result, Token};

/// A tokenizer of the `tokenizers` library, with its normaliser, model and decoder as the file describes them.
#[derive(Debug)]
pub struct JsonTokenizer {
    tokenizer: Tokenizer,
    label: String,
}

impl JsonTokenizer {
    /// Reads `tokenizer.json`; `label` names it in errors. `size` is the number of rows of the model's embedding: ids
    /// are below it.
    ///
    /// # Errors
    /// It is not a tokenizer, or knows ids that the model does not have.
    pub fn from_bytes(json: &[u8], label: &str, size: usize) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(json)
            .map_err(|error| Error::bad_file(label, format!("not a tokenizer of the tokenizers library: {error}")))?;
        let last = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
        if let Some((piece, id)) = last.filter(|(_, id)| *id as usize >= size) {
            let problem = format!("piece {piece:?} has the id {id}, but the model has {size} rows");
            return Err(Error::bad_file(label, problem));
        }
        // Special tokens written out in a text are text, unless the model itself (as the crate's Unigram does) takes
        // them for pieces.
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, label: label.to_owned() })
    }

    fn text(&self, ids: &[Token]) -> String {
        // Decoding fails only for decoders that cannot handle their own tokens; they add nothing.
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }
}

impl Vocabulary for JsonTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<Token>> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|error| Error::BadRequest(format!("{}: {error}", self.label)))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn id(&self, piece: &str) -> Option<Token> {
        self.tokenizer.token_to_id(piece)
    }

    fn languages(&self) -> Vec<String> {
        let pieces = self.tokenizer.get_vocab(true).into_keys();
        pieces.filter_map(|piece| Some(piece.strip_prefix(">>")?.strip_suffix("<<")?.to_owned())).collect()
    }
}

/// The end of a text that is being decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// The last ids.
    ids: Vec<Token>,
    /// Bytes of their text that were handed out.
    decoded: usize,
    /// How many of `ids` are there for their neighbours' sake: all of their text was handed out.
    context: usize,
}

/// So many ids are decoded again for each new one at most: nothing that may still change is longer.
const WINDOW: usize = 64;

impl Detokenize for JsonTokenizer {
    fn push(&self, state: &mut DecodeState, id: Token, out: &mut String) {
        let recent = &mut state.recent;
        recent.ids.push(id);
        let text = self.text(&recent.ids);
        // An unfinished character may still change, and so may white space at the end.
        let mut certain = text.trim_end_matches('\u{FFFD}').trim_end();
        if recent.ids.len() >= WINDOW {
            certain = &text;
        }
        let Some(more) = certain.get(recent.decoded..) else { return };
        out.push_str(more);
        recent.decoded = certain.len();
        if !more.is_empty() && certain.len() == text.len() {
            // The ids of this piece of text stay as the context of the next one.
            recent.ids.drain(..recent.context);
            recent.context = recent.ids.len();
            recent.decoded = self.text(&recent.ids).len();
        }
    }

    fn finish(&self, state: &mut DecodeState, out: &mut String) {
        if let Some(more) = self.text(&state.recent.ids).get(state.recent.decoded..) {
            out.push_str(more);
        }
        *state = DecodeState::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with byte fallback: `▁a`, `▁b`, and the bytes of anything else.
    fn tokenizer() -> JsonTokenizer {
        let bytes: Vec<_> = (0..256).map(|byte| format!(r#"["<0x{byte:02X}>", -9.0]"#)).collect();
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [{{"id": 0, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}}],
            "pre_tokenizer": {{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false}},
            "decoder": {{"type": "Sequence", "decoders": [{{"type": "ByteFallback"}}, {{"type": "Metaspace",
                "replacement": "▁", "prepend_scheme": "always", "split": false}}]}},
            "model": {{"type": "Unigram", "unk_id": 1, "byte_fallback": true, "vocab": [["</s>", 0.0], ["<unk>", 0.0],
                [">>fra<<", -8.0], ["▁", -4.0], ["▁a", -2.0], ["▁b", -2.0], {}]}}}}"#,
            bytes.join(", ")
        );
        JsonTokenizer::from_bytes(json.as_bytes(), "tokenizer.json", 262).unwrap()
    }

    #[test]
    fn text_to_ids_and_back_one_at_a_time() {
        let tokenizer = tokenizer();
        for text in ["a b", "", "a 😀 b", "é", "b  a"] {
            let ids = tokenizer.encode(text).unwrap();
            let mut state = DecodeState::default();
            let mut streamed = String::new();
            for &id in &ids {
                tokenizer.push(&mut state, id, &mut streamed);
                assert!(!streamed.contains('\u{FFFD}'));
            }
            tokenizer.finish(&mut state, &mut streamed);
            assert_eq!(streamed, tokenizer.decode(&ids));
            assert_eq!(streamed, text);
        }
        assert_eq!((tokenizer.id(">>fra<<"), tokenizer.languages()), (Some(2), vec!["fra".to_owned()]));
    }

    #[test]
    fn a_long_text_comes_piece_by_piece() {
        let tokenizer = tokenizer();
        let text = "a b 😀  é".repeat(300) + &" ".repeat(200) + "a";
        let ids = tokenizer.encode(&text).unwrap();
        assert_eq!(tokenizer.text(&ids), text);
        assert_eq!(tokenizer.decode(&ids), text);
        let mut state = DecodeState::default();
        for &id in &ids {
            tokenizer.push(&mut state, id, &mut String::new());
            assert!(state.recent.ids.len() <= 2 * WINDOW);
        }
    }

    #[test]
    fn what_is_no_tokenizer_or_too_large_is_refused() {
        let error =
            |json: &str| JsonTokenizer::from_bytes(json.as_bytes(), "tokenizer.json", 1).unwrap_err().to_string();
        assert!(error("{}").starts_with("tokenizer.json: not a tokenizer"));
        let large =
            r#"{"version": "1.0", "model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", 0.0]]}}"#;
        assert_eq!(error(large), "tokenizer.json: piece \"b\" has the id 1, but the model has 1 rows");
    }
}
