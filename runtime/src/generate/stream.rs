//! Tokens of a text one by one, from any decoder-only [`Model`].
//!
//! Prompt -> chunks that no logits are wanted of -> a last step with logits -> the sampler -> a token, and so on. Where
//! drafts are made ([`Lookup`]), a step computes them too, and the sampler chooses after each as if they had come one
//! by one: a token that is not the draft's ends the draft, and the state forgets the rest of it.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::lookup::Lookup;
use crate::model::{Logits, Model, Row, State, Want};
use crate::sampling::Sampler;
use crate::{Cancel, Error, Result, Token};

/// How a stream generates.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Tokens that end the text.
    pub end: Vec<Token>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Most tokens that the state may see, at most the model's own limit.
    pub context: usize,
    /// What happens when they are too few.
    pub overflow: Overflow,
    /// Most tokens of a prompt in one step; between steps, generation can be cancelled.
    pub chunk: usize,
    /// Whether drafts are made from the text.
    pub lookup: Option<Lookup>,
    /// Cancels the stream.
    pub cancel: Cancel,
}

impl StreamOptions {
    /// Options for a context of `context` tokens, with no other limit and no drafts.
    pub fn new(context: usize, end: Vec<Token>) -> Self {
        let (chunk, overflow) = (256, Overflow::Error);
        Self { end, max_tokens: usize::MAX, context, overflow, chunk, lookup: None, cancel: Cancel::default() }
    }

    fn check(&self, prompt: &[Token]) -> Result<()> {
        let bad = |what: String| Err(Error::BadRequest(what));
        if prompt.is_empty() {
            return bad("a prompt without tokens".to_owned());
        }
        if self.chunk == 0 {
            return bad("prompt chunks of no tokens".to_owned());
        }
        match self.overflow {
            Overflow::Error if prompt.len() > self.context => {
                bad(format!("the prompt has {} tokens, but the context only {}", prompt.len(), self.context))
            }
            Overflow::Shift { keep } if keep >= self.context => {
                bad(format!("{keep} tokens to keep in a context of {}: it must be larger", self.context))
            }
            _ => Ok(()),
        }
    }
}

/// What happens when a text outgrows the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// A prompt that is too long is an error; a text that becomes too long ends with [`Finish::Context`].
    Error,
    /// The first `keep` tokens and the newer half of the others stay and are computed again.
    Shift {
        /// Tokens at the beginning that always stay, such as a system prompt.
        keep: usize,
    },
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended the text.
    EndOfText,
    /// A stop string came.
    StopString,
    /// There are as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// It was cancelled.
    Cancelled,
}

/// How much was done, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the prompt that the state had seen before.
    pub reused: usize,
    /// Tokens generated, the end of text excluded.
    pub generated: usize,
    /// Drafted tokens that were computed.
    pub drafted: usize,
    /// Drafted tokens that were generated.
    pub accepted: usize,
    /// Tokens that had to be computed again, after drafts or a shift.
    pub repeated: usize,
}

/// How far the computation of a prompt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tokens that the state has seen.
    pub done: usize,
    /// Tokens of the text.
    pub total: usize,
}

/// The tokens that continue a text, without those that end it: an iterator that computes as it goes.
///
/// After an error or the end, there is nothing more.
pub struct TokenStream<'a, M: Model> {
    model: &'a mut M,
    context: &'a mut Context<M::State>,
    sampler: &'a mut Sampler,
    options: StreamOptions,
    counts: Counts,
    /// Logits after the last token and after each draft, from [`Self::next_row`] on, if they are computed.
    logits: Logits,
    computed: bool,
    next_row: usize,
    draft: Vec<Token>,
    /// The tokens of a step: the last one and its drafts.
    fed: Vec<Token>,
    over: bool,
    finish: Option<Finish>,
}

impl<'a, M: Model> TokenStream<'a, M> {
    /// A stream that continues `prompt`. What `context` has of it is not computed again, and the prompt and what is
    /// generated are in `context` afterwards. Nothing is computed yet.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for an empty prompt, one that does not fit, or options that contradict each other.
    pub fn new(
        model: &'a mut M,
        context: &'a mut Context<M::State>,
        sampler: &'a mut Sampler,
        prompt: &[Token],
        options: StreamOptions,
    ) -> Result<Self> {
        options.check(prompt)?;
        model.set_cancel(&options.cancel);
        sampler.set_prompt(prompt);
        let counts = Counts { prompt: prompt.len(), reused: context.set(prompt), ..Counts::default() };
        Ok(Self {
            model,
            context,
            sampler,
            options,
            counts,
            logits: Logits::default(),
            computed: false,
            next_row: 0,
            draft: Vec::new(),
            fed: Vec::new(),
            over: false,
            finish: None,
        })
    }

