//! Linear maps over weights of any encoding.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Machine, SHARED_ROWS};
use crate::Result;
use crate::kernels::{ActivationsView, GemmPacked};
use crate::quant::{BlockType, BlocksView, Grain, TILE_ROWS};
use crate::threads::ColumnsMut;
use crate::weights::{Encoding, Tensor, Weights};

/// A weight matrix `[rows, cols]`, computed on as it is stored: nothing is copied.
#[derive(Debug)]
pub(crate) struct Matrix(Tensor);

impl Matrix {
    /// The matrix `name` of `weights`, `[rows, cols]`.
    pub(crate) fn load(weights: &Weights, name: &str, rows: usize, cols: usize) -> Result<Self> {
        Ok(Self(weights.expect(name, &[rows, cols])?.clone()))
    }

    /// The tensor `name` of `weights`, of this shape, as a matrix whose rows have all dimensions but the first.
    pub(crate) fn load_joined(weights: &Weights, name: &str, shape: &[usize]) -> Result<Self> {
        let tensor = weights.expect(name, shape)?;
        let rows = shape[0];
        let joined = tensor.reshaped(&[rows, shape[1..].iter().product()]);
        Ok(Self(joined.ok_or_else(|| weights.bad(name, format!("is {}, it must be float", tensor.encoding())))?))
    }

    /// What it is stored as.
    #[cfg(feature = "npu")]
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.0
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.shape()[0]
    }

    pub(crate) fn cols(&self) -> usize {
        self.0.shape()[1]
    }

    /// How the activations are quantised that it is multiplied with; `None` where they are not.
    fn activations(&self) -> Option<Grain> {
        match self.0.encoding() {
            Encoding::Packed(block) | Encoding::Blocks(block) => Some(block.activations()),
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => None,
        }
    }

    /// Writes row `row` as float32 to `out` (`[cols]`).
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        if let Some(view) = self.0.as_packed() {
            crate::quant::dequantize_row(view, row, out);
        } else if let Some(view) = self.0.as_blocks() {
            view.dequantize_row(row, out);
        } else {
            self.0.rows_to_f32(row, out).expect("a float tensor");
        }
    }

    /// Writes the product with `input`, plus `bias`, to some columns of the output.
    fn multiply(&self, machine: Machine<'_>, input: Input<'_>, bias: Option<&[f32]>, out: &mut ColumnsMut<'_>) {
        let kernels = machine.kernels;
        let quantised = |block: BlockType| {
            let of_grain = match block.activations() {
                Grain::Fine => input.fine,
                Grain::Coarse => input.coarse,
            };
            of_grain.expect("prepared for this map")
        };
        let gemm = match self.0.encoding() {
            Encoding::F32 => kernels.gemm_f32,
            Encoding::F16 => kernels.gemm_f16,
            Encoding::Bf16 => kernels.gemm_bf16,
            Encoding::Packed(block) => {
                let view = self.0.as_packed().expect("packed");
                return kernels.gemm(block)(view, quantised(block), bias, out);
            }
            Encoding::Blocks(block) => {
                let view = self.0.as_blocks().expect("blocks");
                return multiply_blocks(kernels.gemm(block), view, quantised(block), bias, out);
            }
        };
        gemm(self.0.bytes(), self.cols(), input.x, bias, out);
    }
}

/// The product with blocks that nobody has packed: packs 16 rows at a time. Slower than packed weights, with the same
/// bits.
fn multiply_blocks(
    gemm: GemmPacked,
    w: BlocksView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    thread_local! {
        /// 16 rows packed, and their product.
        static SCRATCH: RefCell<(Vec<u8>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    }
    SCRATCH.with_borrow_mut(|(packed, product)| {
        let columns = out.columns();
        for first in columns.clone().step_by(TILE_ROWS) {
            let rows = first..columns.end.min(first + TILE_ROWS);
            let width = rows.len();
            product.resize(x.rows * width, 0.0);
            let view = w.pack_rows(rows.clone(), packed);
            gemm(view, x, bias.map(|bias| &bias[rows]), &mut ColumnsMut::whole(product, width));
            for (token, product) in product.chunks_exact(width).enumerate() {
                out.row_mut(token)[first - columns.start..][..width].copy_from_slice(product);
            }
        }
    });
}

/// The input of linear maps: float32 rows, and the same rows quantised as packed matrices ask for it.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    fine: Quantised,
    coarse: Quantised,
}

