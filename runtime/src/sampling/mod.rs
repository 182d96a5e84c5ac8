//! From logits to a token: a chain of processors that change logits, filters that narrow the candidates, and a choice.
//!
//! The order is that of llama.cpp's common sampler: logit bias, penalties, DRY, grammar, top-k, typical-p, top-p, min-p,
//! XTC, temperature, choice. What a filter keeps is tested against llama.cpp's own samplers.
//!
//! The same seed, options and logits give the same tokens on every platform: probabilities come from
//! [`crate::kernels`], random numbers from a generator of our own, and sums have a fixed order. Choosing a token
//! allocates nothing once the buffers have grown, and never sorts a whole vocabulary when few tokens are kept.

mod candidates;
#[cfg(feature = "grammar")]
mod grammar;
mod options;
mod penalties;
mod random;
mod select;
#[cfg(test)]
mod tests;

use crate::{Error, Result, Token};
use candidates::Candidates;
#[cfg(feature = "grammar")]
pub use grammar::{Grammar, GrammarText, GrammarVocabulary};
pub use options::{Dry, Mirostat, Penalties, SamplingOptions, Xtc};
pub use penalties::breaker_sequences;
use penalties::{DryPenalizer, History, Penalizer};
pub(crate) use random::Random;
pub(crate) use select::largest;

/// What the next token may be, given those so far.
pub trait Constraint: Send {
    /// Sets the logits of all tokens that may not come next to minus infinity.
    ///
    /// # Errors
    /// The constraint has become too costly to follow.
    fn mask(&mut self, logits: &mut [f32]) -> Result<()>;

    /// Takes note of the next token, which a mask allowed.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    fn accept(&mut self, token: Token) -> Result<()>;
}

/// Chooses the tokens of one text.
pub struct Sampler {
    options: SamplingOptions,
    history: History,
    penalizer: Penalizer,
    dry: DryPenalizer,
    constraint: Option<Box<dyn Constraint>>,
    candidates: Candidates,
    ln_min_p: f32,
    /// Mirostat's bound on surprise, in bits.
    mu: f32,
    random: Random,
}

impl Sampler {
    /// A sampler for a model with `vocab` tokens.
    ///
    /// # Errors
    /// As [`SamplingOptions::check`].
    pub fn new(options: SamplingOptions, vocab: usize) -> Result<Self> {
        options.check(vocab)?;
        let window = |on: bool, window| if on { window } else { 0 };
        let penalties = &options.penalties;
        let penalizes = penalties.repetition != 1.0 || penalties.frequency != 0.0 || penalties.presence != 0.0;
        let dry = window(options.dry.multiplier > 0.0, options.dry.window);
        Ok(Self {
            history: History::new(window(penalizes, penalties.window).max(dry)),
            penalizer: Penalizer::default(),
            dry: DryPenalizer::new(&options.dry, Vec::new()),
            constraint: None,
            candidates: Candidates::new(),
            ln_min_p: f64::from(options.min_p).ln() as f32,
            mu: options.mirostat.as_ref().map_or(0.0, |mirostat| 2.0 * mirostat.tau),
            random: Random::new(options.seed),
            options,
        })
    }

    /// With the token sequences that [`breaker_sequences`] found for `options.dry.breakers`.
    #[must_use]
    pub fn with_breakers(mut self, sequences: Vec<Vec<Token>>) -> Self {
        self.dry = DryPenalizer::new(&self.options.dry, sequences.into_iter().filter(|s| !s.is_empty()).collect());
        self
    }

    /// With a constraint on what is generated.
    #[must_use]
    pub fn with_constraint(mut self, constraint: impl Constraint + 'static) -> Self {
        self.constraint = Some(Box::new(constraint));
        self
    }

    /// Its options.
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Makes `tokens` all that penalties know: they come before what is generated.
    pub fn set_prompt(&mut self, tokens: &[Token]) {
        self.history.clear();
        tokens.iter().for_each(|&token| self.history.push(token));
    }

    /// Takes note of a generated token.
    ///
    /// # Errors
    /// Those of the constraint.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        self.history.push(token);
        self.constraint.as_mut().map_or(Ok(()), |constraint| constraint.accept(token))
    }

    /// Chooses a token by `logits`, `[vocab]`, which it changes. What was chosen counts only once it is
    /// [accepted](Sampler::accept).
    ///
    /// # Errors
    /// No token has a probability: the logits are not finite, or the bias forbids what the constraint demands.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<Token> {
        self.process(logits)?;
        let chosen = if self.options.temperature == 0.0 {
            most_probable(logits)
        } else {
            self.filter(logits);
            self.draw()
        };
        chosen.ok_or_else(|| {
            let problem = "no token has a probability: logits are not finite, or everything allowed is forbidden too";
            Error::BadRequest(problem.to_owned())
        })
    }

    /// Bias, penalties and constraint.
    fn process(&mut self, logits: &mut [f32]) -> Result<()> {
        for &(token, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        self.penalizer.apply(&self.options.penalties, &self.history, logits);
        self.dry.apply(&self.options.dry, &self.history, logits);
        self.constraint.as_mut().map_or(Ok(()), |constraint| constraint.mask(logits))
    }

    /// Fills the candidates and narrows them down.
    fn filter(&mut self, logits: &[f32]) {
        let Self { options, candidates, .. } = self;
        if options.mirostat.is_some() {
            candidates.fill(logits, 0);
            candidates.temperature(options.temperature);
            candidates.surprise_at_most(self.mu);
            return;
        }
        candidates.fill(logits, options.top_k);
        candidates.typical(options.typical_p);
        candidates.top_p(options.top_p);
        candidates.min_p(self.ln_min_p);
        candidates.xtc(options.xtc.probability, options.xtc.threshold, &mut self.random);
        candidates.temperature(options.temperature);
    }

    fn draw(&mut self) -> Option<Token> {
        let index = self.candidates.draw(&mut self.random)?;
        self.observe(index);
        Some(self.candidates.items[index].token)
    }

    /// Mirostat learns from the choice.
    fn observe(&mut self, index: usize) {
        if let Some(Mirostat { tau, eta }) = self.options.mirostat {
            self.mu -= eta * (self.candidates.surprise(index) - tau);
        }
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The first of the largest finite logits.
fn most_probable(logits: &[f32]) -> Option<Token> {
    let mut best: Option<(f32, Token)> = None;
    for (&logit, token) in logits.iter().zip(0..) {
        if logit.is_finite() && best.is_none_or(|(most, _)| logit > most) {
            best = Some((logit, token));
        }
    }
    best.map(|(_, token)| token)
}
