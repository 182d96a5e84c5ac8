//! AVX-512 with VNNI: a register holds a quad of columns of 16 rows, the activation is broadcast.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so weights are loaded with an offset that makes them unsigned, and the
//! integer accumulator starts at `-OFFSET * (sum of the block's activations)`.

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Acc, ActivationsView, Q4_0, Q8_0, Tile};
use crate::quant::{BLOCK, PackedView, TILE_ROWS};
use std::arch::x86_64::*;
use std::marker::PhantomData;

table! {
    isa: Isa::Avx512Vnni,
    features: "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
    q8_0: (Avx512<Q8_0, 2>, Avx512<Q8_0, 1>),
    q4_0: (Avx512<Q4_0, 2>, Avx512<Q4_0, 1>),
}

/// Weights that this instruction set can load.
trait Weights: gemm::Weights {
    /// What [`Weights::quad`] adds to the quants.
    const OFFSET: i32;

    /// The quants of quad `quad` (0..8) of the 16 rows of a tile, plus `OFFSET`, as unsigned bytes.
    ///
    /// # Safety
    /// The CPU must have the features; `tile` must point to the bytes of a whole tile.
    unsafe fn quad(tile: *const u8, quad: usize) -> __m512i;
}

impl Weights for Q8_0 {
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn quad(tile: *const u8, quad: usize) -> __m512i {
        // SAFETY: a tile has 8 quads of 64 bytes.
        let quants = unsafe { _mm512_loadu_si512(tile.add(quad * 64).cast()) };
        _mm512_xor_si512(quants, _mm512_set1_epi8(-128))
    }
}

impl Weights for Q4_0 {
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn quad(tile: *const u8, quad: usize) -> __m512i {
        // SAFETY: a tile has 4 times 64 bytes; quads 4..8 are the high nibbles of quads 0..4.
        let nibbles = unsafe { _mm512_loadu_si512(tile.add(quad % 4 * 64).cast()) };
        let nibbles = if quad < 4 { nibbles } else { _mm512_srli_epi16::<4>(nibbles) };
        _mm512_and_si512(nibbles, _mm512_set1_epi8(15))
    }
}

/// `G` groups of 16 rows times up to 4 tokens: for G = 2 that is 8 integer and 8 float accumulators of 32 registers. (With 6
/// tokens the compiler runs out of registers.)
struct Avx512<W, const G: usize>(PhantomData<W>);

impl<W: Weights, const G: usize> Tile for Avx512<W, G> {
    type Weights = W;
    const GROUPS: usize = G;
    const TOKENS: usize = 4;

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
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
        // bytes, for each group below `group + G`; `x` has `blocks` blocks of 32 quants, scales and sums for each token
        // below `token + M`. All pointers below stay inside these. `acc` has at least 16 * G floats for each token.
        unsafe {
            let quants = w.quants.as_ptr().add(group * blocks * tile_bytes);
            let scales = w.scales.as_ptr().add(group * blocks * TILE_ROWS * 2);
            let mut sums = [[_mm512_setzero_ps(); G]; M];
            for m in 0..M {
                for g in 0..G {
                    sums[m][g] = _mm512_loadu_ps(acc[m].as_ptr().add(g * TILE_ROWS));
                }
            }
            for b in 0..blocks {
                let mut dots = [[_mm512_setzero_si512(); G]; M];
                for m in 0..M {
                    let sum = *x.sums.as_ptr().add((token + m) * blocks + b);
                    dots[m] = [_mm512_set1_epi32(sum.wrapping_mul(-W::OFFSET)); G];
                }
                for quad in 0..BLOCK / 4 {
                    let mut weights = [_mm512_setzero_si512(); G];
                    for g in 0..G {
                        weights[g] = W::quad(quants.add((g * blocks + b) * tile_bytes), quad);
                    }
                    for m in 0..M {
                        let x = x.quants.as_ptr().add((token + m) * w.cols + b * BLOCK + quad * 4);
                        let x = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
                        for g in 0..G {
                            dots[m][g] = _mm512_dpbusd_epi32(dots[m][g], weights[g], x);
                        }
                    }
                }
                for g in 0..G {
                    let w_scale = scales.add((g * blocks + b) * TILE_ROWS * 2);
                    let w_scale = _mm512_cvtph_ps(_mm256_loadu_si256(w_scale.cast()));
                    for m in 0..M {
                        let x_scale = _mm512_set1_ps(*x.scales.as_ptr().add((token + m) * blocks + b));
                        let dot = _mm512_cvtepi32_ps(dots[m][g]);
                        sums[m][g] = _mm512_fmadd_ps(dot, _mm512_mul_ps(w_scale, x_scale), sums[m][g]);
                    }
                }
            }
            for m in 0..M {
                for g in 0..G {
                    _mm512_storeu_ps(acc[m].as_mut_ptr().add(g * TILE_ROWS), sums[m][g]);
                }
            }
        }
    }
}
