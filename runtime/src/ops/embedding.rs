//! Token embeddings with positions added.

use std::sync::Arc;

use super::Matrix;
use crate::plan::Loader;
use crate::spec::{Pairing, Position, Role, Stack, StackSpec};
use crate::{Result, Token};

/// Turns tokens into rows of the residual stream.
#[derive(Debug)]
pub(crate) struct Embedding {
    pub(crate) matrix: Arc<Matrix>,
    scale: f32,
    /// `[max_positions, dim]`, or empty where positions are not told here.
    positions: Vec<f32>,
    dim: usize,
}

impl Embedding {
    /// That of a stack of tokens. `shared` is its matrix where another stack has the same.
    pub(crate) fn load(
        loader: Loader<'_>,
        stack: Stack,
        spec: &StackSpec,
        shared: Option<Arc<Matrix>>,
    ) -> Result<Self> {
        let matrix = match shared {
            Some(matrix) => matrix,
            None => loader.matrix(Role::Embedding(stack), spec.vocab(), spec.dim)?,
        };
        let positions = loader.positions(stack, spec)?;
        Ok(Self { matrix, scale: spec.embed_scale(), positions, dim: spec.dim })
    }

    /// Writes `scale * matrix[token] + position` to `out` (`[dim]`).
    pub(crate) fn embed(&self, token: Token, position: usize, out: &mut [f32]) {
        self.matrix.row(token as usize, out);
        if self.positions.is_empty() {
            if self.scale != 1.0 {
                out.iter_mut().for_each(|x| *x *= self.scale);
            }
            return;
        }
        for (x, p) in out.iter_mut().zip(&self.positions[position * self.dim..]) {
            // Not fused: this is not compiled for an instruction set, and a fused operation would be a call of the C library.
            *x = *x * self.scale + p;
        }
    }
}

/// The table of positions that is added to the rows of a stack, `[max_positions, dim]`, or nothing. Sinusoids are computed
/// in float64 as the reference implementation does.
pub(crate) fn positions(spec: &StackSpec, learned: Vec<f32>) -> Vec<f32> {
    let (base, pairing, first) = match spec.position {
        Position::None => return Vec::new(),
        Position::Learned => return learned,
        Position::Sinusoid { base, pairing, first } => (base, pairing, first),
    };
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
