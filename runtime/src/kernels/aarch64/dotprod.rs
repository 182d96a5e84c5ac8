//! NEON with dot products (Cortex-A55, A76 and later): a register holds a quad of columns of 4 rows, and `sdot` adds the
//! product with one quad of the activation, which is picked from a register of 4 quads, to a lane for each row.

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Acc, ActivationsView, Q4_0, Q8_0, Tile};
use crate::quant::{BLOCK, PackedView, TILE_ROWS};
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

table! {
    isa: Isa::Dotprod,
    features: "neon,dotprod",
    q8_0: (Dotprod<Q8_0>, Dotprod<Q8_0>),
    q4_0: (Dotprod<Q4_0>, Dotprod<Q4_0>),
}

/// Weights that this instruction set can load.
trait Weights: gemm::Weights {
    /// What [`Weights::quad`] adds to the quants; the integer accumulator starts at `-OFFSET * (sum of activations)`.
    const OFFSET: i32;

    /// The quants of quad `quad` (0..8) of 4 rows, plus `OFFSET`.
    ///
    /// # Safety
    /// The CPU must have NEON; `quarter` must point to a quarter of a tile: its first byte, its 16th, 32nd or 48th.
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t;
}

impl Weights for Q8_0 {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t {
        // SAFETY: a tile has 8 quads of 64 bytes, and `quarter` is at most 48 bytes into it.
        unsafe { vld1q_s8(quarter.add(quad * 64).cast()) }
    }
}

impl Weights for Q4_0 {
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t {
        // SAFETY: a tile has 4 times 64 bytes, and `quarter` is at most 48 bytes into it; quads 4..8 are the high
        // nibbles of quads 0..4.
        let nibbles = unsafe { vld1q_u8(quarter.add(quad % 4 * 64)) };
        vreinterpretq_s8_u8(if quad < 4 { vandq_u8(nibbles, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(nibbles) })
    }
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

/// Adds the product of one quad of 8 rows and the quads `LANE` of `x` to `dots`.
///
/// # Safety
/// As [`Weights::quad`], for the two quarters at `half`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<W: Weights, const LANE: usize, const M: usize>(
    half: *const u8,
    first: usize,
    x: &[int8x16_t; M],
    dots: &mut [[int32x4_t; 2]; M],
) {
    // SAFETY: the caller's duty.
    let weights = unsafe { [W::quad(half, first + LANE), W::quad(half.add(16), first + LANE)] };
    for m in 0..M {
        for i in 0..2 {
            dots[m][i] = sdot::<LANE>(dots[m][i], weights[i], x[m]);
        }
    }
}

/// 16 rows, in halves of 8, times up to 4 tokens: 8 integer and 16 float accumulators of 32 registers.
struct Dotprod<W>(PhantomData<W>);

impl<W: Weights> Tile for Dotprod<W> {
    type Weights = W;
    const GROUPS: usize = 1;
    const TOKENS: usize = 4;

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn multiply<const M: usize>(
        w: PackedView<'_>,
        group: usize,
        x: ActivationsView<'_>,
        token: usize,
        acc: &mut [Acc; M],
    ) {
        let blocks = w.cols / BLOCK;
        let tile_bytes = W::BLOCK.tile_bytes();
        // SAFETY: by the contract of `multiply` the planes of `w` have `blocks` tiles, and as many times 16 scales of 2
        // bytes, for `group`; `x` has `blocks` blocks of 32 quants, scales and sums for each token below `token + M`.
        // All pointers below stay inside these. `acc` has at least 16 floats for each token.
        unsafe {
            let quants = w.quants.as_ptr().add(group * blocks * tile_bytes);
            let scales = w.scales.as_ptr().add(group * blocks * TILE_ROWS * 2);
            let mut sums = [[vdupq_n_f32(0.0); 4]; M];
            for m in 0..M {
                for s in 0..4 {
                    sums[m][s] = vld1q_f32(acc[m].as_ptr().add(s * 4));
                }
            }
            for b in 0..blocks {
                for h in 0..2 {
                    let half = quants.add(b * tile_bytes + h * 32);
                    let mut dots = [[vdupq_n_s32(0); 2]; M];
                    for m in 0..M {
                        let sum = *x.sums.as_ptr().add((token + m) * blocks + b);
                        dots[m] = [vdupq_n_s32(sum.wrapping_mul(-W::OFFSET)); 2];
                    }
                    for first in [0, 4] {
                        let mut quads = [vdupq_n_s8(0); M];
                        for m in 0..M {
                            quads[m] = vld1q_s8(x.quants.as_ptr().add((token + m) * w.cols + b * BLOCK + first * 4));
                        }
                        step::<W, 0, M>(half, first, &quads, &mut dots);
                        step::<W, 1, M>(half, first, &quads, &mut dots);
                        step::<W, 2, M>(half, first, &quads, &mut dots);
                        step::<W, 3, M>(half, first, &quads, &mut dots);
                    }
                    for i in 0..2 {
                        let s = h * 2 + i;
                        let w_scale = super::load_f16(scales.add((b * TILE_ROWS + s * 4) * 2));
                        for m in 0..M {
                            let scale = vmulq_n_f32(w_scale, *x.scales.as_ptr().add((token + m) * blocks + b));
                            sums[m][s] = vfmaq_f32(sums[m][s], vcvtq_f32_s32(dots[m][i]), scale);
                        }
                    }
                }
            }
            for m in 0..M {
                for s in 0..4 {
                    vst1q_f32(acc[m].as_mut_ptr().add(s * 4), sums[m][s]);
                }
            }
        }
    }
}
