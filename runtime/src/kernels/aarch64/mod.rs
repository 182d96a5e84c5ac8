//! Kernels for 64-bit ARM: a register holds a quad of columns of 4 rows, a quarter of a tile.

mod dotprod;
mod i8mm;
mod neon;

use super::Kernels;
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// The plain NEON table, if this CPU can run it.
pub(super) fn neon() -> Option<Kernels> {
    is_aarch64_feature_detected!("neon").then_some(neon::TABLE)
}

/// The table with dot products, if this CPU can run it.
pub(super) fn dotprod() -> Option<Kernels> {
    let able = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
    able.then_some(dotprod::TABLE)
}

/// The table with matrix products, if this CPU can run it.
pub(super) fn i8mm() -> Option<Kernels> {
    let able = is_aarch64_feature_detected!("neon")
        && is_aarch64_feature_detected!("dotprod")
        && is_aarch64_feature_detected!("i8mm");
    able.then_some(i8mm::TABLE)
}

/// What all instruction sets have of `Simd`: all but the integer products. How integers become floats is in `$conversions`.
macro_rules! neon_registers {
    ($conversions:ident) => {
        type Bytes = uint8x16_t;
        type Ints = int32x4_t;
        type Floats = float32x4_t;
        const LANES: usize = 4;

        #[inline(always)]
        unsafe fn bytes(at: *const u8) -> uint8x16_t {
            // SAFETY: the caller vouches for 16 bytes.
            unsafe { vld1q_u8(at) }
        }

        #[inline(always)]
        unsafe fn field(bytes: uint8x16_t, right: i32, mask: u8) -> uint8x16_t {
            // SAFETY: computes from registers only.
            unsafe { $crate::kernels::aarch64::field(bytes, right, mask) }
        }

        #[inline(always)]
        unsafe fn or(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
            // SAFETY: computes from registers only.
            unsafe { vorrq_u8(a, b) }
        }

        #[inline(always)]
        unsafe fn floats(ints: int32x4_t) -> float32x4_t {
            // SAFETY: the caller's duty.
            unsafe { $crate::kernels::aarch64::$conversions::floats(ints) }
        }

        #[inline(always)]
        unsafe fn mul_u8(a: float32x4_t, at: *const u8, lane: usize) -> float32x4_t {
            // SAFETY: the caller's duty.
            unsafe { $crate::kernels::aarch64::$conversions::mul_u8(a, vld1q_u8(at), lane) }
        }

        #[inline(always)]
        unsafe fn mul_nibbles(a: float32x4_t, at: *const u8, lane: usize, high: bool) -> float32x4_t {
            // SAFETY: the caller's duty.
            unsafe {
                let bytes = vld1q_u8(at);
                let nibbles = if high { vshrq_n_u8::<4>(bytes) } else { vandq_u8(bytes, vdupq_n_u8(15)) };
                $crate::kernels::aarch64::$conversions::mul_u8(a, nibbles, lane)
            }
        }

        #[inline(always)]
        unsafe fn load(at: *const f32) -> float32x4_t {
            // SAFETY: the caller vouches for 4 values.
            unsafe { vld1q_f32(at) }
        }

        #[inline(always)]
        unsafe fn store(at: *mut f32, x: float32x4_t) {
            // SAFETY: the caller vouches for 4 values.
            unsafe { vst1q_f32(at, x) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> float32x4_t {
            // SAFETY: computes from registers only.
            unsafe { vdupq_n_f32(x) }
        }

        #[inline(always)]
        unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            // SAFETY: computes from registers only.
            unsafe { vmulq_f32(a, b) }
        }

        #[inline(always)]
        unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            // SAFETY: computes from registers only.
            unsafe { vfmaq_f32(c, a, b) }
        }

        #[inline(always)]
        unsafe fn f16(at: *const u8) -> float32x4_t {
            // SAFETY: the caller vouches for 4 values.
            unsafe { $crate::kernels::aarch64::load_f16(at) }
        }

        #[inline(always)]
        unsafe fn bf16(at: *const u8) -> float32x4_t {
            // SAFETY: the caller vouches for 4 values, which are upper halves of float32.
            unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(at)))) }
        }

        #[inline(always)]
        unsafe fn i8(at: *const u8) -> float32x4_t {
            // SAFETY: the caller vouches for 4 bytes. In the highest byte they are signed, and 2^24 times what they are.
            unsafe {
                let high = vshlq_n_s32::<24>(vreinterpretq_s32_u32($crate::kernels::aarch64::widen(at)));
                vcvtq_n_f32_s32::<24>(high)
            }
        }

        #[inline(always)]
        unsafe fn quads(at: *const f32) -> float32x4_t {
            // SAFETY: the caller vouches for 4 values.
            unsafe { vld1q_f32(at) }
        }

        #[inline(always)]
        unsafe fn sum_quads(x: [float32x4_t; 4], to: *mut f32) {
            // SAFETY: the caller vouches for 4 values.
            unsafe { vst1q_f32(to, vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]))) }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: a prefetch of any address is allowed (its intrinsic is not stable yet).
            unsafe { asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags)) }
        }

        #[inline(always)]
        unsafe fn prefetch_to_write(at: *mut f32) {
            // SAFETY: a prefetch of any address is allowed (its intrinsic is not stable yet).
            unsafe { asm!("prfm pstl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags)) }
        }

        /// The bits of a normal power are `(e - 1) << 23`; those of a subnormal one are more than that.
        #[inline(always)]
        unsafe fn powers_of_two(at: *const u8) -> float32x4_t {
            // SAFETY: the caller vouches for 4 bytes.
            unsafe {
                let one = vdupq_n_s32(1);
                let exponents = vreinterpretq_s32_u32($crate::kernels::aarch64::widen(at));
                let normal = vshlq_n_s32::<23>(vsubq_s32(exponents, one));
                let subnormal = vshlq_s32(vdupq_n_s32(0x0020_0000), vminq_s32(exponents, one));
                vreinterpretq_f32_s32(vmaxq_s32(normal, subnormal))
            }
        }
    };
}
use neon_registers;

