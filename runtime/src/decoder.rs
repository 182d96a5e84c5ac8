//! The forward pass of a decoder: new tokens of any number of sequences in one pass over the weights, each attending
//! to its own past.

use std::ops::Range;

use crate::accelerator::{Filled, Prefill};
use crate::layer::{Attention, Context, Scratch, set_positions, sized};
use crate::model::{Logits, Row};
use crate::ops::{Block, Heads, Machine, Partial, Pasts, ShortConv, attend, attend_part, attention_weights, parts};
use crate::plan::DecoderParts;
use crate::session::{Sequence, Source};
use crate::spec::{DecoderSpec, Span};
use crate::{Cancel, Result, Token};

/// The rows of one step: which sequence and position each belongs to.
struct Rows<'a, 'r, 'w> {
    rows: &'a mut [Row<'r, Sequence>],
    /// Sequence and position of each row of the residual stream.
    at: &'a [(usize, usize)],
    layer: usize,
    /// For attention that threads share.
    partials: &'a mut Vec<f32>,
    watched: Option<&'a mut Watched<'w>>,
}

/// Heads of the attention to the source that somebody wants to look at.
pub(crate) struct Watched<'a> {
    /// Layer and head.
    pub(crate) heads: &'a [[usize; 2]],
    /// What each row gives each position of the source, `[heads][rows][positions]`.
    pub(crate) weights: Vec<f32>,
}

/// From so many pairs of a row and a head of keys on, each is computed by one thread.
pub(crate) const MANY_ITEMS: usize = 64;

/// What a decoder's step needs beside [`Scratch`].
#[derive(Debug, Default)]
pub(crate) struct StepScratch {
    /// Sequence and position of each row of the residual stream.
    at: Vec<(usize, usize)>,
    partials: Vec<f32>,
    /// What takes prompts over from the layers.
    pub(crate) prefill: Option<Prefill>,
}

impl Context for Rows<'_, '_, '_> {
    fn attend_self(&mut self, machine: Machine<'_>, attention: &Attention, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let Attention { heads, span, .. } = *attention;
        let (layer, at) = (self.layer, self.at);
        let width = heads.kv * heads.dim;
        for (i, &(sequence, position)) in at.iter().enumerate() {
            let cache = &mut self.rows[sequence].state.cache;
            cache.write(machine.kernels, layer, position, [&k[i * width..][..width], &v[i * width..][..width]]);
        }
        let pasts = &OwnPast { rows: self.rows, at, layer, span };
        let group = heads.group() * heads.dim;
        let items = at.len() * heads.kv;
        let most = (0..at.len()).map(|row| parts(pasts.seen(row)).len()).max().unwrap_or(0);
        if most == 1 || items >= MANY_ITEMS {
            attend(machine, heads, q, pasts, out);
            return;
        }
        // Few rows and a long past: threads share it. The same parts, merged in the same order.
        let len = Partial::len(heads);
        let partials = sized(self.partials, items * most * len);
        machine.team.rows(partials, len, &|numbers, partials| {
            for (number, partial) in numbers.zip(partials.chunks_exact_mut(len)) {
                let (item, part) = (number / most, number % most);
                let place = (item / heads.kv, item % heads.kv);
                if let Some(part) = parts(pasts.seen(place.0)).nth(part) {
                    let partial = &mut Partial::new(heads, partial);
                    attend_part(machine.kernels, heads, &q[item * group..][..group], pasts, place, part, partial);
                }
            }
        });
        for (item, (out, partials)) in
            out.chunks_exact_mut(group).zip(partials.chunks_exact_mut(most * len)).enumerate()
        {
            let count = parts(pasts.seen(item / heads.kv)).len();
            let mut found = partials.chunks_exact_mut(len).take(count).map(|partial| Partial::new(heads, partial));
            let mut all = found.next().expect("a row sees itself");
            found.for_each(|next| all.merge(machine.kernels, heads.dim, &next));
            all.finish(machine.kernels, heads.dim, 0, out);
        }
    }

    fn attend_memory(&mut self, machine: Machine<'_>, attention: &Attention, q: &[f32], out: &mut [f32]) {
        let sources = Sources { rows: self.rows, at: self.at, layer: self.layer };
        if let Some(watched) = &mut self.watched {
            watched.look(machine, attention.heads, q, &sources);
        }
        attend(machine, attention.heads, q, &sources, out);
    }

    fn convolve(&mut self, machine: Machine<'_>, conv: &ShortConv, bcx: &mut [f32], out: &mut [f32]) {
        let (layer, dim) = (self.layer, out.len() / self.at.len());
        for (bcx, &(sequence, position)) in bcx.chunks_exact_mut(3 * dim).zip(self.at) {
            let (b, cx) = bcx.split_at_mut(dim);
            (machine.kernels.multiply)(b, &mut cx[dim..]);
            self.rows[sequence].state.cache.write(machine.kernels, layer, position, [&cx[dim..]]);
        }
        let reach = conv.kernel.len() / dim - 1;
        for ((bcx, out), &(sequence, position)) in bcx.chunks_exact(3 * dim).zip(out.chunks_exact_mut(dim)).zip(self.at)
        {
            let cache = &self.rows[sequence].state.cache;
            let past = (position.saturating_sub(reach)..position + 1).map(|position| cache.row(layer, position));
            conv.convolve(machine, past, &bcx[dim..2 * dim], out);
        }
    }
}

