//! Language models' tokenizers from `tokenizer.json`, by our own encoder.
//!
//! The file describes a pipeline of small parts; those that byte pair encoders of language models are made of are
//! known, and any other is an error that names it. ([`JsonTokenizer`](super::JsonTokenizer) runs every pipeline there
//! is, but needs a second and 100 MB for a large vocabulary.) The file is read once, as a stream: its 150,000 strings
//! go into one buffer.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::marks::{Finder, Strip};
use super::merge::Merges;
use super::sentencepiece::PieceKind;
use super::special::{SpecialTokens, WellKnown};
use super::split::{self, EACH_NUMBER, NUMBER_RUNS, PUNCTUATION_RUNS, Pattern, Splitter};
use super::tokenizer::{Joins, SpaceBefore, Tokenizer};
use super::tokens::{Alphabet, Tokens};
use crate::{Error, Result, Token};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    /// Old files leave it out.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Vocab,
    #[serde(default)]
    merges: Pairs,
}

/// Strings, end to end.
#[derive(Default)]
struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text.as_bytes()[start..self.ends[index]]
    }
}

/// Reads a string into the buffer.
struct Push<'a>(&'a mut Strings);

impl<'de> DeserializeSeed<'de> for Push<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Push<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<(), E> {
        self.0.push(text);
        Ok(())
    }
}

/// Tokens and their ids.
#[derive(Default)]
struct Vocab {
    tokens: Strings,
    ids: Vec<Token>,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocab, A::Error> {
                let mut vocab = Vocab::default();
                while map.next_key_seed(Push(&mut vocab.tokens))?.is_some() {
                    vocab.ids.push(map.next_value()?);
                }
                Ok(vocab)
            }

            /// Models of other kinds have lists; that they are of another kind is said later.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vocab, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab::default())
            }
        }

        deserializer.deserialize_any(Collect)
    }
}

/// Pairs of tokens, one after the other: `"a b"`, or `["a", "b"]` in newer files.
#[derive(Default)]
struct Pairs(Strings);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut pairs = Self::default();
        deserializer.deserialize_seq(&mut pairs)?;
        Ok(pairs)
    }
}

impl<'de> Visitor<'de> for &mut Pairs {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element_seed(Pair(&mut self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads a pair into the buffer.
struct Pair<'a>(&'a mut Strings);

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of tokens")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<(), E> {
        let (left, right) = text.split_once(' ').ok_or_else(|| E::custom(format!("merge {text:?} has no space")))?;
        self.0.push(left);
        self.0.push(right);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        for index in 0..2 {
            let missing = || serde::de::Error::invalid_length(index, &"a pair of tokens");
            seq.next_element_seed(Push(self.0))?.ok_or_else(missing)?;
        }
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(serde::de::Error::invalid_length(3, &"a pair of tokens")),
        }
    }
}

