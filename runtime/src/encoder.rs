//! The forward pass of an encoder: whole sources at once, every token attending to its whole source.

use std::ops::Range;

use crate::cache::{KvType, Memory, SourcePlace};
use crate::layer::{Attention, Context, Scratch, set_positions, sized};
use crate::ops::{Block, Embedding, Machine, Pasts, ShortConv, Stem, Whole, attend};
use crate::plan::StackPlan;
use crate::spec::Span;
use crate::{Cancel, Result, Token};

/// Self-attention within each source of a batch whose rows lie one after the other.
struct Sources<'a> {
    /// The rows of each source.
    rows: &'a [Range<usize>],
    /// The source that each row belongs to.
    of_row: Vec<usize>,
    places: Vec<SourcePlace>,
    /// How exactly rows attend.
    kv: KvType,
    /// The keys and values of a layer; all layers whose heads are alike write it anew.
    memory: Option<Memory>,
    /// The same of a source, quantised.
    whole: Whole,
}

impl<'a> Sources<'a> {
    fn new(rows: &'a [Range<usize>], kv: KvType) -> Self {
        let of_row = rows.iter().enumerate().flat_map(|(source, rows)| rows.clone().map(move |_| source)).collect();
        Self {
            rows,
            of_row,
            places: SourcePlace::all(rows.iter().map(Range::len)),
            kv,
            memory: None,
            whole: Whole::default(),
        }
    }
}

impl Context for Sources<'_> {
    fn attend_self(&mut self, machine: Machine<'_>, attention: &Attention, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let Attention { heads, span, .. } = *attention;
        let width = heads.kv * heads.dim;
        if self.kv != KvType::F32 && span == Span::FULL && Whole::takes(heads) {
            for rows in self.rows {
                let of = |width: usize| rows.start * width..rows.end * width;
                let (queries, keys) = (of(heads.count * heads.dim), of(width));
                let qkv = [&q[queries.clone()], &k[keys.clone()], &v[keys]];
                self.whole.attend(machine, heads, qkv, &mut out[queries]);
            }
            return;
        }
        let fits = |memory: &Memory| memory.has(heads.kv, heads.dim);
        let mut memory = self
            .memory
            .take()
            .filter(fits)
            .unwrap_or_else(|| Memory::new(KvType::F32, 1, heads.kv, heads.dim, &self.places));
        for (rows, &place) in self.rows.iter().zip(&self.places) {
            let numbers = rows.start * width..rows.end * width;
            memory.write(machine, 0, place, &k[numbers.clone()], &v[numbers]);
        }
        attend(machine, heads, q, &InMemory { sources: self, memory: &memory, span }, out);
        self.memory = Some(memory);
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
            let first = self.rows[self.of_row[row]].start;
            conv.convolve(machine, (first..=row).map(x), &bcx[(3 * row + 1) * dim..][..dim], out);
        }
    }
}

/// The source of each row, whole.
struct InMemory<'a> {
    sources: &'a Sources<'a>,
    memory: &'a Memory,
    span: Span,
}

impl Pasts for InMemory<'_> {
    fn seen(&self, row: usize) -> Range<usize> {
        let source = &self.sources.rows[self.sources.of_row[row]];
        self.span.of(row - source.start, source.len())
    }

    fn same(&self, row: usize, other: usize) -> bool {
        self.sources.of_row[row] == self.sources.of_row[other]
    }

    fn blocks(&self, row: usize, head: usize, positions: Range<usize>) -> impl Iterator<Item = Block<'_>> + Clone {
        let place = self.sources.places[self.sources.of_row[row]];
        std::iter::once(self.memory.block(0, place, head, positions))
    }
}

/// Encodes `sources` (tokens checked by the caller) into `scratch.x`, `[total tokens, dim]`, and returns each source's
/// rows. Where `kv` is not float32, rows attend to each other by products of 8 bits.
/// Asks `cancel` before each layer.
#[allow(clippy::too_many_arguments, reason = "what a pass runs on, and where")]
pub(crate) fn encode(
    machine: Machine<'_>,
    embedding: &Embedding,
    stack: &StackPlan,
    dim: usize,
    sources: &[&[Token]],
    kv: KvType,
    scratch: &mut Scratch,
    cancel: &Cancel,
) -> Result<Vec<Range<usize>>> {
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
    run_layers(machine, stack, dim, &ranges, kv, scratch, cancel)?;
    Ok(ranges)
}

/// The same of `frames` (`[features, count]`, checked by the caller), one source.
#[allow(clippy::too_many_arguments, reason = "what a pass runs on, and where")]
pub(crate) fn encode_frames(
    machine: Machine<'_>,
    stem: &Stem,
    stack: &StackPlan,
    dim: usize,
    frames: &[f32],
    kv: KvType,
    scratch: &mut Scratch,
    cancel: &Cancel,
) -> Result<Range<usize>> {
    let rows = Stem::rows(frames.len() / stem.features());
    let Scratch { x, activations, stem: stem_scratch, .. } = &mut *scratch;
    stem.forward(machine, frames, stem_scratch, activations, sized(x, rows * dim));
    let all = 0..rows;
    run_layers(machine, stack, dim, std::slice::from_ref(&all), kv, scratch, cancel)?;
    Ok(all)
}

/// Runs the layers over `scratch.x`, which has the rows of each source one after the other.
pub(crate) fn run_layers(
    machine: Machine<'_>,
    stack: &StackPlan,
    dim: usize,
    sources: &[Range<usize>],
    kv: KvType,
    scratch: &mut Scratch,
    cancel: &Cancel,
) -> Result<()> {
    let mut context = Sources::new(sources, kv);
    let rows = context.of_row.len();
    set_positions(&stack.ropes, scratch, sources.iter().flat_map(|source| 0..source.len()));
    for layer in &stack.layers {
        cancel.check()?;
        layer.forward(machine, &stack.ropes, scratch, rows, dim, &mut context);
    }
    if let Some(norm) = &stack.final_norm {
        scratch.normalize_stream(machine, norm, rows * dim);
    }
    Ok(())
}
