//! What a model is made of: linear maps, norms, attention, rotations, convolutions, embeddings. They call kernels and own no state.

mod attention;
mod embedding;
mod linear;
mod norm;
mod rope;
mod short_conv;
mod stem;
mod whole;

pub(crate) use attention::{
    Block, Heads, PART, Partial, Pasts, attend, attend_part, attention_weights, key_width, keys_len, parts,
};
pub(crate) use embedding::{Embedding, positions};
pub(crate) use linear::{Activations, COLUMNS, Linear, Matrix, forward_all};
pub(crate) use norm::Norm;
pub(crate) use rope::{Rope, Rotations};
pub(crate) use short_conv::ShortConv;
pub(crate) use stem::{Stem, StemScratch};
pub(crate) use whole::Whole;

use std::ops::Range;

use crate::kernels::Kernels;
use crate::threads::Team;

/// What every operation runs on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) team: &'a Team<'a>,
}

/// From so many rows on, threads share an operation on rows.
const SHARED_ROWS: usize = 16;

/// Runs `f(rows, their values)` for all rows of `x` (`[rows, width]`), on several threads where there are many.
pub(crate) fn for_rows(
    machine: Machine<'_>,
    x: &mut [f32],
    width: usize,
    f: &(dyn Fn(Range<usize>, &mut [f32]) + Sync),
) {
    let rows = x.len() / width;
    if rows < SHARED_ROWS { f(0..rows, x) } else { machine.team.rows(x, width, f) }
}
