//! When each token was said: the heads of the decoder that follow the sound, and the path through them (dynamic time
//! warping; OpenAI's `find_alignment`, transformers' `_extract_token_timestamps`). And the words that tokens make.

/// Seconds of a position of the encoder's output.
const POSITION: f64 = 0.02;
/// Positions that the median filter reads.
const MEDIAN: usize = 7;

/// When each of `tokens` tokens begins, in seconds from the beginning of the window. `weights` says how much each head
/// looks at each position from each token, `[heads][tokens][positions]`; only the first `heard` positions count.
///
/// # Panics
/// If there are no heads, tokens or positions.
pub fn token_times(weights: &[f32], tokens: usize, positions: usize, heard: usize) -> Vec<f64> {
    let heard = heard.clamp(1, positions);
    let heads = weights.len() / (tokens * positions);
    assert!(heads > 0 && weights.len() == heads * tokens * positions, "attention to another number of positions");
    // How well a token and a position go together, `[tokens][heard]`: the mean of the heads, each of them normalised
    // over the tokens and smoothed over the positions.
    let mut together = vec![0.0; tokens * heard];
    let (mut rows, mut window) = (vec![0.0; tokens * heard], [0.0; MEDIAN]);
    for head in weights.chunks_exact(tokens * positions) {
        for at in 0..heard {
            let column = || head[at..].iter().step_by(positions).map(|&weight| f64::from(weight));
            let mean = column().sum::<f64>() / tokens as f64;
            let deviation = (column().map(|weight| (weight - mean).powi(2)).sum::<f64>() / tokens as f64).sqrt();
            for (token, weight) in column().enumerate() {
                // A position that all tokens look at alike, such as not at all, says nothing.
                rows[token * heard + at] = if deviation > 0.0 { (weight - mean) / deviation } else { 0.0 };
            }
        }
        for (row, out) in rows.chunks_exact(heard).zip(together.chunks_exact_mut(heard)) {
            for (at, out) in out.iter_mut().enumerate() {
                *out += match median_at(row, at, &mut window) {
                    Some(median) => median / heads as f64,
                    None => row[at] / heads as f64,
                };
            }
        }
    }
    let mut times = Vec::with_capacity(tokens);
    for (token, at) in cheapest_path(&together, tokens, heard) {
        if token == times.len() {
            times.push(at as f64 * POSITION);
        }
    }
    times
}

/// The median of the values around `at`, mirrored at the ends; `None` where there are too few for a mirror.
fn median_at(row: &[f64], at: usize, window: &mut [f64; MEDIAN]) -> Option<f64> {
    const HALF: usize = MEDIAN / 2;
    if row.len() <= HALF {
        return None;
    }
    let last = row.len() - 1;
    for (i, value) in window.iter_mut().enumerate() {
        let index = (at + i).abs_diff(HALF);
        *value = row[if index > last { 2 * last - index } else { index }];
    }
    window.sort_unstable_by(f64::total_cmp);
    Some(window[HALF])
}

/// The path from the first row and column of `gains`, `[rows][columns]`, to the last, by steps to the next row, the next
/// column or both, with the highest sum; a step to the next column wins ties.
fn cheapest_path(gains: &[f64], rows: usize, columns: usize) -> Vec<(usize, usize)> {
    let stride = columns + 1;
    let mut total = vec![f64::INFINITY; (rows + 1) * stride];
    total[0] = 0.0;
    let from = |total: &[f64], row: usize, column: usize| {
        let (before, same) = ((row - 1) * stride + column, row * stride + column - 1);
        let [both, down, right] = [total[before - 1], total[before], total[same]];
        if both < down && both < right {
            (both, before - 1)
        } else if down < both && down < right {
            (down, before)
        } else {
            (right, same)
        }
    };
    for row in 1..=rows {
        for column in 1..=columns {
            let gain = gains[(row - 1) * columns + column - 1];
            total[row * stride + column] = from(&total, row, column).0 - gain;
        }
    }
    let (mut row, mut column, mut path) = (rows, columns, Vec::with_capacity(rows + columns));
    while row > 0 && column > 0 {
        path.push((row - 1, column - 1));
        let at = from(&total, row, column).1;
        (row, column) = (at / stride, at % stride);
    }
    path.reverse();
    path
}

