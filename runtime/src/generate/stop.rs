//! Stop strings, wherever tokens begin and end.

use crate::{Error, Result};

/// Looks for texts that end a stream of text, and holds back what may be the beginning of one.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The end of the text so far, as much of it as a stop string begins with.
    held: String,
}

impl StopStrings {
    /// # Errors
    /// An empty string, which is everywhere.
    pub fn new(stops: Vec<String>) -> Result<Self> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::BadRequest("an empty stop string".to_owned()));
        }
        Ok(Self { stops, held: String::new() })
    }

    /// Takes the next piece of text and appends to `out` what of the text so far is certain to come before any stop
    /// string. Says whether a stop string has come: the first to be complete counts, and the longest of those that
    /// end together.
    pub fn push(&mut self, text: &str, out: &mut String) -> bool {
        self.held.push_str(text);
        let held = &self.held;
        let found = self.stops.iter().filter_map(|stop| held.find(stop).map(|start| (start + stop.len(), start)));
        if let Some((_, start)) = found.min() {
            out.push_str(&held[..start]);
            self.held.clear();
            return true;
        }
        let begins = |&(start, _): &(usize, char)| {
            let rest = &held.as_bytes()[start..];
            self.stops.iter().any(|stop| stop.as_bytes().starts_with(rest))
        };
        let certain = held.char_indices().find(begins).map_or(held.len(), |(start, _)| start);
        out.push_str(&held[..certain]);
        self.held.drain(..certain);
        false
    }

    /// Appends to `out` what was held back: nothing follows.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text before the stop string that is the first to be complete, by trying every end.
    fn naive(text: &str, stops: &[String]) -> (String, bool) {
        for end in 0..=text.len() {
            let before = text.get(..end).unwrap_or("");
            let longest = stops.iter().filter(|stop| before.ends_with(*stop)).map(String::len).max();
            if let Some(length) = longest {
                return (before[..end - length].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            pieces in prop::collection::vec("[abé]{0,4}", 0..12),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let (text, stopped) = naive(&pieces.concat(), &stops);
            let mut matcher = StopStrings::new(stops.clone()).unwrap();
            let mut out = String::new();
            let found = pieces.iter().any(|piece| {
                let stopped = matcher.push(piece, &mut out);
                // Nothing is ever taken back, and no more is held back than a stop string begins with.
                assert!(text.starts_with(&out));
                assert!(stopped || stops.iter().any(|stop| stop.starts_with(&matcher.held)) || matcher.held.is_empty());
                stopped
            });
            if !found {
                matcher.finish(&mut out);
            }
            prop_assert_eq!((out, found), (text, stopped));
        }
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        assert_eq!(StopStrings::new(vec![String::new()]).unwrap_err().to_string(), "an empty stop string");
    }
}
