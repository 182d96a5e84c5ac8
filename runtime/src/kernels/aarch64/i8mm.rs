//! NEON with matrix products (Cortex-A78C, X2, A710 and later; Apple's M2 and later): `smmla` multiplies 2 rows of the
//! weights and 2 tokens, 8 columns of each, and has twice the products of `sdot`. One token alone has no use for it.

use crate::kernels::Isa;
use crate::kernels::aarch64::{dotprod, neon_registers, quants};
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use std::arch::aarch64::*;
use std::arch::asm;

table! {
    isa: Isa::I8mm,
    features: "neon,dotprod,i8mm",
    // As with dot products: there are as many accumulators.
    simd: I8mm, rows: (4, 2), of_one_token: (4, 1),
}

/// To lane `2 * i + j` of `acc`, adds the product of the 8 bytes of row `i` of `w` and those of token `j` of `x`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: only computes `acc` from its operands; the instruction's intrinsic is not stable yet.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {w:v}.16b, {x:v}.16b",
            acc = inlateout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// See the module.
struct I8mm;

impl Simd for I8mm {
    neon_registers!(dotprod);

    #[inline(always)]
    unsafe fn start<W: Weights>(rows: *const u8, sum: i32) -> int32x4_t {
        // SAFETY: computes from registers only.
        unsafe { dotprod::less_than_start(rows, sum.wrapping_mul(W::OFFSET)) }
    }

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        mut dots: [[int32x4_t; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[int32x4_t; P]; M] {
        if M == 1 {
            // SAFETY: the caller's duty.
            return unsafe { dotprod::dots::<Self, W, P, M>(dots, rows, first, x) };
        }
        const { assert!(M == 1 || M.is_multiple_of(2)) };
        // SAFETY: the caller vouches for the rows and the 32 quants of each token.
        unsafe {
            // Of tokens 2 m and 2 m + 1: rows 0 and 1, and rows 2 and 3.
            let mut pairs = [[[vdupq_n_s32(0); 2]; P]; M];
            unroll!(i < W::QUADS / 2, 0 1 2 3; {
                let quad = first + 2 * i;
                let mut tokens = [vdupq_n_s8(0); M];
                for m in 0..M / 2 {
                    let at = |m: usize| vld1_s8(x[m].add(quad * 4));
                    tokens[m] = vcombine_s8(at(2 * m), at(2 * m + 1));
                }
                for p in 0..P {
                    let quads = |quad| vreinterpretq_s32_s8(quants::<W>(gemm::codes::<Self, W>(rows[p], quad)));
                    let (a, b) = (quads(quad), quads(quad + 1));
                    let low = vreinterpretq_s8_s32(vzip1q_s32(a, b));
                    let high = vreinterpretq_s8_s32(vzip2q_s32(a, b));
                    for m in 0..M / 2 {
                        let [rows01, rows23] = pairs[m][p];
                        pairs[m][p] = [smmla(rows01, low, tokens[m]), smmla(rows23, high, tokens[m])];
                    }
                }
            });
            for m in 0..M / 2 {
                for p in 0..P {
                    let [rows01, rows23] = pairs[m][p];
                    dots[2 * m][p] = vaddq_s32(vuzp1q_s32(rows01, rows23), dots[2 * m][p]);
                    dots[2 * m + 1][p] = vaddq_s32(vuzp2q_s32(rows01, rows23), dots[2 * m + 1][p]);
                }
            }
            dots
        }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
