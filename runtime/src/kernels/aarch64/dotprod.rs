//! NEON with dot products (Cortex-A55, A76 and later): `sdot` adds the product with one quad of the activation, which is
//! picked from a register of 4 quads, to a lane for each row.

use crate::kernels::Isa;
use crate::kernels::aarch64::{neon_registers, quants};
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::{Simd, Work};
use std::arch::aarch64::*;
use std::arch::asm;

table! {
    isa: Isa::Dotprod,
    features: "neon,dotprod",
    // 16 rows, in halves of 8, times up to 4 tokens: 8 integer and 16 float accumulators of 32 registers.
    simd: Dotprod, rows: (4, 2), of_one_token: (4, 1),
}

/// To each lane of `acc`, adds the product of 4 bytes of `w` and the 4 bytes of `x` that `LANE` (0..4) picks.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: only computes `acc` from its operands; the instruction's intrinsic is not stable yet.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inlateout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// [`Simd::dots`] with `sdot`.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd<Bytes = uint8x16_t>, W: Weights, const P: usize, const M: usize>(
    mut dots: [[int32x4_t; P]; M],
    rows: [*const u8; P],
    first: usize,
    x: [*const i8; M],
) -> [[int32x4_t; P]; M] {
    // SAFETY: the caller vouches for the rows and the 32 quants of each token.
    unsafe {
        let mut quads = [vdupq_n_s8(0); M];
        unroll!(i < W::QUADS, 0 1 2 3 4 5 6 7; {
            let quad = first + i;
            for m in 0..M {
                if i.is_multiple_of(4) {
                    quads[m] = vld1q_s8(x[m].add(quad * 4));
                }
            }
            for p in 0..P {
                let weights = quants::<W>(gemm::codes::<S, W>(rows[p], quad));
                for m in 0..M {
                    dots[m][p] = match i % 4 {
                        0 => sdot::<0>(dots[m][p], weights, quads[m]),
                        1 => sdot::<1>(dots[m][p], weights, quads[m]),
                        2 => sdot::<2>(dots[m][p], weights, quads[m]),
                        _ => sdot::<3>(dots[m][p], weights, quads[m]),
                    };
                }
            }
        });
        dots
    }
}

/// What sums of products start with: the bits of 1.5 * 2^23, of which the last is worth 1, so that they are a float that far
/// from their value. There are fewer units for conversions than for subtractions.
const START: i32 = 0x4b40_0000;

/// [`START`] minus `less`.
///
/// In `asm!` that seems to depend on the rows, so that each sum has its own: that is work for a unit that has little to do,
/// and a copy of another register is work for those that multiply.
#[inline]
#[target_feature(enable = "neon")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read")]
pub(super) fn less_than_start(rows: *const u8, less: i32) -> int32x4_t {
    let sums;
    // SAFETY: only computes `sums`.
    unsafe {
        asm!(
            "dup {sums:v}.4s, {start:w} // {rows}",
            sums = lateout(vreg) sums,
            start = in(reg) START.wrapping_sub(less),
            rows = in(reg) rows,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Sums of products, from [`START`] on.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats(ints: int32x4_t) -> float32x4_t {
    vsubq_f32(vreinterpretq_f32_s32(ints), vdupq_n_f32(f32::from_bits(START as u32)))
}

/// `a`, which is finite, times bytes `lane..lane + 4`, rounded once: bytes become the lowest ones of 2^23, which times `a` is
/// subtracted. It is the same for all blocks of a span.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mul_u8(a: float32x4_t, bytes: uint8x16_t, lane: usize) -> float32x4_t {
    let start = 8388608.0f32;
    let place: [u8; 16] = std::array::from_fn(|i| if i % 4 == 0 { lane + i / 4 } else { 16 + i } as u8);
    let table = uint8x16x2_t(bytes, vreinterpretq_u8_f32(vdupq_n_f32(start)));
    // SAFETY: there are 16 places.
    let place = unsafe { vld1q_u8(place.as_ptr()) };
    vfmaq_f32(vmulq_f32(a, vdupq_n_f32(-start)), a, vreinterpretq_f32_u8(vqtbl2q_u8(table, place)))
}

/// See the module.
struct Dotprod;

impl Simd for Dotprod {
    neon_registers!(dotprod);

    #[inline(always)]
    unsafe fn start<W: Weights>(rows: *const u8, sum: i32) -> int32x4_t {
        // SAFETY: computes from registers only.
        unsafe { less_than_start(rows, sum.wrapping_mul(W::OFFSET)) }
    }

    #[inline(always)]
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        dots: [[int32x4_t; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[int32x4_t; P]; M] {
        // SAFETY: the caller's duty.
        unsafe { self::dots::<Self, W, P, M>(dots, rows, first, x) }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn with<W: Work>(work: W) {
        // SAFETY: the caller's duty.
        unsafe { work.run::<Self>() }
    }
}
