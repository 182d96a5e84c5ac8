//! Plain NEON (Cortex-A53, A72): a register holds a quad of columns of 4 rows, a quarter of a tile; the activation is
//! broadcast.
//!
//! Products are chained in 16 bits for as long as they fit, by multiply-add, before pairs of them are widened.

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Acc, ActivationsView, Q4_0, Q8_0, Tile};
use crate::quant::{BLOCK, PackedView, TILE_ROWS};
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

table! {
    isa: Isa::Neon,
    features: "neon",
    q8_0: (Neon<Q8_0>, Neon<Q8_0>),
    q4_0: (Neon<Q4_0>, Neon<Q4_0>),
}

/// Weights that this instruction set can load.
trait Weights: gemm::Weights {
    /// What [`Weights::quad`] adds to the quants; `OFFSET * (sum of activations)` is taken from the integer results.
    const OFFSET: i32;
    /// How many products of a loaded quant and an activation (-127..=127) can be added in 16 bits.
    const CHAIN: usize;

    /// The quants of quad `quad` (0..8) of 4 rows, plus `OFFSET`.
    ///
    /// # Safety
    /// The CPU must have NEON; `quarter` must point to a quarter of a tile: its first byte, its 16th, 32nd or 48th.
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t;
}

impl Weights for Q8_0 {
    const OFFSET: i32 = 0;
    /// 2 * 128 * 127 = 32512 <= 32767
    const CHAIN: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t {
        // SAFETY: a tile has 8 quads of 64 bytes, and `quarter` is at most 48 bytes into it.
        unsafe { vld1q_s8(quarter.add(quad * 64).cast()) }
    }
}

impl Weights for Q4_0 {
    const OFFSET: i32 = 8;
    /// 8 * 15 * 127 = 15240 <= 32767: one of each quad of a block.
    const CHAIN: usize = 8;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn quad(quarter: *const u8, quad: usize) -> int8x16_t {
        // SAFETY: a tile has 4 times 64 bytes, and `quarter` is at most 48 bytes into it; quads 4..8 are the high
        // nibbles of quads 0..4.
        let nibbles = unsafe { vld1q_u8(quarter.add(quad % 4 * 64)) };
        vreinterpretq_s8_u8(if quad < 4 { vandq_u8(nibbles, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(nibbles) })
    }
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

/// 16 rows, in quarters of 4, times up to 4 tokens.
struct Neon<W>(PhantomData<W>);

impl<W: Weights> Tile for Neon<W> {
    type Weights = W;
    const GROUPS: usize = 1;
    const TOKENS: usize = 4;

    #[target_feature(enable = "neon")]
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
        // bytes, for `group`; `x` has `blocks` blocks of 32 quants, scales and sums for each token below `token + M`. All
        // pointers below stay inside these. `acc` has at least 16 floats for each token.
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
                for s in 0..4 {
                    let quarter = quants.add(b * tile_bytes + s * 16);
                    // Of rows 0 and 1, and of rows 2 and 3: a sum of columns 0 and 1, one of columns 2 and 3, for each.
                    let mut dots = [[vdupq_n_s32(0); 2]; M];
                    for first in (0..BLOCK / 4).step_by(W::CHAIN) {
                        let mut pairs = [[vdupq_n_s16(0); 2]; M];
                        for quad in first..first + W::CHAIN {
                            let weights = W::quad(quarter, quad);
                            for m in 0..M {
                                let x = x.quants.as_ptr().add((token + m) * w.cols + b * BLOCK + quad * 4);
                                let x = vdupq_n_s32(x.cast::<i32>().read_unaligned());
                                let x = vreinterpretq_s8_s32(x);
                                pairs[m] = if quad == first {
                                    products(weights, x)
                                } else {
                                    add_products(pairs[m], weights, x)
                                };
                            }
                        }
                        for m in 0..M {
                            for i in 0..2 {
                                dots[m][i] = vpadalq_s16(dots[m][i], pairs[m][i]);
                            }
                        }
                    }
                    let w_scale = super::load_f16(scales.add((b * TILE_ROWS + s * 4) * 2));
                    for m in 0..M {
                        let scale = vmulq_n_f32(w_scale, *x.scales.as_ptr().add((token + m) * blocks + b));
                        let dot = vpaddq_s32(dots[m][0], dots[m][1]);
                        let sum = *x.sums.as_ptr().add((token + m) * blocks + b);
                        let dot = vsubq_s32(dot, vdupq_n_s32(sum.wrapping_mul(W::OFFSET)));
                        sums[m][s] = vfmaq_f32(sums[m][s], vcvtq_f32_s32(dot), scale);
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