/// A word of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedWord {
    /// With the marks that belong to it, and with the space before it, if there is one.
    pub text: String,
    /// Seconds from the beginning of the window.
    pub start: f64,
    /// Seconds from the beginning of the window; marks behind a word are not said and take no time.
    pub end: f64,
}

/// A token's part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece<'t> {
    /// Part of a text in UTF-8, which may begin and end within a character.
    pub bytes: &'t [u8],
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
}

/// Where words end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// At spaces.
    Spaced,
    /// After every token: the language is written without spaces.
    Unspaced,
}

impl Words {
    /// How a language is written; `None` is English.
    pub fn of_language(code: Option<&str>) -> Self {
        match code {
            Some("zh" | "yue" | "ja" | "th" | "lo" | "my") => Self::Unspaced,
            _ => Self::Spaced,
        }
    }

    /// Puts pieces together to words. Marks go with the word that they are written at.
    pub fn join<'t>(self, pieces: impl IntoIterator<Item = Piece<'t>>) -> Vec<TimedWord> {
        let mut words: Vec<TimedWord> = Vec::new();
        // Marks before the next word; bytes that are no whole characters yet, and since when they are said.
        let (mut marks, mut bytes, mut since) = (String::new(), Vec::new(), None);
        for piece in pieces {
            bytes.extend_from_slice(piece.bytes);
            let start = *since.get_or_insert(piece.start);
            if std::str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_none()) {
                continue;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            since = None;
            let apart = text.starts_with(char::is_whitespace) || !marks.is_empty();
            match words.last_mut() {
                _ if text.chars().any(char::is_alphanumeric) => {
                    let begins = apart || self == Self::Unspaced;
                    match words.last_mut().filter(|_| !begins) {
                        Some(word) => {
                            word.text += &text;
                            word.end = piece.end;
                        }
                        None => {
                            words.push(TimedWord { text: std::mem::take(&mut marks) + &text, start, end: piece.end })
                        }
                    }
                }
                Some(word) if !apart => word.text += &text,
                _ => marks += &text,
            }
        }
        marks += &String::from_utf8_lossy(&bytes);
        if let Some(last) = words.last_mut() {
            last.text += &marks;
        }
        words
    }
}

/// Seconds that a word usually lasts, at most.
const USUAL: f64 = 0.7;

