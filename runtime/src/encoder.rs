//! The forward pass of an encoder: whole sources at once, every token attending to its whole source.

use std::ops::Range;

use crate::Token;
use crate::layer::{Context, Scratch, sized};
use crate::ops::{Block, Heads, Machine, attend};
use crate::plan::StackPlan;

/// Self-attention within each source of a batch whose rows lie one after the other.
struct Sources<'a> {
    /// The rows of the source that each row belongs to.
    of_row: &'a [Range<usize>],
}

impl Context for Sources<'_> {
    fn attend_self(&mut self, machine: Machine<'_>, heads: Heads, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let dim = heads.count * heads.dim;
        machine.pool.rows(out, dim, &|rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(dim)) {
                let source = self.of_row[row].clone();
                let range = source.start * dim..source.end * dim;
                let block = Block { keys: &k[range.clone()], values: &v[range], stride: dim, positions: source.len() };
                attend(machine.kernels, heads, &q[row * dim..][..dim], std::iter::once(block), out);
            }
        });
    }

    fn attend_memory(&mut self, _: Machine<'_>, _: Heads, _: &[f32], _: &mut [f32]) {
        unreachable!("an encoder has no memory to attend to; `plan::check` refuses such layers")
    }
}

/// Encodes `sources` (tokens checked by the caller) into `scratch.x`, `[total tokens, dim]`, and returns each source's
/// rows.
pub(crate) fn encode(
    machine: Machine<'_>,
    plan: &StackPlan,
    dim: usize,
    sources: &[&[Token]],
    scratch: &mut Scratch,
) -> Vec<Range<usize>> {
    let mut ranges = Vec::with_capacity(sources.len());
    let mut of_row = Vec::new();
    for source in sources {
        let range = of_row.len()..of_row.len() + source.len();
        of_row.resize(range.end, range.clone());
        ranges.push(range);
    }
    let rows = of_row.len();
    let x = sized(&mut scratch.x, rows * dim);
    let tokens = sources.iter().flat_map(|source| source.iter().enumerate());
    for ((position, &token), x) in tokens.zip(x.chunks_exact_mut(dim)) {
        plan.embedding.embed(&plan.matrix, token, position, x);
    }
    let mut context = Sources { of_row: &of_row };
    for layer in &plan.layers {
        layer.forward(machine, scratch, rows, dim, &mut context);
    }
    if let Some(norm) = &plan.final_norm {
        scratch.normalize_stream(machine, norm, rows * dim);
    }
    ranges
}
