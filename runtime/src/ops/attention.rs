//! Attention of rows of queries to any number of blocks of keys and values.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernels::{Kernels, Keys, TILE, Values};
use crate::layer::sized;
use crate::ops::Machine;
use crate::spec::AttentionSpec;

/// How rows divide into heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Heads of queries.
    pub(crate) count: usize,
    /// Heads of keys and values.
    pub(crate) kv: usize,
    /// Features of a head.
    pub(crate) dim: usize,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
}

impl Heads {
    /// Query heads that read the same head of keys.
    pub(crate) fn group(&self) -> usize {
        self.count / self.kv
    }
}

impl From<&AttentionSpec> for Heads {
    fn from(spec: &AttentionSpec) -> Self {
        let &AttentionSpec { heads, kv_heads, head_dim, scale, softcap, .. } = spec;
        Self { count: heads, kv: kv_heads, dim: head_dim, scale, softcap }
    }
}

/// Keys and values of one head at consecutive positions.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// The tiles that hold the positions.
    pub(crate) keys: Keys<'a>,
    /// Positions of the first tile before the first one that counts.
    pub(crate) skip: usize,
    pub(crate) values: Values<'a>,
}

/// Numbers of a key, which tiles hold in whole registers: the features of a head, and zeros.
pub(crate) fn key_width(head_dim: usize) -> usize {
    head_dim.next_multiple_of(4)
}

/// Numbers of the tiles of `positions` keys.
pub(crate) fn keys_len(positions: usize, heads: usize, head_dim: usize) -> usize {
    positions.next_multiple_of(TILE) * heads * key_width(head_dim)
}

/// Positions that are attended to together; what comes of several parts is merged in order. It does not depend on the number
/// of threads, nor does a result.
pub(crate) const PART: usize = 512;

/// `positions` cut at multiples of [`PART`].
pub(crate) fn parts(positions: Range<usize>) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    let count = positions.end.div_ceil(PART) - positions.start / PART;
    let first = positions.start / PART;
    (0..count).map(move |i| positions.start.max((first + i) * PART)..positions.end.min((first + i + 1) * PART))
}

/// Rows of queries that a thread takes through the same keys and values together, times the heads that share them: each
/// number is loaded once for four of them, and their scores stay in the first-level cache.
const QUERIES: usize = 16;

/// What rows of queries read.
pub(crate) trait Pasts: Sync {
    /// The positions that `row` reads.
    fn seen(&self, row: usize) -> Range<usize>;

    /// Whether two rows read the same keys and values, if at other positions.
    fn same(&self, row: usize, other: usize) -> bool;

    /// Keys and values that `row` reads with one of its heads of keys, at some of the positions.
    fn blocks(&self, row: usize, head: usize, positions: Range<usize>) -> impl Iterator<Item = Block<'_>> + Clone;
}

/// One query row, or several that read the same keys: from the first one's first feature of the heads that share them.
#[derive(Clone, Copy)]
struct Queries<'a> {
    q: &'a [f32],
    /// Numbers from a row to the next.
    stride: usize,
    rows: usize,
}

/// Attention to some of the positions, for each of the heads that share keys, of one or several rows: the sums of the
/// values, `[rows * heads * head_dim]`, each times its weight e^(score - max), and for each head that maximum and the sum
/// of the weights, which is 0 for those that see none of the positions.
pub(crate) struct Partial<'a> {
    sums: &'a mut [f32],
    /// max, sum
    weights: &'a mut [[f32; 2]],
}

impl<'a> Partial<'a> {
    /// Numbers that it needs for one row.
    pub(crate) fn len(heads: Heads) -> usize {
        heads.group() * (heads.dim + 2)
    }

    /// One in the [`Partial::len`] numbers a row of `buffer`.
    pub(crate) fn new(heads: Heads, buffer: &'a mut [f32]) -> Self {
        let queries = buffer.len() / (heads.dim + 2);
        let (sums, weights) = buffer.split_at_mut(queries * heads.dim);
        Self { sums, weights: weights.as_chunks_mut().0 }
    }

