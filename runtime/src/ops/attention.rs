//! Attention of one query row to any number of blocks of keys and values.

use std::cell::RefCell;

use crate::kernels::Kernels;
use crate::spec::AttentionSpec;

/// How rows divide into heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    pub(crate) dim: usize,
    pub(crate) scale: f32,
}

impl From<AttentionSpec> for Heads {
    fn from(spec: AttentionSpec) -> Self {
        Self { count: spec.heads, dim: spec.head_dim, scale: 1.0 / (spec.head_dim as f32).sqrt() }
    }
}

/// Consecutive positions: keys and values of `heads * dim` features, each `stride` values after the one before.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) positions: usize,
}

thread_local! {
    /// Scores of one head; grows to the longest sequence this thread has seen and stays.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// out = softmax(q K^T * scale) V for each head of `q` (`[heads * dim]`), over the positions of all `blocks` in order.
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
        for head in 0..heads.count {
            let features = head * heads.dim..(head + 1) * heads.dim;
            let (q, out) = (&q[features.clone()], &mut out[features.clone()]);
            let mut first = 0;
            for block in blocks.clone() {
                let scores = &mut scores[first..first + block.positions];
                (kernels.attention_scores)(q, &block.keys[features.start..], block.stride, heads.scale, scores);
                first += block.positions;
            }
            (kernels.softmax)(scores);
            out.fill(0.0);
            let mut first = 0;
            for block in blocks.clone() {
                let p = &scores[first..first + block.positions];
                (kernels.attention_values)(p, &block.values[features.start..], block.stride, out);
                first += block.positions;
            }
        }
    });
}