/// What the parts of the pipeline around the model say.
struct Pipeline {
    alphabet: Alphabet,
    splitter: Splitter,
    nfc: bool,
    space_before: SpaceBefore,
    strip_space: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`; `label` names it in errors. `size` is the number of rows of the model's embedding: ids
    /// are below it.
    ///
    /// The file does not say which tokens end a text; see [`Tokenizer::set_ends`].
    ///
    /// # Errors
    /// It is damaged, knows ids that the model does not have, or has parts that are not supported.
    pub fn from_json(json: &[u8], label: &str, size: usize) -> Result<Self> {
        let bad = |problem: String| Error::bad_file(label, problem);
        let file: File = serde_json::from_slice(json).map_err(|source| bad(format!("not a tokenizer: {source}")))?;
        let pipeline = Pipeline::read(&file).map_err(|part| Error::Unsupported(format!("{label}: {part}")))?;
        let mut known = WellKnown::default();
        let count = count(&file, size, json.len()).map_err(bad)?;
        let mut tokens = tokens(&file, &pipeline, count, &mut known).map_err(bad)?;
        let id = |content: &str| file.added_tokens.iter().find(|token| token.content == content).map(|token| token.id);
        let bos = first_token(&file.post_processor);
        let mut special = SpecialTokens {
            bos: bos.and_then(id),
            unk: file.model.unk_token.as_deref().and_then(|unk| id(unk).or_else(|| tokens.find(unk.as_bytes()))),
            add_bos: bos.is_some(),
            ..SpecialTokens::default()
        };
        for (id, kind) in known.complete(&mut special) {
            tokens.set_kind(id, kind);
        }
        let pairs = &file.model.merges.0;
        let mut merges = Merges::with_capacity(pairs.ends.len() / 2);
        let mut both = Vec::new();
        for rank in 0..pairs.ends.len() / 2 {
            let pair = [pairs.get(2 * rank), pairs.get(2 * rank + 1)];
            merges.push_spelled(&tokens, pair, &mut both).map_err(|problem| {
                let [left, right] = pair.map(String::from_utf8_lossy);
                bad(format!("merge {rank} \"{left} {right}\" {problem}"))
            })?;
        }
        let strips = file.added_tokens.iter().filter(|token| token.lstrip || token.rstrip);
        let strips = strips.map(|token| (token.id, Strip { left: token.lstrip, right: token.rstrip })).collect();
        Ok(Self {
            joins: Joins::Merges(merges),
            splitter: pipeline.splitter,
            whole_words: file.model.ignore_merges,
            nfc: pipeline.nfc,
            space_before: pipeline.space_before,
            strip_space: pipeline.strip_space,
            missing: special.unk,
            finder: Finder::new(&tokens, strips),
            special,
            tokens,
        })
    }

    /// Says which tokens begin and end a text, where the tokenizer's file does not: those of a folder's
    /// `generation_config.json` and `config.json`. Ends are added to those that are known by their names, the first is
    /// the end of a text. `pad` fills up batches. Ids outside the vocabulary are ignored.
    pub fn set_ends(&mut self, bos: Option<Token>, eos: &[Token], pad: Option<Token>) {
        let known = |id: &Token| (*id as usize) < self.tokens.len();
        let special = &mut self.special;
        special.bos = special.bos.or(bos.filter(known));
        special.pad = special.pad.or(pad.filter(known));
        let eos = eos.iter().copied().filter(known);
        special.eos = special.eos.or(eos.clone().next());
        special.eog.extend(eos);
        special.eog.sort_unstable();
        special.eog.dedup();
    }
}

/// The number of tokens, those included that the file does not have: ids are below it. `size` is the number of the
/// model's rows, `bytes` that of the file's bytes, which bounds what is allocated.
fn count(file: &File, size: usize, bytes: usize) -> std::result::Result<usize, String> {
    let all = file.model.vocab.ids.iter().copied().chain(file.added_tokens.iter().map(|token| token.id));
    let Some(last) = all.max() else { return Ok(0) };
    match last as usize {
        id if id >= size => Err(format!("there is a token {id}, but the model has {size} rows")),
        id if id >= bytes => Err(format!("there is a token {id}, more than a file of {bytes} bytes can have")),
        id => Ok(id + 1),
    }
}

/// All `count` tokens by id. Rows of the model that are no token are unused ones without text.
fn tokens(
    file: &File,
    pipeline: &Pipeline,
    count: usize,
    known: &mut WellKnown,
) -> std::result::Result<Tokens, String> {
    /// Where a token's text is.
    #[derive(Clone, Copy)]
    enum At {
        Nowhere,
        Vocab(u32),
        Added(u32),
    }
    let Vocab { tokens: strings, ids } = &file.model.vocab;
    let mut places = vec![At::Nowhere; count];
    for (index, &id) in (0..).zip(ids) {
        if !matches!(std::mem::replace(&mut places[id as usize], At::Vocab(index)), At::Nowhere) {
            return Err(format!("two tokens have the id {id}"));
        }
    }
    for (index, token) in (0..).zip(&file.added_tokens) {
        let place = &mut places[token.id as usize];
        // Gemma's runs of spaces are added as they are spelled, which hardly any text is: it is spaces that they
        // have to be found in.
        let in_text = matches!(*place, At::Vocab(index) if strings.get(index as usize) == token.content.as_bytes());
        let spelled = pipeline.alphabet == Alphabet::Spaces && token.content.contains('▁');
        if token.special || !in_text || !spelled {
            *place = At::Added(index);
        }
    }
    let mut tokens = Tokens::new(pipeline.alphabet, count);
    for (id, place) in (0..).zip(places) {
        let (text, kind) = match place {
            At::Nowhere => (&b""[..], PieceKind::Unused),
            At::Added(index) => {
                let token = &file.added_tokens[index as usize];
                (token.content.as_bytes(), if token.special { PieceKind::Control } else { PieceKind::UserDefined })
            }
            At::Vocab(index) => {
                let text = strings.get(index as usize);
                let byte = file.model.byte_fallback && text.len() == 6 && text.starts_with(b"<0x");
                (text, if byte { PieceKind::Byte } else { PieceKind::Normal })
            }
        };
        known.note(id, text);
        let problem = |problem| format!("token {id} {:?} {problem}", String::from_utf8_lossy(text));
        tokens.push(text, kind).map_err(problem)?;
    }
    Ok(tokens)
}

/// A part that is not supported, for a message.
fn unsupported<T>(name: &str, part: &Value) -> std::result::Result<T, String> {
    let mut part = part.to_string();
    if let Some((cut, _)) = part.char_indices().nth(200) {
        part.truncate(cut);
        part.push_str("...");
    }
    Err(format!("the {name} {part}"))
}

/// The type of a part, and `{}` for none.
fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or_default()
}

/// The parts that `part` is a list of, or `part` itself.
fn steps<'a>(part: &'a Value, list: &str) -> &'a [Value] {
    match part {
        Value::Null => &[],
        _ if kind(part) == "Sequence" => part[list].as_array().map_or(&[], Vec::as_slice),
        part => std::slice::from_ref(part),
    }
}

impl Pipeline {
    fn read(file: &File) -> std::result::Result<Self, String> {
        let model = &file.model;
        let affix = |affix: &Option<String>| affix.as_ref().is_some_and(|affix| !affix.is_empty());
        match model.kind.as_deref() {
            Some("BPE") | None => {}
            Some(kind) => return Err(format!("the model {kind:?} (\"BPE\" is supported)")),
        }
        if model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err("`dropout`".to_owned());
        }
        if affix(&model.continuing_subword_prefix) || affix(&model.end_of_word_suffix) {
            return Err("`continuing_subword_prefix` and `end_of_word_suffix`".to_owned());
        }
        if let Some(token) = file.added_tokens.iter().find(|token| token.single_word) {
            return Err(format!("the token {:?}, which is a word of its own", token.content));
        }
        let bytes = steps(&file.decoder, "decoders").iter().any(|step| kind(step) == "ByteLevel");
        let mut pipeline = Self {
            alphabet: if bytes { Alphabet::Bytes } else { Alphabet::Spaces },
            splitter: Splitter(Vec::new()),
            nfc: false,
            space_before: SpaceBefore::Never,
            strip_space: false,
        };
        let mut spaces = false;
        for step in steps(&file.normalizer, "normalizers") {
            spaces |= pipeline.normalizer(step)?;
        }
        let mut spelled = false;
        for step in steps(&file.pre_tokenizer, "pretokenizers") {
            match (kind(step), bytes) {
                ("ByteLevel", true) if step["add_prefix_space"].as_bool() == Some(false) => spelled = true,
                ("Metaspace", false) if step["split"].as_bool() == Some(false) && step["replacement"] == "▁" => {
                    spaces = true;
                    pipeline.space_before = match step["prepend_scheme"].as_str() {
                        Some("first") => SpaceBefore::Start,
                        Some("always") => SpaceBefore::AfterMarks,
                        Some("never") => SpaceBefore::Never,
                        _ => return unsupported("pre-tokenizer", step),
                    };
                }
                // What is spelled as in GPT-2 cannot be looked at as text any more; but its digits are digits.
                ("Split", true) if spelled && step["pattern"]["Regex"] == "[0-9][0-9][0-9]" => {}
                (_, true) if spelled => return unsupported("pre-tokenizer after ByteLevel", step),
                // There are no spaces any more where this would cut.
                ("Split", false) if spaces && step["pattern"]["String"] == " " => continue,
                _ => {}
            }
            pipeline.splitter.0.extend(patterns(step)?);
        }
        let complete = match pipeline.alphabet {
            Alphabet::Bytes => spelled,
            Alphabet::Spaces => spaces && model.byte_fallback,
        };
        if !complete {
            return unsupported("pre-tokenizer", &file.pre_tokenizer);
        }
        for step in steps(&file.decoder, "decoders") {
            match kind(step) {
                "ByteLevel" | "ByteFallback" | "Fuse" => {}
                "Replace" if !bytes && step["pattern"]["String"] == "▁" && step["content"] == " " => {}
                "Strip" if !bytes && step["content"] == " " && step["start"] == 1 && step["stop"] == 0 => {
                    pipeline.strip_space = true;
                }
                "Metaspace" if !bytes && step["replacement"] == "▁" => {
                    pipeline.strip_space = step["prepend_scheme"] != "never";
                }
                _ => return unsupported("decoder", step),
            }
        }
        Ok(pipeline)
    }

    /// Takes a normaliser over; says whether it writes spaces as U+2581.
    fn normalizer(&mut self, step: &Value) -> std::result::Result<bool, String> {
        let spaces = self.alphabet == Alphabet::Spaces;
        match kind(step) {
            "NFC" => self.nfc = true,
            "Prepend" if spaces && step["prepend"] == "▁" => self.space_before = SpaceBefore::AfterMarksAlways,
            "Replace" if spaces && step["pattern"]["String"] == " " && step["content"] == "▁" => return Ok(true),
            _ => return unsupported("normalizer", step),
        }
        Ok(false)
    }
}

/// The patterns by which a pre-tokenizer cuts.
fn patterns(step: &Value) -> std::result::Result<Option<&'static Pattern>, String> {
    Ok(match kind(step) {
        "ByteLevel" => step["use_regex"].as_bool().unwrap_or(true).then(split::gpt2),
        "Metaspace" => None,
        "Digits" if step["individual_digits"] == true => Some(&EACH_NUMBER),
        "Digits" => Some(&NUMBER_RUNS),
        "Punctuation" if step["behavior"] == "Contiguous" => Some(&PUNCTUATION_RUNS),
        "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
            match step["pattern"]["Regex"].as_str().and_then(split::pattern) {
                Some(pattern) => Some(pattern),
                None => return unsupported("pre-tokenizer", step),
            }
        }
        _ => return unsupported("pre-tokenizer", step),
    })
}

/// The mark that a post-processor puts before a text.
fn first_token(post_processor: &Value) -> Option<&str> {
    let templates = match kind(post_processor) {
        "Sequence" => post_processor["processors"].as_array()?.as_slice(),
        _ => std::slice::from_ref(post_processor),
    };
    let template = templates.iter().find(|step| kind(step) == "TemplateProcessing")?;
    template["single"].get(0)?["SpecialToken"]["id"].as_str()
}
