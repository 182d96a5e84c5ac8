//! Tokenizers from the metadata of GGUF files, keys `tokenizer.ggml.*`.
//!
//! What keys leave open is filled in as llama.cpp does, with two exceptions: where it would guess (a byte-level
//! vocabulary that names no pre-tokenizer, or marks of which the file says nothing), there is an error or no mark; and
//! merges of or to what is no token are left out.

use hashbrown::HashMap;

use super::marks::{Finder, Strip};
use super::merge::Merges;
use super::sentencepiece::PieceKind;
use super::special::{SpecialTokens, WellKnown};
use super::split::{self, Splitter};
use super::tokenizer::{Joins, SpaceBefore, Tokenizer};
use super::tokens::{Alphabet, Tokens};
use crate::weights::gguf::{Array, Metadata, Strings};
use crate::{Error, Result, Token};

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const PRE: &str = "tokenizer.ggml.pre";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";

/// What the names of a vocabulary's model and pre-tokenizer say.
struct Scheme {
    alphabet: Alphabet,
    splitter: Splitter,
    whole_words: bool,
    /// Pairs are ranked by the scores of tokens, and there are no merges.
    scores: bool,
    space_before: bool,
    add_bos: bool,
}

impl Scheme {
    fn read(metadata: &Metadata) -> Result<Self> {
        let model = metadata.expect::<&str>(MODEL)?;
        let characters = Self {
            alphabet: Alphabet::Spaces,
            splitter: Splitter(Vec::new()),
            whole_words: false,
            scores: false,
            space_before: false,
            add_bos: false,
        };
        let pre = metadata.find::<&str>(PRE)?;
        Ok(match (model, pre) {
            ("llama", _) => Self { scores: true, space_before: true, add_bos: true, ..characters },
            ("gemma4", _) | ("gpt2", Some("gemma4" | "granite-embed-multi-311m")) => {
                Self { add_bos: true, ..characters }
            }
            ("gpt2", Some("sarvam-moe")) => characters,
            ("gpt2", Some(pre)) => {
                let begins = begins(pre);
                Self {
                    alphabet: Alphabet::Bytes,
                    splitter: split::named(pre).ok_or_else(|| {
                        Error::Unsupported(metadata.bad(PRE, format!("pre-tokenizer {pre:?}")).to_string())
                    })?,
                    whole_words: whole_words(pre),
                    add_bos: begins,
                    ..characters
                }
            }
            ("gpt2", None) => {
                let problem =
                    "is missing: how this vocabulary cuts text into words is not known; convert the model again";
                return Err(metadata.bad(PRE, problem));
            }
            (model, _) => {
                let problem = format!("tokenizer {model:?} (gpt2, gemma4 and llama are supported)");
                return Err(Error::Unsupported(metadata.bad(MODEL, problem).to_string()));
            }
        })
    }
}

/// Whether texts begin with a mark where the pre-tokenizer is called `pre`, unless the file says otherwise.
fn begins(pre: &str) -> bool {
    let names = ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"];
    names.contains(&pre) || matches!(pre, "jina-v5-nano" | "tekken")
}

/// Whether a word that is a token is that token where the pre-tokenizer is called `pre`.
pub(super) fn whole_words(pre: &str) -> bool {
    begins(pre) || matches!(pre, "glm4" | "glm5" | "minicpm5")
}

impl Tokenizer {
    /// The tokenizer that a GGUF file describes. Nothing of `metadata` is kept.
    ///
    /// # Errors
    /// A key is missing or damaged, or says something that is not supported.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let scheme = Scheme::read(metadata)?;
        let (mut tokens, known) = tokens(metadata, scheme.alphabet)?;
        let mut special = special(metadata, &scheme, tokens.len())?;
        for (id, kind) in known.complete(&mut special) {
            tokens.set_kind(id, kind);
        }
        let joins = match scheme.scores {
            true => Joins::Ranks(ranks(metadata, tokens.len())?),
            false => Joins::Merges(merges(metadata, &tokens)?),
        };
        let space_before = metadata.find(SPACE_PREFIX)?.unwrap_or(scheme.space_before);
        Ok(Self {
            joins,
            splitter: scheme.splitter,
            whole_words: scheme.whole_words,
            nfc: false,
            space_before: if space_before { SpaceBefore::AfterMarksAlways } else { SpaceBefore::Never },
            strip_space: space_before,
            missing: special.unk.filter(|_| scheme.alphabet == Alphabet::Spaces),
            finder: Finder::new(&tokens, strips(metadata, &tokens)?),
            special,
            tokens,
        })
    }
}

