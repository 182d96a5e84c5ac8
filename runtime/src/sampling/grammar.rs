//! Output that obeys a JSON schema, a regular expression or a grammar, through the `llguidance` crate.
//!
//! [`GrammarVocabulary`] (the bytes of a model's tokens, as a trie; made once) compiles a [`GrammarText`] into a
//! [`Grammar`], which is the [`Constraint`] of one text: before each choice it walks the trie along with the grammar
//! and masks every token that no continuation begins with. End tokens are allowed exactly where the grammar may end.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Constraint;
use crate::{Error, Result, Token};

/// What output must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrammarText {
    /// A [JSON schema](https://json-schema.org); references within it (`#/...`) are followed.
    JsonSchema(String),
    /// A regular expression in the syntax of the `regex` crate, which matches the whole output.
    Regex(String),
    /// A context-free grammar in llguidance's variant of
    /// [Lark](https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md), from the rule `start` on.
    Lark(String),
}

/// A model's tokens, prepared for grammars.
pub struct GrammarVocabulary {
    factory: ParserFactory,
}

impl GrammarVocabulary {
    /// The longest token, in bytes, that may occur in constrained output.
    pub const LONGEST_TOKEN: usize = 255;

    /// Of the `vocab` tokens whose text `bytes` gives; it is empty for those that are no text, such as control tokens.
    /// `end` are the tokens that end a text.
    ///
    /// # Errors
    /// No end token, one outside the vocabulary, or more text than the trie can hold (four million bytes).
    pub fn new<'v>(vocab: usize, bytes: impl Fn(Token) -> &'v [u8], end: &[Token]) -> Result<Self> {
        const MOST_TOKENS: usize = 1 << 21;
        const MOST_BYTES: usize = (1 << 22) - 1;
        if let Some(token) = end.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::BadRequest(format!("end token {token} is outside the vocabulary of {vocab}")));
        }
        let &[first, ..] = end else {
            return Err(Error::Unsupported("constrained output of a model without an end token".to_owned()));
        };
        let text = |token: Token| {
            let bytes = bytes(token);
            // 0xff marks special tokens in the trie; it occurs in no text.
            let usable = bytes.len() <= Self::LONGEST_TOKEN && !bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER);
            if usable && !end.contains(&token) { bytes.to_vec() } else { Vec::new() }
        };
        if vocab > MOST_TOKENS || (0..vocab as Token).map(|token| bytes(token).len()).sum::<usize>() > MOST_BYTES {
            return Err(Error::Unsupported(format!("constrained output with a vocabulary of {vocab} tokens")));
        }
        let words: Vec<Vec<u8>> = (0..vocab as Token).map(text).collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first), &words).with_eos_tokens(end);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|e| Error::Unsupported(e.to_string()))?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// The constraint of one text.
    ///
    /// # Errors
    /// [`Error::BadRequest`] says what is wrong with it, or which of its features are not known.
    pub fn compile(&self, grammar: &GrammarText) -> Result<Grammar> {
        let bad = |what: &str, problem: &dyn std::fmt::Display| Error::BadRequest(format!("{what}: {problem}"));
        let (name, compiled) = match grammar {
            GrammarText::JsonSchema(text) => {
                let name = "the JSON schema";
                let mut schema: Value = serde_json::from_str(text).map_err(|e| bad(name, &e))?;
                bound_whitespace(&mut schema);
                (name, TopLevelGrammar::from_json_schema(schema))
            }
            GrammarText::Regex(text) => ("the regular expression", TopLevelGrammar::from_regex(text)),
            GrammarText::Lark(text) => ("the grammar", TopLevelGrammar::from_lark(text.clone())),
        };
        let matcher = Matcher::new(self.factory.create_parser(compiled));
        match matcher.get_error() {
            Some(problem) => Err(bad(name, &problem.trim_end())),
            None => Ok(Grammar { matcher }),
        }
    }
}

