//! The patterns that vocabularies were trained with, each beside the regular expression it stands for, and the names
//! that GGUF files give to lists of them.

use super::classes::{ANY, ASCII_SYMBOL, BLANK, BREAK, LETTERS, MARK, NUMBER, PUNCTUATION, SPACES, SYMBOLS};
use super::{Form, Set};

/// A regular expression as a list of forms.
#[derive(Debug)]
pub(in crate::text) struct Pattern {
    /// What it stands for, as `tokenizer.json` files write it; the others are equal to the first on every text.
    pub(super) regexes: &'static [&'static str],
    pub(super) forms: &'static [Form],
}

/// Patterns, each of which cuts what those before it left.
#[derive(Debug, Clone)]
pub(in crate::text) struct Splitter(pub(in crate::text) Vec<&'static Pattern>);

const BLANK_BEFORE: Option<Set> = Some(Set::Of(BLANK));
const SPACE_BEFORE: Option<Set> = Some(Set::Of(SPACES));
/// `[^\r\n\p{L}\p{N}]`
const NO_WORD: Set = Set::Of(ANY & !(BREAK | LETTERS | NUMBER));
/// `[^\s\p{L}\p{N}]`
const SIGNS: Set = Set::Of(ANY & !(SPACES | LETTERS | NUMBER));
/// `[\r\n]*`
const BREAKS_AFTER: Option<Set> = Some(Set::Of(BREAK));
/// `[\r\n/]*`
const BREAKS_OR_SLASH_AFTER: Option<Set> = Some(Set::Ranges(&[('\r', '\r'), ('\n', '\n'), ('/', '/')]));

/// `body{1,most}`
const fn run(body: Set, most: usize) -> Form {
    Form::Run { before: None, body, least: 1, most, after: None }
}

/// `before?body+`
const fn word(before: Option<Set>, body: Set) -> Form {
    Form::Run { before, body, least: 1, most: usize::MAX, after: None }
}

/// ` ?body+after*`
const fn signs(body: Set, after: Option<Set>) -> Form {
    Form::Run { before: BLANK_BEFORE, body, least: 1, most: usize::MAX, after }
}

const NUMBERS: Set = Set::Of(NUMBER);
const ANY_CASE: Form = Form::Contraction { any_case: true };
const LETTERS_WORD: Form = word(Some(NO_WORD), Set::Of(LETTERS));

static GPT2: Pattern = Pattern {
    regexes: &[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    forms: &[
        Form::Contraction { any_case: false },
        word(BLANK_BEFORE, Set::Of(LETTERS)),
        word(BLANK_BEFORE, NUMBERS),
        signs(SIGNS, None),
        Form::Spaces,
    ],
};

static LLAMA3: Pattern = Pattern {
    regexes: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[ANY_CASE, LETTERS_WORD, run(NUMBERS, 3), signs(SIGNS, BREAKS_AFTER), Form::Breaks, Form::Spaces],
};

static QWEN2: Pattern = Pattern {
    regexes: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ],
    forms: &[ANY_CASE, LETTERS_WORD, run(NUMBERS, 1), signs(SIGNS, BREAKS_AFTER), Form::Breaks, Form::Spaces],
};

static QWEN35: Pattern = Pattern {
    regexes: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[
        ANY_CASE,
        word(Some(NO_WORD), Set::Of(LETTERS | MARK)),
        run(NUMBERS, 1),
        signs(Set::Of(ANY & !(SPACES | LETTERS | MARK | NUMBER)), BREAKS_AFTER),
        Form::Breaks,
        Form::Spaces,
    ],
};

/// Llama 3's, but for longer numbers.
static LLAMA3_NUMBERS: Pattern = Pattern {
    regexes: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[ANY_CASE, LETTERS_WORD, word(None, NUMBERS), signs(SIGNS, BREAKS_AFTER), Form::Breaks, Form::Spaces],
};

static SEED_CODER: Pattern = Pattern {
    regexes: &[
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[ANY_CASE, LETTERS_WORD, run(NUMBERS, 1), signs(SIGNS, None), Form::Breaks, Form::Spaces],
};

static TEKKEN: Pattern = Pattern {
    regexes: &[
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[
        Form::Cased { before: NO_WORD, contractions: false },
        run(NUMBERS, 1),
        signs(SIGNS, BREAKS_OR_SLASH_AFTER),
        Form::Breaks,
        Form::Spaces,
    ],
};

static GPT4O: Pattern = Pattern {
    regexes: &[
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    forms: &[
        Form::Cased { before: NO_WORD, contractions: true },
        run(NUMBERS, 3),
        signs(SIGNS, BREAKS_OR_SLASH_AFTER),
        Form::Breaks,
        Form::Spaces,
    ],
};

static DEEPSEEK3: Pattern = Pattern {
    regexes: &[
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ],
    forms: &[
        Form::Led {
            first: Set::Ranges(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
            body: Set::Ranges(&[('A', 'Z'), ('a', 'z')]),
        },
        word(Some(Set::Of(ANY & !(BREAK | LETTERS | PUNCTUATION | SYMBOLS))), Set::Of(LETTERS | MARK)),
        signs(Set::Of(PUNCTUATION | SYMBOLS), BREAKS_AFTER),
        Form::Breaks,
        Form::Spaces,
    ],
};

/// Each number, such as the pre-tokenizer `Digits` finds them.
pub(in crate::text) static EACH_NUMBER: Pattern = Pattern { regexes: &[r"\p{N}"], forms: &[run(NUMBERS, 1)] };
/// Runs of numbers.
pub(in crate::text) static NUMBER_RUNS: Pattern = Pattern { regexes: &[r"\p{N}+"], forms: &[word(None, NUMBERS)] };
static THREE_NUMBERS: Pattern = Pattern { regexes: &[r"\p{N}{1,3}"], forms: &[run(NUMBERS, 3)] };

/// Exactly three ASCII digits: what a run of digits has left over stays together.
static THREE_DIGITS: Pattern = Pattern {
    regexes: &["[0-9][0-9][0-9]"],
    forms: &[Form::Run { before: None, body: Set::Ranges(&[('0', '9')]), least: 3, most: 3, after: None }],
};

/// Runs of punctuation, as the pre-tokenizer `Punctuation` finds them.
pub(in crate::text) static PUNCTUATION_RUNS: Pattern =
    Pattern { regexes: &[r"[\p{P}\$\+<=>\^~\|`]+"], forms: &[word(None, Set::Of(PUNCTUATION | ASCII_SYMBOL))] };
static EACH_BREAK: Pattern = Pattern { regexes: &["[\r\n]"], forms: &[run(Set::Of(BREAK), 1)] };
static KANA_AND_HAN: Pattern = Pattern {
    regexes: &["[一-龥\u{3040}-ゟ゠-ヿ]+"],
    forms: &[word(None, Set::Ranges(&[('一', '龥'), ('\u{3040}', 'ゟ'), ('゠', 'ヿ')]))],
};
static CJK: Pattern = Pattern {
    regexes: &["[一-龥\u{800}-一가-\u{d7ff}]+"],
    forms: &[word(None, Set::Ranges(&[('一', '龥'), ('\u{800}', '一'), ('가', '\u{d7ff}')]))],
};
static SPACED_LETTERS: Pattern = Pattern { regexes: &[r"\s?\p{L}+"], forms: &[word(SPACE_BEFORE, Set::Of(LETTERS))] };
static SPACED_PUNCTUATION: Pattern =
    Pattern { regexes: &[r"\s?\p{P}+"], forms: &[word(SPACE_BEFORE, Set::Of(PUNCTUATION))] };
static SPACED_CASED_LETTERS: Pattern = Pattern {
    regexes: &[
        "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    ],
    forms: &[word(SPACE_BEFORE, Set::Ranges(&CASED_LETTERS))],
};
static SPACED_SIGNS: Pattern = Pattern {
    regexes: &["\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+"],
    forms: &[word(
        SPACE_BEFORE,
        Set::Ranges(&[('!', '/'), (':', '~'), ('！', '／'), ('：', '～'), ('‘', '‟'), ('\u{3000}', '。')]),
    )],
};
static LAST_SPACES: Pattern = Pattern { regexes: &[r"\s+$"], forms: &[Form::LastSpaces] };

/// All of them.
static ALL: [&Pattern; 22] = [
    &GPT2,
    &LLAMA3,
    &QWEN2,
    &QWEN35,
    &LLAMA3_NUMBERS,
    &SEED_CODER,
    &TEKKEN,
    &GPT4O,
    &DEEPSEEK3,
    &EACH_NUMBER,
    &NUMBER_RUNS,
    &THREE_NUMBERS,
    &THREE_DIGITS,
    &PUNCTUATION_RUNS,
    &EACH_BREAK,
    &KANA_AND_HAN,
    &CJK,
    &SPACED_LETTERS,
    &SPACED_PUNCTUATION,
    &SPACED_CASED_LETTERS,
    &SPACED_SIGNS,
    &LAST_SPACES,
];

impl Pattern {
    fn is(&self, regex: &str) -> bool {
        self.regexes.contains(&regex)
    }
}

/// The pattern of a regular expression.
pub(in crate::text) fn pattern(regex: &str) -> Option<&'static Pattern> {
    ALL.into_iter().find(|pattern| pattern.is(regex))
}

/// GPT-2's pattern, which the pre-tokenizer `ByteLevel` brings along.
pub(in crate::text) fn gpt2() -> &'static Pattern {
    &GPT2
}

/// Names that GGUF files give to lists of patterns. Of several names for a list, the first is written.
static NAMES: [(&[&str], &[&Pattern]); 13] = [
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "mellum",
            "a.x-4.0",
            "exaone4",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        &[&GPT2],
    ),
    (
        &["smollm", "refact", "starcoder", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[&EACH_NUMBER, &GPT2],
    ),
    (
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
            "smaug-bpe",
            "dbrx",
            "chatglm-bpe",
            "glm4",
            "glm5",
        ],
        &[&LLAMA3],
    ),
    (
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        &[&QWEN2],
    ),
    (&["qwen35"], &[&QWEN35]),
    (&["minicpm5"], &[&THREE_NUMBERS, &LLAMA3_NUMBERS]),
    (&["seed-coder"], &[&SEED_CODER]),
    (&["tekken"], &[&TEKKEN]),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[&GPT4O]),
    (&["hunyuan-dense", "deepseek-v3", "joyai-llm", "hy_v4"], &[&THREE_NUMBERS, &KANA_AND_HAN, &DEEPSEEK3]),
    (&["deepseek-llm"], &[&EACH_BREAK, &SPACED_CASED_LETTERS, &SPACED_SIGNS, &LAST_SPACES, &CJK, &NUMBER_RUNS]),
    (&["deepseek-coder"], &[&EACH_BREAK, &SPACED_LETTERS, &SPACED_PUNCTUATION, &CJK, &EACH_NUMBER]),
    (&["falcon"], &[&PUNCTUATION_RUNS, &GPT2, &THREE_DIGITS]),
];

/// The patterns that GGUF files call `name`.
pub(in crate::text) fn named(name: &str) -> Option<Splitter> {
    NAMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, patterns)| Splitter(patterns.to_vec()))
}