    /// Computes the prompt, so that its time can be told from that of the tokens, and calls `observer` between its
    /// chunks and at the end; it can cancel the stream. Without it, the first token does so.
    ///
    /// # Errors
    /// The model's own.
    pub fn prefill(&mut self, mut observer: impl FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
        if self.over || self.computed {
            return Ok(());
        }
        let result = self.compute(&mut observer);
        self.over = result.is_err() || self.finish.is_some();
        result
    }

    /// Why the stream ended; `None` before the end and after an error.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends the stream.
    pub(super) fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
        self.over = true;
    }

    /// The next token, or `None` where the text ends.
    fn advance(&mut self) -> Result<Option<Token>> {
        if self.options.cancel.is_cancelled() {
            self.finish = Some(Finish::Cancelled);
        } else if self.counts.generated >= self.options.max_tokens {
            self.finish = Some(Finish::Length);
        } else if !self.computed {
            self.compute(&mut |_| ControlFlow::Continue(()))?;
        }
        if self.finish.is_some() {
            return Ok(None);
        }
        let token = self.sampler.sample(self.logits.row_mut(self.next_row))?;
        if self.options.end.contains(&token) {
            self.finish = Some(Finish::EndOfText);
            return Ok(None);
        }
        self.sampler.accept(token)?;
        self.context.tokens.push(token);
        self.counts.generated += 1;
        if self.draft.get(self.next_row) == Some(&token) {
            self.counts.accepted += 1;
            self.next_row += 1;
        } else {
            self.computed = false;
            self.forget_draft();
        }
        Ok(Some(token))
    }

    /// Makes the state forget what it has seen of a draft that went elsewhere than the text.
    fn forget_draft(&mut self) {
        let right = self.context.tokens.len() - 1;
        self.context.rewind(right);
        let repeated = right - self.context.state.position();
        self.counts.repeated += repeated;
        if repeated > self.options.lookup.map_or(0, |lookup| lookup.draft) {
            // A state that cannot go back a little: drafts cost it more than they save.
            self.options.lookup = None;
        }
    }

    /// Makes logits after the last token and after a draft of what may follow. Ends the stream instead where it was
    /// cancelled or the context is full.
    fn compute(&mut self, observer: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
        while self.context.tokens.len() > self.options.context {
            match self.options.overflow {
                Overflow::Error => {
                    self.finish = Some(Finish::Context);
                    return Ok(());
                }
                Overflow::Shift { keep } => self.shift(keep),
            }
        }
        let total = self.context.tokens.len();
        loop {
            if self.options.cancel.is_cancelled() {
                self.finish = Some(Finish::Cancelled);
                return Ok(());
            }
            let Context { state, tokens } = &mut *self.context;
            let left = &tokens[state.position()..];
            let (tokens, want) = if left.len() > self.options.chunk {
                (&left[..self.options.chunk], Want::Nothing)
            } else if left.len() == 1 {
                self.fed.clear();
                self.fed.push(left[0]);
                self.draft.clear();
                if let Some(lookup) = self.options.lookup {
                    let room = (self.options.context - total)
                        .min(self.options.max_tokens.saturating_sub(self.counts.generated + 1));
                    lookup.draft(tokens, room, &mut self.draft);
                    self.fed.extend_from_slice(&self.draft);
                }
                self.counts.drafted += self.draft.len();
                (&self.fed[..], Want::All)
            } else {
                self.draft.clear();
                (left, Want::Last)
            };
            match self.model.step(&mut [Row { state, tokens, want }], &mut self.logits) {
                Err(Error::Cancelled) => {
                    self.finish = Some(Finish::Cancelled);
                    return Ok(());
                }
                result => result?,
            }
            let done = self.context.state.position().min(total);
            if observer(Progress { done, total }).is_break() {
                self.finish = Some(Finish::Cancelled);
                return Ok(());
            }
            if want != Want::Nothing {
                (self.computed, self.next_row) = (true, 0);
                return Ok(());
            }
        }
    }

    /// Drops the older half of what comes after the first `keep` tokens.
    fn shift(&mut self, keep: usize) {
        let Context { state, tokens } = &mut *self.context;
        let seen = state.position();
        let dropped = (tokens.len() - keep) / 2;
        tokens.drain(keep..keep + dropped);
        self.context.rewind(keep);
        self.counts.repeated += seen.saturating_sub(dropped + self.context.state.position());
    }
}

impl<M: Model> Iterator for TokenStream<'_, M> {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Result<Token>> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<M: Model> Drop for TokenStream<'_, M> {
    fn drop(&mut self) {
        self.context.settle();
    }
}
