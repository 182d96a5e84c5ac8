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
    simd: Neon, rows: (4, 1), of_one_token: (4, 1),
}

/// The products of the lower and of the upper halves of `w` and `x`.
///
/// In `asm!`, as is [`add_products`]: a compiler that knows that `x` repeats itself, or that nibbles are not negative,
/// finds other instructions for it, which are more. Not `pure`, so that they stay behind [`in_order`].
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
            options(nomem, nostack, preserves_flags),
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
            options(nomem, nostack, preserves_flags),
        );
    }
    [low, high]
}

/// `rows`, of which the compiler does not know before the products in front of this: it would load the codes of all rows
/// first, and keep them where there are registers for half of them only.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read")]
fn in_order(mut rows: *const u8) -> *const u8 {
    // SAFETY: does nothing.
    unsafe { asm!("/* {rows} */", rows = inout(reg) rows, options(nomem, nostack, preserves_flags)) };
    rows
}

/// The sums of neighbours: of `a` in the lower half, of `b` in the upper one. In `asm!` for the same reason.
#[inline]
#[target_feature(enable = "neon")]
fn add_neighbours(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let sums;
    // SAFETY: only computes `sums` from `a` and `b`.
    unsafe {
        asm!(
            "addp {sums:v}.4s, {a:v}.4s, {b:v}.4s",
            sums = lateout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// i32 -> f32
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats(ints: int32x4_t) -> float32x4_t {
    vcvtq_f32_s32(ints)
}

/// `a` times bytes `lane..lane + 4`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mul_u8(a: float32x4_t, bytes: uint8x16_t, lane: usize) -> float32x4_t {
    let half = vmovl_u8(if lane < 8 { vget_low_u8(bytes) } else { vget_high_u8(bytes) });
    let words = vmovl_u16(if lane % 8 < 4 { vget_low_u16(half) } else { vget_high_u16(half) });
    vmulq_f32(a, vcvtq_f32_u32(words))
}

/// See the module.
struct Neon;

impl Simd for Neon {
    neon_registers!(neon);

    #[inline(always)]
    unsafe fn start<W: Weights>(_rows: *const u8, sum: i32) -> int32x4_t {
        // SAFETY: computes from registers only.
        unsafe { vdupq_n_s32(sum.wrapping_mul(-W::OFFSET)) }
    }

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        before: [[int32x4_t; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[int32x4_t; P]; M] {
        let chain = const { gemm::chain::<W>(1) };
        // Whether the sums of two columns that a chain ends with can be added before they are widened.
        let add_first = const { gemm::chain::<W>(2) == gemm::chain::<W>(1) };
        let rows = rows.map(in_order);
        // SAFETY: the caller vouches for the rows and the 32 quants of each token.
        unsafe {
            // Of rows 0 and 1, and of rows 2 and 3: a sum of columns 0 and 1, one of columns 2 and 3, for each; or, of each row,
            // the sum of all columns, and nothing.
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
                            let ([low, high], [rows01, rows23]) = (pairs[m][p], dots[m][p]);
                            dots[m][p] = match add_first {
                                true => [vpadalq_s16(rows01, vpaddq_s16(low, high)), rows23],
                                false => [vpadalq_s16(rows01, low), vpadalq_s16(rows23, high)],
                            };
                        }
                    }
                }
            });
            let mut totals = [[vdupq_n_s32(0); P]; M];
            for m in 0..M {
                for p in 0..P {
                    let [rows01, rows23] = dots[m][p];
                    let dots = if add_first { rows01 } else { add_neighbours(rows01, rows23) };
                    totals[m][p] = vaddq_s32(dots, before[m][p]);
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