    /// Adds what was found for further positions.
    pub(crate) fn merge(&mut self, kernels: &Kernels, dim: usize, other: &Partial<'_>) {
        let heads = self.sums.chunks_exact_mut(dim).zip(other.sums.chunks_exact(dim));
        for ((sums, others), (weight, other)) in heads.zip(self.weights.iter_mut().zip(&*other.weights)) {
            if other[1] == 0.0 {
                continue;
            }
            if weight[1] == 0.0 {
                sums.copy_from_slice(others);
                *weight = *other;
                continue;
            }
            let max = if other[0] > weight[0] { other[0] } else { weight[0] };
            let mut factors = [weight[0], other[0]];
            (kernels.exponentials)(&mut factors, max);
            (kernels.scale)(factors[0], sums);
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum += factors[1] * other;
            }
            *weight = [max, weight[1] * factors[0] + other[1] * factors[1]];
        }
    }

    /// The attention of a row, when all positions are in: `out` is `[heads * head_dim]`.
    pub(crate) fn finish(&self, kernels: &Kernels, dim: usize, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.sums[row * out.len()..][..out.len()]);
        let heads = out.len() / dim;
        for (out, weight) in out.chunks_exact_mut(dim).zip(&self.weights[row * heads..]) {
            (kernels.scale)(1.0 / weight[1], out);
        }
    }
}

/// What a thread needs; it grows to the largest that it has seen and stays.
#[derive(Default)]
struct Buffers {
    /// The queries as the kernel wants them: `[rows][heads][key_width][4]`.
    q: Vec<f32>,
    /// `[rows][heads][positions of all tiles]`
    scores: Vec<f32>,
    /// Two of [`Partial`].
    partials: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// softmax(cap(q K^T * scale)) V for all rows and heads of `q` and `out`, both `[rows, heads * head_dim]`. (Flash
/// attention, Dao et al. 2022, in parts of [`PART`] positions.)
pub(crate) fn attend(machine: Machine<'_>, heads: Heads, q: &[f32], pasts: &impl Pasts, out: &mut [f32]) {
    let (group, width) = (heads.group() * heads.dim, heads.count * heads.dim);
    let most = (QUERIES / heads.group()).max(1);
    machine.team.rows(out, group, &|items, out| {
        BUFFERS.with_borrow_mut(|buffers| {
            let mut item = items.start;
            while item < items.end {
                let (row, head) = (item / heads.kv, item % heads.kv);
                let out = &mut out[(item - items.start) * group..];
                // Whole rows, where they are all this thread's, together.
                let whole = if head == 0 { most.min((items.end - item) / heads.kv) } else { 0 };
                let rows = (0..whole).take_while(|&i| pasts.same(row, row + i)).count();
                let these = if rows == 0 { head..head + 1 } else { 0..heads.kv };
                item += rows.max(1) * these.len();
                for (i, head) in these.enumerate() {
                    let q = Queries { q: &q[row * width + head * group..], stride: width, rows: rows.max(1) };
                    buffers.attend(machine.kernels, heads, q, pasts, (row, head), &mut out[i * group..]);
                }
            }
        });
    });
}

/// [`attend`] of one head of keys of `row` for one part of the positions; `q` has the heads that share it.
pub(crate) fn attend_part(
    kernels: &Kernels,
    heads: Heads,
    q: &[f32],
    pasts: &impl Pasts,
    (row, head): (usize, usize),
    part: Range<usize>,
    partial: &mut Partial<'_>,
) {
    let q = Queries { q, stride: 0, rows: 1 };
    let blocks = pasts.blocks(row, head, part.clone());
    BUFFERS.with_borrow_mut(|buffers| {
        buffers.attend_part(kernels, heads, q, blocks, part.clone(), |_| part.clone(), partial)
    });
}

/// softmax(q K^T * scale) of one head of one row, over all positions of `blocks`: how much it looks at each.
pub(crate) fn attention_weights<'a>(
    kernels: &Kernels,
    heads: Heads,
    q: &[f32],
    blocks: impl Iterator<Item = Block<'a>>,
    weights: &mut [f32],
) {
    let mut laid_out = vec![[0.0; 4]; key_width(heads.dim)];
    laid_out.iter_mut().zip(q).for_each(|(four, q)| *four = [q * heads.scale; 4]);
    let (mut scores, mut first) = (Vec::new(), 0);
    for Block { keys, skip, values } in blocks {
        scores.resize(keys.tiles() * TILE, 0.0);
        let stride = scores.len();
        (kernels.attention_scores)(laid_out.as_flattened(), keys, &mut scores, stride);
        weights[first..][..values.positions].copy_from_slice(&scores[skip..][..values.positions]);
        first += values.positions;
    }
    (kernels.softmax)(weights);
}

