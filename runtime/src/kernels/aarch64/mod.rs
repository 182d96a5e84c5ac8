//! Kernels for 64-bit ARM.

mod dotprod;
mod neon;

use super::Kernels;
use std::arch::aarch64::{float32x4_t, uint16x4_t};
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
