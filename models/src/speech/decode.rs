//! One window: its encoded sound and a prompt -> the tokens of what was said.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use babil_runtime::generate::{Generated, generate_within};
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::sampling::{Sampler, SamplingOptions};
use babil_runtime::session::{EncoderDecoderSession, Sequence};
use babil_runtime::spec::{EarlyStopping, GenerationSpec};
use babil_runtime::{Error, Result, Token};

use super::rules::Rules;
use super::special::{Multilingual, SpecialTokens};

/// How a window is decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// The most probable text that a beam of so many finds; 1 is greedy.
    Beam(usize),
    /// The best of `count` texts drawn at random.
    Sample {
        /// Above 0.
        temperature: f32,
        /// How many.
        count: usize,
        /// Of the draws.
        seed: u64,
    },
}

/// What was found in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Text and timestamps, without the end.
    pub tokens: Vec<Token>,
    /// The mean of the tokens' log-probabilities, the end counted.
    pub log_prob: f32,
}

/// A window whose prompt the model has read, ready to be decoded any number of times.
#[derive(Clone, Debug)]
pub struct Prompted<'s, S> {
    special: &'s SpecialTokens,
    /// After all of the prompt but its last token.
    state: S,
    last: Token,
    timestamps: bool,
    no_speech: f32,
}

impl<'s, S: State> Prompted<'s, S> {
    /// Reads `prompt`, which ends with what [`SpecialTokens::prompt`] makes, into `state`, which has heard the window.
    ///
    /// # Errors
    /// The model's own: a prompt that is empty or too long.
    pub fn new<M: Model<State = S>>(
        model: &mut M,
        mut state: S,
        special: &'s SpecialTokens,
        prompt: &[Token],
    ) -> Result<Self> {
        let mut logits = Logits::default();
        let start = prompt.iter().rposition(|&token| token == special.start).unwrap_or(0);
        let (&last, before) =
            prompt.split_last().ok_or_else(|| Error::BadRequest("a window without a prompt".to_owned()))?;
        if start > 0 {
            feed(model, &mut state, &prompt[..start], Want::Nothing, &mut logits)?;
        }
        feed(model, &mut state.fork(), &[special.start], Want::Last, &mut logits)?;
        let row = logits.row(0);
        let no_speech = (row[special.no_speech as usize] - log_sum_exp(row)).exp();
        if before.len() > start {
            feed(model, &mut state, &before[start..], Want::Nothing, &mut logits)?;
        }
        Ok(Self { special, state, last, timestamps: !prompt.contains(&special.no_timestamps), no_speech })
    }

    /// The probability that nobody speaks.
    pub fn no_speech(&self) -> f32 {
        self.no_speech
    }

    /// Decodes the window into at most `most` tokens.
    ///
    /// # Errors
    /// The model's own.
    pub fn decode<M: Model<State = S>>(&self, model: &mut M, search: Search, most: usize) -> Result<Decoded> {
        let rules = Rules::new(self.special, self.timestamps);
        let rules = |tokens: &[Token], logits: &mut [f32]| rules.apply(tokens, logits);
        let best = match search {
            Search::Beam(beam) => {
                let spec = GenerationSpec {
                    start: self.last,
                    eos: self.special.end,
                    suppressed: Vec::new(),
                    max_tokens: most.max(1),
                    forced_eos: false,
                    beam,
                    length_penalty: 1.0,
                    early_stopping: EarlyStopping::No,
                    renormalize: true,
                };
                let states = vec![self.state.fork()];
                let found = generate_within(model, states, &spec, &rules, |_| ControlFlow::Continue(()))?;
                found.into_iter().flatten().next().expect("never an empty list of hypotheses")
            }
            Search::Sample { temperature, count, seed } => {
                let mut texts = Vec::with_capacity(count);
                for index in 0..count.max(1) {
                    let seed = seed.wrapping_add(index as u64);
                    let draw = SamplingOptions { temperature, seed, ..SamplingOptions::default() };
                    let mut sampler = Sampler::new(draw, model.vocab())?;
                    texts.push(self.sample(model, &mut sampler, &rules, most)?);
                }
                texts.into_iter().max_by(|a, b| a.score.total_cmp(&b.score)).expect("at least one")
            }
        };
        Ok(Decoded { tokens: best.tokens, log_prob: best.score })
    }

    /// A text drawn at random; its score is the mean log-probability of its tokens.
    fn sample<M: Model<State = S>>(
        &self,
        model: &mut M,
        sampler: &mut Sampler,
        rules: &dyn Fn(&[Token], &mut [f32]),
        most: usize,
    ) -> Result<Generated> {
        let (mut state, mut next) = (self.state.fork(), self.last);
        let (mut tokens, mut sum, mut logits, mut allowed) = (Vec::new(), 0.0, Logits::default(), Vec::new());
        let mut count = 0;
        while count < most.max(1) {
            feed(model, &mut state, &[next], Want::Last, &mut logits)?;
            let row = logits.row_mut(0);
            rules(&tokens, row);
            // The sampler changes what it chooses from.
            row.clone_into(&mut allowed);
            next = sampler.sample(row)?;
            sum += allowed[next as usize] - log_sum_exp(&allowed);
            count += 1;
            if next == self.special.end {
                break;
            }
            tokens.push(next);
        }
        Ok(Generated { tokens, score: sum / count as f32 })
    }
}

impl Prompted<'_, Sequence> {
    /// How much each of `heads` (layer and head) looks at each position of the sound from each of `tokens`, which were
    /// decoded of this window, and from the end after them: `[heads][tokens + 1][positions]`.
    ///
    /// # Errors
    /// More tokens than the model has positions for, or heads that it does not have.
    pub fn attention_to_source(
        &self,
        session: &mut EncoderDecoderSession,
        tokens: &[Token],
        heads: &[[usize; 2]],
    ) -> Result<Vec<f32>> {
        let mut state = self.state.fork();
        feed(session, &mut state, &[self.last], Want::Nothing, &mut Logits::default())?;
        session.attention_to_source(&mut state, &[tokens, &[self.special.end]].concat(), heads)
    }
}

fn feed<M: Model>(
    model: &mut M,
    state: &mut M::State,
    tokens: &[Token],
    want: Want,
    logits: &mut Logits,
) -> Result<()> {
    model.step(&mut [Row { state, tokens, want }], logits)
}

/// Any instruction set gives the same bits.
pub(super) fn log_sum_exp(values: &[f32]) -> f32 {
    static KERNELS: LazyLock<Kernels> = LazyLock::new(Kernels::detect);
    (KERNELS.log_sum_exp)(values)
}

/// The probability of each language that `tokens` has, in their order, for a window that nothing was decoded of.
///
/// # Errors
/// The model's own.
pub fn languages<M: Model>(
    model: &mut M,
    state: &M::State,
    special: &SpecialTokens,
    tokens: &Multilingual,
) -> Result<Vec<f32>> {
    let mut logits = Logits::default();
    feed(model, &mut state.fork(), &[special.start], Want::Last, &mut logits)?;
    let row = logits.row(0);
    let known: Vec<f32> = tokens.languages.iter().map(|&(_, id)| row[id as usize]).collect();
    let all = log_sum_exp(&known);
    Ok(known.into_iter().map(|logit| (logit - all).exp()).collect())
}
