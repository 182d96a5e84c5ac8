//! NEON with dot products (Cortex-A55, A76 and later): `sdot` adds the product with one quad of the activation, which is
//! picked from a register of 4 quads, to a lane for each row.

use crate::kernels::Isa;
use crate::kernels::aarch64::{neon_registers, quants};
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use std::arch::aarch64::*;
use std::arch::asm;

table! {
    isa: Isa::Dotprod,
    features: "neon,dotprod",
    // 16 rows, in halves of 8, times up to 4 tokens: 8 integer and 16 float accumulators of 32 registers.
    simd: Dotprod, rows: (4, 2, 4),
}

/// To each lane of `acc`, adds the product of 4 bytes of `w` and the 4 bytes of `x` that `LANE` (0..4) picks.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: only computes `acc` from its operands; the instruction's intrinsic is not stable yet.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inlateout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// [`Simd::dots`] with `sdot`.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd<Bytes = uint8x16_t>, W: Weights, const P: usize, const M: usize>(
    rows: [*const u8; P],
    first: usize,
    x: [*const i8; M],
    sums: [i32; M],
) -> [[int32x4_t; P]; M] {
    // SAFETY: the caller vouches for the rows and the 32 quants of each token.
    unsafe {
        let mut dots = [[vdupq_n_s32(0); P]; M];
        let mut quads = [vdupq_n_s8(0); M];
        for m in 0..M {
            dots[m] = [vdupq_n_s32(sums[m].wrapping_mul(-W::OFFSET)); P];
        }
        unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
            let quad = first + i;
            for m in 0..M {
                if i.is_multiple_of(4) {
                    quads[m] = vld1q_s8(x[m].add(quad * 4));
                }
            }
            for p in 0..P {
                let weights = quants::<W>(gemm::codes::<S, W>(rows[p], quad));
                for m in 0..M {
                    dots[m][p] = match i % 4 {
                        0 => sdot::<0>(dots[m][p], weights, quads[m]),
                        1 => sdot::<1>(dots[m][p], weights, quads[m]),
                        2 => sdot::<2>(dots[m][p], weights, quads[m]),
                        _ => sdot::<3>(dots[m][p], weights, quads[m]),
                    };
                }
            }
        });
        dots
    }
}

/// See the module.
struct Dotprod;

impl Simd for Dotprod {
    neon_registers!();

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
        sums: [i32; M],
    ) -> [[int32x4_t; P]; M] {
        // SAFETY: the caller's duty.
        unsafe { dots::<Self, W, P, M>(rows, first, x, sums) }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
