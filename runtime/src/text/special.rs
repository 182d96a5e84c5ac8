//! Tokens that are no text: where it begins and ends, and what a template puts between the parts of a conversation.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use super::sentencepiece::PieceKind;
use crate::Token;

/// A vocabulary's marks. What a file does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialTokens {
    /// The beginning of a text.
    pub bos: Option<Token>,
    /// The end of a text.
    pub eos: Option<Token>,
    /// The end of a turn of a conversation.
    pub eot: Option<Token>,
    /// The end of a message after which the same side goes on.
    pub eom: Option<Token>,
    /// What no token covers.
    pub unk: Option<Token>,
    /// Fills up batches.
    pub pad: Option<Token>,
    /// Between two texts.
    pub sep: Option<Token>,
    /// Stands for text to be guessed.
    pub mask: Option<Token>,
    /// For filling in the middle: before the text that stands before the gap.
    pub fim_prefix: Option<Token>,
    /// Before the text that stands after the gap.
    pub fim_suffix: Option<Token>,
    /// Before the text that fills the gap.
    pub fim_middle: Option<Token>,
    /// Fills up batches of such texts.
    pub fim_pad: Option<Token>,
    /// Before the name of a repository.
    pub fim_repo: Option<Token>,
    /// Before a file.
    pub fim_separator: Option<Token>,
    /// Every token after which nothing more is to be generated, in order.
    pub eog: Vec<Token>,
    /// A prompt begins with `bos`.
    pub add_bos: bool,
    /// A text ends with `eos`.
    pub add_eos: bool,
}

// Names that mean the same in every vocabulary, because files often do not say so. llama.cpp knows the same ones. Of
// several in one vocabulary, the first of a list is taken.
const EOT: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM: [&str; 1] = ["<|eom_id|>"];
const FIM_PREFIX: [&str; 8] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const FIM_SUFFIX: [&str; 8] = [
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const FIM_MIDDLE: [&str; 8] = [
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const FIM_PAD: [&str; 5] = ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REPO: [&str; 5] = ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FIM_SEPARATOR: [&str; 1] = ["<|file_sep|>"];
/// Ends besides those of turns and messages.
const ENDS: [&str; 10] = [
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];
/// Marks that are part of what is said.
const VISIBLE: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// All of them.
static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let lists: [&[&'static str]; 10] =
        [&EOT, &EOM, &FIM_PREFIX, &FIM_SUFFIX, &FIM_MIDDLE, &FIM_PAD, &FIM_REPO, &FIM_SEPARATOR, &ENDS, &VISIBLE];
    lists.concat().into_iter().collect()
});

/// The tokens of a vocabulary that have well-known names.
#[derive(Debug, Default)]
pub(super) struct WellKnown(HashMap<&'static str, Token>);

impl WellKnown {
    /// Notes token `id` if its text is a well-known name.
    pub(super) fn note(&mut self, id: Token, text: &[u8]) {
        // Most tokens are words.
        if matches!(text.first(), Some(b'<' | b'[' | b'_' | 0xe2))
            && let Ok(text) = str::from_utf8(text)
            && let Some(name) = NAMES.get(text)
        {
            self.0.entry(name).or_insert(id);
        }
    }

    fn first(&self, names: &[&str]) -> Option<Token> {
        names.iter().find_map(|name| self.0.get(name)).copied()
    }

    /// Adds to `special` what names say, and lists the tokens that are for something else than their file says.
    pub(super) fn complete(&self, special: &mut SpecialTokens) -> Vec<(Token, PieceKind)> {
        let mut kinds = Vec::new();
        let roles: [(&mut Option<Token>, &[&str]); 8] = [
            (&mut special.eot, &EOT),
            (&mut special.eom, &EOM),
            (&mut special.fim_prefix, &FIM_PREFIX),
            (&mut special.fim_suffix, &FIM_SUFFIX),
            (&mut special.fim_middle, &FIM_MIDDLE),
            (&mut special.fim_pad, &FIM_PAD),
            (&mut special.fim_repo, &FIM_REPO),
            (&mut special.fim_separator, &FIM_SEPARATOR),
        ];
        for (role, names) in roles {
            if role.is_none() {
                *role = self.first(names);
                kinds.extend(role.map(|id| (id, PieceKind::Control)));
            }
        }
        let named =
            |names: &[&str]| -> Vec<Token> { names.iter().filter_map(|name| self.0.get(name)).copied().collect() };
        let ends = [named(&EOT), named(&EOM), named(&ENDS)].concat();
        kinds.extend(ends.iter().map(|&id| (id, PieceKind::Control)));
        kinds.extend(named(&VISIBLE).into_iter().map(|id| (id, PieceKind::UserDefined)));

        let mut eog: BTreeSet<Token> = ends.into_iter().chain(special.eog.iter().copied()).collect();
        eog.extend([special.eos, special.eot, special.eom].into_iter().flatten());
        eog.extend([special.fim_pad, special.fim_repo, special.fim_separator].into_iter().flatten());
        // In the vocabularies with these marks, `<|end|>` ends a part of an answer, and `</s>` is a word.
        let has = |name: &str| self.0.contains_key(name);
        let ends_parts = (has("<|return|>") && has("<|call|>"))
            || ((has("<|call|>") || has("<|calls|>")) && has("<|flush|>"))
            || (has("<|return|>") && has("<|calls|>"));
        for (applies, name, kind) in
            [(ends_parts, "<|end|>", PieceKind::UserDefined), (has("<|tool_response>"), "</s>", PieceKind::Normal)]
        {
            if applies && let Some(&id) = self.0.get(name) {
                eog.remove(&id);
                kinds.push((id, kind));
            }
        }
        special.eog = eog.into_iter().collect();
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> WellKnown {
        let mut known = WellKnown::default();
        for (id, name) in (100..).zip(names) {
            known.note(id, name.as_bytes());
        }
        known
    }

    #[test]
    fn all_ends_are_collected() {
        let mut special = SpecialTokens { eos: Some(7), ..SpecialTokens::default() };
        let kinds = known(&["<|endoftext|>", "word", "<|im_end|>", "<|fim_pad|>"]).complete(&mut special);
        assert_eq!((special.eot, special.fim_pad, special.eom), (Some(102), Some(103), None));
        assert_eq!(special.eog, [7, 100, 102, 103]);
        assert!(kinds.contains(&(100, PieceKind::Control)));
    }

    #[test]
    fn what_a_file_says_comes_first() {
        let mut special = SpecialTokens { eot: Some(3), ..SpecialTokens::default() };
        known(&["<|eot_id|>", "<|end_of_text|>"]).complete(&mut special);
        assert_eq!((special.eot, special.eog), (Some(3), vec![3, 100, 101]));
    }

    #[test]
    fn an_end_of_a_part_is_no_end() {
        let mut special = SpecialTokens { eos: Some(100), ..SpecialTokens::default() };
        let kinds = known(&["<|return|>", "<|call|>", "<|end|>", "<|channel|>"]).complete(&mut special);
        assert_eq!(special.eog, [100, 101]);
        assert!(kinds.ends_with(&[(102, PieceKind::UserDefined)]) && kinds.contains(&(103, PieceKind::UserDefined)));
        let mut special = SpecialTokens::default();
        known(&["<|tool_response>", "</s>"]).complete(&mut special);
        assert_eq!(special.eog, [100]);
    }
}