/// Rows of one grain: see [`ActivationsView`].
#[derive(Debug, Default)]
struct Quantised {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Activations {
    /// Quantises `x` (`[rows, cols]`) to the grains with which `users` compute, and returns the input to give them.
    pub(crate) fn prepare<'a>(
        &'a mut self,
        machine: Machine<'_>,
        x: &'a [f32],
        cols: usize,
        users: &[&Linear],
    ) -> Input<'a> {
        let asked_for = |grain| users.iter().any(|linear| linear.weight.activations() == Some(grain));
        Input {
            x,
            fine: asked_for(Grain::Fine).then(|| self.fine.set(machine, Grain::Fine, x, cols)),
            coarse: asked_for(Grain::Coarse).then(|| self.coarse.set(machine, Grain::Coarse, x, cols)),
        }
    }
}

impl Quantised {
    /// Quantises `x` (`[rows, cols]`) to `grain`.
    fn set(&mut self, machine: Machine<'_>, grain: Grain, x: &[f32], cols: usize) -> ActivationsView<'_> {
        let (row_scales, row_sums) = (cols / grain.columns(), cols / grain.sum_columns());
        let rows = x.len() / cols;
        self.quants.resize(x.len(), 0);
        self.scales.resize(rows * row_scales, 0.0);
        self.sums.resize(rows * row_sums, 0);
        let Self { quants, scales, sums } = self;
        let quantize_row = machine.kernels.quantize(grain);
        let quantize = |x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]| {
            let rows = x.chunks_exact(cols).zip(quants.chunks_exact_mut(cols));
            let factors = scales.chunks_exact_mut(row_scales).zip(sums.chunks_exact_mut(row_sums));
            for ((x, quants), (scales, sums)) in rows.zip(factors) {
                quantize_row(x, quants, scales, sums);
            }
        };
        if rows < SHARED_ROWS {
            quantize(x, quants, scales, sums);
        } else {
            machine.team.rows_of_three(rows, (quants, scales, sums), &|rows, quants, scales, sums| {
                quantize(&x[rows.start * cols..rows.end * cols], quants, scales, sums);
            });
        }
        ActivationsView { grain, rows, cols, quants, scales, sums }
    }
}

/// Rows ready for [`Linear::forward`].
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    x: &'a [f32],
    fine: Option<ActivationsView<'a>>,
    coarse: Option<ActivationsView<'a>>,
}

/// y = scale * W x + b.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Arc<Matrix>,
    pub(crate) bias: Option<Vec<f32>>,
    /// A factor for the whole product, where the file has one beside the weights.
    pub(crate) scale: Option<f32>,
}

impl Linear {
    pub(crate) fn new(weight: Arc<Matrix>, bias: Option<Vec<f32>>) -> Self {
        Self { weight, bias, scale: None }
    }

    /// `prefix.weight` `[rows, cols]`, `prefix.bias` `[rows]` where there should be one, and `prefix.scale` where there is
    /// one.
    pub(crate) fn load(weights: &Weights, prefix: &str, rows: usize, cols: usize, bias: bool) -> Result<Self> {
        let weight = Matrix::load(weights, &format!("{prefix}.weight"), rows, cols)?;
        let load = || Ok(weights.expect(&format!("{prefix}.bias"), &[rows])?.to_f32());
        let scale = weights.get(&format!("{prefix}.scale")).and_then(|scale| scale.to_f32().first().copied());
        Ok(Self { weight: Arc::new(weight), bias: bias.then(load).transpose()?, scale })
    }

    /// Writes the map of `input` (`[m, cols]`) to `out` (`[m, rows]`).
    pub(crate) fn forward(&self, machine: Machine<'_>, input: Input<'_>, out: &mut [f32]) {
        forward_all(machine, input, [(self, out)]);
    }

    /// Writes some columns of the map of `input`.
    pub(crate) fn columns(&self, machine: Machine<'_>, input: Input<'_>, out: &mut ColumnsMut<'_>) {
        let bias = self.bias.as_deref();
        let Some(scale) = self.scale else { return self.weight.multiply(machine, input, bias, out) };
        self.weight.multiply(machine, input, None, out);
        let columns = out.columns();
        for row in 0..out.rows() {
            let out = out.row_mut(row);
            match bias {
                None => out.iter_mut().for_each(|y| *y *= scale),
                Some(bias) => {
                    out.iter_mut().zip(&bias[columns.clone()]).for_each(|(y, b)| *y = *y * scale + b);
                }
            }
        }
    }
}

