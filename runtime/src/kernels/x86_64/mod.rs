//! Kernels for x86-64.

mod amx;
mod avx2;
mod avx512;
mod avxvnni;

use super::{Isa, Kernels};
use std::arch::x86_64::__m256i;

/// The AVX2 table, if this CPU can run it.
pub(super) fn avx2() -> Option<Kernels> {
    let able = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    able.then_some(avx2::TABLE)
}

/// The AVX-VNNI table, if this CPU can run it.
pub(super) fn avxvnni() -> Option<Kernels> {
    (avx2().is_some() && is_x86_feature_detected!("avxvnni")).then_some(avxvnni::TABLE)
}

/// The AVX-512 table, if this CPU can run it.
pub(super) fn avx512() -> Option<Kernels> {
    let able = avx2().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    // On rows this short, 512-bit vectors cost more in their ends than they gain; the bits are the same.
    able.then_some(Kernels { quantize_row: avx2::TABLE.quantize_row, ..avx512::TABLE })
}

/// The AMX table, if this CPU can run it and the system lets this process.
pub(super) fn amx() -> Option<Kernels> {
    let avx512 = avx512().filter(|_| amx::available())?;
    Some(Kernels { isa: Isa::Amx, gemm_packed: amx::GEMMS, ..avx512 })
}

/// What instruction sets of 256 bits have of `Simd`: all but the integer products.
macro_rules! ymm_registers {
    () => {
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
        unsafe fn bf16(at: *const u8) -> __m256 {
            // SAFETY: the caller vouches for 8 values, which are upper halves of float32.
            unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast())))) }
        }

        #[inline(always)]
        unsafe fn mul_u8(a: __m256, at: *const u8, lane: usize) -> __m256 {
            // SAFETY: the caller vouches for 8 bytes.
            unsafe { _mm256_mul_ps(a, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(lane).cast())))) }
        }

        #[inline(always)]
        unsafe fn i8(at: *const u8) -> __m256 {
            // SAFETY: the caller vouches for 8 bytes.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()))) }
        }

        #[inline(always)]
        unsafe fn mul_nibbles(a: __m256, at: *const u8, lane: usize, high: bool) -> __m256 {
            // SAFETY: the caller vouches for 8 bytes.
            unsafe {
                let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(lane).cast()));
                let nibbles =
                    if high { _mm256_srli_epi32::<4>(bytes) } else { _mm256_and_si256(bytes, _mm256_set1_epi32(15)) };
                _mm256_mul_ps(a, _mm256_cvtepi32_ps(nibbles))
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

        #[inline(always)]
        unsafe fn prefetch_to_write(at: *mut f32) {
            // SAFETY: a prefetch of any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
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
    };
}
use ymm_registers;

/// `sum`, computed now: after what stands before another call, and before what stands behind the next. Of the 8 quads of a block
/// the compiler would otherwise compute a token after the other, with all weights on the stack, because 16 registers do not
/// hold them.
#[inline]
#[target_feature(enable = "avx2")]
fn in_this_order(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction; the register keeps its value.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags)) };
    sum
}

/// The sign bits of 4 bytes.
const SIGNS: i32 = i32::from_ne_bytes([0x80; 4]);

/// `Simd::dots` with `vpdpbusd`, which multiplies unsigned by signed bytes: weights are made unsigned by an offset, and
/// sums start at `-offset * (sum of the activations)`. The arguments are intrinsics for registers of one width: 32 bits
/// and 128 bits again and again, exclusive or, a look-up in tables of 16 bytes, the instruction itself, and
/// [`in_this_order`] where there are 16 registers only.
macro_rules! vnni_dots {
    ($splat:ident, $broadcast:ident, $xor:ident, $shuffle:ident, $dpbusd:ident, $ordered:ident) => {
        #[inline(always)]
        unsafe fn start<W: Weights>(_rows: *const u8, sum: i32) -> Self::Ints {
            use $crate::quant::Code;
            let offset = match W::FORMAT.code {
                Code::Minus(offset) => offset,
                Code::Signed | Code::Table(_) => 128,
            };
            // SAFETY: computes from registers only.
            unsafe { $splat(sum.wrapping_mul(-offset)) }
        }

        #[inline(always)]
        unsafe fn dots<W: Weights, const P: usize, const M: usize>(
            mut dots: [[Self::Ints; P]; M],
            rows: [*const u8; P],
            first: usize,
            x: [*const i8; M],
        ) -> [[Self::Ints; P]; M] {
            use $crate::kernels::gemm::{codes, unroll};
            use $crate::kernels::x86_64::SIGNS;
            use $crate::quant::Code;
            // SAFETY: the caller vouches for the rows and the 32 quants of each token.
            unsafe {
                unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
                    let quad = first + i;
                    let mut weights = [$splat(0); P];
                    for p in 0..P {
                        let codes = codes::<Self, W>(rows[p], quad);
                        weights[p] = match W::FORMAT.code {
                            Code::Minus(_) => codes,
                            Code::Signed => $xor(codes, $splat(SIGNS)),
                            Code::Table(values) => {
                                let table = _mm_loadu_si128(values.as_ptr().cast());
                                let table = $broadcast(_mm_xor_si128(table, _mm_set1_epi32(SIGNS)));
                                $shuffle(table, codes)
                            }
                        };
                    }
                    for m in 0..M {
                        let x = $splat(x[m].add(quad * 4).cast::<i32>().read_unaligned());
                        for p in 0..P {
                            dots[m][p] = $ordered($dpbusd(dots[m][p], weights[p], x));
                        }
                    }
                });
                dots
            }
        }
    };
}
use vnni_dots;
