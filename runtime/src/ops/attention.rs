//! Attention of one query row to any number of blocks of keys and values.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernels::{Kernels, Keys, Stored, TILE, Values};
use crate::layer::sized;
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

/// Lays out the keys `[positions, heads * head_dim]` of one sequence as tiles: `[heads][tiles][key_width][4 positions]`.
pub(crate) fn tile_keys(keys: &[f32], heads: usize, head_dim: usize, out: &mut [f32]) {
    let positions = keys.len() / (heads * head_dim);
    let (width, tiles) = (key_width(head_dim), positions.div_ceil(TILE));
    for (position, row) in keys.chunks_exact(heads * head_dim).enumerate() {
        for (head, key) in row.chunks_exact(head_dim).enumerate() {
            let tile = &mut out[(head * tiles + position / TILE) * width * TILE..][..width * TILE];
            for (numbers, &value) in tile.as_chunks_mut::<TILE>().0.iter_mut().zip(key) {
                numbers[position % TILE] = value;
            }
        }
    }
}

/// Those of `positions` of one head of a sequence whose keys `tile_keys` laid out; `values` is `[any, stride]`, the head's
/// features of the sequence's first position the first.
pub(crate) fn block_of_head<'a>(
    tiles: &'a [f32],
    width: usize,
    values: &'a [f32],
    stride: usize,
    positions: Range<usize>,
) -> Block<'a> {
    let (first, end) = (positions.start / TILE, positions.end.div_ceil(TILE));
    let stored = Stored::F32(&tiles[first * TILE * width..end * TILE * width]);
    Block {
        keys: Keys { stored, dim: width, next: None },
        skip: positions.start % TILE,
        values: Values {
            stored: Stored::F32(&values[positions.start * stride..]),
            stride,
            positions: positions.len(),
            next: None,
        },
    }
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

/// Attention to some of the positions, for each of the heads that share keys: the sums of the values, `[heads * head_dim]`,
/// each times its weight e^(score - max), and for each head that maximum and the sum of the weights.
pub(crate) struct Partial<'a> {
    sums: &'a mut [f32],
    /// max, sum
    weights: &'a mut [[f32; 2]],
}

impl<'a> Partial<'a> {
    /// Numbers that it needs.
    pub(crate) fn len(heads: Heads) -> usize {
        heads.group() * (heads.dim + 2)
    }

    /// One in the [`Partial::len`] numbers of `buffer`.
    pub(crate) fn new(heads: Heads, buffer: &'a mut [f32]) -> Self {
        let (sums, weights) = buffer.split_at_mut(heads.group() * heads.dim);
        Self { sums, weights: weights.as_chunks_mut().0 }
    }

    /// Adds what was found for further positions.
    pub(crate) fn merge(&mut self, kernels: &Kernels, dim: usize, other: &Partial<'_>) {
        let heads = self.sums.chunks_exact_mut(dim).zip(other.sums.chunks_exact(dim));
        for ((sums, others), (weight, other)) in heads.zip(self.weights.iter_mut().zip(&*other.weights)) {
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

    /// The attention, when all positions are in: `out` is `[heads * head_dim]`.
    pub(crate) fn finish(&self, kernels: &Kernels, dim: usize, out: &mut [f32]) {
        out.copy_from_slice(self.sums);
        for (out, weight) in out.chunks_exact_mut(dim).zip(&*self.weights) {
            (kernels.scale)(1.0 / weight[1], out);
        }
    }
}

/// What a thread needs; it grows to the largest that it has seen and stays.
#[derive(Default)]
struct Buffers {
    /// The queries as the kernel wants them: `[heads][key_width][4]`.
    q: Vec<f32>,
    /// `[heads][positions of all tiles]`
    scores: Vec<f32>,
    /// Two of [`Partial`].
    partials: Vec<f32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// softmax(cap(q K^T * scale)) V for each head of `q` (`[group * head_dim]`: those that share these keys), over all
/// `positions`, which `blocks` finds. (Flash attention, Dao et al. 2022, in parts of [`PART`] positions.)
pub(crate) fn attend<'a, B: Iterator<Item = Block<'a>> + Clone>(
    kernels: &Kernels,
    heads: Heads,
    q: &[f32],
    positions: Range<usize>,
    blocks: impl Fn(Range<usize>) -> B,
    out: &mut [f32],
) {
    BUFFERS.with_borrow_mut(|buffers| {
        let mut partials = std::mem::take(&mut buffers.partials);
        let len = Partial::len(heads);
        let (all, next) = sized(&mut partials, 2 * len).split_at_mut(len);
        let (mut all, mut next) = (Partial::new(heads, all), Partial::new(heads, next));
        for (i, part) in parts(positions).enumerate() {
            if i == 0 {
                buffers.attend(kernels, heads, q, blocks(part), &mut all);
            } else {
                buffers.attend(kernels, heads, q, blocks(part), &mut next);
                all.merge(kernels, heads.dim, &next);
            }
        }
        all.finish(kernels, heads.dim, out);
        buffers.partials = partials;
    });
}

/// [`attend`] for one part, whose positions are those of `blocks`.
pub(crate) fn attend_part<'a>(
    kernels: &Kernels,
    heads: Heads,
    q: &[f32],
    blocks: impl Iterator<Item = Block<'a>> + Clone,
    partial: &mut Partial<'_>,
) {
    BUFFERS.with_borrow_mut(|buffers| buffers.attend(kernels, heads, q, blocks, partial));
}

impl Buffers {
    fn attend<'a>(
        &mut self,
        kernels: &Kernels,
        heads: Heads,
        q: &[f32],
        blocks: impl Iterator<Item = Block<'a>> + Clone,
        partial: &mut Partial<'_>,
    ) {
        let width = key_width(heads.dim);
        let laid_out = sized(&mut self.q, heads.group() * width * 4);
        for (laid_out, q) in laid_out.chunks_exact_mut(width * 4).zip(q.chunks_exact(heads.dim)) {
            let features = q.iter().map(|q| q * heads.scale).chain(std::iter::repeat(0.0));
            laid_out.as_chunks_mut::<4>().0.iter_mut().zip(features).for_each(|(four, q)| *four = [q; 4]);
        }
        let first_block = blocks.clone().next();
        debug_assert!(first_block.is_some(), "attention to nothing");
        let skip = first_block.map_or(0, |block| block.skip);
        let (mut stride, mut positions) = (0, 0);
        for block in blocks.clone() {
            stride += block.keys.tiles() * TILE;
            positions += block.values.positions;
        }
        let scores = sized(&mut self.scores, heads.group() * stride);
        let (mut first, mut rest) = (0, blocks.clone().peekable());
        while let Some(Block { keys, .. }) = rest.next() {
            // After the last keys come the first values.
            let next =
                rest.peek().map(|block| block.keys.stored).or_else(|| first_block.map(|block| block.values.stored));
            (kernels.attention_scores)(laid_out, Keys { next, ..keys }, &mut scores[first..], stride);
            first += keys.tiles() * TILE;
        }
        for (scores, weight) in scores.chunks_exact_mut(stride).zip(&mut *partial.weights) {
            let scores = &mut scores[skip..skip + positions];
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
