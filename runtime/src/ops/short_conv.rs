//! LFM2's gated short convolution.

use super::{Linear, Machine};

/// The parameters of a short convolution, and its arithmetic for one row.
#[derive(Debug)]
pub(crate) struct ShortConv {
    /// h -> b, c, x: `[3 dim, dim]`.
    pub(crate) input: Linear,
    /// `[kernel, dim]`, the present position last.
    pub(crate) kernel: Vec<f32>,
    /// `[dim]`
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) output: Linear,
}

impl ShortConv {
    /// y = c * (bias + sum_j kernel\[j\] * past\[j\]): `past` are the rows b * x of the last positions, oldest first, the
    /// present one last; there may be fewer than the kernel reads.
    pub(crate) fn convolve<'a>(
        &self,
        machine: Machine<'_>,
        past: impl DoubleEndedIterator<Item = &'a [f32]>,
        c: &[f32],
        y: &mut [f32],
    ) {
        match &self.bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        // From the present position back: kernels and rows are aligned at their ends.
        for (kernel, row) in self.kernel.chunks_exact(y.len()).rev().zip(past.rev()) {
            (machine.kernels.multiply_add)(kernel, row, y);
        }
        (machine.kernels.multiply)(c, y);
    }
}
