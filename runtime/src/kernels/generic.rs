//! The portable body of every operation on floats.
//!
//! Each function is `#[inline(always)]`: an instruction set's module wraps it in a `#[target_feature]` shim (see
//! `table!`), and the compiler vectorises the same arithmetic for it. So that all of them give the same bits:
//!
//! - a reduction has [`LANES`] partial results; element i goes to lane `i % LANES`, in order, and the lanes are merged
//!   in a fixed tree, whatever the width of a register;
//! - products that are summed use a fused multiply-add, written out (`mul_add`): the compiler never fuses by itself;
//! - exp and what is made of it are our own polynomials, not the C library's.
//!
//! On a CPU without fused multiply-add `mul_add` is a slow but exact library call, which the scalar table accepts.

use super::Activation;
use crate::quant::{BLOCK, Grain};
use std::f32::consts::LOG2_E;

/// Columns of fine activations that have a sum.
const SUM_COLUMNS: usize = Grain::Fine.sum_columns();

/// Partial results of a reduction: the float32 lanes of the widest register.
pub(super) const LANES: usize = 16;

/// 1.5 * 2^23: adding it rounds a float of magnitude below 2^22 to the nearest integer (ties to even), which then is in
/// the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// The integer that [`ROUND`] has been added to, as an integer.
#[inline(always)]
fn rounded(shifted: f32) -> i32 {
    (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// The larger; `a` when `b` is not a number.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Folds `x` into lanes.
#[inline(always)]
fn fold(x: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(tail) {
        *lane = f(*lane, v);
    }
    lanes
}

/// Merges lanes in a fixed tree: the upper half into the lower half, until one is left. Each half is an array of its own,
/// which stays in a register.
#[inline(always)]
fn merge(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = f(lanes[i], lanes[i + 8]);
    }
    for i in 0..4 {
        four[i] = f(eight[i], eight[i + 4]);
    }
    f(f(four[0], four[2]), f(four[1], four[3]))
}

#[inline(always)]
pub(super) fn sum(lanes: [f32; LANES]) -> f32 {
    merge(lanes, |a, b| a + b)
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (chunks, tail) = a.as_chunks::<LANES>();
    let (others, other_tail) = b.as_chunks::<LANES>();
    assert!(chunks.len() == others.len() && tail.len() == other_tail.len(), "rows of different lengths");
    let mut lanes = [0.0; LANES];
    for (a, b) in chunks.iter().zip(others) {
        for l in 0..LANES {
            lanes[l] = a[l].mul_add(b[l], lanes[l]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(tail.iter().zip(other_tail)) {
        *lane = a.mul_add(b, *lane);
    }
    sum(lanes)
}

/// The value of a float16, exactly. (The conversion of the `half` crate asks what the CPU can do, which is not vectorised.)
#[inline(always)]
pub(super) fn widen_f16(bytes: [u8; 2]) -> f32 {
    /// 2^-24, the smallest float16.
    const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
    let subnormal = (magnitude as i32 as f32 * SMALLEST).to_bits();
    let normal = (magnitude << 13) + ((127 - 15) << 23);
    let infinite = magnitude << 13 | 0x7f80_0000;
    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    f32::from_bits(sign | if magnitude < 0x7c00 { finite } else { infinite })
}

/// The value of a bfloat16: the upper half of a float32.
#[inline(always)]
pub(super) fn widen_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// e^(x - n ln 2), which is to be between 1/sqrt(2) and sqrt(2).
///
/// 1 + r + r^2 P(r) with P of the fourth degree, whose relative error is the least possible one, 4e-9. In pairs, so that
/// operations do not wait for each other as they do in Horner's scheme.
#[inline(always)]
fn exp_of_rest(x: f32, n: f32) -> f32 {
    /// ln 2 as the sum of two float32.
    const LN_2: (f32, f32) = (std::f32::consts::LN_2, -1.904_654_3e-9);
    const P: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_7];
    let r = n.mul_add(-LN_2.1, n.mul_add(-LN_2.0, x));
    let square = r * r;
    let low = r.mul_add(P[1], P[0]);
    let high = square.mul_add(P[4], r.mul_add(P[3], P[2]));
    square.mul_add(square.mul_add(high, low), 1.0 + r)
}

/// e^x, within 1 unit in the last place; 0 far below and infinity far above the range, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2: e^r times 2^n, in two steps, so that n = 128 and subnormal results come out right.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x.mul_add(LOG2_E, ROUND);
    let p = exp_of_rest(x, shifted - ROUND);
    let n = rounded(shifted);
    let power_of_two = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// [`exp`] of what is not above 0, in fewer steps: where that is below the smallest normal number, it is 0.
#[inline(always)]
pub(super) fn exp_downward(x: f32) -> f32 {
    /// With the bias of exponents, so that the low bits of the sum are the exponent of 2^n: 0, which makes the number 0, for -127.
    const BIASED: f32 = ROUND + 127.0;
    let x = if x < -88.0 { -88.0 } else { x };
    let shifted = x.mul_add(LOG2_E, BIASED);
    exp_of_rest(x, shifted - BIASED) * f32::from_bits(shifted.to_bits() << 23)
}

/// max(x, 0)
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// max(x, 0)^2
#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    relu(x) * relu(x)
}

/// x / (1 + e^-x)
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// x * Phi(x), Phi being the normal distribution.
///
/// For z = |x|, Phi(-z) = e^(-z^2/2) t P(t) with t = 1 / (1 + 0.35 z); P interpolates, at Chebyshev nodes over z in
/// 0..=14, with a relative error below 4e-8.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    const P: [f32; 9] = [
        0.139_618_71,
        0.139_912_3,
        0.119_444_92,
        0.107_114_59,
        -0.027_046_608,
        0.165_051,
        -0.260_961_23,
        0.146_545_83,
        -0.029_679_522,
    ];
    let z = x.abs();
    let t = 1.0 / z.mul_add(0.35, 1.0);
    let mut p = P[8];
    for i in (0..8).rev() {
        p = t.mul_add(p, P[i]);
    }
    let tail = exp(z * z * -0.5) * (t * p);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), which is x * sigmoid(2 sqrt(2/pi) * (x + 0.044715 x^3)).
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    const TWICE: f32 = -1.595_769;
    x / (1.0 + exp(TWICE * (x * x * x).mul_add(0.044_715, x)))
}

