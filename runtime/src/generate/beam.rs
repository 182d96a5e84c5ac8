//! The generation loop: beam search (greedy is a beam of one) for a batch of sequences over any [`Model`].
//!
//! The search is Hugging Face transformers' `_beam_search`, sequence by sequence: from the `2 * beam` best continuations
//! of all beams, those among the first `beam` that end a sequence are kept as finished with score
//! `sum(log p) / length^penalty` (the end token counts), the best `beam` others run on; [`EarlyStopping`] says when the
//! search ends.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::kernels::Kernels;
use crate::model::{Logits, Model, Row, State};
use crate::sampling::largest;
use crate::spec::{EarlyStopping, GenerationSpec};
use crate::{Error, Result, Token};

/// One finished sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Tokens, the end-of-sequence token excluded.
    pub tokens: Vec<Token>,
    /// `sum(log p) / length^length_penalty`, the end-of-sequence token counted.
    pub score: f32,
}

/// News for an observer, once per sequence and step.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Index of the sequence in the batch.
    pub sequence: usize,
    /// The tokens so far that the best result is certain to begin with; never shorter than in an earlier call.
    pub certain: &'a [Token],
    /// No more calls for this sequence will follow.
    pub finished: bool,
}

/// Generates from each of `states` with beams of `spec.beam` and returns, for each, its hypotheses, best first.
/// `observer` is called for each sequence after each step; [`ControlFlow::Break`] cancels.
///
/// # Errors
/// [`Error::Cancelled`], a spec that does not suit the model, weights that give no probabilities (never an empty list of
/// hypotheses), or the model's own.
pub fn generate<M: Model>(
    model: &mut M,
    states: Vec<M::State>,
    spec: &GenerationSpec,
    observer: impl FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<Vec<Vec<Generated>>> {
    generate_within(model, states, spec, &|_, _| {}, observer)
}

/// As [`generate`], where `rules` forbid more than `spec.suppressed`: they are told the tokens of a hypothesis so far and
/// make what must not come next impossible in the logits.
///
/// # Errors
/// As [`generate`].
pub fn generate_within<M: Model>(
    model: &mut M,
    states: Vec<M::State>,
    spec: &GenerationSpec,
    rules: &dyn Fn(&[Token], &mut [f32]),
    mut observer: impl FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<Vec<Vec<Generated>>> {
    spec.check(model.vocab())?;
    let mut searches: Vec<_> = states.into_iter().map(|state| Search::new(state, spec)).collect();
    let mut logits = Logits::default();
    let mut picker = Picker { kernels: Kernels::detect(), candidates: Vec::new(), best: Vec::new() };
    loop {
        let mut rows: Vec<_> = searches.iter_mut().flat_map(Search::rows).collect();
        if rows.is_empty() {
            break;
        }
        model.step(&mut rows, &mut logits)?;
        let mut first_row = 0;
        for (sequence, search) in searches.iter_mut().enumerate().filter(|(_, search)| !search.beams.is_empty()) {
            let beams = search.beams.len();
            let candidates = picker.pick(&search.beams, first_row, &mut logits, spec, rules, search.steps);
            first_row += beams;
            search.advance(candidates, spec);
            let step = Step { sequence, certain: search.certain(), finished: search.beams.is_empty() };
            if observer(step).is_break() {
                return Err(Error::Cancelled);
            }
        }
    }
    let finished: Vec<_> = searches.into_iter().map(|search| search.finished).collect();
    if finished.iter().any(Vec::is_empty) {
        return Err(Error::bad_file("the model's weights", "no token has a probability: they are damaged"));
    }
    Ok(finished)
}

/// A running hypothesis.
struct Beam<S> {
    state: S,
    /// Generated tokens, without the start token.
    tokens: Vec<Token>,
    /// The token to feed next.
    next: [Token; 1],
    /// Sum of log-probabilities.
    log_prob: f32,
}

/// A continuation of a beam by one token.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    beam: usize,
    token: Token,
    log_prob: f32,
}

/// Best first; equal ones by beam, then token, so that the order is total.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.log_prob.total_cmp(&a.log_prob).then(a.beam.cmp(&b.beam)).then(a.token.cmp(&b.token))
}

/// The search for one sequence.
struct Search<S> {
    /// Best first; empty when the search has ended.
    beams: Vec<Beam<S>>,
    /// Best first.
    finished: Vec<Generated>,
    steps: usize,
}

impl<S: State> Search<S> {
    fn new(state: S, spec: &GenerationSpec) -> Self {
        let beam = Beam { state, tokens: Vec::new(), next: [spec.start], log_prob: 0.0 };
        Self { beams: vec![beam], finished: Vec::new(), steps: 0 }
    }

