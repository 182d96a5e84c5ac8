//! The forward pass of an encoder: whole sources at once, every token attending to its whole source.

use std::ops::Range;

use crate::Token;
use crate::kernels::TILE;
use crate::layer::{Attention, Context, Scratch, set_positions, sized};
use crate::ops::{Machine, ShortConv, attend, block_of_head, key_width, keys_len, tile_keys};
use crate::plan::StackPlan;

/// Self-attention within each source of a batch whose rows lie one after the other.
struct Sources<'a> {
    /// The rows of the source that each row belongs to.
    of_row: &'a [Range<usize>],
    /// The keys of a layer, laid out as tiles, and where each row's source begins there, in positions.
    tiles: Vec<f32>,
    first_tiled: &'a [usize],
}

impl Context for Sources<'_> {
    fn attend_self(&mut self, machine: Machine<'_>, attention: &Attention, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let Attention { heads, span, .. } = *attention;
        let (group, stride, width) = (heads.group() * heads.dim, heads.kv * heads.dim, key_width(heads.dim));
        let (of_row, first_tiled) = (self.of_row, self.first_tiled);
        let last = of_row.len() - 1;
        let positions = first_tiled[last] + of_row[last].len();
        let tiles = sized(&mut self.tiles, keys_len(positions, heads.kv, heads.dim));
        let mut row = 0;
        while let Some(source) = of_row.get(row) {
            let tiles = &mut tiles[keys_len(first_tiled[row], heads.kv, heads.dim)..];
            tile_keys(&k[source.start * stride..source.end * stride], heads.kv, heads.dim, tiles);
            row = source.end;
        }
        let tiles = &*tiles;
        machine.team.rows(out, group, &|items, out| {
            for (item, out) in items.zip(out.chunks_exact_mut(group)) {
                let (row, head) = (item / heads.kv, item % heads.kv);
                let source = &of_row[row];
                let first = keys_len(first_tiled[row], heads.kv, heads.dim);
                let tiles = &tiles[first + keys_len(source.len(), head, heads.dim)..];
                let values = &v[source.start * stride + head * heads.dim..source.end * stride];
                let seen = span.of(row - source.start, source.len());
                let blocks = |part| std::iter::once(block_of_head(tiles, width, values, stride, part));
                attend(machine.kernels, heads, &q[item * group..][..group], seen, blocks, out);
            }
        });
    }

    fn attend_memory(&mut self, _: Machine<'_>, _: &Attention, _: &[f32], _: &mut [f32]) {
        unreachable!("an encoder has no memory to attend to; `EncoderDecoderSpec::check` refuses such layers")
    }

    fn convolve(&mut self, machine: Machine<'_>, conv: &ShortConv, bcx: &mut [f32], out: &mut [f32]) {
        let dim = out.len() / self.of_row.len();
        for bcx in bcx.chunks_exact_mut(3 * dim) {
            let (b, cx) = bcx.split_at_mut(dim);
            (machine.kernels.multiply)(b, &mut cx[dim..]);
        }
        let x = |row: usize| &bcx[(3 * row + 2) * dim..][..dim];
        for (row, out) in out.chunks_exact_mut(dim).enumerate() {
            conv.convolve(machine, (self.of_row[row].start..=row).map(x), &bcx[(3 * row + 1) * dim..][..dim], out);
        }
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
    let (mut of_row, mut first_tiled) = (Vec::new(), Vec::new());
    let mut tiled = 0;
    for source in sources {
        let range = of_row.len()..of_row.len() + source.len();
        of_row.resize(range.end, range.clone());
        first_tiled.resize(range.end, tiled);
        tiled += source.len().next_multiple_of(TILE);
        ranges.push(range);
    }
    let rows = of_row.len();
    let x = sized(&mut scratch.x, rows * dim);
    let tokens = sources.iter().flat_map(|source| source.iter().enumerate());
    for ((position, &token), x) in tokens.zip(x.chunks_exact_mut(dim)) {
        plan.embedding.embed(&plan.matrix, token, position, x);
    }
    set_positions(&plan.ropes, scratch, of_row.iter().enumerate().map(|(row, source)| row - source.start));
    let mut context = Sources { of_row: &of_row, tiles: Vec::new(), first_tiled: &first_tiled };
    for layer in &plan.layers {
        layer.forward(machine, &plan.ropes, scratch, rows, dim, &mut context);
    }
    if let Some(norm) = &plan.final_norm {
        scratch.normalize_stream(machine, norm, rows * dim);
    }
    ranges
}
