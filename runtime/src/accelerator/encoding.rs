//! Sources of an encoder-decoder on an accelerator: what the encoder would compute of them, and the decoder's keys and values.

use std::sync::Arc;

use super::{Offload, Ran, Skipped, Subgraph, UNSEEN, tested};
use crate::ops::Stem;
use crate::plan::{EncoderDecoderPlan, EncoderInput};
use crate::{Cancel, Token};

/// Tokens of a source that are encoded at once: longer ones are left to the CPU.
const LENGTHS: [usize; 4] = [32, 64, 128, 256];

/// What takes over the encoder of a session.
pub(crate) struct Encoding {
    offload: Arc<Offload>,
    plan: Arc<EncoderDecoderPlan>,
    outputs: Vec<Vec<f32>>,
}

impl Encoding {
    pub(crate) fn new(offload: Arc<Offload>, plan: Arc<EncoderDecoderPlan>) -> Self {
        Self { offload, plan, outputs: Vec::new() }
    }

    /// Encodes `frames` (`[features, count]`, checked by the caller): in a quarter, half or the whole of the window that the
    /// model was made for. Hands what comes out to `take`: see [`Encoding::tokens`].
    pub(crate) fn frames(&mut self, frames: &[f32], cancel: &Cancel, mut take: impl FnMut(&[Vec<f32>])) -> Ran {
        let EncoderInput::Frames(stem) = &self.plan.encoder.input else { return Ran::Cpu };
        let (features, most) = (stem.features(), self.plan.spec().encoder.max_positions);
        let count = frames.len() / features;
        let rows = Stem::rows(count);
        let size = [most.div_ceil(4), most.div_ceil(2), most].into_iter().find(|&size| size >= rows);
        let Some(positions) = size else { return self.too_long() };
        let subgraph = Subgraph::Encoder { plan: self.plan.clone(), positions };
        tested(|| {
            let mut padded = vec![0.0; features * 2 * positions];
            for (to, from) in padded.chunks_exact_mut(2 * positions).zip(frames.chunks_exact(count)) {
                to[..count].copy_from_slice(from);
            }
            let sound: Vec<f32> = (0..2 * positions).map(|frame| f32::from(u8::from(frame < count))).collect();
            let inputs: [&[f32]; 3] = [&padded, &sound, &seen(rows, positions)];
            let ran = self.offload.run(&subgraph, &inputs, &mut self.outputs, cancel);
            if !matches!(ran, Ran::Cpu) {
                take(&self.outputs);
            }
            ran
        })
    }

    /// Encodes a source of `tokens`, checked by the caller. Hands what comes out to `take`, at a test more than once: for each
    /// layer of the decoder keys and values, `[positions, dim]`, of which the first positions are the source's.
    pub(crate) fn tokens(&mut self, tokens: &[Token], cancel: &Cancel, mut take: impl FnMut(&[Vec<f32>])) -> Ran {
        let EncoderInput::Tokens(embedding) = &self.plan.encoder.input else { return Ran::Cpu };
        let spec = &self.plan.spec().encoder;
        let most = spec.max_positions;
        let size = LENGTHS.into_iter().map(|length| length.min(most)).find(|&length| length >= tokens.len());
        let Some(positions) = size else { return self.too_long() };
        let subgraph = Subgraph::Encoder { plan: self.plan.clone(), positions };
        tested(|| {
            let mut rows = vec![0.0; positions * spec.dim];
            for ((position, &token), row) in tokens.iter().enumerate().zip(rows.chunks_exact_mut(spec.dim)) {
                embedding.embed(token, position, row);
            }
            let inputs: [&[f32]; 2] = [&rows, &seen(tokens.len(), positions)];
            let ran = self.offload.run(&subgraph, &inputs, &mut self.outputs, cancel);
            if !matches!(ran, Ran::Cpu) {
                take(&self.outputs);
            }
            ran
        })
    }

    fn too_long(&self) -> Ran {
        self.offload.skip(Skipped::TooLong);
        Ran::Cpu
    }
}

/// `[1, positions]`: the first `rows` are seen.
fn seen(rows: usize, positions: usize) -> Vec<f32> {
    (0..positions).map(|position| if position < rows { 0.0 } else { UNSEEN }).collect()
}
