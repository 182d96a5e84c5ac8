//! Chunks of a prompt on an accelerator: what the layers of a decoder would compute of them.
//!
//! ```text
//! rows, past of the cache --> inputs of fixed shape --> accelerator --> rows after the last layer; keys and values -> cache
//! ```

use std::sync::Arc;

use super::{Offload, Ran, Report, Skipped, Subgraph, Trial, UNSEEN, growths, key_widths, spans, tested};
use crate::kernels::Kernels;
use crate::ops::Rotations;
use crate::plan::DecoderPlan;
use crate::session::Sequence;
use crate::spec::Span;
use crate::{Cancel, Result};

/// Tokens that are computed at once.
const CHUNKS: [usize; 2] = [128, 256];
/// Positions before them: what is longer is left to the CPU.
const PASTS: [usize; 3] = [0, 512, 2048];
/// Fewer tokens are not worth a chunk.
const LEAST: usize = 64;

/// What takes over the prompts of a session.
pub(crate) struct Prefill {
    offload: Arc<Offload>,
    plan: Arc<DecoderPlan>,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl std::fmt::Debug for Prefill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefill").field("offload", &self.offload).finish_non_exhaustive()
    }
}

/// What became of a step's tokens.
#[derive(Default)]
pub(crate) struct Filled {
    /// Of so many, the first, the layers' work is done: the stream is there, and the cache has their keys and values.
    pub(crate) done: usize,
    /// A test of so many that follow.
    pub(crate) trial: Option<(Trial, usize)>,
}

impl Prefill {
    pub(crate) fn new(offload: Arc<Offload>, plan: Arc<DecoderPlan>) -> Self {
        Self { offload, plan, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// What ran where so far.
    pub(crate) fn report(&self) -> Report {
        self.offload.report()
    }

    /// Whether `rows` tokens of one text after `past` others are for the accelerator.
    pub(crate) fn takes(&self, rows: usize, past: usize) -> bool {
        // One token is text that is generated.
        if rows < 2 || self.offload.is_over() {
            return false;
        }
        let skipped = match rows {
            _ if rows < LEAST => Some(Skipped::TooShort),
            _ if past + rows > PASTS[PASTS.len() - 1] => Some(Skipped::TooLong),
            _ => None,
        };
        skipped.map(|why| self.offload.skip(why)).is_none()
    }

    /// Runs the layers over `x` (`[rows, dim]`, the embedded tokens) of a sequence that has made room for them, as far as it
    /// can.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`]: `cancel` is asked before each chunk.
    pub(crate) fn run(
        &mut self,
        kernels: &Kernels,
        sequence: &mut Sequence,
        x: &mut [f32],
        cancel: &Cancel,
    ) -> Result<Filled> {
        let dim = self.plan.spec().stack.dim;
        let rows = x.len() / dim;
        let first = sequence.cache.positions() - rows;
        let most = CHUNKS[CHUNKS.len() - 1];
        for start in (0..rows).step_by(most) {
            cancel.check()?;
            let count = most.min(rows - start);
            let past = first + start;
            let size = |sizes: &[usize], least: usize| sizes.iter().copied().find(|&size| size >= least);
            let (Some(chunk), Some(room)) = (size(&CHUNKS, count), size(&PASTS, past)) else {
                return Ok(Filled { done: start, trial: None });
            };
            let subgraph = Subgraph::Prefill { plan: self.plan.clone(), chunk, past: room };
            let x = &mut x[start * dim..][..count * dim];
            let embedded = x.to_vec();
            let ran = tested(|| {
                self.fill_in(sequence, &embedded, past, chunk, room);
                let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
                let ran = self.offload.run(&subgraph, &inputs, &mut self.outputs, cancel);
                if !matches!(ran, Ran::Cpu) {
                    x.copy_from_slice(&self.outputs[0][..count * dim]);
                    self.write_back(kernels, sequence, past, count);
                }
                ran
            });
            match ran {
                Ran::Device => {}
                Ran::Cpu => return Ok(Filled { done: start, trial: None }),
                Ran::Trial(trial) => return Ok(Filled { done: start, trial: Some((trial, count)) }),
            }
        }
        Ok(Filled { done: rows, trial: None })
    }

    /// Writes the keys and values of the `count` tokens of a chunk at position `past` to the cache.
    fn write_back(&self, kernels: &Kernels, sequence: &mut Sequence, past: usize, count: usize) {
        for (layer, width) in key_widths(&self.plan.spec().stack.layers).enumerate() {
            let [keys, values] = [1, 2].map(|i| &self.outputs[2 * layer + i]);
            for i in 0..count {
                let row = i * width..(i + 1) * width;
                sequence.cache.write(kernels, layer, past + i, [&keys[row.clone()], &values[row]]);
            }
        }
    }

    /// The inputs of a chunk at position `past`, in the order of [`Subgraph::inputs`].
    fn fill_in(&mut self, sequence: &Sequence, x: &[f32], past: usize, chunk: usize, room: usize) {
        let stack = &self.plan.spec().stack;
        let count = x.len() / stack.dim;
        let inputs = &mut self.inputs;
        inputs.clear();
        let mut rows = x.to_vec();
        rows.resize(chunk * stack.dim, 0.0);
        inputs.push(rows);
        inputs.extend(spans(&stack.layers).into_iter().map(|span| seen(span, past, count, chunk, room)));
        for rope in &self.plan.parts.stack.ropes {
            let mut rotations = Rotations::default();
            // Rows that are filled up have positions, too, and nobody looks at them.
            rope.rotations(past..past + chunk, &mut rotations);
            let (cos, sin) = rotations.into_parts();
            inputs.extend([cos, sin]);
        }
        for growth in growths(&stack.layers) {
            inputs.push((past..past + chunk).map(|position| growth.at(position)).collect());
        }
        if room > 0 {
            for (layer, width) in key_widths(&stack.layers).enumerate() {
                let (mut keys, mut values) = (vec![0.0; room * width], vec![0.0; room * width]);
                sequence.cache.read(layer, past, &mut keys, &mut values);
                inputs.extend([keys, values]);
            }
        }
    }
}

/// What each row of a chunk sees of the past and of the chunk, `[chunk, room + chunk]`: `count` rows are tokens, and `past`
/// of the `room` positions exist.
fn seen(span: Span, past: usize, count: usize, chunk: usize, room: usize) -> Vec<f32> {
    let width = room + chunk;
    let mut seen = vec![UNSEEN; chunk * width];
    for (row, seen) in seen.chunks_exact_mut(width).enumerate() {
        if row >= count {
            // It has to see something, or its numbers would not be finite.
            seen[room + row] = 0.0;
            continue;
        }
        for position in span.of(past + row, past + count) {
            seen[if position < past { position } else { room + position - past }] = 0.0;
        }
    }
    seen
}
