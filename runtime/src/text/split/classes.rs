//! Classes of characters: every character is in exactly one of twelve, so a set of classes is a mask.
//!
//! They are cut so that the sets of all patterns are unions of them: `\s` is [`SPACES`], `\p{L}` is [`LETTERS`], and
//! `[^\s\p{L}\p{N}]` is everything else than `SPACES | LETTERS | NUMBER`.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// A set of classes.
pub(super) type Classes = u16;

/// U+0020.
pub(super) const BLANK: Classes = 1 << 0;
/// CR and LF.
pub(super) const BREAK: Classes = 1 << 1;
/// Other white space.
pub(super) const SPACE: Classes = 1 << 2;
/// `\p{Lu}\p{Lt}`
pub(super) const UPPER: Classes = 1 << 3;
/// `\p{Ll}`
pub(super) const LOWER: Classes = 1 << 4;
/// `\p{Lm}\p{Lo}`: letters without case.
pub(super) const UNCASED: Classes = 1 << 5;
/// `\p{M}`
pub(super) const MARK: Classes = 1 << 6;
/// `\p{N}`
pub(super) const NUMBER: Classes = 1 << 7;
/// `\p{P}`
pub(super) const PUNCTUATION: Classes = 1 << 8;
/// Those of `\p{S}` that are ASCII.
pub(super) const ASCII_SYMBOL: Classes = 1 << 9;
/// Other `\p{S}`.
pub(super) const SYMBOL: Classes = 1 << 10;
/// Everything else: control and format characters, private and unassigned ones.
pub(super) const OTHER: Classes = 1 << 11;

/// `\s`
pub(super) const SPACES: Classes = BLANK | BREAK | SPACE;
/// `\p{L}`
pub(super) const LETTERS: Classes = UPPER | LOWER | UNCASED;
/// `\p{S}`
pub(super) const SYMBOLS: Classes = ASCII_SYMBOL | SYMBOL;
/// Every character.
pub(super) const ANY: Classes = (1 << 12) - 1;

/// The class of `character`.
pub(super) fn class(character: char) -> Classes {
    match character {
        ' ' => BLANK,
        '\r' | '\n' => BREAK,
        'a'..='z' => LOWER,
        'A'..='Z' => UPPER,
        '0'..='9' => NUMBER,
        '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~' => ASCII_SYMBOL,
        _ if character.is_whitespace() => SPACE,
        _ => match get_general_category(character) {
            Category::UppercaseLetter | Category::TitlecaseLetter => UPPER,
            Category::LowercaseLetter => LOWER,
            Category::ModifierLetter | Category::OtherLetter => UNCASED,
            Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => MARK,
            Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => NUMBER,
            Category::ConnectorPunctuation
            | Category::DashPunctuation
            | Category::OpenPunctuation
            | Category::ClosePunctuation
            | Category::InitialPunctuation
            | Category::FinalPunctuation
            | Category::OtherPunctuation => PUNCTUATION,
            Category::MathSymbol | Category::CurrencySymbol | Category::ModifierSymbol | Category::OtherSymbol => {
                SYMBOL
            }
            _ => OTHER,
        },
    }
}
