//! The product of float weights and float32 activations, once for all instruction sets and types.
//!
//! What is computed is fixed: a dot product has 16 partial results, element `i` in number `i % 16`, in order, by fused
//! multiply-add; they are merged in the tree that all reductions have (see `generic.rs`), and the bias is added last.

use super::generic::{LANES, sum, widen_bf16, widen_f16};
use super::simd::{Simd, Work};
use crate::threads::ColumnsMut;
use std::marker::PhantomData;

/// Rows of weights that are multiplied with all tokens before the next ones: they stay in a core's cache.
const STRIP: usize = 32;

/// A type of stored weights.
pub(super) trait Number {
    /// Bytes of one.
    const BYTES: usize;

    /// Loads `S::LANES` of them.
    ///
    /// # Safety
    /// They must be readable, and the CPU support the instruction set.
    unsafe fn load<S: Simd>(at: *const u8) -> S::Floats;

    /// One.
    ///
    /// # Safety
    /// It must be readable.
    unsafe fn value(at: *const u8) -> f32;
}

/// Little-endian float32.
pub(super) struct F32;
/// Little-endian IEEE float16.
pub(super) struct F16;
/// Little-endian bfloat16.
pub(super) struct Bf16;

impl Number for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::Floats {
        // SAFETY: the caller's duty; loads need not be aligned.
        unsafe { S::load(at.cast()) }
    }

    #[inline(always)]
    unsafe fn value(at: *const u8) -> f32 {
        // SAFETY: the caller's duty.
        f32::from_le_bytes(unsafe { at.cast::<[u8; 4]>().read() })
    }
}

impl Number for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::Floats {
        // SAFETY: the caller's duty.
        unsafe { S::f16(at) }
    }

    #[inline(always)]
    unsafe fn value(at: *const u8) -> f32 {
        // SAFETY: the caller's duty.
        widen_f16(unsafe { at.cast::<[u8; 2]>().read() })
    }
}

impl Number for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::Floats {
        // SAFETY: the caller's duty.
        unsafe { S::bf16(at) }
    }

    #[inline(always)]
    unsafe fn value(at: *const u8) -> f32 {
        // SAFETY: the caller's duty.
        widen_bf16(unsafe { at.cast::<[u8; 2]>().read() })
    }
}

/// See [`super::GemmFloat`].
///
/// # Panics
/// If the shapes do not fit each other.
pub(super) fn gemm<S: Simd, N: Number>(
    w: &[u8],
    cols: usize,
    x: &[f32],
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    let (columns, tokens) = (out.columns(), out.rows());
    assert_eq!(tokens.checked_mul(cols), Some(x.len()), "activations are not [{tokens}, {cols}]");
    let bytes = columns.end.checked_mul(cols).and_then(|numbers| numbers.checked_mul(N::BYTES));
    assert!(bytes.is_some_and(|bytes| bytes <= w.len()), "weights have no column {}", columns.end);
    assert!(bias.is_none_or(|bias| columns.end <= bias.len()), "one bias for each row of the weights");
    // SAFETY: whoever has a table has a CPU for it; the shapes were checked. As many rows and tokens as there are registers
    // for their partial results.
    unsafe {
        match (S::TOKENS, S::LANES) {
            (1, LANES) => S::with(Product::<N, 1, 1> { w, cols, x, bias, out, _number: PhantomData }),
            (_, LANES) => S::with(Product::<N, 4, 4> { w, cols, x, bias, out, _number: PhantomData }),
            _ => S::with(Product::<N, 2, 2> { w, cols, x, bias, out, _number: PhantomData }),
        }
    }
}

/// What [`gemm`] computes, `R` rows of weights and `M` tokens at a time. Shapes fit each other.
struct Product<'a, 'o, N, const R: usize, const M: usize> {
    w: &'a [u8],
    cols: usize,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    out: &'a mut ColumnsMut<'o>,
    _number: PhantomData<N>,
}

impl<N: Number, const R: usize, const M: usize> Work for Product<'_, '_, N, R, M> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (columns, tokens) = (self.out.columns(), self.out.rows());
        for strip in columns.clone().step_by(STRIP) {
            let end = columns.end.min(strip + STRIP);
            let mut token = 0;
            while token < tokens {
                let many = token + M <= tokens;
                let mut row = strip;
                while row < end {
                    let whole = row + R <= end;
                    // SAFETY: rows are below the end of the columns, tokens below their number.
                    unsafe {
                        match (whole, many) {
                            (true, true) => self.tile::<S, R, M>(row, token),
                            (true, false) => self.tile::<S, R, 1>(row, token),
                            (false, true) => self.tile::<S, 1, M>(row, token),
                            (false, false) => self.tile::<S, 1, 1>(row, token),
                        }
                    }
                    row += if whole { R } else { 1 };
                }
                token += if many { M } else { 1 };
            }
        }
    }
}

impl<N: Number, const R: usize, const M: usize> Product<'_, '_, N, R, M> {
    /// The products of `A` rows from `row` on and `B` tokens from `token` on.
    ///
    /// # Safety
    /// There must be so many, and the CPU support the instruction set.
    #[inline(always)]
    unsafe fn tile<S: Simd, const A: usize, const B: usize>(&mut self, row: usize, token: usize) {
        let cols = self.cols;
        let (w, x) = (self.w.as_ptr(), self.x.as_ptr());
        let whole = cols - cols % LANES;
        // SAFETY: the weights have `cols` numbers for each of the rows, the activations for each of the tokens.
        unsafe {
            let mut sums = [[[S::splat(0.0); 4]; B]; A];
            for first in (0..whole).step_by(LANES) {
                for r in 0..LANES / S::LANES {
                    let at = first + r * S::LANES;
                    let mut weights = [S::splat(0.0); A];
                    for a in 0..A {
                        weights[a] = N::load::<S>(w.add(((row + a) * cols + at) * N::BYTES));
                    }
                    for b in 0..B {
                        let x = S::load(x.add((token + b) * cols + at));
                        for a in 0..A {
                            sums[a][b][r] = S::fma(weights[a], x, sums[a][b][r]);
                        }
                    }
                }
            }
            let start = self.out.columns().start;
            for b in 0..B {
                let out = &mut self.out.row_mut(token + b)[row - start..][..A];
                for a in 0..A {
                    let mut lanes = [0.0; LANES];
                    for r in 0..LANES / S::LANES {
                        S::store(lanes.as_mut_ptr().add(r * S::LANES), sums[a][b][r]);
                    }
                    for i in whole..cols {
                        let weight = N::value(w.add(((row + a) * cols + i) * N::BYTES));
                        lanes[i - whole] = weight.mul_add(*x.add((token + b) * cols + i), lanes[i - whole]);
                    }
                    out[a] = sum(lanes) + self.bias.map_or(0.0, |bias| bias[row + a]);
                }
            }
        }
    }
}