/// See [`super::QuantizeRow`].
///
/// Step by step for [`AT_ONCE`] blocks: each step is a chain of dependent operations that is long for one block.
#[inline(always)]
pub(super) fn quantize_row(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    const AT_ONCE: usize = 8;
    /// What the largest magnitude of a block may become.
    const TOPS: [f32; 4] = [127.0, 126.0, 125.0, 124.0];
    let (x, rest) = x.as_chunks::<BLOCK>();
    assert!(rest.is_empty() && quants.len() == x.len() * BLOCK, "a row is whole blocks of {BLOCK}");
    let (sums, rest) = sums.as_chunks_mut::<{ BLOCK / SUM_COLUMNS }>();
    assert!(scales.len() == x.len() && sums.len() == x.len() && rest.is_empty(), "a scale and two sums for each block");
    let quants = quants.as_chunks_mut::<BLOCK>().0;
    let blocks = x.chunks(AT_ONCE).zip(quants.chunks_mut(AT_ONCE));
    for ((x, quants), (scales, sums)) in blocks.zip(scales.chunks_mut(AT_ONCE).zip(sums.chunks_mut(AT_ONCE))) {
        let (mut largest, mut inverse, mut factors) = ([0.0; AT_ONCE], [0.0; AT_ONCE], [0.0; AT_ONCE]);
        let mut errors = [[0; AT_ONCE]; TOPS.len()];
        for (x, largest) in x.iter().zip(&mut largest) {
            *largest = largest_magnitude(x);
        }
        for i in 0..AT_ONCE {
            // Below this the inverse would overflow: such a block counts as zero.
            inverse[i] = if largest[i] > 1e-36 { 1.0 / largest[i] } else { 0.0 };
        }
        for (i, x) in x.iter().enumerate() {
            for (errors, top) in errors.iter_mut().zip(TOPS) {
                errors[i] = rounding(x, top * inverse[i]);
            }
        }
        for i in 0..AT_ONCE {
            let (mut best, mut least) = (TOPS[0], f32::INFINITY);
            for (errors, top) in errors.iter().zip(TOPS) {
                // The errors are squares in units of the scale.
                let error = errors[i] as f32 * (1.0 / (top * top));
                (best, least) = if error < least { (top, error) } else { (best, least) };
            }
            factors[i] = best * inverse[i];
            largest[i] = match inverse[i] > 0.0 {
                true => largest[i] / best,
                // What is not finite does not become a number again.
                false if largest[i] <= 1e-36 => 0.0,
                false => f32::NAN,
            };
        }
        scales.copy_from_slice(&largest[..scales.len()]);
        for (((x, quants), sums), factor) in x.iter().zip(quants).zip(sums).zip(factors) {
            round_block::<BLOCK, SUM_COLUMNS>(Grain::Fine, x, factor, quants, sums);
        }
    }
}