/// Cuts the beginning off the first words of a stretch of sound that last much longer than the others do: the path has to
/// put the noise before them somewhere. (OpenAI's `add_word_timestamps` does the same.)
pub fn begin_with_speech(words: &mut [TimedWord]) {
    let length = |word: &TimedWord| word.end - word.start;
    let mut lengths: Vec<_> = words.iter().map(length).filter(|&length| length > 0.0).collect();
    if lengths.is_empty() {
        return;
    }
    lengths.sort_unstable_by(f64::total_cmp);
    let most = 2.0 * lengths[lengths.len() / 2].min(USUAL);
    let (first, rest) = words.split_first_mut().expect("a word has a length");
    if let Some(second) = rest.first_mut().filter(|second| length(second) > most) {
        second.start = second.end - most;
        first.end = second.start;
    }
    first.start = first.start.max(first.end - most);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The highest sum of all paths, by trying them.
    fn best(gains: &[f64], columns: usize, row: usize, column: usize) -> f64 {
        let rows = gains.len() / columns;
        let gain = gains[row * columns + column];
        if (row, column) == (rows - 1, columns - 1) {
            return gain;
        }
        let steps = [(1, 1), (1, 0), (0, 1)].map(|(down, right)| (row + down, column + right));
        let steps = steps.into_iter().filter(|&(row, column)| row < rows && column < columns);
        gain + steps.map(|(row, column)| best(gains, columns, row, column)).fold(f64::NEG_INFINITY, f64::max)
    }

    proptest! {
        #[test]
        fn no_path_is_better(gains in prop::collection::vec(-8.0..8.0f64, 12), columns in prop::sample::select(vec![1usize, 2, 3, 4, 6, 12])) {
            // Without ties, which the rule above may decide for the worse.
            let rows = 12 / columns;
            let path = cheapest_path(&gains, rows, columns);
            prop_assert_eq!((path[0], path[path.len() - 1]), ((0, 0), (rows - 1, columns - 1)));
            for pair in path.windows(2) {
                let step = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
                prop_assert!(matches!(step, (1, 1) | (1, 0) | (0, 1)));
            }
            let sum: f64 = path.iter().map(|&(row, column)| gains[row * columns + column]).sum();
            prop_assert!((sum - best(&gains, columns, 0, 0)).abs() < 1e-9);
        }
    }

    #[test]
    fn times_follow_a_diagonal() {
        // Two heads, three tokens, twelve positions, four of them for each token.
        let head: Vec<f32> = (0..36).map(|i| if i % 12 / 4 == i / 12 { 0.2 } else { 0.01 }).collect();
        assert_eq!(token_times(&[&head[..], &head[..]].concat(), 3, 12, 12), [0.0, 0.08, 0.16]);
    }

    /// The words of tokens that take a second each.
    fn joined(words: Words, tokens: &[&[u8]]) -> Vec<(String, f64, f64)> {
        let pieces = tokens.iter().enumerate();
        let pieces = pieces.map(|(i, bytes)| Piece { bytes, start: i as f64, end: i as f64 + 1.0 });
        words.join(pieces).into_iter().map(|word| (word.text, word.start, word.end)).collect()
    }

    #[test]
    fn words_end_at_spaces_and_keep_their_marks() {
        let tokens: [&[u8]; 10] = [b" Twenty", b"-", b"one", b",", b" \"", b"she", b" said", b".", b"\"", b" ("];
        let word = |text: &str, start, end| (text.to_owned(), start, end);
        let expected = [word(" Twenty-one,", 0.0, 3.0), word(" \"she", 5.0, 6.0), word(" said.\" (", 6.0, 7.0)];
        assert_eq!(joined(Words::Spaced, &tokens), expected);
        assert_eq!(joined(Words::Spaced, &[b"...", b"\xff"]), []);
    }

    #[test]
    fn the_noise_before_speech_is_no_word() {
        let word = |start, end| TimedWord { text: "word".to_owned(), start, end };
        let begun = |words: &[(f64, f64)]| {
            let mut words: Vec<_> = words.iter().map(|&(start, end)| word(start, end)).collect();
            begin_with_speech(&mut words);
            words.into_iter().map(|word| (word.start, word.end)).collect::<Vec<_>>()
        };
        assert_eq!(begun(&[(0.0, 5.0), (5.0, 5.25), (5.25, 5.5)]), [(4.5, 5.0), (5.0, 5.25), (5.25, 5.5)]);
        assert_eq!(begun(&[(0.0, 0.5), (0.5, 5.0), (5.0, 5.25), (5.25, 5.5)])[..2], [(3.0, 4.0), (4.0, 5.0)]);
        assert_eq!(begun(&[(1.0, 1.25), (1.25, 1.5)]), [(1.0, 1.25), (1.25, 1.5)]);
        assert_eq!(begun(&[(1.0, 1.0)]), [(1.0, 1.0)]);
        assert_eq!(begun(&[]), []);
    }

    #[test]
    fn characters_of_several_tokens_are_whole() {
        let (today, good) = ("今".as_bytes(), "好。".as_bytes());
        let tokens = [&today[..1], &today[1..], &good[..3], &good[3..5], &good[5..]];
        let expected = [("今".to_owned(), 0.0, 2.0), ("好。".to_owned(), 2.0, 3.0)];
        assert_eq!(joined(Words::of_language(Some("zh")), &tokens), expected);
    }

    proptest! {
        /// However tokens cut a text that has a word in it.
        #[test]
        fn nothing_of_a_text_is_lost(text in "( ?\\PC{0,6}){0,4}w( ?\\PC{0,6}){0,4}", cuts in prop::collection::vec(0usize..60, 0..20)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let tokens: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            for words in [Words::Spaced, Words::Unspaced] {
                let words = joined(words, &tokens);
                prop_assert_eq!(words.iter().map(|(text, ..)| text.as_str()).collect::<String>(), &text[..]);
                prop_assert!(words.windows(2).all(|pair| pair[0].2 <= pair[1].1));
            }
        }
    }
}
