//! Attention of one query row to any number of blocks of keys and values.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernels::Kernels;
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

/// Stored keys or values.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    /// IEEE float16.
    F16(&'a [u16]),
    /// 8 bits each, and a scale for every 32.
    Q8_0(&'a [i8], &'a [f32]),
}

/// One head's keys and values of consecutive positions, each `stride` values after the one before.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) keys: Values<'a>,
    pub(crate) values: Values<'a>,
    pub(crate) stride: usize,
    pub(crate) positions: usize,
}

impl<'a> Block<'a> {
    /// One head of the rows `rows` of `keys` and `values`, `[any, stride]`.
    pub(crate) fn of_head(
        keys: &'a [f32],
        values: &'a [f32],
        stride: usize,
        rows: Range<usize>,
        head: usize,
        head_dim: usize,
    ) -> Self {
        let range = rows.start * stride + head * head_dim..(rows.end - 1) * stride + (head + 1) * head_dim;
        let (keys, values) = (Values::F32(&keys[range.clone()]), Values::F32(&values[range]));
        Self { keys, values, stride, positions: rows.len() }
    }
}

thread_local! {
    /// Scores of one head; grows to the longest sequence this thread has seen and stays.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// out = softmax(cap(q K^T * scale)) V for each head of `q` (`[group * head_dim]`: those that share these keys), over
/// the positions of all `blocks` in order.
pub(crate) fn attend<'a>(
    kernels: &Kernels,
    heads: Heads,
    q: &[f32],
    blocks: impl Iterator<Item = Block<'a>> + Clone,
    out: &mut [f32],
) {
    SCORES.with_borrow_mut(|scores| {
        let total = blocks.clone().map(|block| block.positions).sum();
        if scores.len() < total {
            scores.resize(total, 0.0);
        }
        let scores = &mut scores[..total];
        for (q, out) in q.chunks_exact(heads.dim).zip(out.chunks_exact_mut(heads.dim)) {
            let mut first = 0;
            for Block { keys, stride, positions, .. } in blocks.clone() {
                let scores = &mut scores[first..first + positions];
                match keys {
                    Values::F32(keys) => (kernels.attention_scores)(q, keys, stride, heads.scale, scores),
                    Values::F16(keys) => (kernels.attention_scores_f16)(q, keys, heads.scale, scores),
                    Values::Q8_0(keys, scales) => (kernels.attention_scores_q8_0)(q, keys, scales, heads.scale, scores),
                }
                first += positions;
            }
            if let Some(cap) = heads.softcap {
                (kernels.softcap)(cap, scores);
            }
            (kernels.softmax)(scores);
            out.fill(0.0);
            let mut first = 0;
            for Block { values, stride, positions, .. } in blocks.clone() {
                let p = &scores[first..first + positions];
                match values {
                    Values::F32(values) => (kernels.attention_values)(p, values, stride, out),
                    Values::F16(values) => (kernels.attention_values_f16)(p, values, out),
                    Values::Q8_0(values, scales) => (kernels.attention_values_q8_0)(p, values, scales, out),
                }
                first += positions;
            }
        }
    });
}
