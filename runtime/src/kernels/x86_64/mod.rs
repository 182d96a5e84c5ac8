//! Kernels for x86-64.

mod avx2;
mod avx512;

use super::Kernels;

/// The AVX2 table, if this CPU can run it.
pub(super) fn avx2() -> Option<Kernels> {
    let able = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    able.then_some(avx2::TABLE)
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
