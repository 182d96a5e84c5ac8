//! Plain NEON (Cortex-A53, A72): the activation is broadcast.
//!
//! Products are chained in 16 bits for as long as they fit, by multiply-add, before pairs of them are widened.

use crate::kernels::Isa;
use crate::kernels::aarch64::{neon_registers, quants};
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use std::arch::aarch64::*;
use std::arch::asm;

table! {
    isa: Isa::Neon,
    features: "neon",
    simd: Neon, rows: (4, 1, 4),
}

/// The products of the lower and of the upper halves of `w` and `x`.
///
/// In `asm!`, as is [`add_products`]: a compiler that knows that `x` repeats itself, or that nibbles are not negative,
/// finds other instructions for it, which are more.
#[inline]
#[target_feature(enable = "neon")]
fn products(w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    let (low, high);
    // SAFETY: only computes its results from `w` and `x`.
    unsafe {
        asm!(
            "smull {low:v}.8h, {w:v}.8b, {x:v}.8b",
            "smull2 {high:v}.8h, {w:v}.16b, {x:v}.16b",
            low = out(vreg) low,
            high = lateout(vreg) high,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

/// `sums` plus the products of the lower and of the upper halves of `w` and `x`.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sums: [int16x8_t; 2], w: int8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    let [mut low, mut high] = sums;
    // SAFETY: only computes its results from `sums`, `w` and `x`.
    unsafe {
        asm!(
            "smlal {low:v}.8h, {w:v}.8b, {x:v}.8b",
            "smlal2 {high:v}.8h, {w:v}.16b, {x:v}.16b",
            low = inout(vreg) low,
            high = inlateout(vreg) high,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

/// See the module.
struct Neon;

impl Simd for Neon {
    neon_registers!();

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
        sums: [i32; M],
    ) -> [[int32x4_t; P]; M] {
        let chain = const { gemm::chain::<W>(1) };
        // SAFETY: the caller vouches for the rows and the 32 quants of each token.
        unsafe {
            // Of rows 0 and 1, and of rows 2 and 3: a sum of columns 0 and 1, one of columns 2 and 3, for each.
            let mut dots = [[[vdupq_n_s32(0); 2]; P]; M];
            let mut pairs = [[[vdupq_n_s16(0); 2]; P]; M];
            unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
                let quad = first + i;
                for p in 0..P {
                    let weights = quants::<W>(gemm::codes::<Self, W>(rows[p], quad));
                    for m in 0..M {
                        let x = vdupq_n_s32(x[m].add(quad * 4).cast::<i32>().read_unaligned());
                        let x = vreinterpretq_s8_s32(x);
                        pairs[m][p] = match i % chain {
                            0 => products(weights, x),
                            _ => add_products(pairs[m][p], weights, x),
                        };
                        if (i + 1).is_multiple_of(chain) {
                            for half in 0..2 {
                                dots[m][p][half] = vpadalq_s16(dots[m][p][half], pairs[m][p][half]);
                            }
                        }
                    }
                }
            });
            let mut totals = [[vdupq_n_s32(0); P]; M];
            for m in 0..M {
                for p in 0..P {
                    let offset = vdupq_n_s32(sums[m].wrapping_mul(W::OFFSET));
                    totals[m][p] = vsubq_s32(vpaddq_s32(dots[m][p][0], dots[m][p][1]), offset);
                }
            }
            totals
        }
    }

    #[target_feature(enable = "neon")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
