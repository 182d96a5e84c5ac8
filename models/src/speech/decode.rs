//! One window: its encoded sound and a prompt -> the tokens of what was said.

use std::ops::ControlFlow;

use babil_runtime::generate::{Generated, generate_within};
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::sampling::{Sampler, SamplingOptions};
use babil_runtime::spec::{EarlyStopping, GenerationSpec};
use babil_runtime::{Result, Token};

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
    /// The probability that nobody speaks.
    pub no_speech: f32,
}

/// Decodes a window.
///
/// `prompt` ends with what [`SpecialTokens::prompt`] makes; at most `most` tokens are written.
///
/// # Errors
/// The model's own, or a prompt that leaves no room.
pub fn decode<M: Model>(
    model: &mut M,
    mut state: M::State,
    special: &SpecialTokens,
    prompt: &[Token],
    search: Search,
    most: usize,
) -> Result<Decoded> {
    let mut logits = Logits::default();
    let start = prompt.iter().rposition(|&token| token == special.start).unwrap_or(0);
    let (&last, before) = prompt.split_last().expect("a prompt has a start");
    if start > 0 {
        feed(model, &mut state, &prompt[..start], Want::Nothing, &mut logits)?;
    }
    let mut asked = state.fork();
    feed(model, &mut asked, &[special.start], Want::Last, &mut logits)?;
    let no_speech = probability(logits.row(0), special.no_speech);
    if before.len() > start {
        feed(model, &mut state, &before[start..], Want::Nothing, &mut logits)?;
    }
    let timestamps = !prompt.contains(&special.no_timestamps);
    let rules = Rules::new(special, timestamps);
    let rules = |tokens: &[Token], logits: &mut [f32]| rules.apply(tokens, logits);
    let Generated { tokens, score } = match search {
        Search::Beam(beam) => {
            let spec = GenerationSpec {
                start: last,
                eos: special.end,
                suppressed: Vec::new(),
                max_tokens: most.max(1),
                forced_eos: false,
                beam,
                length_penalty: 1.0,
                early_stopping: EarlyStopping::No,
                renormalize: true,
            };
            let found = generate_within(model, vec![state], &spec, &rules, |_| ControlFlow::Continue(()))?;
            found.into_iter().flatten().next().expect("never an empty list of hypotheses")
        }
        Search::Sample { temperature, count, seed } => {
            let draw = |index: usize| SamplingOptions {
                temperature,
                seed: seed.wrapping_add(index as u64),
                ..SamplingOptions::default()
            };
            let mut texts = Vec::with_capacity(count);
            for index in 0..count.max(1) {
                let mut sampler = Sampler::new(draw(index), model.vocab())?;
                texts.push(sample(model, state.fork(), last, special.end, &mut sampler, &rules, most)?);
            }
            texts.into_iter().max_by(|a, b| a.score.total_cmp(&b.score)).expect("at least one")
        }
    };
    Ok(Decoded { tokens, log_prob: score, no_speech })
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

/// A text drawn at random; its score is the mean log-probability of its tokens.
fn sample<M: Model>(
    model: &mut M,
    mut state: M::State,
    start: Token,
    end: Token,
    sampler: &mut Sampler,
    rules: &dyn Fn(&[Token], &mut [f32]),
    most: usize,
) -> Result<Generated> {
    let (mut tokens, mut sum, mut logits, mut next) = (Vec::new(), 0.0, Logits::default(), start);
    let mut count = 0;
    while count < most.max(1) {
        feed(model, &mut state, &[next], Want::Last, &mut logits)?;
        let row = logits.row_mut(0);
        rules(&tokens, row);
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let normalizer = largest + row.iter().map(|logit| (logit - largest).exp()).sum::<f32>().ln();
        let unchanged = row.to_vec();
        next = sampler.sample(row)?;
        sum += unchanged[next as usize] - normalizer;
        count += 1;
        if next == end {
            break;
        }
        tokens.push(next);
    }
    Ok(Generated { tokens, score: sum / count as f32 })
}

/// The probability of `token` by `logits`.
fn probability(logits: &[f32], token: Token) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    (logits[token as usize] - largest).exp() / sum
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
    let of = |&(_, id): &(String, Token)| row[id as usize];
    let largest = tokens.languages.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = tokens.languages.iter().map(|language| (of(language) - largest).exp()).sum();
    Ok(tokens.languages.iter().map(|language| (of(language) - largest).exp() / sum).collect())
}