/// The regular expressions, one after the other.
impl std::fmt::Display for Splitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let regexes: Vec<&str> = self.0.iter().map(|pattern| pattern.regexes[0]).collect();
        f.write_str(&regexes.join("  "))
    }
}

impl Splitter {
    /// The names that GGUF files give to these patterns, none where they have no name.
    pub(in crate::text) fn names(&self) -> &'static [&'static str] {
        let same = |patterns: &[&Pattern]| {
            patterns.len() == self.0.len() && patterns.iter().zip(&self.0).all(|(a, b)| std::ptr::eq(*a, *b))
        };
        NAMES.iter().find(|(_, patterns)| same(patterns)).map_or(&[], |(names, _)| names)
    }
}

/// What the pattern `SPACED_CASED_LETTERS` calls a letter.
static CASED_LETTERS: [(char, char); 87] = [
    ('A', 'Z'),
    ('a', 'z'),
    ('\u{b5}', '\u{b5}'),
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'),
    ('\u{1bc}', '\u{1bf}'),
    ('\u{1c4}', '\u{293}'),
    ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'),
    ('\u{376}', '\u{376}'),
    ('\u{377}', '\u{377}'),
    ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'),
    ('\u{386}', '\u{386}'),
    ('\u{388}', '\u{38a}'),
    ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'),
    ('\u{3f7}', '\u{481}'),
    ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'),
    ('\u{10a0}', '\u{10c5}'),
    ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'),
    ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'),
    ('\u{1d6b}', '\u{1d77}'),
    ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'),
    ('\u{1f18}', '\u{1f1d}'),
    ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'),
    ('\u{1f50}', '\u{1f57}'),
    ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'),
    ('\u{1f5d}', '\u{1f5d}'),
    ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'),
    ('\u{1fb6}', '\u{1fbc}'),
    ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'),
    ('\u{1fc6}', '\u{1fcc}'),
    ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'),
    ('\u{1fe0}', '\u{1fec}'),
    ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'),
    ('\u{2102}', '\u{2102}'),
    ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'),
    ('\u{2115}', '\u{2115}'),
    ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'),
    ('\u{2126}', '\u{2126}'),
    ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'),
    ('\u{212f}', '\u{2134}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'),
    ('\u{2145}', '\u{2149}'),
    ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'),
    ('\u{2184}', '\u{2184}'),
    ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'),
    ('\u{2ceb}', '\u{2cee}'),
    ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'),
    ('\u{a640}', '\u{a66d}'),
    ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'),
    ('\u{a771}', '\u{a787}'),
    ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'),
    ('\u{ff41}', '\u{ff5a}'),
    ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'),
    ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'),
    ('\u{118a0}', '\u{118df}'),
    ('\u{1e900}', '\u{1e943}'),
];

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    use super::*;

    /// Characters on which patterns differ, and some of every kind.
    const CHARACTERS: [char; 60] = [
        ' ', ' ', ' ', '\n', '\r', '\t', '\u{b}', '\u{85}', '\u{a0}', '\u{2003}', '\u{2028}', '\u{3000}', '\u{1c}',
        '\u{200b}', '\u{feff}', '\0', '\'', '\'', 's', 't', 'm', 'd', 'r', 'e', 'v', 'l', 'S', 'E', 'L', 'ſ', 'K', 'ß',
        'é', 'É', 'ǅ', 'ʰ', 'ª', 'Ж', 'ж', '中', 'の', '가', 'ا', '\u{301}', '\u{93e}', '\u{20dd}', '0', '7', '٣', '²',
        'Ⅷ', '.', '/', '`', '$', '_', '«', '。', '€', '😀',
    ];

    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            8 => prop::sample::select(&CHARACTERS[..]),
            2 => prop::char::range(' ', '~'),
            1 => any::<char>(),
        ];
        prop::collection::vec(character, 0..24).prop_map(String::from_iter)
    }

    /// The regular expressions as the `tokenizers` crate runs them.
    static SPLITS: LazyLock<Vec<(&Pattern, &str, Split)>> = LazyLock::new(|| {
        let regexes = ALL.iter().flat_map(|pattern| pattern.regexes.iter().map(move |&regex| (*pattern, regex)));
        let split = |regex: &str| {
            Split::new(SplitPattern::Regex(regex.to_owned()), SplitDelimiterBehavior::Isolated, false).unwrap()
        };
        regexes.map(|(pattern, regex)| (pattern, regex, split(regex))).collect()
    });

    fn pieces<'a>(pattern: &Pattern, text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        pattern.split(text, &mut |piece| pieces.push(piece));
        pieces
    }

    proptest! {
        #[test]
        fn patterns_are_their_regular_expressions(text in text()) {
            for (pattern, regex, split) in &*SPLITS {
                let mut expected = PreTokenizedString::from(text.as_str());
                split.pre_tokenize(&mut expected).unwrap();
                let expected = expected.get_splits(OffsetReferential::Original, OffsetType::Byte);
                let expected: Vec<_> = expected.iter().map(|piece| piece.0).filter(|piece| !piece.is_empty()).collect();
                prop_assert_eq!(pieces(pattern, &text), expected, "{}", regex);
            }
        }
    }

    #[test]
    fn long_runs_are_scanned_once() {
        // Each would take hours if the time grew with the square of the length.
        for unit in [" ", "\n", " \n", "\t", "a", "A", "中A", "A\u{301}", "1", "'", "/", "\0"] {
            let text = unit.repeat(200_000 / unit.len()) + "1";
            for pattern in ALL {
                let mut length = 0;
                pattern.split(&text, &mut |piece| length += piece.len());
                assert_eq!(length, text.len());
            }
        }
    }

    #[test]
    fn every_name_has_its_own_list() {
        let words = |name: &str, text: &'static str| {
            let mut words = Vec::new();
            named(name).unwrap().split(text, &mut |word| words.push(word));
            words
        };
        assert_eq!(words("llama-bpe", "It's 12345 <b>"), ["It", "'s", " ", "123", "45", " <", "b", ">"]);
        assert_eq!(words("qwen2", "It's 12 <b>"), ["It", "'s", " ", "1", "2", " <", "b", ">"]);
        assert_eq!(words("smollm", "It's 12 <b>"), ["It", "'s", " ", "1", "2", " <", "b", ">"]);
        assert_eq!(words("gpt-2", "It's 12 <b>"), ["It", "'s", " 12", " <", "b", ">"]);
        assert_eq!(words("tekken", "aBc 12"), ["a", "Bc", " ", "1", "2"]);
        assert_eq!(words("falcon", "a 12345"), ["a", " ", "123", "45"]);
        assert!(named("no-such").is_none());
    }
}