/// See [`super::Kernels::quantize_plainly`].
#[inline(always)]
pub(super) fn quantize_plainly(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    quantize_simply::<BLOCK, SUM_COLUMNS>(Grain::Fine, x, quants, scales, sums);
}

/// See [`super::Kernels::quantize`].
#[inline(always)]
pub(super) fn quantize_coarsely(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    const COLUMNS: usize = Grain::Coarse.columns();
    quantize_simply::<COLUMNS, COLUMNS>(Grain::Coarse, x, quants, scales, sums);
}

/// The largest magnitude of the columns that have a scale becomes the largest integer. `COLUMNS` and `SUMMED` are what `grain`
/// says.
#[inline(always)]
fn quantize_simply<const COLUMNS: usize, const SUMMED: usize>(
    grain: Grain,
    x: &[f32],
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    let top = grain.largest() as f32;
    let (x, rest) = x.as_chunks::<COLUMNS>();
    assert!(rest.is_empty() && quants.len() == x.len() * COLUMNS, "a row is whole blocks of {COLUMNS}");
    assert!(scales.len() == x.len() && sums.len() == x.len() * (COLUMNS / SUMMED), "a scale and sums for each block");
    let quants = quants.as_chunks_mut::<COLUMNS>().0;
    let sums = sums.chunks_exact_mut(COLUMNS / SUMMED);
    for ((x, quants), (scale, sums)) in x.iter().zip(quants).zip(scales.iter_mut().zip(sums)) {
        let largest = largest_magnitude(x);
        let factor = if largest > 1e-36 { top / largest } else { 0.0 };
        *scale = match largest > 1e-36 {
            true => largest / top,
            false if largest <= 1e-36 => 0.0,
            false => f32::NAN,
        };
        round_block::<COLUMNS, SUMMED>(grain, x, factor, quants, sums);
    }
}

/// The quants of a block, and the sums of its parts.
#[inline(always)]
fn round_block<const COLUMNS: usize, const SUMMED: usize>(
    grain: Grain,
    x: &[f32; COLUMNS],
    factor: f32,
    quants: &mut [i8; COLUMNS],
    sums: &mut [i32],
) {
    let largest = grain.largest() as i32;
    let parts = quants.as_chunks_mut::<SUMMED>().0.iter_mut().zip(x.as_chunks::<SUMMED>().0);
    for ((quants, x), sum) in parts.zip(sums) {
        let mut total = 0;
        for (q, &v) in quants.iter_mut().zip(x) {
            let nearest = rounded(v.mul_add(factor, ROUND)).clamp(-largest, largest);
            *q = nearest as i8;
            total += nearest;
        }
        *sum = total;
    }
}

/// The sum of the squares of what rounding `x` times `factor` to integers changes, in units of 2^-16. The lanes are added as
/// integers: that is exact in any order, so that the compiler may choose the fastest.
#[inline(always)]
fn rounding(x: &[f32; BLOCK], factor: f32) -> i32 {
    let lanes = fold(x, 0.0, |total, v| {
        let rest = v.mul_add(factor, -(v.mul_add(factor, ROUND) - ROUND));
        rest.mul_add(rest, total)
    });
    let mut total = 0i32;
    for lane in lanes {
        total = total.wrapping_add(rounded(lane.mul_add(65536.0, ROUND)));
    }
    total
}

/// The largest magnitude; of NaN if there is any. Bits of magnitudes are in the order of the magnitudes, and the largest of
/// integers is the same in any order.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    let mut largest = 0i32;
    for v in x {
        largest = largest.max(v.abs().to_bits() as i32);
    }
    f32::from_bits(largest as u32)
}

/// See [`super::LayerNorm`].
#[inline(always)]
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let n = x.len();
    assert!(weight.len() == n && bias.len() == n && y.len() == n, "layer_norm of rows of different lengths");
    let mean = sum(fold(x, 0.0, |acc, v| acc + v)) / n as f32;
    let variance = sum(fold(x, 0.0, |acc, v| (v - mean).mul_add(v - mean, acc))) / n as f32;
    let inverse = 1.0 / (variance + eps).sqrt();
    for i in 0..n {
        y[i] = ((x[i] - mean) * inverse).mul_add(weight[i], bias[i]);
    }
}

