//! Types of very few bits: TQ1_0 and TQ2_0 (-1, 0, 1), Q1_0 (signs), Q2_0 (-1, 0, 1, 2). The scale is the largest
//! magnitude; Q1_0's is the mean.

use super::{half, inverse, largest};

/// Five ternary digits in a byte: 32 and 16 bytes of five, 4 bytes of four; scale.
pub(super) fn tq1_0(x: &[f32; 256], out: &mut [u8; 54]) {
    let scale = largest(x).abs();
    let digits = rounded(x, scale);
    let mut at = 0;
    // First column, bytes, digits of a byte: digit d of byte b is column `first + d * bytes + b`.
    for (first, bytes, count) in [(0, 32, 5), (160, 16, 5), (240, 4, 4)] {
        for byte in 0..bytes {
            let digit = |d: usize| if d < count { digits[first + d * bytes + byte] as u16 } else { 0 };
            let number = (0..5).fold(0, |number, d| number * 3 + digit(d));
            // As a fraction of 3^5, rounded up, so that a digit is the high byte of three times what is left.
            out[at] = (number * 256).div_ceil(243) as u8;
            at += 1;
        }
    }
    out[at..].copy_from_slice(&half(scale));
}

/// Two bits each, byte `b` of a half's 32 holding columns `b`, `b + 32`, `b + 64`, `b + 96` from the low bits up; scale.
pub(super) fn tq2_0(x: &[f32; 256], out: &mut [u8; 66]) {
    let scale = largest(x).abs();
    super::k::two_bits(&rounded(x, scale).map(|digit| digit as u8), &mut out[..64]);
    out[64..].copy_from_slice(&half(scale));
}

/// Scale; a bit is set where the weight is not negative.
pub(super) fn q1_0(x: &[f32; 128], out: &mut [u8; 18]) {
    let sum = x.iter().fold(0.0, |sum, v| sum + v.abs());
    out[..2].copy_from_slice(&half(sum / 128.0));
    for (out, x) in out[2..].iter_mut().zip(x.as_chunks::<8>().0) {
        *out = x.iter().enumerate().fold(0, |bits, (i, v)| bits | u8::from(*v >= 0.0) << i);
    }
}

/// Scale; two bits each, consecutive columns from the low bits up.
pub(super) fn q2_0(x: &[f32; 64], out: &mut [u8; 18]) {
    let scale = largest(x).abs();
    let digits = rounded(x, scale);
    out[..2].copy_from_slice(&half(scale));
    for (out, digits) in out[2..].iter_mut().zip(digits.as_chunks::<4>().0) {
        *out = digits.iter().enumerate().fold(0, |bits, (i, digit)| bits | (*digit as u8) << (2 * i));
    }
}

/// -1, 0, 1 as 0, 1, 2.
fn rounded<const N: usize>(x: &[f32; N], scale: f32) -> [i8; N] {
    let inverse = inverse(scale);
    x.map(|v| (v * inverse).round() as i8 + 1)
}
