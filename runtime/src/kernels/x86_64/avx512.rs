//! AVX-512 with VNNI: a register holds a quad of columns of 16 rows, the activation is broadcast.

use crate::kernels::Isa;
use crate::kernels::gemm::Weights;
use crate::kernels::simd::{Simd, Work};
use crate::kernels::x86_64::vnni_dots;
use std::arch::x86_64::*;
use std::convert::identity;

table! {
    isa: Isa::Avx512Vnni,
    features: "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
    // Two groups of 16 rows times 4 tokens are 8 integer and 8 float accumulators of 32 registers. (With 6 tokens the
    // compiler runs out of registers.)
    simd: Avx512, rows: (2, 2), of_one_token: (1, 1),
}

/// See the module.
pub(super) struct Avx512;

impl Simd for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> __m512i {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn field(bytes: __m512i, right: i32, mask: u8) -> __m512i {
        // SAFETY: computes from registers only; bits that leave a byte are masked.
        unsafe {
            let bytes = match right {
                0 => bytes,
                1.. => _mm512_srl_epi16(bytes, _mm_cvtsi32_si128(right)),
                _ => _mm512_sll_epi16(bytes, _mm_cvtsi32_si128(-right)),
            };
            _mm512_and_si512(bytes, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: computes from registers only.
        unsafe { _mm512_or_si512(a, b) }
    }

    vnni_dots!(
        _mm512_set1_epi32,
        _mm512_broadcast_i32x4,
        _mm512_xor_si512,
        _mm512_shuffle_epi8,
        _mm512_dpbusd_epi32,
        identity
    );

    #[inline(always)]
    unsafe fn floats(ints: __m512i) -> __m512 {
        // SAFETY: computes from registers only.
        unsafe { _mm512_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 values.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(at: *mut f32, x: __m512) {
        // SAFETY: the caller vouches for 16 values.
        unsafe { _mm512_storeu_ps(at, x) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: computes from registers only.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: computes from registers only.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: computes from registers only.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn f16(at: *const u8) -> __m512 {
        // SAFETY: the caller vouches for 16 values.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn bf16(at: *const u8) -> __m512 {
        // SAFETY: the caller vouches for 16 values, which are upper halves of float32.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())))) }
    }

    #[inline(always)]
    unsafe fn mul_u8(a: __m512, at: *const u8, _lane: usize) -> __m512 {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { _mm512_mul_ps(a, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())))) }
    }

    #[inline(always)]
    unsafe fn i8(at: *const u8) -> __m512 {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn mul_nibbles(a: __m512, at: *const u8, _lane: usize, high: bool) -> __m512 {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()));
            let nibbles =
                if high { _mm512_srli_epi32::<4>(bytes) } else { _mm512_and_si512(bytes, _mm512_set1_epi32(15)) };
            _mm512_mul_ps(a, _mm512_cvtepi32_ps(nibbles))
        }
    }

    #[inline(always)]
    unsafe fn quads(at: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 4 values.
        unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(at)) }
    }

    #[inline(always)]
    unsafe fn sum_quads(x: [__m512; 4], to: *mut f32) {
        // SAFETY: the caller vouches for 4 values.
        unsafe {
            let upper = _mm256_castsi256_ps(_mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(x[0])));
            let eight = _mm256_add_ps(_mm512_castps512_ps256(x[0]), upper);
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
    unsafe fn powers_of_two(at: *const u8) -> __m512 {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe {
            let one = _mm512_set1_epi32(1);
            let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponents, one));
            let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), _mm512_min_epi32(exponents, one));
            _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal))
        }
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
