//! AVX2: a register holds a quad of columns of 8 rows, half a tile; the activation is broadcast.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs, in 16 bits with saturation: results are added in 16 bits
//! for as long as they fit, and then widened. Codes are unsigned; where quants are not, w * x = |w| * (x with the sign of w).

use crate::kernels::Isa;
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use crate::quant::Code;
use std::arch::x86_64::*;

table! {
    isa: Isa::Avx2,
    features: "avx2,fma,f16c",
    simd: Avx2, rows: (2, 1, 2),
}

/// See the module.
struct Avx2;

impl Simd for Avx2 {
    type Bytes = __m256i;
    type Ints = __m256i;
    type Floats = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> __m256i {
        // SAFETY: the caller vouches for 32 bytes.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn field(bytes: __m256i, right: i32, mask: u8) -> __m256i {
        // SAFETY: computes from registers only; bits that leave a byte are masked.
        unsafe {
            let bytes = match right {
                0 => bytes,
                1.. => _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(right)),
                _ => _mm256_sll_epi16(bytes, _mm_cvtsi32_si128(-right)),
            };
            _mm256_and_si256(bytes, _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: computes from registers only.
        unsafe { _mm256_or_si256(a, b) }
    }

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
            for m in 0..M {
                dots[m] = [_mm256_set1_epi32(sums[m].wrapping_mul(-W::OFFSET)); P];
            }
            unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
                let quad = first + i;
                for p in 0..P {
                    let codes = gemm::codes::<Self, W>(rows[p], quad);
                    let weights = match W::FORMAT.code {
                        Code::Minus(_) | Code::Signed => codes,
                        Code::Table(values) => {
                            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.as_ptr().cast()));
                            _mm256_shuffle_epi8(table, codes)
                        }
                    };
                    for m in 0..M {
                        let x = _mm256_set1_epi32(x[m].add(quad * 4).cast::<i32>().read_unaligned());
                        let products = match W::FORMAT.code {
                            Code::Minus(_) => _mm256_maddubs_epi16(weights, x),
                            _ => _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights)),
                        };
                        let sum = match i % chain {
                            0 => products,
                            _ => _mm256_add_epi16(pairs[m][p], products),
                        };
                        pairs[m][p] = sum;
                        if (i + 1).is_multiple_of(chain) {
                            dots[m][p] = _mm256_add_epi32(dots[m][p], _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
                        }
                    }
                }
            });
            dots
        }
    }

    #[inline(always)]
    unsafe fn floats(ints: __m256i) -> __m256 {
        // SAFETY: computes from registers only.
        unsafe { _mm256_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 8 values.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(at: *mut f32, x: __m256) {
        // SAFETY: the caller vouches for 8 values.
        unsafe { _mm256_storeu_ps(at, x) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: computes from registers only.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: computes from registers only.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: computes from registers only.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn f16(at: *const u8) -> __m256 {
        // SAFETY: the caller vouches for 8 values.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    unsafe fn u8(at: *const u8) -> __m256 {
        // SAFETY: the caller vouches for 8 bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn i8(at: *const u8) -> __m256 {
        // SAFETY: the caller vouches for 8 bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn nibbles(at: *const u8, high: bool) -> __m256 {
        // SAFETY: the caller vouches for 8 bytes.
        unsafe {
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
            let nibbles =
                if high { _mm256_srli_epi32::<4>(bytes) } else { _mm256_and_si256(bytes, _mm256_set1_epi32(15)) };
            _mm256_cvtepi32_ps(nibbles)
        }
    }

    #[inline(always)]
    unsafe fn quads(at: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 4 values.
        unsafe {
            let four = _mm_loadu_ps(at);
            _mm256_set_m128(four, four)
        }
    }

    #[inline(always)]
    unsafe fn sum_quads(x: [__m256; 4], to: *mut f32) {
        // SAFETY: the caller vouches for 4 values.
        unsafe {
            let eight = _mm256_add_ps(x[0], x[1]);
            _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight)));
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    /// The bits of a normal power are `(e - 1) << 23`; those of a subnormal one are more than that.
    #[inline(always)]
    unsafe fn powers_of_two(at: *const u8) -> __m256 {
        // SAFETY: the caller vouches for 8 bytes.
        unsafe {
            let one = _mm256_set1_epi32(1);
            let exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponents, one));
            let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), _mm256_min_epi32(exponents, one));
            _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal))
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
