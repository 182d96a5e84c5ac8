//! AVX2: a register holds a quad of columns of 8 rows, half a tile; the activation is broadcast.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs, in 16 bits with saturation. Products of nibbles are
//! so small that those of a whole block can be added in 16 bits; those of 8-bit weights are widened at once.

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Acc, ActivationsView, Q4_0, Q8_0, Tile};
use crate::quant::{BLOCK, PackedView, TILE_ROWS};
use std::arch::x86_64::*;
use std::marker::PhantomData;

table! {
    isa: Isa::Avx2,
    features: "avx2,fma,f16c",
    q8_0: (Avx2<Q8_0>, Avx2<Q8_0>),
    q4_0: (Avx2<Q4_0>, Avx2<Q4_0>),
}

/// Weights that this instruction set can load and multiply.
trait Weights: gemm::Weights {
    /// What [`Weights::quad`] adds to the quants.
    const OFFSET: i32;
    /// How many results of [`Weights::multiply`] can be added in 16 bits.
    const CHAIN: usize;

    /// The quants of quad `quad` (0..8) of 8 rows, plus `OFFSET`.
    ///
    /// # Safety
    /// The CPU must have the features; `half` must point to half a tile: its first byte or its 32nd.
    unsafe fn quad(half: *const u8, quad: usize) -> __m256i;

    /// The products of the quants `w` and the activations `x` (-127..=127), added in pairs to 16 bits.
    ///
    /// # Safety
    /// The CPU must have the features.
    unsafe fn multiply(w: __m256i, x: __m256i) -> __m256i;
}

impl Weights for Q8_0 {
    const OFFSET: i32 = 0;
    /// 2 * 128 * 127 = 32512 <= 32767, and no more.
    const CHAIN: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quad(half: *const u8, quad: usize) -> __m256i {
        // SAFETY: a tile has 8 quads of 64 bytes, and `half` is at most 32 bytes into it.
        unsafe { _mm256_loadu_si256(half.add(quad * 64).cast()) }
    }

    /// w * x = |w| * (x with the sign of w)
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn multiply(w: __m256i, x: __m256i) -> __m256i {
        _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
    }
}

impl Weights for Q4_0 {
    const OFFSET: i32 = 8;
    /// 8 * 2 * 15 * 127 = 30480 <= 32767: a whole block.
    const CHAIN: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quad(half: *const u8, quad: usize) -> __m256i {
        // SAFETY: a tile has 4 times 64 bytes, and `half` is at most 32 bytes into it; quads 4..8 are the high nibbles
        // of quads 0..4.
        let nibbles = unsafe { _mm256_loadu_si256(half.add(quad % 4 * 64).cast()) };
        let nibbles = if quad < 4 { nibbles } else { _mm256_srli_epi16::<4>(nibbles) };
        _mm256_and_si256(nibbles, _mm256_set1_epi8(15))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn multiply(w: __m256i, x: __m256i) -> __m256i {
        _mm256_maddubs_epi16(w, x)
    }
}

/// 16 rows, in halves of 8, times up to 4 tokens.
struct Avx2<W>(PhantomData<W>);

impl<W: Weights> Tile for Avx2<W> {
    type Weights = W;
    const GROUPS: usize = 1;
    const TOKENS: usize = 4;

    #[target_feature(enable = "avx2,fma,f16c")]
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
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            for m in 0..M {
                for h in 0..2 {
                    sums[m][h] = _mm256_loadu_ps(acc[m].as_ptr().add(h * 8));
                }
            }
            for b in 0..blocks {
                for h in 0..2 {
                    let half = quants.add(b * tile_bytes + h * 32);
                    let mut dots = [_mm256_setzero_si256(); M];
                    for m in 0..M {
                        let sum = *x.sums.as_ptr().add((token + m) * blocks + b);
                        dots[m] = _mm256_set1_epi32(sum.wrapping_mul(-W::OFFSET));
                    }
                    for first in (0..BLOCK / 4).step_by(W::CHAIN) {
                        let mut pairs = [_mm256_setzero_si256(); M];
                        for quad in first..first + W::CHAIN {
                            let weights = W::quad(half, quad);
                            for m in 0..M {
                                let x = x.quants.as_ptr().add((token + m) * w.cols + b * BLOCK + quad * 4);
                                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                                pairs[m] = _mm256_add_epi16(pairs[m], W::multiply(weights, x));
                            }
                        }
                        for m in 0..M {
                            let quads = _mm256_madd_epi16(pairs[m], _mm256_set1_epi16(1));
                            dots[m] = _mm256_add_epi32(dots[m], quads);
                        }
                    }
                    let w_scale = scales.add(b * TILE_ROWS * 2 + h * 16);
                    let w_scale = _mm256_cvtph_ps(_mm_loadu_si128(w_scale.cast()));
                    for m in 0..M {
                        let x_scale = _mm256_set1_ps(*x.scales.as_ptr().add((token + m) * blocks + b));
                        let dot = _mm256_cvtepi32_ps(dots[m]);
                        sums[m][h] = _mm256_fmadd_ps(dot, _mm256_mul_ps(w_scale, x_scale), sums[m][h]);
                    }
                }
            }
            for m in 0..M {
                for h in 0..2 {
                    _mm256_storeu_ps(acc[m].as_mut_ptr().add(h * 8), sums[m][h]);
                }
            }
        }
    }
}
