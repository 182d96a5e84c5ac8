//! Normalisation of rows.

use super::{Machine, for_rows};
use crate::Result;
use crate::spec::Norm as Spec;
use crate::weights::Weights;

/// From so many values on, threads may share a norm.
const SHARED_VALUES: usize = 8192;

/// A norm and its parameters, `[dim]` each.
#[derive(Debug)]
pub(crate) enum Norm {
    Layer { weight: Vec<f32>, bias: Vec<f32>, eps: f32 },
    Rms { weight: Vec<f32>, eps: f32 },
}

impl Norm {
    /// `prefix.weight`, and `prefix.bias` where the norm has one.
    pub(crate) fn load(weights: &Weights, prefix: &str, dim: usize, spec: Spec) -> Result<Self> {
        let load = |name: &str| Ok(weights.expect(&format!("{prefix}.{name}"), &[dim])?.to_f32());
        Ok(match spec {
            Spec::Layer { eps } => Self::Layer { weight: load("weight")?, bias: load("bias")?, eps },
            Spec::Rms { eps, offset } => {
                let mut weight = load("weight")?;
                weight.iter_mut().for_each(|weight| *weight += offset);
                Self::Rms { weight, eps }
            }
        })
    }

    fn dim(&self) -> usize {
        match self {
            Self::Layer { weight, .. } | Self::Rms { weight, .. } => weight.len(),
        }
    }

    /// Normalises each row of `x` (`[rows, dim]`) into `out`.
    pub(crate) fn forward(&self, machine: Machine<'_>, x: &[f32], out: &mut [f32]) {
        let dim = self.dim();
        let rows = |x: &[f32], out: &mut [f32]| {
            for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                match self {
                    Self::Layer { weight, bias, eps } => (machine.kernels.layer_norm)(x, weight, bias, *eps, out),
                    Self::Rms { weight, eps } => (machine.kernels.rms_norm)(x, weight, *eps, out),
                }
            }
        };
        // Rows of heads are many and small.
        if x.len() < SHARED_VALUES {
            return rows(x, out);
        }
        for_rows(machine, &mut out[..x.len()], dim, &|range, out| rows(&x[range.start * dim..range.end * dim], out));
    }
}
