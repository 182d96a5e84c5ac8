//! The forward pass of an encoder: whole sources at once, every token attending to its whole source.

use std::ops::Range;

use crate::Token;
use crate::kernels::TILE;
use crate::layer::{Attention, Context, Scratch, set_positions, sized};
use crate::ops::{
    Block, Embedding, Heads, Machine, Pasts, ShortConv, Stem, attend, block_of_head, key_width, keys_len, tile_keys,
};
use crate::plan::StackPlan;
use crate::spec::Span;

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
        let stride = heads.kv * heads.dim;
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
        attend(machine, heads, q, &Whole { of_row, first_tiled, tiles, values: v, heads, span }, out);
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

/// The source of each row, keys tiled.
struct Whole<'a> {
    of_row: &'a [Range<usize>],
    first_tiled: &'a [usize],
    tiles: &'a [f32],
    values: &'a [f32],
    heads: Heads,
    span: Span,
}

impl Pasts for Whole<'_> {
    fn seen(&self, row: usize) -> Range<usize> {
        let source = &self.of_row[row];
        self.span.of(row - source.start, source.len())
    }

    fn same(&self, row: usize, other: usize) -> bool {
        self.of_row[row].start == self.of_row[other].start
    }

    fn blocks(&self, row: usize, head: usize, positions: Range<usize>) -> impl Iterator<Item = Block<'_>> + Clone {
        let (source, Heads { kv, dim, .. }) = (&self.of_row[row], self.heads);
        let first = keys_len(self.first_tiled[row], kv, dim) + keys_len(source.len(), head, dim);
        let stride = kv * dim;
        let values = &self.values[source.start * stride + head * dim..source.end * stride];
        std::iter::once(block_of_head(&self.tiles[first..], key_width(dim), values, stride, positions))
    }
}

/// Encodes `sources` (tokens checked by the caller) into `scratch.x`, `[total tokens, dim]`, and returns each source's
/// rows.
pub(crate) fn encode(
    machine: Machine<'_>,
    embedding: &Embedding,
    stack: &StackPlan,
    dim: usize,
    sources: &[&[Token]],
    scratch: &mut Scratch,
) -> Vec<Range<usize>> {
    let mut ranges = Vec::with_capacity(sources.len());
    let mut rows = 0;
    for source in sources {
        ranges.push(rows..rows + source.len());
        rows += source.len();
    }
    let x = sized(&mut scratch.x, rows * dim);
    let tokens = sources.iter().flat_map(|source| source.iter().enumerate());
    for ((position, &token), x) in tokens.zip(x.chunks_exact_mut(dim)) {
        embedding.embed(token, position, x);
    }
    run_layers(machine, stack, dim, &ranges, scratch);
    ranges
}

/// Encodes `frames` (`[features, count]`, checked by the caller) into `scratch.x`, and returns the rows.
pub(crate) fn encode_frames(
    machine: Machine<'_>,
    stem: &Stem,
    stack: &StackPlan,
    dim: usize,
    frames: &[f32],
    scratch: &mut Scratch,
) -> Range<usize> {
    let rows = Stem::rows(frames.len() / stem.features());
    let Scratch { x, activations, stem: stem_scratch, .. } = &mut *scratch;
    stem.forward(machine, frames, stem_scratch, activations, sized(x, rows * dim));
    let all = 0..rows;
    run_layers(machine, stack, dim, std::slice::from_ref(&all), scratch);
    all
}

/// Runs the layers over `scratch.x`, which has the rows of each source one after the other.
fn run_layers(machine: Machine<'_>, stack: &StackPlan, dim: usize, sources: &[Range<usize>], scratch: &mut Scratch) {
    let (mut of_row, mut first_tiled) = (Vec::new(), Vec::new());
    let mut tiled = 0;
    for source in sources {
        of_row.resize(source.end, source.clone());
        first_tiled.resize(source.end, tiled);
        tiled += source.len().next_multiple_of(TILE);
    }
    let rows = of_row.len();
    set_positions(&stack.ropes, scratch, of_row.iter().enumerate().map(|(row, source)| row - source.start));
    let mut context = Sources { of_row: &of_row, tiles: Vec::new(), first_tiled: &first_tiled };
    for layer in &stack.layers {
        layer.forward(machine, &stack.ropes, scratch, rows, dim, &mut context);
    }
    if let Some(norm) = &stack.final_norm {
        scratch.normalize_stream(machine, norm, rows * dim);
    }
}
