//! The forward pass of a decoder: new tokens of any number of sequences in one pass over the weights, each attending
//! to its own past.

use crate::cache::{KvCache, Memory};
use crate::layer::{Context, Scratch, sized};
use crate::model::Row;
use crate::ops::{Heads, Machine, attend};
use crate::plan::StackPlan;
use crate::session::Sequence;

/// The rows of one step: which sequence and position each belongs to.
struct Rows<'a, 'r> {
    rows: &'a mut [Row<'r, Sequence>],
    /// Sequence and position of each row of the residual stream.
    at: &'a [(usize, usize)],
    layer: usize,
}

impl Context for Rows<'_, '_> {
    fn attend_self(&mut self, machine: Machine<'_>, heads: Heads, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let dim = heads.count * heads.dim;
        let (layer, at) = (self.layer, self.at);
        for (i, &(sequence, position)) in at.iter().enumerate() {
            let cache: &mut KvCache = &mut self.rows[sequence].state.cache;
            cache.write(layer, position, &k[i * dim..][..dim], &v[i * dim..][..dim]);
        }
        let rows = &*self.rows;
        machine.pool.rows(out, dim, &|range, out| {
            for (i, out) in range.zip(out.chunks_exact_mut(dim)) {
                let (sequence, position) = at[i];
                let blocks = rows[sequence].state.cache.blocks(layer, position + 1);
                attend(machine.kernels, heads, &q[i * dim..][..dim], blocks, out);
            }
        });
    }

    fn attend_memory(&mut self, machine: Machine<'_>, heads: Heads, q: &[f32], out: &mut [f32]) {
        let dim = heads.count * heads.dim;
        let (layer, at, rows) = (self.layer, self.at, &*self.rows);
        machine.pool.rows(out, dim, &|range, out| {
            for (i, out) in range.zip(out.chunks_exact_mut(dim)) {
                let Sequence { memory, source, .. } = &*rows[at[i].0].state;
                let memory: &Memory = memory;
                let block = memory.block(layer, source.clone());
                attend(machine.kernels, heads, &q[i * dim..][..dim], std::iter::once(block), out);
            }
        });
    }
}

/// Appends each row's tokens (checked by the caller) to its sequence, and leaves the stream after the last layer in
/// `scratch.x`, `[wanted, dim]`: the rows of the tokens whose logits are wanted. Returns how many that are.
pub(crate) fn decode(
    machine: Machine<'_>,
    plan: &StackPlan,
    dim: usize,
    rows: &mut [Row<'_, Sequence>],
    at: &mut Vec<(usize, usize)>,
    scratch: &mut Scratch,
) -> usize {
    at.clear();
    for (sequence, row) in rows.iter_mut().enumerate() {
        let first = row.state.cache.positions();
        row.state.cache.extend(row.tokens.len());
        at.extend((first..first + row.tokens.len()).map(|position| (sequence, position)));
    }
    let x = sized(&mut scratch.x, at.len() * dim);
    let tokens = rows.iter().flat_map(|row| row.tokens);
    for ((&token, &(_, position)), x) in tokens.zip(at.iter()).zip(x.chunks_exact_mut(dim)) {
        plan.embedding.embed(&plan.matrix, token, position, x);
    }
    let mut context = Rows { rows, at, layer: 0 };
    for (index, layer) in plan.layers.iter().enumerate() {
        context.layer = index;
        layer.forward(machine, scratch, at.len(), dim, &mut context);
    }
    // Only the tokens whose logits are wanted go on.
    let (mut end, mut wanted) = (0, 0);
    for row in rows.iter() {
        end += row.tokens.len();
        let count = row.want.rows(row.tokens.len());
        scratch.x.copy_within((end - count) * dim..end * dim, wanted * dim);
        wanted += count;
    }
    if let Some(norm) = &plan.final_norm {
        scratch.normalize_stream(machine, norm, wanted * dim);
    }
    wanted
}
