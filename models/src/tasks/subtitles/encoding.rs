//! Bytes of a subtitle file -> text.

use super::{Problem, Warning};

/// The text of `file`: UTF-16 where a byte order mark says so, else UTF-8, else Windows-1252, in which most old files
/// are. Without the mark itself.
pub(super) fn decode(file: &[u8], warnings: &mut Vec<Warning>) -> String {
    match file {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes, warnings),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes, warnings),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest, warnings),
        _ => utf8(file, warnings),
    }
}

fn utf8(bytes: &[u8], warnings: &mut Vec<Warning>) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let (before, rest) = bytes.split_at(error.valid_up_to());
            warnings.push(Warning { line: line_of(before), problem: Problem::Encoding(rest[0]) });
            bytes.iter().map(|&byte| windows_1252(byte)).collect()
        }
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, warnings: &mut Vec<Warning>) -> String {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut broken = None;
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        if character.is_err() {
            broken.get_or_insert(text.len());
        }
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    if !odd.is_empty() {
        broken.get_or_insert(text.len());
        text.push(char::REPLACEMENT_CHARACTER);
    }
    if let Some(at) = broken {
        warnings.push(Warning { line: line_of(&text.as_bytes()[..at]), problem: Problem::Surrogate });
    }
    text
}

/// The number of the line that follows `before`.
fn line_of(before: &[u8]) -> usize {
    let breaks =
        before.iter().enumerate().filter(|(i, b)| **b == b'\n' || **b == b'\r' && before.get(i + 1) != Some(&b'\n'));
    breaks.count() + 1
}

/// As browsers read it: ISO 8859-1, with letters and quotes where that has control characters.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(file: &[u8]) -> (String, Vec<Warning>) {
        let mut warnings = Vec::new();
        (decode(file, &mut warnings), warnings)
    }

    #[test]
    fn marks_decide_and_are_removed() {
        for file in [
            &b"\xef\xbb\xbf\xc3\xa9t\xc3\xa9"[..],
            b"\xc3\xa9t\xc3\xa9",
            b"\xff\xfe\xe9\0t\0\xe9\0",
            b"\xfe\xff\0\xe9\0t\0\xe9",
        ] {
            assert_eq!(decoded(file), ("été".to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_is_not_unicode_is_windows_1252_and_said_so() {
        let (text, warnings) = decoded(b"1\r\nna\xefve \x96 \x93ok\x94 \x80");
        assert_eq!(text, "1\r\nnaïve – “ok” €");
        assert_eq!(warnings, [Warning { line: 2, problem: Problem::Encoding(0xef) }]);
    }

    #[test]
    fn half_characters_are_replaced() {
        let (text, warnings) = decoded(b"\xff\xfea\0\n\0\x00\xd8b\0c");
        assert_eq!(text, "a\n\u{fffd}b\u{fffd}");
        assert_eq!(warnings, [Warning { line: 2, problem: Problem::Surrogate }]);
    }
}
