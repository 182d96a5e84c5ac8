//! The portable instruction set: registers are arrays of 16 rows.

use super::gemm::{self, Weights};
use super::simd::{Simd, Work};
use crate::quant::{TILE_ROWS, power_of_two};
use half::f16;

/// See the module.
pub(super) struct Scalar;

impl Simd for Scalar {
    type Bytes = [[u8; 4]; TILE_ROWS];
    type Ints = [i32; TILE_ROWS];
    type Floats = [f32; TILE_ROWS];
    const LANES: usize = TILE_ROWS;
    const TOKENS: usize = 1;

    unsafe fn bytes(at: *const u8) -> Self::Bytes {
        // SAFETY: the caller vouches for the bytes, which any byte string is.
        unsafe { at.cast::<Self::Bytes>().read() }
    }

    unsafe fn field(bytes: Self::Bytes, right: i32, mask: u8) -> Self::Bytes {
        bytes.map(|row| row.map(|b| if right >= 0 { b >> right } else { b << -right } & mask))
    }

    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|row| std::array::from_fn(|j| a[row][j] | b[row][j]))
    }

    unsafe fn start<W: Weights>(_rows: *const u8, _sum: i32) -> Self::Ints {
        [0; TILE_ROWS]
    }

    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        mut dots: [[Self::Ints; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[Self::Ints; P]; M] {
        for quad in first..first + W::QUADS {
            for p in 0..P {
                // SAFETY: the caller vouches for the rows.
                let codes = unsafe { gemm::codes::<Self, W>(rows[p], quad) };
                for m in 0..M {
                    // SAFETY: the caller vouches for the 32 quants.
                    let x: [i8; 4] = unsafe { x[m].add(quad * 4).cast::<[i8; 4]>().read() };
                    for (dot, codes) in dots[m][p].iter_mut().zip(codes) {
                        for (code, x) in codes.into_iter().zip(x) {
                            *dot += i32::from(W::FORMAT.code.quant(code)) * i32::from(x);
                        }
                    }
                }
            }
        }
        dots
    }

    unsafe fn floats(ints: Self::Ints) -> Self::Floats {
        ints.map(|v| v as f32)
    }

    unsafe fn load(at: *const f32) -> Self::Floats {
        // SAFETY: the caller vouches for the values.
        unsafe { at.cast::<Self::Floats>().read_unaligned() }
    }

    unsafe fn store(at: *mut f32, x: Self::Floats) {
        // SAFETY: the caller vouches for the values.
        unsafe { at.cast::<Self::Floats>().write_unaligned(x) }
    }

    unsafe fn splat(x: f32) -> Self::Floats {
        [x; TILE_ROWS]
    }

    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i])
    }

    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    unsafe fn f16(at: *const u8) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        unsafe { at.cast::<[[u8; 2]; TILE_ROWS]>().read() }.map(|b| f16::from_le_bytes(b).to_f32())
    }

    unsafe fn bf16(at: *const u8) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        unsafe { at.cast::<[[u8; 2]; TILE_ROWS]>().read() }.map(super::generic::widen_bf16)
    }

    unsafe fn mul_u8(a: Self::Floats, at: *const u8, _lane: usize) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        let bytes = unsafe { at.cast::<[u8; TILE_ROWS]>().read() };
        std::array::from_fn(|i| a[i] * f32::from(bytes[i]))
    }

    unsafe fn i8(at: *const u8) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        unsafe { at.cast::<[i8; TILE_ROWS]>().read() }.map(f32::from)
    }

    unsafe fn mul_nibbles(a: Self::Floats, at: *const u8, _lane: usize, high: bool) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        let bytes = unsafe { at.cast::<[u8; TILE_ROWS]>().read() };
        std::array::from_fn(|i| a[i] * f32::from(if high { bytes[i] >> 4 } else { bytes[i] & 15 }))
    }

    unsafe fn quads(at: *const f32) -> Self::Floats {
        // SAFETY: the caller vouches for the values.
        let four = unsafe { at.cast::<[f32; 4]>().read_unaligned() };
        std::array::from_fn(|i| four[i % 4])
    }

    unsafe fn sum_quads(x: [Self::Floats; 4], to: *mut f32) {
        let x = x[0];
        let sums = std::array::from_fn(|i| (x[i] + x[i + 8]) + (x[i + 4] + x[i + 12]));
        // SAFETY: the caller vouches for the values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(sums) }
    }

    unsafe fn prefetch(_: *const u8) {}

    unsafe fn prefetch_to_write(_: *mut f32) {}

    unsafe fn powers_of_two(at: *const u8) -> Self::Floats {
        // SAFETY: the caller vouches for the bytes.
        unsafe { at.cast::<[u8; TILE_ROWS]>().read() }.map(power_of_two)
    }

    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