    fn rows(&mut self) -> impl Iterator<Item = Row<'_, S>> {
        self.beams.iter_mut().map(|beam| Row::new(&mut beam.state, &beam.next))
    }

    /// Moves on by one token, given the best `2 * beam` continuations, best first.
    fn advance(&mut self, candidates: &[Candidate], spec: &GenerationSpec) {
        self.steps += 1;
        let length = self.steps as f32;
        let at_limit = self.steps >= spec.max_tokens;
        let ends = |candidate: &Candidate| candidate.token == spec.eos || at_limit;
        for candidate in candidates.iter().take(spec.beam).filter(|candidate| ends(candidate)) {
            let mut tokens = self.beams[candidate.beam].tokens.clone();
            if candidate.token != spec.eos {
                tokens.push(candidate.token);
            }
            let score = candidate.log_prob / length.powf(spec.length_penalty);
            if score.is_finite() {
                let at = self.finished.partition_point(|other| other.score >= score);
                self.finished.insert(at, Generated { tokens, score });
                self.finished.truncate(spec.beam);
            }
        }
        let running: Vec<_> =
            candidates.iter().filter(|c| !ends(c) && c.log_prob.is_finite()).take(spec.beam).collect();
        let improvable = match (running.first(), self.finished.last()) {
            (None, _) => false,
            (Some(best), Some(worst)) if self.finished.len() == spec.beam => match spec.early_stopping {
                EarlyStopping::No => best.log_prob / length.powf(spec.length_penalty) > worst.score,
                EarlyStopping::Yes => false,
            },
            _ => true,
        };
        if !improvable {
            self.beams.clear();
            return;
        }
        self.beams = self.continue_with(&running);
    }

    /// The beams' continuations: a beam's last continuation takes its state, the others fork it.
    fn continue_with(&mut self, chosen: &[&Candidate]) -> Vec<Beam<S>> {
        let mut parents: Vec<_> = self.beams.drain(..).map(Some).collect();
        let continued = chosen.iter().enumerate().map(|(i, candidate)| {
            let more = chosen[i + 1..].iter().any(|other| other.beam == candidate.beam);
            let parent = &mut parents[candidate.beam];
            let (state, mut tokens) = if more {
                let parent = parent.as_ref().expect("taken only by its last continuation");
                (parent.state.fork(), parent.tokens.clone())
            } else {
                let parent = parent.take().expect("taken only by its last continuation");
                (parent.state, parent.tokens)
            };
            tokens.push(candidate.token);
            Beam { state, tokens, next: [candidate.token], log_prob: candidate.log_prob }
        });
        continued.collect()
    }

    /// What every hypothesis that may still win begins with.
    fn certain(&self) -> &[Token] {
        let best = self.finished.first().map(|best| best.tokens.as_slice());
        let mut all = best.into_iter().chain(self.beams.iter().map(|beam| beam.tokens.as_slice()));
        let Some(first) = all.next() else { return &[] };
        let common =
            all.fold(first.len(), |n, other| first.iter().zip(other).take(n).take_while(|(a, b)| a == b).count());
        &first[..common]
    }
}

/// Picks the best continuations of a search's beams. Keeps its buffers.
struct Picker {
    /// Any instruction set gives the same bits.
    kernels: Kernels,
    candidates: Vec<Candidate>,
    best: Vec<(f32, Token)>,
}