impl Buffers {
    /// All positions of the rows of `q`, the first of which is `row`. A row of `out` is as far from the next as in `q`.
    fn attend(
        &mut self,
        kernels: &Kernels,
        heads: Heads,
        q: Queries<'_>,
        pasts: &impl Pasts,
        (row, head): (usize, usize),
        out: &mut [f32],
    ) {
        let seen = |i: usize| pasts.seen(row + i);
        let all = (0..q.rows).map(seen).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0);
        let mut partials = std::mem::take(&mut self.partials);
        let len = q.rows * Partial::len(heads);
        let (first, next) = sized(&mut partials, 2 * len).split_at_mut(len);
        let (mut first, mut next) = (Partial::new(heads, first), Partial::new(heads, next));
        for (i, part) in parts(all).enumerate() {
            let blocks = pasts.blocks(row, head, part.clone());
            if i == 0 {
                self.attend_part(kernels, heads, q, blocks, part, seen, &mut first);
            } else {
                self.attend_part(kernels, heads, q, blocks, part, seen, &mut next);
                first.merge(kernels, heads.dim, &next);
            }
        }
        for row in 0..q.rows {
            let out = &mut out[row * q.stride..][..heads.group() * heads.dim];
            first.finish(kernels, heads.dim, row, out);
        }
        self.partials = partials;
    }

    /// One part, whose positions are those of `blocks`; `seen` has those that each row sees, and perhaps others.
    #[allow(clippy::too_many_arguments, reason = "what attention is made of")]
    fn attend_part<'a>(
        &mut self,
        kernels: &Kernels,
        heads: Heads,
        q: Queries<'_>,
        blocks: impl Iterator<Item = Block<'a>> + Clone,
        part: Range<usize>,
        seen: impl Fn(usize) -> Range<usize>,
        partial: &mut Partial<'_>,
    ) {
        let (width, group) = (key_width(heads.dim), heads.group());
        let laid_out = sized(&mut self.q, q.rows * group * width * 4);
        let queries = (0..q.rows).flat_map(|row| q.q[row * q.stride..][..group * heads.dim].chunks_exact(heads.dim));
        for (laid_out, q) in laid_out.chunks_exact_mut(width * 4).zip(queries) {
            let features = q.iter().map(|q| q * heads.scale).chain(std::iter::repeat(0.0));
            laid_out.as_chunks_mut::<4>().0.iter_mut().zip(features).for_each(|(four, q)| *four = [q; 4]);
        }
        let first_block = blocks.clone().next();
        debug_assert!(first_block.is_some(), "attention to nothing");
        let skip = first_block.map_or(0, |block| block.skip);
        let stride = blocks.clone().map(|block| block.keys.tiles() * TILE).sum();
        let scores = sized(&mut self.scores, q.rows * group * stride);
        let (mut first, mut rest) = (0, blocks.clone().peekable());
        while let Some(Block { keys, .. }) = rest.next() {
            // After the last keys come the first values.
            let next =
                rest.peek().map(|block| block.keys.stored).or_else(|| first_block.map(|block| block.values.stored));
            (kernels.attention_scores)(laid_out, Keys { next, ..keys }, &mut scores[first..], stride);
            first += keys.tiles() * TILE;
        }
        for (query, (scores, weight)) in scores.chunks_exact_mut(stride).zip(&mut *partial.weights).enumerate() {
            let scores = &mut scores[skip..skip + part.len()];
            let seen = seen(query / group);
            let local = |position: usize| position.clamp(part.start, part.end) - part.start;
            let (start, end) = (local(seen.start), local(seen.end));
            // What other rows see counts for nothing.
            scores[..start].fill(0.0);
            scores[end..].fill(0.0);
            let scores = &mut scores[start..end];
            if scores.is_empty() {
                *weight = [f32::NEG_INFINITY, 0.0];
                continue;
            }
            if let Some(cap) = heads.softcap {
                (kernels.softcap)(cap, scores);
            }
            let max = (kernels.max)(scores);
            *weight = [max, (kernels.exponentials)(scores, max)];
        }
        partial.sums.fill(0.0);
        let (mut first, mut rest) = (skip, blocks.peekable());
        while let Some(Block { values, .. }) = rest.next() {
            let values = Values { next: rest.peek().map(|block| block.values.stored), ..values };
            (kernels.attention_values)(&scores[first..], stride, values, partial.sums, heads.dim);
            first += values.positions;
        }
    }
}
