//! AVX2: a register holds a quad of columns of 8 rows, half a tile; the activation is broadcast.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs, in 16 bits with saturation: results are added in 16 bits
//! for as long as they fit, and then widened. Codes are unsigned; where quants are not, w * x = |w| * (x with the sign of w).

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use crate::kernels::x86_64::{in_this_order, ymm_registers};
use crate::quant::Code;
use std::arch::x86_64::*;

table! {
    isa: Isa::Avx2,
    features: "avx2,fma,f16c",
    // Two registers of 8 rows times 4 tokens are 8 integer accumulators, half of the registers there are: see `in_this_order`.
    simd: Avx2, rows: (2, 2), of_one_token: (2, 2),
}

/// Weights of a quad of 8 rows, and what `vpmaddubsw` takes of them.
#[derive(Clone, Copy)]
struct Factors {
    weights: __m256i,
    magnitudes: __m256i,
}

impl Factors {
    // SAFETY: all bits 0 are a register.
    const ZERO: Self = unsafe { std::mem::zeroed() };

    /// Those of quad `quad`.
    ///
    /// # Safety
    /// As [`Simd::dots`].
    #[inline(always)]
    unsafe fn load<W: Weights>(rows: *const u8, quad: usize) -> Self {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let codes = gemm::codes::<Avx2, W>(rows, quad);
            let weights = match W::FORMAT.code {
                Code::Minus(_) | Code::Signed => codes,
                Code::Table(values) => {
                    let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.as_ptr().cast()));
                    _mm256_shuffle_epi8(table, codes)
                }
            };
            let magnitudes = match W::FORMAT.code {
                Code::Minus(_) => weights,
                Code::Signed | Code::Table(_) => _mm256_abs_epi8(weights),
            };
            Self { weights, magnitudes }
        }
    }

    /// Sums of two products each, in 16 bits.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    #[inline(always)]
    unsafe fn products<W: Weights>(self, x: __m256i) -> __m256i {
        // SAFETY: computes from registers only.
        unsafe {
            let x = match W::FORMAT.code {
                Code::Minus(_) => x,
                Code::Signed | Code::Table(_) => _mm256_sign_epi8(x, self.weights),
            };
            _mm256_maddubs_epi16(self.magnitudes, x)
        }
    }
}

/// Quad `index` of a token's quants, for every row.
///
/// # Safety
/// It must be readable.
#[inline(always)]
unsafe fn quad(x: *const i8, index: usize) -> __m256i {
    // SAFETY: the caller's duty.
    unsafe { _mm256_set1_epi32(x.add(index * 4).cast::<i32>().read_unaligned()) }
}

/// `dots` and the sums of two neighbours of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(dots: __m256i, sums: __m256i) -> __m256i {
    _mm256_add_epi32(dots, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)))
}

/// See the module.
struct Avx2;

impl Simd for Avx2 {
    ymm_registers!();

    #[inline(always)]
    unsafe fn start<W: Weights>(_rows: *const u8, sum: i32) -> __m256i {
        // SAFETY: computes from registers only.
        unsafe { _mm256_set1_epi32(sum.wrapping_mul(-W::OFFSET)) }
    }

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        mut dots: [[__m256i; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[__m256i; P]; M] {
        let chain = const { gemm::chain::<W>(2) };
        // SAFETY: the caller vouches for the rows and the 32 quants of each token.
        unsafe {
            if const { gemm::chain::<W>(2) > 2 } {
                let mut pairs = [[_mm256_setzero_si256(); P]; M];
                unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
                    let mut weights = [Factors::ZERO; P];
                    for p in 0..P {
                        weights[p] = Factors::load::<W>(rows[p], first + i);
                    }
                    for m in 0..M {
                        let x = quad(x[m], first + i);
                        for p in 0..P {
                            let products = weights[p].products::<W>(x);
                            let sum = match i % chain {
                                0 => products,
                                _ => _mm256_add_epi16(pairs[m][p], products),
                            };
                            if (i + 1).is_multiple_of(chain) {
                                dots[m][p] = in_this_order(add_pairs(dots[m][p], sum));
                            } else {
                                pairs[m][p] = in_this_order(sum);
                            }
                        }
                    }
                });
            } else {
                // A chain is so short that its weights fit the registers: no sums of 16 bits have to wait there.
                unroll!(i < W::QUADS / gemm::chain::<W>(2), 0 1 2 3 4 5 6 7; {
                    let at = first + i * chain;
                    let (mut weights, mut next) = ([Factors::ZERO; P], [Factors::ZERO; P]);
                    for p in 0..P {
                        weights[p] = Factors::load::<W>(rows[p], at);
                        if chain == 2 {
                            next[p] = Factors::load::<W>(rows[p], at + 1);
                        }
                    }
                    for m in 0..M {
                        let y = quad(x[m], at);
                        let z = if chain == 2 { quad(x[m], at + 1) } else { y };
                        for p in 0..P {
                            let mut sum = weights[p].products::<W>(y);
                            if chain == 2 {
                                sum = _mm256_add_epi16(sum, next[p].products::<W>(z));
                            }
                            dots[m][p] = in_this_order(add_pairs(dots[m][p], sum));
                        }
                    }
                });
            }
            dots
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