/// Reads 4 float16.
///
/// # Safety
/// 8 bytes must be readable at `at`, which need not be aligned.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_f16(at: *const u8) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller vouches for the 8 bytes. `fcvtl` is part of plain NEON (its intrinsic is not stable yet) and
    // only computes `wide` from `narrow`.
    unsafe {
        let narrow: uint16x4_t = at.cast::<uint16x4_t>().read_unaligned();
        asm!(
            "fcvtl {wide:v}.4s, {narrow:v}.4h",
            wide = lateout(vreg) wide,
            narrow = in(vreg) narrow,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// Reads 4 bytes, each to a lane.
///
/// # Safety
/// 4 bytes must be readable at `at`, which need not be aligned.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widen(at: *const u8) -> uint32x4_t {
    // SAFETY: the caller vouches for the 4 bytes.
    let bytes = vreinterpret_u8_u32(vdup_n_u32(unsafe { at.cast::<u32>().read_unaligned() }));
    vmovl_u16(vget_low_u16(vmovl_u8(bytes)))
}

/// Each byte shifted right by `right` bits, or left by `-right`, and with `mask`. (Shifts are immediate: `right` is known.)
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
unsafe fn field(bytes: uint8x16_t, right: i32, mask: u8) -> uint8x16_t {
    // SAFETY: computes from registers only.
    unsafe {
        let bytes = match right {
            7 => vshrq_n_u8::<7>(bytes),
            6 => vshrq_n_u8::<6>(bytes),
            5 => vshrq_n_u8::<5>(bytes),
            4 => vshrq_n_u8::<4>(bytes),
            3 => vshrq_n_u8::<3>(bytes),
            2 => vshrq_n_u8::<2>(bytes),
            1 => vshrq_n_u8::<1>(bytes),
            0 => bytes,
            -1 => vshlq_n_u8::<1>(bytes),
            -2 => vshlq_n_u8::<2>(bytes),
            -3 => vshlq_n_u8::<3>(bytes),
            _ => vshlq_n_u8::<4>(bytes),
        };
        vandq_u8(bytes, vdupq_n_u8(mask))
    }
}

/// The quants of codes, or the codes themselves where an offset is to be subtracted from the products.
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
unsafe fn quants<W: super::gemm::Weights>(codes: uint8x16_t) -> int8x16_t {
    match W::FORMAT.code {
        crate::quant::Code::Signed | crate::quant::Code::Minus(_) => {
            // SAFETY: computes from registers only.
            unsafe { vreinterpretq_s8_u8(codes) }
        }
        crate::quant::Code::Table(values) => {
            // SAFETY: a table has 16 bytes.
            unsafe { vqtbl1q_s8(vld1q_s8(values.as_ptr()), codes) }
        }
    }
}
