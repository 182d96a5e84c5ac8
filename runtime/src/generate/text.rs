//! Text of a stream of tokens, as it becomes certain.

use super::stop::StopStrings;
use super::stream::{Counts, Finish, TokenStream};
use crate::Result;
use crate::model::Model;
use crate::text::{DecodeState, Detokenize};

/// The text of a [`TokenStream`]: an iterator of pieces that are not empty and hold whole characters. What it has given
/// is never taken back; put together, it is the text of all tokens up to the first stop string.
pub struct TextStream<'a, M: Model, D: ?Sized> {
    tokens: TokenStream<'a, M>,
    vocabulary: &'a D,
    state: DecodeState,
    stops: StopStrings,
    /// Text that has become certain with the last token.
    piece: String,
    over: bool,
}

impl<'a, M: Model, D: Detokenize + ?Sized> TextStream<'a, M, D> {
    /// The text of `tokens`, up to the first of `stops`.
    pub fn new(tokens: TokenStream<'a, M>, vocabulary: &'a D, stops: StopStrings) -> Self {
        Self { tokens, vocabulary, state: DecodeState::default(), stops, piece: String::new(), over: false }
    }

    /// The stream of tokens below: its counts, and [`TokenStream::prefill`].
    pub fn tokens(&mut self) -> &mut TokenStream<'a, M> {
        &mut self.tokens
    }

    /// Ends the stream as [`Finish::Cancelled`]: what comes still is the text that was held back.
    pub fn cancel(&mut self) {
        if !self.over {
            self.tokens.end(Finish::Cancelled);
        }
    }

    /// Why the stream ended; `None` before the end and after an error.
    pub fn finish(&self) -> Option<Finish> {
        self.tokens.finish()
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.tokens.counts()
    }

    /// The rest of the text after the last token.
    fn end(&mut self, out: &mut String) {
        self.over = true;
        self.vocabulary.finish(&mut self.state, &mut self.piece);
        if self.stops.push(&self.piece, out) {
            self.tokens.end(Finish::StopString);
        } else {
            self.stops.finish(out);
        }
    }
}

impl<M: Model, D: Detokenize + ?Sized> Iterator for TextStream<'_, M, D> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let mut out = String::new();
        while !self.over && out.is_empty() {
            self.piece.clear();
            match self.tokens.next() {
                None => self.end(&mut out),
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                Some(Ok(token)) => {
                    self.vocabulary.push(&mut self.state, token, &mut self.piece);
                    if self.stops.push(&self.piece, &mut out) {
                        self.over = true;
                        self.tokens.end(Finish::StopString);
                    }
                }
            }
        }
        (!out.is_empty()).then_some(Ok(out))
    }
}