/// What each row has seen of its own sequence, itself included.
struct OwnPast<'a, 'r> {
    rows: &'a [Row<'r, Sequence>],
    at: &'a [(usize, usize)],
    layer: usize,
    span: Span,
}

impl Pasts for OwnPast<'_, '_> {
    fn seen(&self, row: usize) -> Range<usize> {
        let (sequence, position) = self.at[row];
        self.span.of(position, self.rows[sequence].state.cache.positions())
    }

    fn same(&self, row: usize, other: usize) -> bool {
        self.at[row].0 == self.at[other].0
    }

    fn blocks(&self, row: usize, head: usize, positions: Range<usize>) -> impl Iterator<Item = Block<'_>> + Clone {
        self.rows[self.at[row].0].state.cache.blocks(self.layer, head, positions)
    }
}

/// The source of each row's sequence.
struct Sources<'a, 'r> {
    rows: &'a [Row<'r, Sequence>],
    at: &'a [(usize, usize)],
    layer: usize,
}

impl Sources<'_, '_> {
    fn of(&self, row: usize) -> &Source {
        &self.rows[self.at[row].0].state.source
    }
}

impl Pasts for Sources<'_, '_> {
    fn seen(&self, row: usize) -> Range<usize> {
        0..self.of(row).positions
    }

    fn same(&self, row: usize, other: usize) -> bool {
        self.of(row).is(self.of(other))
    }

    fn blocks(&self, row: usize, head: usize, positions: Range<usize>) -> impl Iterator<Item = Block<'_>> + Clone {
        std::iter::once(self.of(row).block(self.layer, head, positions))
    }
}

impl Watched<'_> {
    /// Keeps the weights of this layer's heads. All rows have the same source.
    fn look(&mut self, machine: Machine<'_>, heads: Heads, q: &[f32], sources: &Sources<'_, '_>) {
        let (width, rows) = (heads.count * heads.dim, sources.at.len());
        let positions = sources.of(0).positions;
        let wanted = self.heads.iter().zip(self.weights.chunks_exact_mut(rows * positions));
        for (&[_, head], weights) in wanted.filter(|([layer, _], _)| *layer == sources.layer) {
            for (row, weights) in weights.chunks_exact_mut(positions).enumerate() {
                let q = &q[row * width + head * heads.dim..][..heads.dim];
                attention_weights(machine.kernels, heads, q, sources.blocks(row, head, 0..positions), weights);
            }
        }
    }
}

/// Writes the embedded `tokens` to `x`, `[tokens, dim]`; `at` says at which positions they are.
fn embed<'t>(parts: &DecoderParts, tokens: impl IntoIterator<Item = &'t Token>, at: &[(usize, usize)], x: &mut [f32]) {
    let dim = x.len() / at.len();
    for ((&token, &(_, position)), x) in tokens.into_iter().zip(at).zip(x.chunks_exact_mut(dim)) {
        parts.embedding.embed(token, position, x);
    }
}

