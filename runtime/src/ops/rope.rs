//! Rotary positions: tables of sines and cosines for the rows of a step, and their use.

use super::{Machine, for_rows};
use crate::spec::{Pairing, Rope as Spec};

/// The rotations of some layers.
#[derive(Debug)]
pub(crate) struct Rope {
    spec: Spec,
    /// Angle of each pair from one position to the next, `[pairs]`.
    frequencies: Vec<f32>,
    /// Multiplies sine and cosine.
    magnitude: f32,
}

/// Cosines and sines of the rows of a step: `[rows][pairs]` each.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotations {
    /// Cosines and sines.
    pub(crate) fn into_parts(self) -> (Vec<f32>, Vec<f32>) {
        (self.cos, self.sin)
    }
}

impl Rope {
    pub(crate) fn new(spec: &Spec) -> Self {
        let (frequencies, magnitude) = spec.frequencies();
        Self { spec: spec.clone(), frequencies, magnitude }
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Fills `rotations` for rows at `positions`.
    ///
    /// The angle is rounded to float32, as in transformers; its sine and cosine are those of that angle.
    pub(crate) fn rotations(&self, positions: impl Iterator<Item = usize>, rotations: &mut Rotations) {
        let Rotations { cos, sin } = rotations;
        cos.clear();
        sin.clear();
        for position in positions {
            for frequency in &self.frequencies {
                let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                cos.push(c as f32 * self.magnitude);
                sin.push(s as f32 * self.magnitude);
            }
        }
    }

    /// Rotates the heads of each row of `x` (`[rows, heads, head_dim]`) in place.
    pub(crate) fn rotate(&self, machine: Machine<'_>, rotations: &Rotations, x: &mut [f32], head_dim: usize) {
        let (pairs, pairing) = (self.frequencies.len(), self.spec.pairing);
        if rotations.cos.is_empty() {
            return;
        }
        let rows = rotations.cos.len() / pairs;
        for_rows(machine, x, x.len() / rows, &|rows, x| {
            for (row, x) in rows.clone().zip(x.chunks_exact_mut(x.len() / rows.len())) {
                let (cos, sin) = (&rotations.cos[row * pairs..][..pairs], &rotations.sin[row * pairs..][..pairs]);
                for head in x.chunks_exact_mut(head_dim) {
                    match pairing {
                        Pairing::Halves => (machine.kernels.rotate_halves)(&mut head[..2 * pairs], cos, sin),
                        Pairing::Interleaved => (machine.kernels.rotate_pairs)(&mut head[..2 * pairs], cos, sin),
                    }
                }
            }
        });
    }
}
