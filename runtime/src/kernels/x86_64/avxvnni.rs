//! AVX-VNNI (Alder Lake and later, Zen 5): AVX2's registers, a quad of columns of 8 rows in each, and `vpdpbusd`.

use crate::kernels::Isa;
use crate::kernels::gemm::Weights;
use crate::kernels::simd::{Simd, Work};
use crate::kernels::x86_64::{in_this_order, vnni_dots, ymm_registers};
use std::arch::x86_64::*;

table! {
    isa: Isa::AvxVnni,
    features: "avx2,fma,f16c,avxvnni",
    simd: AvxVnni, rows: (2, 2), of_one_token: (2, 2),
}

/// See the module.
struct AvxVnni;

impl Simd for AvxVnni {
    ymm_registers!();

    vnni_dots!(
        _mm256_set1_epi32,
        _mm256_broadcastsi128_si256,
        _mm256_xor_si256,
        _mm256_shuffle_epi8,
        _mm256_dpbusd_avx_epi32,
        in_this_order
    );

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
