//! A text and what a model's state has seen of it.

use crate::Token;
use crate::model::State;

/// The tokens of one text, and the state that has seen the first of them. It outlives the generation of one answer:
/// what the next prompt has in common with it is not computed again.
#[derive(Debug)]
pub struct Context<S> {
    pub(super) state: S,
    pub(super) tokens: Vec<Token>,
}

impl<S: State> Context<S> {
    /// `tokens`, of which `state` has seen the first ones, as many as its position.
    ///
    /// # Panics
    /// When `state` has seen more tokens than there are.
    pub fn new(state: S, tokens: Vec<Token>) -> Self {
        assert!(state.position() <= tokens.len(), "a state that has seen more than the text");
        Self { state, tokens }
    }

    /// The text.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// What has seen the first [`State::position`] of the tokens.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Puts `prompt` in the text's place. Returns how many of its tokens the state has seen already; never all of them,
    /// so that there is one to compute logits from.
    pub(super) fn set(&mut self, prompt: &[Token]) -> usize {
        self.settle();
        let seen = &self.tokens[..self.state.position()];
        let common = seen.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        self.rewind(common.min(prompt.len().saturating_sub(1)));
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt);
        self.state.position()
    }

    /// Makes the state forget what it has seen beyond `position`, and more where it cannot stop there.
    pub(super) fn rewind(&mut self, position: usize) {
        if self.state.position() > position {
            self.state.truncate(position);
        }
    }

    /// Makes the state forget drafts that did not become text.
    pub(super) fn settle(&mut self) {
        self.rewind(self.tokens.len());
    }
}
