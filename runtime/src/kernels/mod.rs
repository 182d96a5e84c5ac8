//! The only home of SIMD intrinsics: a table of functions, chosen once for the CPU found. (skeleton: to be completed)
//!
//! Arithmetic is defined once: every instruction set computes the same sums in the same order (integer dot products
//! are exact, float accumulation is one fused multiply-add per block and lane), so every table gives the same bits.

use crate::quant::PackedView;
use crate::threads::ColumnsMut;

/// int8 activations of `rows` tokens, quantised in blocks of 32 with a float32 scale each.
#[derive(Clone, Copy, Debug)]
pub struct ActivationsView<'a> {
    /// Tokens.
    pub rows: usize,
    /// Features, a multiple of 32.
    pub cols: usize,
    /// `[rows, cols]`, each in -127..=127.
    pub quants: &'a [i8],
    /// `[rows, cols/32]`.
    pub scales: &'a [f32],
    /// `[rows, cols/32]`: the sum of each block's quants (kernels with unsigned weights subtract with it).
    pub sums: &'a [i32],
}

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x * sigmoid(x), also called swish
    Silu,
    /// x * Phi(x), exact (erf)
    Gelu,
}

/// An instruction set with its own kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable Rust, the reference.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
    /// aarch64 without dot products (Cortex-A72).
    Neon,
    /// aarch64 with `sdot`.
    Dotprod,
}

/// Quantises one row of activations: x `[cols]` -> quants `[cols]`, scales `[cols/32]`, sums `[cols/32]`.
pub type QuantizeRow = fn(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]);
/// out[m][n] = bias[n] + sum_k w[n][k] * x[m][k] for the columns n of `out`, whose start is a multiple of 16.
/// `bias`, when given, covers all rows of `w`.
pub type GemmPacked = fn(w: PackedView<'_>, x: ActivationsView<'_>, bias: Option<&[f32]>, out: &mut ColumnsMut<'_>);
/// As [`GemmPacked`] for float32 weights `[rows, cols]` (row-major) and activations `[m, cols]`.
pub type GemmF32 = fn(w: &[f32], cols: usize, x: &[f32], bias: Option<&[f32]>, out: &mut ColumnsMut<'_>);

/// The functions of one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Which instruction set they need.
    pub isa: Isa,
    /// See [`QuantizeRow`].
    pub quantize_row: QuantizeRow,
    /// See [`GemmPacked`], for Q8_0 weights.
    pub gemm_q8_0: GemmPacked,
    /// See [`GemmPacked`], for Q4_0 weights.
    pub gemm_q4_0: GemmPacked,
    /// See [`GemmF32`].
    pub gemm_f32: GemmF32,
    /// y = (x - mean) / sqrt(var + eps) * weight + bias, over one row. (x, weight, bias, eps, y)
    pub layer_norm: fn(&[f32], &[f32], &[f32], f32, &mut [f32]),
    /// Softmax of one row, in place.
    pub softmax: fn(&mut [f32]),
    /// ln(sum(exp(x))), computed from the maximum down.
    pub log_sum_exp: fn(&[f32]) -> f32,
    /// An elementwise function, in place.
    pub activate: fn(Activation, &mut [f32]),
    /// y += x
    pub add: fn(&[f32], &mut [f32]),
    /// scores[i] = scale * dot(q, keys[i*stride..][..q.len()]) for each i. (q, keys, stride, scale, scores)
    pub attention_scores: fn(&[f32], &[f32], usize, f32, &mut [f32]),
    /// out += sum_i p[i] * values[i*stride..][..out.len()], in order of i. (p, values, stride, out)
    pub attention_values: fn(&[f32], &[f32], usize, &mut [f32]),
}