/// Columns that a thread takes at once.
pub(crate) const COLUMNS: usize = 2 * TILE_ROWS;

/// Writes the maps of one `input` (`[m, cols]`) to their outputs (`[m, rows]` each), in one job of the thread pool.
pub(crate) fn forward_all<const N: usize>(machine: Machine<'_>, input: Input<'_>, maps: [(&Linear, &mut [f32]); N]) {
    let mut linears = [None; N];
    let mut index = 0;
    let outs = maps.map(|(linear, out)| {
        linears[index] = Some(linear);
        index += 1;
        (out, linear.weight.rows())
    });
    machine.team.columns(outs, COLUMNS, &|index, mut out| {
        linears[index].expect("one for each output").columns(machine, input, &mut out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernels;
    use crate::quant::pack_blocks;
    use crate::quant::testing::random_blocks;
    use crate::threads::ThreadPool;
    use half::{bf16, f16};

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn linear(encoding: Encoding, rows: usize, cols: usize, bytes: Vec<u8>) -> Linear {
        let weight = Arc::new(Matrix(Tensor::of(encoding, &[rows, cols], bytes)));
        Linear { weight, bias: Some(values(rows)), scale: None }
    }

    /// The map of `tokens` rows, and all rows of the matrix as looked up.
    fn results(linear: &Linear, tokens: usize) -> [Vec<f32>; 2] {
        let (rows, cols) = (linear.weight.rows(), linear.weight.cols());
        let (kernels, pool, mut activations) = (Kernels::detect(), ThreadPool::new(3), Activations::default());
        let machine = Machine { kernels: &kernels, team: &pool.all() };
        let x = values(tokens * cols);
        let mut out = vec![0.0; tokens * rows];
        linear.forward(machine, activations.prepare(machine, &x, cols, &[linear]), &mut out);
        let mut looked_up = vec![0.0; rows * cols];
        looked_up.chunks_exact_mut(cols).enumerate().for_each(|(row, out)| linear.weight.row(row, out));
        [out, looked_up]
    }

    #[test]
    fn unpacked_blocks_give_what_packed_ones_give() {
        for block in BlockType::ALL {
            for (rows, tokens) in [(1, 1), (16, 2), (75, 5)] {
                let cols = 256;
                let bytes = random_blocks(block, rows, cols, 3);
                let packed = pack_blocks(BlocksView::new(block, rows, cols, &bytes).unwrap());
                let packed = linear(Encoding::Packed(block), rows, cols, packed);
                let unpacked = linear(Encoding::Blocks(block), rows, cols, bytes);
                assert_eq!(results(&unpacked, tokens), results(&packed, tokens), "{}", block.name());
            }
        }
    }

    #[test]
    fn floats_are_used_as_they_are() {
        let (rows, cols) = (19, 30);
        // Multiples of 1/64: exact in every encoding.
        let w: Vec<f32> = values(rows * cols).iter().map(|v| (v * 64.0).round() / 64.0).collect();
        let f32s = linear(Encoding::F32, rows, cols, w.iter().flat_map(|v| v.to_le_bytes()).collect());
        let f16s = w.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let bf16s = w.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let expected = results(&f32s, 3);
        assert_eq!(expected[1], w);
        assert_eq!(results(&linear(Encoding::F16, rows, cols, f16s), 3), expected);
        assert_eq!(results(&linear(Encoding::Bf16, rows, cols, bf16s), 3), expected);
    }

    #[test]
    fn a_scale_is_for_the_product_alone() {
        let w = values(20 * 32).iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut linear = linear(Encoding::F32, 20, 32, w);
        let with_bias = |scale, linear: &mut Linear| {
            (linear.scale, linear.bias) = (scale, Some(values(20)));
            results(linear, 2)[0].clone()
        };
        let (plain, scaled) = (with_bias(None, &mut linear), with_bias(Some(0.5), &mut linear));
        linear.bias = None;
        linear.scale = Some(0.5);
        let unbiased = results(&linear, 2)[0].clone();
        for (i, bias) in values(20).into_iter().cycle().enumerate().take(40) {
            assert_eq!(scaled[i], unbiased[i] + bias);
            assert!((plain[i] - (2.0 * unbiased[i] + bias)).abs() < 1e-5);
        }
    }
}