/// The strings of an array.
fn strings<'a>(metadata: &'a Metadata, key: &str) -> Result<Strings<'a>> {
    let array = metadata.expect::<Array<'_>>(key)?;
    array.strings().ok_or_else(|| metadata.bad(key, format!("expected strings, found {array}")))
}

/// The numbers of an array that has one for each of `count` tokens, where the file has it.
fn numbers<'a, T: crate::weights::gguf::FromValue<'a>>(
    metadata: &'a Metadata,
    key: &str,
    count: usize,
) -> Result<Option<impl Iterator<Item = T> + use<'a, T>>> {
    let Some(array) = metadata.find::<Array<'_>>(key)? else { return Ok(None) };
    if array.len() < count {
        return Err(metadata.bad(key, format!("has {} values for {count} tokens", array.len())));
    }
    let numbers = array.numbers::<T>();
    Ok(Some(numbers.ok_or_else(|| metadata.bad(key, format!("expected {}, found {array}", T::EXPECTED)))?))
}

fn tokens(metadata: &Metadata, alphabet: Alphabet) -> Result<(Tokens, WellKnown)> {
    let spellings = strings(metadata, TOKENS)?;
    let mut types = numbers::<i32>(metadata, TYPES, spellings.len())?;
    let mut tokens = Tokens::new(alphabet, spellings.len());
    let mut known = WellKnown::default();
    for (id, spelling) in spellings.enumerate() {
        let kind = match types.as_mut().and_then(Iterator::next) {
            // Undefined, and files that do not say.
            Some(0 | 1) | None => PieceKind::Normal,
            Some(2) => PieceKind::Unknown,
            Some(3) => PieceKind::Control,
            Some(4) => PieceKind::UserDefined,
            Some(5) => PieceKind::Unused,
            Some(6) => PieceKind::Byte,
            Some(other) => return Err(metadata.bad(TYPES, format!("token {id} has the unknown type {other}"))),
        };
        known.note(id as Token, spelling);
        tokens.push(spelling, kind).map_err(|problem| {
            metadata.bad(TOKENS, format!("token {id} {:?} {problem}", String::from_utf8_lossy(spelling)))
        })?;
    }
    Ok((tokens, known))
}

/// The merges. Those of or to what is no token are left out: a vocabulary that was cut may have all merges of the whole
/// one. (llama.cpp carries them out, and then spells what is no token in bytes, or drops it.)
fn merges(metadata: &Metadata, tokens: &Tokens) -> Result<Merges> {
    let pairs = strings(metadata, MERGES)?;
    let mut merges = Merges::with_capacity(pairs.len());
    let mut both = Vec::new();
    let mut left_out = 0;
    for (rank, pair) in pairs.enumerate() {
        // A token may begin with a space.
        let space = pair.iter().skip(1).position(|&byte| byte == b' ').ok_or_else(|| {
            metadata.bad(MERGES, format!("merge {rank} {:?} has no space", String::from_utf8_lossy(pair)))
        })? + 1;
        let pair = [&pair[..space], &pair[space + 1..]];
        left_out += usize::from(merges.push_spelled(tokens, pair, &mut both).is_err());
    }
    if left_out > 0 && merges.all().is_empty() {
        return Err(metadata.bad(MERGES, format!("none of the {left_out} merges is of tokens of this vocabulary")));
    }
    if left_out > 0 {
        tracing::warn!("metadata key `{MERGES}`: {left_out} merges are of or to what is no token");
    }
    Ok(merges)
}

