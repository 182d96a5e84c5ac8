//! The tokens that a token may be chosen from, and the filters that narrow them down.
//!
//! Candidates stand in the order of the vocabulary until a filter sorts them, and then most probable first; nothing
//! depends on any other order, and no filter sorts more than it keeps. Which candidates a filter keeps is llama.cpp's
//! definition, but probabilities are computed by [`Kernels`], which give the same bits everywhere.

use std::cmp::Ordering;

use super::random::Random;
use super::select::largest;
use crate::Token;
use crate::kernels::Kernels;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: Token,
    /// Finite.
    pub(super) logit: f32,
    /// As [`Candidates::softmax`] left it.
    pub(super) probability: f32,
}

/// Most probable first; equal ones by token, so that the order is total.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

/// The candidates of one choice. Keeps its buffers.
#[derive(Debug)]
pub(super) struct Candidates {
    kernels: Kernels,
    pub(super) items: Vec<Candidate>,
    /// So many of `items` are known to be the most probable ones, in order.
    sorted: usize,
    values: Vec<f32>,
    largest: Vec<(f32, Token)>,
}

impl Candidates {
    pub(super) fn new() -> Self {
        let kernels = Kernels::detect();
        Self { kernels, items: Vec::new(), sorted: 0, values: Vec::new(), largest: Vec::new() }
    }

    /// Every token whose logit is a finite number or, where `top_k` is not 0, the `top_k` most probable of them.
    pub(super) fn fill(&mut self, logits: &[f32], top_k: usize) {
        /// Up to here, insertion into a sorted list beats a selection from all tokens.
        const FEW: usize = 256;
        let candidate = |(logit, token): (f32, Token)| Candidate { token, logit, probability: 0.0 };
        let finite = |(logit, _): &(f32, Token)| logit.is_finite();
        self.items.clear();
        self.sorted = 0;
        if (1..=FEW).contains(&top_k) && !logits.contains(&f32::INFINITY) {
            largest(logits, top_k, f32::NEG_INFINITY, &mut self.largest);
            self.items.extend(self.largest.iter().copied().map(candidate));
            self.sorted = self.items.len();
        } else {
            self.items.extend(logits.iter().copied().zip(0..).filter(finite).map(candidate));
            if top_k > 0 {
                self.sort_first(top_k);
                self.items.truncate(top_k);
            }
        }
    }

    /// Brings the `count` most probable candidates to the front, in order.
    fn sort_first(&mut self, count: usize) {
        bring_first(&mut self.items, self.sorted, count, best_first);
        self.sorted = self.sorted.max(count.min(self.items.len()));
    }

    /// Computes the probabilities.
    pub(super) fn softmax(&mut self) {
        self.values.clear();
        self.values.extend(self.items.iter().map(|c| c.logit));
        if !self.values.is_empty() {
            (self.kernels.softmax)(&mut self.values);
        }
        self.items.iter_mut().zip(&self.values).for_each(|(c, &p)| c.probability = p);
    }

    /// ln(sum(exp(logit))): `log_sum_exp - logit` is a candidate's surprise in nats.
    fn log_sum_exp(&mut self) -> f32 {
        self.values.clear();
        self.values.extend(self.items.iter().map(|c| c.logit));
        (self.kernels.log_sum_exp)(&self.values)
    }

    fn max_logit(&self) -> f32 {
        self.items.iter().fold(f32::NEG_INFINITY, |max, c| if c.logit > max { c.logit } else { max })
    }

    /// Keeps the most probable candidates that together make up `p`, and at least one.
    pub(super) fn top_p(&mut self, p: f32) {
        if p < 1.0 {
            self.softmax();
            self.sorted = keep_mass(&mut self.items, self.sorted, best_first, |mass| mass >= f64::from(p));
        }
    }

    /// Keeps the candidates whose surprise is nearest to the entropy, until they make up more than `p`.
    pub(super) fn typical(&mut self, p: f32) {
        if p >= 1.0 || self.items.is_empty() {
            return;
        }
        self.softmax();
        let all = self.log_sum_exp();
        let surprises = self.items.iter().map(|c| f64::from(c.probability) * f64::from(all - c.logit));
        let entropy = surprises.sum::<f64>() as f32;
        let distance = |c: &Candidate| ((all - c.logit) - entropy).abs();
        let nearest = |a: &Candidate, b: &Candidate| distance(a).total_cmp(&distance(b)).then(best_first(a, b));
        keep_mass(&mut self.items, 0, nearest, |mass| mass > f64::from(p));
        self.sorted = 0;
        self.sort_first(self.items.len());
    }