impl Picker {
    fn pick<S>(
        &mut self,
        beams: &[Beam<S>],
        first_row: usize,
        logits: &mut Logits,
        spec: &GenerationSpec,
        rules: &dyn Fn(&[Token], &mut [f32]),
        steps: usize,
    ) -> &[Candidate] {
        let count = 2 * spec.beam;
        let force_eos = spec.forced_eos && steps + 1 == spec.max_tokens;
        self.candidates.clear();
        for (i, beam) in beams.iter().enumerate() {
            let row = logits.row_mut(first_row + i);
            if force_eos {
                // As in the reference, a forced token costs nothing but counts in the length.
                self.candidates.push(Candidate { beam: i, token: spec.eos, log_prob: beam.log_prob });
                continue;
            }
            let all = (!spec.renormalize).then(|| (self.kernels.log_sum_exp)(row));
            for &token in &spec.suppressed {
                row[token as usize] = f32::NEG_INFINITY;
            }
            rules(&beam.tokens, row);
            let normalizer = all.unwrap_or_else(|| (self.kernels.log_sum_exp)(row));
            // What the beams before have to offer is a bar for this one; a little lower, as rounding may differ.
            let bar = match self.candidates.get(count - 1) {
                Some(worst) => worst.log_prob - beam.log_prob + normalizer - 1e-3,
                None => f32::NEG_INFINITY,
            };
            largest(row, count, bar, &mut self.best);
            let continued = self.best.iter().map(|&(logit, token)| {
                let log_prob = beam.log_prob + (logit - normalizer);
                Candidate { beam: i, token, log_prob }
            });
            self.candidates.extend(continued);
            self.candidates.sort_unstable_by(best_first);
            self.candidates.truncate(count);
        }
        self.candidates.sort_unstable_by(best_first);
        self.candidates.truncate(count);
        &self.candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::fake::{Fake, History};
    use proptest::prelude::*;

    const EOS: Token = 0;
    const START: Token = 1;
    const VOCAB: usize = 5;

    fn spec(beam: usize, max_tokens: usize) -> GenerationSpec {
        GenerationSpec {
            start: START,
            eos: EOS,
            suppressed: vec![START],
            max_tokens,
            forced_eos: true,
            beam,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            renormalize: true,
        }
    }

    fn log_probs(seed: u64, history: &[Token]) -> Vec<f32> {
        let mut logits = Fake::new(seed, VOCAB).logits(history);
        logits[START as usize] = f32::NEG_INFINITY;
        let normalizer = logits.iter().map(|v| v.exp()).sum::<f32>().ln();
        logits.iter().map(|v| v - normalizer).collect()
    }

    /// The best finished sequence of at most `max_tokens` tokens by trying all of them.
    fn exhaustive(seed: u64, max_tokens: usize) -> Generated {
        fn visit(seed: u64, history: &mut Vec<Token>, sum: f32, left: usize, best: &mut Generated) {
            let log_probs = log_probs(seed, history);
            let length = history.len() as f32;
            let end = if left == 1 { sum } else { sum + log_probs[EOS as usize] };
            if end / length > best.score {
                *best = Generated { tokens: history[1..].to_vec(), score: end / length };
            }
            if left > 1 {
                for token in 2..VOCAB as Token {
                    history.push(token);
                    visit(seed, history, sum + log_probs[token as usize], left - 1, best);
                    history.pop();
                }
            }
        }
        let mut best = Generated { tokens: vec![], score: f32::NEG_INFINITY };
        visit(seed, &mut vec![START], 0.0, max_tokens, &mut best);
        best
    }

    fn run(seed: u64, spec: &GenerationSpec) -> Vec<Generated> {
        let mut model = Fake::new(seed, VOCAB);
        let state = History::new(vec![]);
        generate(&mut model, vec![state], spec, |_| ControlFlow::Continue(())).unwrap().remove(0)
    }

    proptest! {
        #[test]
        fn a_beam_wider_than_the_tree_finds_the_best_sequence(seed: u64) {
            // 3 + 9 + 27 open prefixes: all fit the beam, and no search ends before all of them have.
            let best = &run(seed, &spec(128, 4))[0];
            let expected = exhaustive(seed, 4);
            prop_assert_eq!(&best.tokens, &expected.tokens);
            prop_assert!((best.score - expected.score).abs() < 1e-5);
        }

        #[test]
        fn greedy_takes_the_most_probable_token(seed: u64) {
            let mut history = vec![START];
            while history.len() < 9 {
                let p = log_probs(seed, &history);
                let next = (0..VOCAB).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap() as Token;
                if next == EOS { break }
                history.push(next);
            }
            prop_assert_eq!(&run(seed, &spec(1, 9))[0].tokens, &history[1..]);
        }

        #[test]
        fn a_batch_equals_each_alone_and_certain_text_is_never_taken_back(seed: u64, beam in 1usize..5) {
            let spec = spec(beam, 7);
            let mut model = Fake::new(seed, VOCAB);
            let states = (0..3).map(|i| History::new(vec![i + 2])).collect();
            let mut certain = vec![Vec::new(); 3];
            let mut finished = [false; 3];
            let results = generate(&mut model, states, &spec, |step| {
                let known: &mut Vec<Token> = &mut certain[step.sequence];
                assert!(!finished[step.sequence] && step.certain.starts_with(known));
                known.clone_from(&step.certain.to_vec());
                finished[step.sequence] = step.finished;
                ControlFlow::Continue(())
            }).unwrap();
            prop_assert_eq!(finished, [true; 3]);
            for (i, result) in results.iter().enumerate() {
                let mut alone = Fake::new(seed, VOCAB);
                let state = History::new(vec![i as Token + 2]);
                let expected = generate(&mut alone, vec![state], &spec, |_| ControlFlow::Continue(())).unwrap();
                prop_assert_eq!(result, &expected[0]);
                prop_assert_eq!(&certain[i], &result[0].tokens);
                prop_assert!(result.is_sorted_by(|a, b| a.score >= b.score));
                prop_assert!(result.len() <= beam);
            }
        }
    }

    #[test]
    fn cancelling_stops_at_once() {
        let mut model = Fake::new(7, VOCAB);
        let states = vec![History::new(vec![]), History::new(vec![3])];
        let result = generate(&mut model, states, &spec(4, 50), |_| ControlFlow::Break(()));
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!((model.steps, model.rows), (1, 2));
    }
}
