//! Linear maps over weights of any encoding.

use std::sync::Arc;

use super::Machine;
use crate::Result;
use crate::kernels::ActivationsView;
use crate::quant::{BLOCK, BlockType, TILE_ROWS};
use crate::weights::{Encoding, Tensor, Weights};

/// A weight matrix `[rows, cols]`: mapped where its encoding can be computed on directly.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// float32 in the file.
    Mapped(Tensor),
    /// float16 or bfloat16 in the file, or unaligned: decoded once.
    Decoded { values: Vec<f32>, rows: usize, cols: usize },
    /// Packed blocks in the file.
    Packed(Tensor, BlockType),
}

impl Matrix {
    /// The matrix `name` of `weights`, `[rows, cols]`.
    pub(crate) fn load(weights: &Weights, name: &str, rows: usize, cols: usize) -> Result<Self> {
        let tensor = weights.expect(name, &[rows, cols])?;
        Ok(match tensor.encoding() {
            Encoding::Packed(block) => Self::Packed(tensor.clone(), block),
            _ if tensor.as_f32().is_some() => Self::Mapped(tensor.clone()),
            _ => Self::Decoded { values: tensor.to_f32(), rows, cols },
        })
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Decoded { rows, .. } => *rows,
            Self::Mapped(tensor) | Self::Packed(tensor, _) => tensor.shape()[0],
        }
    }

    pub(crate) fn cols(&self) -> usize {
        match self {
            Self::Decoded { cols, .. } => *cols,
            Self::Mapped(tensor) | Self::Packed(tensor, _) => tensor.shape()[1],
        }
    }

    fn as_f32(&self) -> Option<&[f32]> {
        match self {
            Self::Mapped(tensor) => tensor.as_f32(),
            Self::Decoded { values, .. } => Some(values),
            Self::Packed(..) => None,
        }
    }

    /// Writes row `row`, dequantised, to `out` (`[cols]`).
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Packed(tensor, _) => crate::quant::dequantize_row(tensor.as_packed().expect("packed"), row, out),
            _ => out.copy_from_slice(&self.as_f32().expect("float32")[row * out.len()..][..out.len()]),
        }
    }
}

/// The input of linear maps: float32 rows, and the same rows quantised where a packed matrix asks for it.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Activations {
    /// Quantises `x` (`[rows, cols]`) if any of `users` computes with int8, and returns the input to give them.
    pub(crate) fn prepare<'a>(
        &'a mut self,
        machine: Machine<'_>,
        x: &'a [f32],
        cols: usize,
        users: &[&Linear],
    ) -> Input<'a> {
        let quantised = users.iter().any(|linear| matches!(*linear.weight, Matrix::Packed(..))).then(|| {
            let blocks = x.len() / BLOCK;
            self.quants.resize(x.len(), 0);
            self.scales.resize(blocks, 0.0);
            self.sums.resize(blocks, 0);
            let per_row = cols / BLOCK;
            for (row, x) in x.chunks_exact(cols).enumerate() {
                (machine.kernels.quantize_row)(
                    x,
                    &mut self.quants[row * cols..][..cols],
                    &mut self.scales[row * per_row..][..per_row],
                    &mut self.sums[row * per_row..][..per_row],
                );
            }
            ActivationsView {
                rows: x.len() / cols,
                cols,
                quants: &self.quants[..x.len()],
                scales: &self.scales[..blocks],
                sums: &self.sums[..blocks],
            }
        });
        Input { x, quantised }
    }
}

/// Rows ready for [`Linear::forward`].
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    x: &'a [f32],
    quantised: Option<ActivationsView<'a>>,
}

/// y = W x + b.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Arc<Matrix>,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    pub(crate) fn new(weight: Arc<Matrix>, bias: Option<Vec<f32>>) -> Self {
        Self { weight, bias }
    }

    /// `prefix.weight` `[rows, cols]`, and `prefix.bias` `[rows]` where there should be one.
    pub(crate) fn load(weights: &Weights, prefix: &str, rows: usize, cols: usize, bias: bool) -> Result<Self> {
        let weight = Matrix::load(weights, &format!("{prefix}.weight"), rows, cols)?;
        let load = || Ok(weights.expect(&format!("{prefix}.bias"), &[rows])?.to_f32());
        Ok(Self::new(Arc::new(weight), bias.then(load).transpose()?))
    }

    /// Writes the map of `input` (`[m, cols]`) to `out` (`[m, rows]`).
    pub(crate) fn forward(&self, machine: Machine<'_>, input: Input<'_>, out: &mut [f32]) {
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let bias = self.bias.as_deref();
        if let Matrix::Packed(tensor, block) = &*self.weight {
            let view = tensor.as_packed().expect("packed");
            let x = input.quantised.expect("prepared for this map");
            let gemm = match block {
                BlockType::Q8_0 => machine.kernels.gemm_q8_0,
                BlockType::Q4_0 => machine.kernels.gemm_q4_0,
                _ => unreachable!("has no packed form yet"),
            };
            machine.pool.columns(out, rows, TILE_ROWS, &|mut out| gemm(view, x, bias, &mut out));
        } else {
            let w = self.weight.as_f32().expect("float32");
            machine.pool.columns(out, rows, TILE_ROWS, &|mut out| {
                (machine.kernels.gemm_f32)(w, cols, input.x, bias, &mut out);
            });
        }
    }
}