impl std::fmt::Debug for GrammarVocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrammarVocabulary").finish_non_exhaustive()
    }
}

/// Between the parts of a JSON value, at most a space or a line break with an indentation: otherwise a small model may
/// write blanks for ever. A schema that has options of its own (`x-guidance`) keeps them.
fn bound_whitespace(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.entry("x-guidance").or_insert_with(|| json!({"whitespace_pattern": r"\x20|\n[\x20\t]{0,32}"}));
    }
}

/// A grammar and where a text stands in it.
pub struct Grammar {
    matcher: Matcher,
}

impl Grammar {
    /// Whether the text may end here.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub fn may_end(&mut self) -> Result<bool> {
        self.matcher.is_accepting().map_err(too_costly)
    }
}

impl Constraint for Grammar {
    fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(too_costly)?;
        for (token, logit) in logits.iter_mut().enumerate() {
            if token >= allowed.len() || !allowed.get(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: Token) -> Result<()> {
        self.matcher.consume_token(token).map_err(too_costly)
    }
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

fn too_costly(problem: impl std::fmt::Display) -> Error {
    Error::BadRequest(format!("the grammar cannot be followed: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fake::{Fake, History};
    use crate::generate::{Context, Finish, Lookup, StreamOptions, TokenStream};
    use crate::sampling::{Sampler, SamplingOptions};
    use proptest::prelude::*;

    /// Every byte, two end tokens, and some longer tokens, one of them twice.
    struct Words(Vec<Vec<u8>>);

    const END: [Token; 2] = [256, 257];

    impl Words {
        fn new() -> Self {
            let longer = ["{\"", "\":", "\", \"", "true", "}}", "é", "name", "name", "1234", "\n  "];
            let bytes = (0..=255u8).map(|byte| vec![byte]);
            let ends = END.map(|_| b"<end>".to_vec());
            Self(bytes.chain(ends).chain(longer.map(|word| word.as_bytes().to_vec())).collect())
        }
        fn vocabulary(&self) -> GrammarVocabulary {
            GrammarVocabulary::new(self.0.len(), |token| &self.0[token as usize], &END).unwrap()
        }
    }

    /// What a random model writes under a grammar.
    fn written(seed: u64, temperature: f32, vocabulary: &GrammarVocabulary, grammar: &GrammarText) -> (String, Finish) {
        let words = Words::new();
        let mut model = Fake::new(seed, words.0.len());
        let options = SamplingOptions { temperature, seed, ..SamplingOptions::default() };
        let mut sampler =
            Sampler::new(options, words.0.len()).unwrap().with_constraint(vocabulary.compile(grammar).unwrap());
        let mut context = Context::new(History::new(vec![]), vec![]);
        let lookup = Some(Lookup { longest: 2, shortest: 1, draft: 3 });
        let options = StreamOptions { max_tokens: 3000, lookup, ..StreamOptions::new(4000, END.to_vec()) };
        let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1], options).unwrap();
        let bytes: Vec<u8> = stream.by_ref().flat_map(|token| words.0[token.unwrap() as usize].clone()).collect();
        (String::from_utf8(bytes).unwrap(), stream.finish().unwrap())
    }

    const SCHEMA: &str = r##"{
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "bc", "d\"e"]}, "minItems": 1, "maxItems": 3},
            "score": {"type": "number", "minimum": -10, "maximum": 10},
            "pair": {"$ref": "#/$defs/pair"}
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
        "$defs": {"pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}],
            "items": false, "minItems": 2}}
    }"##;

    fn satisfies(value: &Value) -> bool {
        let Some(object) = value.as_object() else { return false };
        let tag = |tag: &Value| ["a", "bc", "d\"e"].iter().any(|known| tag == known);
        object["name"].as_str().is_some_and(|name| name.chars().count() <= 12)
            && object["age"].as_u64().is_some_and(|age| age <= 150)
            && object["tags"].as_array().is_some_and(|tags| (1..=3).contains(&tags.len()) && tags.iter().all(tag))
            && object.get("score").is_none_or(|score| score.as_f64().is_some_and(|score| score.abs() <= 10.0))
            && object.get("pair").is_none_or(|pair| pair[0].is_boolean() && pair[1].is_null())
            && object.keys().all(|key| ["name", "age", "tags", "score", "pair"].contains(&key.as_str()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn whatever_the_model_says_the_schema_is_obeyed(
            seed: u64,
            temperature in prop::sample::select(vec![0.0f32, 0.7, 2.0]),
        ) {
            let schema = GrammarText::JsonSchema(SCHEMA.to_owned());
            let (text, finish) = written(seed, temperature, &Words::new().vocabulary(), &schema);
            prop_assert_eq!(finish, Finish::EndOfText, "{}", text);
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(satisfies(&value), "{}", text);
        }

        #[test]
        fn expressions_and_grammars_end_where_they_may(seed: u64) {
            let vocabulary = Words::new().vocabulary();
            let regex = GrammarText::Regex("[0-9]{3}-(true|é)?".to_owned());
            let (text, finish) = written(seed, 1.0, &vocabulary, &regex);
            prop_assert_eq!(finish, Finish::EndOfText);
            let (number, rest) = text.split_once('-').unwrap();
            prop_assert!(number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()), "{}", text);
            prop_assert!(["", "true", "é"].contains(&rest), "{}", text);

            let nested = "start: \"(\" (start | /[xy]{1,3}/) \")\"";
            let (text, finish) = written(seed, 1.0, &vocabulary, &GrammarText::Lark(nested.to_owned()));
            prop_assert_eq!(finish, Finish::EndOfText);
            let depth = text.bytes().take_while(|&b| b == b'(').count();
            let inner = text[depth..].trim_end_matches(')');
            prop_assert_eq!(text.len(), 2 * depth + inner.len());
            prop_assert!(depth > 0 && (1..=3).contains(&inner.len()) && inner.bytes().all(|b| b"xy".contains(&b)));
        }
    }

    #[test]
    fn end_tokens_are_allowed_exactly_where_the_grammar_may_end() {
        let words = Words::new();
        let mut grammar = words.vocabulary().compile(&GrammarText::Regex("a{2,3}".to_owned())).unwrap();
        for count in 0..=3 {
            let mut logits = vec![0.0; words.0.len() + 3];
            grammar.mask(&mut logits).unwrap();
            let allowed: Vec<_> = (0..).zip(&logits).filter(|(_, v)| v.is_finite()).map(|(token, _)| token).collect();
            let (letter, end) = (u32::from(b'a'), &END[..]);
            let expected = match count {
                0 | 1 => vec![letter],
                2 => [&[letter], end].concat(),
                _ => end.to_vec(),
            };
            assert_eq!((allowed, grammar.may_end().unwrap()), (expected, count >= 2), "after {count}");
            if count < 3 {
                grammar.accept(letter).unwrap();
            }
        }
    }

    #[test]
    fn bad_grammars_are_refused() {
        let vocabulary = Words::new().vocabulary();
        let refused = |grammar| vocabulary.compile(&grammar).unwrap_err().to_string();
        let schema = |text: &str| refused(GrammarText::JsonSchema(text.to_owned()));
        let messages = [
            schema("{"),
            schema(r#"{"type": "strong"}"#),
            schema(r#"{"$ref": "https://example.org/schema"}"#),
            schema(r#"{"type": "integer", "minimum": 2, "maximum": 1}"#),
            refused(GrammarText::Regex("a(b".to_owned())),
            refused(GrammarText::Lark("start: other".to_owned())),
            GrammarVocabulary::new(3, |_| b"a", &[]).unwrap_err().to_string(),
            GrammarVocabulary::new(3, |_| b"a", &[3]).unwrap_err().to_string(),
        ];
        insta::assert_snapshot!(messages.join("\n---\n"));
    }
}