/// The ranks of tokens whose scores a file gives: the highest score is the lowest rank.
fn ranks(metadata: &Metadata, count: usize) -> Result<Vec<u32>> {
    let scores = numbers::<f32>(metadata, SCORES, count)?;
    let scores = scores.ok_or_else(|| metadata.bad(SCORES, "is missing, this vocabulary needs it"))?;
    let mut ranks = Vec::with_capacity(count);
    for (id, score) in scores.take(count).enumerate() {
        if score.is_nan() {
            return Err(metadata.bad(SCORES, format!("the score of token {id} is not a number")));
        }
        // Adding 0 makes -0 the same as 0. The bits of floats of one sign are in their order.
        let bits = (score + 0.0).to_bits();
        ranks.push(if bits >> 31 == 0 { !bits & i32::MAX as u32 } else { bits });
    }
    Ok(ranks)
}

/// The key of the mark `name`.
pub(super) fn id_key(name: &str) -> String {
    format!("tokenizer.ggml.{name}_token_id")
}

fn special(metadata: &Metadata, scheme: &Scheme, count: usize) -> Result<SpecialTokens> {
    // SentencePiece's own order, which old files rely on.
    let id = |name: &str, default: Option<Token>| -> Result<Option<Token>> {
        let key = id_key(name);
        match metadata.find::<u32>(&key)? {
            Some(id) if (id as usize) < count => Ok(Some(id)),
            // How old converters write that there is none.
            Some(u32::MAX) => Ok(None),
            Some(id) => {
                tracing::warn!("metadata key `{key}` is {id}, but there are {count} tokens: ignored");
                Ok(None)
            }
            None => Ok(default.filter(|&id| scheme.scores && (id as usize) < count)),
        }
    };
    // The newer of two names for the same.
    let fim = |new: &str, old: &str| Ok::<_, Error>(id(new, None)?.or(id(old, None)?));
    let flag = |key: &str| metadata.find::<bool>(key);
    let forced = scheme.alphabet == Alphabet::Spaces && !scheme.scores && scheme.add_bos;
    Ok(SpecialTokens {
        bos: id("bos", Some(1))?,
        eos: id("eos", Some(2))?,
        unk: id("unknown", Some(0))?,
        eot: id("eot", None)?,
        eom: id("eom", None)?,
        // The key's own spelling.
        sep: id("seperator", None)?,
        pad: id("padding", None)?,
        mask: id("mask", None)?,
        fim_prefix: fim("fim_pre", "prefix")?,
        fim_suffix: fim("fim_suf", "suffix")?,
        fim_middle: fim("fim_mid", "middle")?,
        fim_pad: id("fim_pad", None)?,
        fim_repo: id("fim_rep", None)?,
        fim_separator: id("fim_sep", None)?,
        eog: Vec::new(),
        // Some files of Gemma 4 say that it is not wanted, and are wrong.
        add_bos: forced || flag(ADD_BOS)?.unwrap_or(scheme.add_bos),
        add_eos: flag(ADD_EOS)?.unwrap_or(false),
    })
}

/// Which marks take the white space beside them along. Files do not say so; that of this one vocabulary is known.
fn strips(metadata: &Metadata, tokens: &Tokens) -> Result<HashMap<Token, Strip>> {
    let name = metadata.find::<&str>("general.name")?.unwrap_or_default().to_lowercase();
    if !name.contains("phi-3") && !name.contains("phi3") {
        return Ok(HashMap::new());
    }
    let strips = |&id: &Token| match tokens.kind(id) {
        _ if tokens.bytes(id) == b"</s>" => true,
        Some(PieceKind::Control | PieceKind::UserDefined | PieceKind::Unknown) => {
            ![&b"<unk>"[..], b"<s>", b"<|endoftext|>"].contains(&tokens.bytes(id))
        }
        _ => false,
    };
    let ids = (0..tokens.len() as Token).filter(strips);
    Ok(ids.map(|id| (id, Strip { left: false, right: true })).collect())
}