/// Appends each row's tokens (checked by the caller) to its sequence, and leaves what comes before the output projection
/// in `scratch.x`, `[wanted, dim]`: the rows of the tokens whose logits are wanted. Returns how many that are. Asks `cancel`
/// before each layer; the sequences have forgotten the tokens then.
#[allow(clippy::too_many_arguments, reason = "what a pass runs on, and where")]
pub(crate) fn hidden(
    machine: Machine<'_>,
    parts: &DecoderParts,
    dim: usize,
    rows: &mut [Row<'_, Sequence>],
    step: &mut StepScratch,
    scratch: &mut Scratch,
    cancel: &Cancel,
    mut watched: Option<&mut Watched<'_>>,
) -> Result<usize> {
    let stack = &parts.stack;
    let StepScratch { at, partials, prefill } = step;
    at.clear();
    for (sequence, row) in rows.iter_mut().enumerate() {
        let first = row.state.cache.positions();
        row.state.cache.extend(row.tokens.len());
        at.extend((first..first + row.tokens.len()).map(|position| (sequence, position)));
    }
    let filled = match (&mut *rows, prefill, &watched) {
        ([Row { state, tokens, .. }], Some(prefill), None) if prefill.takes(tokens.len(), at[0].1) => {
            embed(parts, tokens.iter(), at, sized(&mut scratch.x, at.len() * dim));
            prefill.run(machine.kernels, state, &mut scratch.x[..at.len() * dim], cancel)
        }
        _ => Ok(Filled::default()),
    };
    let done = filled.and_then(|Filled { done, trial }| {
        let rest = &at[done..];
        if rest.is_empty() {
            return Ok(());
        }
        let first = scratch.x[..done * dim].to_vec();
        let mut run = || {
            let tokens = rows.iter().flat_map(|row| row.tokens).skip(done);
            embed(parts, tokens, rest, sized(&mut scratch.x, rest.len() * dim));
            set_positions(&stack.ropes, scratch, rest.iter().map(|&(_, position)| position));
            let watched = watched.as_deref_mut();
            let mut context = Rows { rows: &mut *rows, at: rest, layer: 0, partials, watched };
            for (index, layer) in stack.layers.iter().enumerate() {
                cancel.check()?;
                context.layer = index;
                layer.forward(machine, &stack.ropes, scratch, rest.len(), dim, &mut context);
            }
            Ok(())
        };
        match trial {
            Some((trial, count)) => trial.against_cpu(count, rest.len(), run),
            None => run(),
        }?;
        if done > 0 {
            let x = sized(&mut scratch.x, at.len() * dim);
            x.copy_within(..rest.len() * dim, done * dim);
            x[..done * dim].copy_from_slice(&first);
        }
        Ok(())
    });
    if let Err(error) = done {
        for Row { state, tokens, .. } in rows {
            state.cache.truncate(state.cache.positions() - tokens.len());
        }
        return Err(error);
    }
    // Only the tokens whose logits are wanted go on.
    let (mut end, mut wanted) = (0, 0);
    for row in rows.iter() {
        end += row.tokens.len();
        let count = row.want.rows(row.tokens.len());
        scratch.x.copy_within((end - count) * dim..end * dim, wanted * dim);
        wanted += count;
    }
    if let Some(norm) = &stack.final_norm {
        scratch.normalize_stream(machine, norm, wanted * dim);
    }
    Ok(wanted)
}

/// As [`hidden`], and the logits of those rows.
#[allow(clippy::too_many_arguments, reason = "what a pass runs on, and where")]
pub(crate) fn decode(
    machine: Machine<'_>,
    parts: &DecoderParts,
    spec: &DecoderSpec,
    rows: &mut [Row<'_, Sequence>],
    step: &mut StepScratch,
    scratch: &mut Scratch,
    cancel: &Cancel,
    logits: &mut Logits,
) -> Result<()> {
    let dim = spec.stack.dim;
    let wanted = if rows.is_empty() { 0 } else { hidden(machine, parts, dim, rows, step, scratch, cancel, None)? };
    let logits = logits.reset(wanted, spec.stack.vocab());
    if wanted == 0 {
        return Ok(());
    }
    let Scratch { x, activations, .. } = scratch;
    let input = activations.prepare(machine, &x[..wanted * dim], dim, &[&parts.output]);
    parts.output.forward(machine, input, logits);
    if spec.logit_scale != 1.0 {
        (machine.kernels.scale)(spec.logit_scale, logits);
    }
    if let Some(cap) = spec.logit_softcap {
        (machine.kernels.softcap)(cap, logits);
    }
    Ok(())
}
