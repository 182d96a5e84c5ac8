//! Normalisation of rows.

use super::Machine;
use crate::Result;
use crate::spec::Norm;
use crate::weights::Weights;

/// Layer normalisation with weight and bias.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// `prefix.weight` and `prefix.bias`, `[dim]` each.
    pub(crate) fn load(weights: &Weights, prefix: &str, dim: usize, norm: Norm) -> Result<Self> {
        let Norm::Layer { eps } = norm;
        let load = |name: &str| Ok(weights.expect(&format!("{prefix}.{name}"), &[dim])?.to_f32());
        Ok(Self { weight: load("weight")?, bias: load("bias")?, eps })
    }

    /// Normalises each row of `x` (`[rows, dim]`) into `out`.
    pub(crate) fn forward(&self, machine: Machine<'_>, x: &[f32], out: &mut [f32]) {
        let dim = self.weight.len();
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            (machine.kernels.layer_norm)(x, &self.weight, &self.bias, self.eps, out);
        }
    }
}
