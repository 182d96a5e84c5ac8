//! Token embeddings with positions added.

use super::Matrix;
use crate::Token;
use crate::spec::{Pairing, Position, StackSpec};

/// Turns tokens into rows of the residual stream.
#[derive(Debug)]
pub(crate) struct Embedding {
    scale: f32,
    /// `[max_positions, dim]`, or empty where positions are not told here.
    positions: Vec<f32>,
    dim: usize,
}

impl Embedding {
    pub(crate) fn new(spec: &StackSpec) -> Self {
        Self { scale: spec.embed_scale, positions: positions(spec), dim: spec.dim }
    }

    /// Writes `scale * matrix[token] + position` to `out` (`[dim]`).
    pub(crate) fn embed(&self, matrix: &Matrix, token: Token, position: usize, out: &mut [f32]) {
        matrix.row(token as usize, out);
        if self.positions.is_empty() {
            if self.scale != 1.0 {
                out.iter_mut().for_each(|x| *x *= self.scale);
            }
            return;
        }
        for (x, p) in out.iter_mut().zip(&self.positions[position * self.dim..]) {
            *x = x.mul_add(self.scale, *p);
        }
    }
}

/// The position table `[max_positions, dim]`, computed in float64 as the reference implementation does.
fn positions(spec: &StackSpec) -> Vec<f32> {
    let Position::Sinusoid { base, pairing, first } = spec.position else { return Vec::new() };
    let half = spec.dim / 2;
    let mut table = Vec::with_capacity(spec.max_positions * spec.dim);
    for position in first..first + spec.max_positions {
        let angle = |i: usize| position as f64 / f64::from(base).powf((2 * i) as f64 / spec.dim as f64);
        match pairing {
            Pairing::Halves => {
                table.extend((0..half).map(|i| angle(i).sin() as f32));
                table.extend((0..half).map(|i| angle(i).cos() as f32));
            }
            Pairing::Interleaved => {
                table.extend((0..half).flat_map(|i| [angle(i).sin() as f32, angle(i).cos() as f32]));
            }
        }
    }
    table
}