    /// Keeps the candidates whose logit is at most `ln_p` (which is not positive) below the largest.
    pub(super) fn min_p(&mut self, ln_p: f32) {
        let least = self.max_logit() + ln_p;
        self.items.retain(|c| c.logit >= least);
        self.sorted = self.sorted.min(self.items.len());
    }

    /// With `probability`, removes all candidates of at least `threshold` but the least probable of these.
    pub(super) fn xtc(&mut self, probability: f32, threshold: f32, random: &mut Random) {
        if probability <= 0.0 || threshold > 0.5 || self.items.len() < 2 || random.unit() > f64::from(probability) {
            return;
        }
        self.softmax();
        let probable = self.items.iter().filter(|c| c.probability >= threshold).count();
        if probable > 1 {
            self.sort_first(probable);
            self.items.drain(..probable - 1);
            self.sorted -= probable - 1;
        }
    }

    /// Divides the logits (after taking their maximum off, which changes no probability) by `temperature`.
    pub(super) fn temperature(&mut self, temperature: f32) {
        let max = self.max_logit();
        self.items.iter_mut().for_each(|c| c.logit = ((c.logit - max) / temperature).max(f32::MIN));
    }

    /// Keeps the candidates whose surprise is at most `mu` bits, and at least the most probable one.
    pub(super) fn surprise_at_most(&mut self, mu: f32) {
        let all = self.log_sum_exp();
        let max = self.max_logit();
        let mut best = true;
        self.items.retain(|c| bits(all - c.logit) <= mu || (c.logit == max && std::mem::take(&mut best)));
        self.sorted = self.sorted.min(self.items.len());
    }

    /// The surprise of candidate `index`, in bits.
    pub(super) fn surprise(&mut self, index: usize) -> f32 {
        bits(self.log_sum_exp() - self.items[index].logit)
    }

    /// The index of a candidate, drawn by probability; `None` where there are no candidates.
    pub(super) fn draw(&mut self, random: &mut Random) -> Option<usize> {
        self.softmax();
        let total: f64 = self.items.iter().map(|c| f64::from(c.probability)).sum();
        let target = random.unit() * total;
        let mut mass = 0.0;
        let reached = self.items.iter().position(|c| {
            mass += f64::from(c.probability);
            mass > target
        });
        // The target is below the total, so that only a total of NaN is never reached: there are no such logits.
        reached.or(self.items.len().checked_sub(1))
    }
}

fn bits(nats: f32) -> f32 {
    nats * std::f32::consts::LOG2_E
}

/// Brings the first `count` by `order` to the front, in order; the first `sorted` are there already.
fn bring_first(
    items: &mut [Candidate],
    sorted: usize,
    count: usize,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
) {
    let count = count.min(items.len());
    if count <= sorted {
        return;
    }
    let (rest, wanted) = (&mut items[sorted..], count - sorted);
    if wanted < rest.len() {
        rest.select_nth_unstable_by(wanted - 1, &order);
    }
    rest[..wanted].sort_unstable_by(&order);
}

/// Keeps the first candidates by `order` until their mass is `enough`, the one that makes it so included, and returns
/// how many are left, in order. The first `sorted` are in order already.
fn keep_mass(
    items: &mut Vec<Candidate>,
    mut sorted: usize,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
    enough: impl Fn(f64) -> bool,
) -> usize {
    let (mut mass, mut seen) = (0.0, 0);
    while seen < items.len() {
        let block = items.len().min(sorted.max(4 * seen).max(64));
        bring_first(items, sorted, block, &order);
        sorted = sorted.max(block);
        for candidate in &items[seen..block] {
            mass += f64::from(candidate.probability);
            seen += 1;
            if enough(mass) {
                items.truncate(seen);
                return seen;
            }
        }
    }
    items.len()
}
