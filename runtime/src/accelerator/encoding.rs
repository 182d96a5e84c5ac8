//! Sources of an encoder-decoder on an accelerator: what the encoder would compute of them, and the decoder's keys and values.

use std::sync::Arc;

use super::{Offload, Ran, Subgraph, UNSEEN};
use crate::Token;
use crate::ops::Stem;
use crate::plan::{EncoderDecoderPlan, EncoderInput};

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
    /// model was made for.
    pub(crate) fn frames(&mut self, frames: &[f32]) -> Ran {
        let EncoderInput::Frames(stem) = &self.plan.encoder.input else { return Ran::Cpu };
        let (features, most) = (stem.features(), self.plan.spec().encoder.max_positions);
        let count = frames.len() / features;
        let rows = Stem::rows(count);
        let size = [most.div_ceil(4), most.div_ceil(2), most].into_iter().find(|&size| size >= rows);
        let Some(positions) = size else { return Ran::Cpu };
        let mut padded = vec![0.0; features * 2 * positions];
        for (to, from) in padded.chunks_exact_mut(2 * positions).zip(frames.chunks_exact(count)) {
            to[..count].copy_from_slice(from);
        }
        let sound: Vec<f32> = (0..2 * positions).map(|frame| f32::from(u8::from(frame < count))).collect();
        let subgraph = Subgraph::Encoder { plan: self.plan.clone(), positions };
        self.offload.run(&subgraph, &[&padded, &sound, &seen(rows, positions)], &mut self.outputs)
    }

    /// Encodes a source of `tokens`, checked by the caller.
    pub(crate) fn tokens(&mut self, tokens: &[Token]) -> Ran {
        let EncoderInput::Tokens(embedding) = &self.plan.encoder.input else { return Ran::Cpu };
        let spec = &self.plan.spec().encoder;
        let most = spec.max_positions;
        let size = LENGTHS.into_iter().map(|length| length.min(most)).find(|&length| length >= tokens.len());
        let Some(positions) = size else { return Ran::Cpu };
        let mut rows = vec![0.0; positions * spec.dim];
        for ((position, &token), row) in tokens.iter().enumerate().zip(rows.chunks_exact_mut(spec.dim)) {
            embedding.embed(token, position, row);
        }
        let subgraph = Subgraph::Encoder { plan: self.plan.clone(), positions };
        self.offload.run(&subgraph, &[&rows, &seen(tokens.len(), positions)], &mut self.outputs)
    }

    /// The keys and values of each layer, of the source that was encoded last: `[positions, dim]`, of which the first are its.
    pub(crate) fn layers(&self) -> impl Iterator<Item = [&[f32]; 2]> {
        self.outputs.as_chunks::<2>().0.iter().map(|[keys, values]| [keys.as_slice(), values])
    }
}

/// `[1, positions]`: the first `rows` are seen.
fn seen(rows: usize, positions: usize) -> Vec<f32> {
    (0..positions).map(|position| if position < rows { 0.0 } else { UNSEEN }).collect()
}
