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

/// See the module.
struct Avx2;

impl Simd for Avx2 {
    ymm_registers!();

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
        sums: [i32; M],
    ) -> [[__m256i; P]; M] {
        let chain = const { gemm::chain::<W>(2) };
        // SAFETY: the caller vouches for the rows and the 32 quants of each token.
        unsafe {
            let mut dots = [[_mm256_setzero_si256(); P]; M];
            let mut pairs = [[_mm256_setzero_si256(); P]; M];
            unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
                let quad = first + i;
                let (mut weights, mut magnitudes) = ([_mm256_setzero_si256(); P], [_mm256_setzero_si256(); P]);
                for p in 0..P {
                    let codes = gemm::codes::<Self, W>(rows[p], quad);
                    weights[p] = match W::FORMAT.code {
                        Code::Minus(_) | Code::Signed => codes,
                        Code::Table(values) => {
                            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.as_ptr().cast()));
                            _mm256_shuffle_epi8(table, codes)
                        }
                    };
                    magnitudes[p] = match W::FORMAT.code {
                        Code::Minus(_) => weights[p],
                        Code::Signed | Code::Table(_) => _mm256_abs_epi8(weights[p]),
                    };
                }
                for m in 0..M {
                    let x = _mm256_set1_epi32(x[m].add(quad * 4).cast::<i32>().read_unaligned());
                    for p in 0..P {
                        let x = match W::FORMAT.code {
                            Code::Minus(_) => x,
                            Code::Signed | Code::Table(_) => _mm256_sign_epi8(x, weights[p]),
                        };
                        let products = _mm256_maddubs_epi16(magnitudes[p], x);
                        let sum = match i % chain {
                            0 => products,
                            _ => _mm256_add_epi16(pairs[m][p], products),
                        };
                        if (i + 1).is_multiple_of(chain) {
                            let before = match i + 1 == chain {
                                true => _mm256_set1_epi32(sums[m].wrapping_mul(-W::OFFSET)),
                                false => dots[m][p],
                            };
                            let widened = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
                            dots[m][p] = in_this_order(_mm256_add_epi32(before, widened));
                        } else {
                            pairs[m][p] = in_this_order(sum);
                        }
                    }
                }
            });
            dots
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