/// See [`super::RmsNorm`].
#[inline(always)]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let n = x.len();
    assert!(weight.len() == n && y.len() == n, "rms_norm of rows of different lengths");
    let inverse = 1.0 / (dot(x, x) / n as f32 + eps).sqrt();
    for i in 0..n {
        y[i] = x[i] * inverse * weight[i];
    }
}

/// See [`super::Kernels::max`].
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    merge(fold(x, f32::NEG_INFINITY, larger), larger)
}

/// See [`super::Kernels::exponentials`].
#[inline(always)]
pub(super) fn exponentials(x: &mut [f32], max: f32) -> f32 {
    for v in x.iter_mut() {
        *v = exp_downward(*v - max);
    }
    sum(fold(x, 0.0, |acc, v| acc + v))
}

/// See [`super::Kernels::softmax`].
#[inline(always)]
pub(super) fn softmax(x: &mut [f32]) {
    let inverse = 1.0 / exponentials(x, max(x));
    for v in x {
        *v *= inverse;
    }
}

/// See [`super::Kernels::log_sum_exp`].
#[inline(always)]
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let max = max(x);
    let sum = sum(fold(x, 0.0, |acc, v| acc + exp_downward(v - max)));
    max + f64::from(sum).ln() as f32
}

/// See [`super::Kernels::activate`].
#[inline(always)]
pub(super) fn activate(activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Relu => x.iter_mut().for_each(|v| *v = relu(*v)),
        Activation::Silu => x.iter_mut().for_each(|v| *v = silu(*v)),
        Activation::ReluSquared => x.iter_mut().for_each(|v| *v = relu_squared(*v)),
        Activation::Gelu => x.iter_mut().for_each(|v| *v = gelu(*v)),
        Activation::GeluTanh => x.iter_mut().for_each(|v| *v = gelu_tanh(*v)),
    }
}

/// See [`super::Kernels::add`].
#[inline(always)]
pub(super) fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "add of rows of different lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// See [`super::Kernels::rotate_halves`].
#[inline(always)]
pub(super) fn rotate_halves(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x.split_at_mut(cos.len());
    assert!(high.len() == cos.len() && sin.len() == cos.len(), "an angle for each pair");
    for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// See [`super::Kernels::rotate_pairs`].
#[inline(always)]
pub(super) fn rotate_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let pairs = x.as_chunks_mut::<2>().0;
    assert!(pairs.len() == cos.len() && sin.len() == cos.len(), "an angle for each pair");
    for (([a, b], &cos), &sin) in pairs.iter_mut().zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// See [`super::Kernels::softcap`].
#[inline(always)]
pub(super) fn softcap(cap: f32, x: &mut [f32]) {
    for v in x {
        // tanh(z) = 1 - 2 / (1 + e^2z)
        *v = cap * (1.0 - 2.0 / (1.0 + exp(2.0 * *v / cap)));
    }
}

/// See [`super::Kernels::multiply`].
#[inline(always)]
pub(super) fn multiply(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "product of rows of different lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y *= x;
    }
}

/// See [`super::Kernels::gated`].
#[inline(always)]
pub(super) fn gated(activation: Activation, x: &[f32], y: &mut [f32]) {
    #[inline(always)]
    fn with(f: impl Fn(f32) -> f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "a gate for each value");
        for (y, &x) in y.iter_mut().zip(x) {
            *y *= f(x);
        }
    }
    match activation {
        Activation::Relu => with(relu, x, y),
        Activation::Silu => with(silu, x, y),
        Activation::ReluSquared => with(relu_squared, x, y),
        Activation::Gelu => with(gelu, x, y),
        Activation::GeluTanh => with(gelu_tanh, x, y),
    }
}

/// See [`super::Kernels::multiply_add`].
#[inline(always)]
pub(super) fn multiply_add(x: &[f32], y: &[f32], z: &mut [f32]) {
    assert!(x.len() == z.len() && y.len() == z.len(), "product of rows of different lengths");
    for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
        *z = x.mul_add(*y, *z);
    }
}

/// See [`super::Kernels::scale`].
#[inline(always)]
pub(super) fn scale(factor: f32, x: &mut [f32]) {
    x.iter_mut().for_each(|v| *v *= factor);
}
