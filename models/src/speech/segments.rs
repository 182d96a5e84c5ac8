//! The tokens of a window -> segments of it with times, and how far the window has been written down.

use babil_runtime::Token;

use super::special::{SpecialTokens, TIMESTAMP};

/// A part of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedTokens {
    /// Seconds from the beginning of the window.
    pub start: f64,
    /// Seconds from the beginning of the window.
    pub end: f64,
    /// Its tokens, timestamps included.
    pub tokens: Vec<Token>,
}

/// What a window's tokens say.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmented {
    /// In order.
    pub segments: Vec<TimedTokens>,
    /// Seconds of the window that are done; the next window begins there.
    pub done: f64,
}

/// Cuts the tokens of a window of `seconds` seconds at pairs of timestamps, as OpenAI's `transcribe` does. What comes
/// after the last pair was cut off by the window's end and belongs to the next one, unless a single timestamp ends it:
/// then nothing more is said.
pub fn segment(special: &SpecialTokens, tokens: &[Token], seconds: f64) -> Segmented {
    let is_time = |token: Token| special.seconds(token).is_some();
    let time = |token: Token| special.seconds(token).unwrap_or(0.0).min(seconds);
    let ends_alone = match tokens {
        [.., before, last] => !is_time(*before) && is_time(*last),
        _ => false,
    };
    let mut cuts: Vec<usize> = (1..tokens.len()).filter(|&i| is_time(tokens[i - 1]) && is_time(tokens[i])).collect();
    let mut segments = Vec::new();
    if cuts.is_empty() {
        let last = tokens.iter().rev().find(|&&token| is_time(token)).filter(|&&token| time(token) > 0.0);
        let start =
            tokens.first().filter(|&&token| is_time(token) && tokens.len() > 1).map_or(0.0, |&token| time(token));
        let end = last.map_or(seconds, |&token| time(token)).max(start);
        let end = if end > start { end } else { seconds };
        segments.push(TimedTokens { start, end, tokens: tokens.to_vec() });
        return Segmented { segments, done: seconds };
    }
    if ends_alone {
        cuts.push(tokens.len());
    }
    let mut from = 0;
    for cut in cuts {
        let part = &tokens[from..cut];
        let (start, end) = (time(part[0]), time(part[part.len() - 1]));
        segments.push(TimedTokens { start, end: end.max(start), tokens: part.to_vec() });
        from = cut;
    }
    let done = if ends_alone { seconds } else { time(tokens[from - 1]) };
    // A window that gets nowhere would be decoded for ever.
    Segmented { segments, done: if done < TIMESTAMP { seconds } else { done } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special() -> SpecialTokens {
        SpecialTokens::of_vocabulary(51_865).unwrap()
    }

    /// Tokens: numbers are seconds, words are text.
    fn tokens(parts: &[&str]) -> Vec<Token> {
        let special = special();
        let token = |part: &&str| match part.parse::<f64>() {
            Ok(seconds) => special.first_timestamp() + (seconds / TIMESTAMP).round() as Token,
            Err(_) => part.bytes().map(Token::from).sum(),
        };
        parts.iter().map(token).collect()
    }

    fn times(parts: &[&str]) -> (Vec<(f64, f64)>, f64) {
        let found = segment(&special(), &tokens(parts), 30.0);
        (found.segments.iter().map(|segment| (segment.start, segment.end)).collect(), found.done)
    }

    #[test]
    fn what_the_window_cut_off_is_left_to_the_next_one() {
        assert_eq!(times(&["0", "a", "2", "2.5", "b", "4", "4", "c"]), (vec![(0.0, 2.0), (2.5, 4.0)], 4.0));
    }

    #[test]
    fn a_single_timestamp_at_the_end_ends_the_window() {
        assert_eq!(times(&["0", "a", "2", "2", "b", "4"]), (vec![(0.0, 2.0), (2.0, 4.0)], 30.0));
        assert_eq!(times(&["1", "a", "4"]), (vec![(1.0, 4.0)], 30.0));
    }

    #[test]
    fn without_timestamps_all_is_one_segment() {
        assert_eq!(times(&["a", "b"]), (vec![(0.0, 30.0)], 30.0));
        assert_eq!(times(&["1", "a", "b"]), (vec![(1.0, 30.0)], 30.0));
        assert_eq!(times(&[]), (vec![(0.0, 30.0)], 30.0));
    }

    #[test]
    fn a_window_that_gets_nowhere_is_done_with() {
        assert_eq!(times(&["0", "0", "a"]).1, 30.0);
    }
}
