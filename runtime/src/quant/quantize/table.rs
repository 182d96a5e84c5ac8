//! Types whose quants are indices of a table of 16 values: IQ4_NL, IQ4_XS, MXFP4.

use std::array;

use super::linear::nibbles;
use super::search::{EPSILON, Fit, nearest};
use super::{half, inverse, largest};

const BLOCK: usize = 32;

/// Values of the IQ4 types.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of FP4 (E2M1).
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Scale, indices: the low half of a byte is one of the first 16, the high half one of the last.
pub(super) fn iq4_nl(x: &[f32; BLOCK], out: &mut [u8; 18]) {
    let scale = iq4_scale(x);
    out[..2].copy_from_slice(&half(scale));
    nibbles(&iq4_indices(x, inverse(scale)), &mut out[2..]);
}

/// Scale of the scales, their high two bits, their low four, indices as in IQ4_NL.
pub(super) fn iq4_xs(x: &[f32; 256], out: &mut [u8; 136]) {
    let groups = x.as_chunks::<BLOCK>().0;
    let scales: [f32; 8] = array::from_fn(|g| iq4_scale(&groups[g]));
    // Kept in float32 here, unlike in the k-types.
    let scale = -largest(&scales) / 32.0;
    let scales = scales.map(|v| nearest(inverse(scale) * v).clamp(-32, 31));
    let stored = scales.map(|v| (v + 32) as u8);
    let high = stored.iter().enumerate().fold(0u16, |bits, (g, v)| bits | u16::from(v >> 4) << (2 * g));
    out[..2].copy_from_slice(&half(scale));
    out[2..4].copy_from_slice(&high.to_le_bytes());
    for (out, pair) in out[4..8].iter_mut().zip(stored.as_chunks::<2>().0) {
        *out = pair[0] & 15 | pair[1] << 4;
    }
    for ((out, x), v) in out[8..].as_chunks_mut::<16>().0.iter_mut().zip(groups).zip(scales) {
        nibbles(&iq4_indices(x, inverse(scale * v as f32)), out);
    }
}

/// A power of two as the scale, indices as in IQ4_NL.
pub(super) fn mxfp4(x: &[f32; BLOCK], out: &mut [u8; 17]) {
    let largest = largest(x).abs();
    // 4 to 8 of the 6 that FP4 reaches.
    let exponent = if largest > 0.0 { (largest.log2().floor() as i32 - 2 + 127) as u8 } else { 0 };
    // Half of 2^(exponent - 127), because the table is doubled; the least two are subnormal.
    let scale = f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { u32::from(exponent - 1) << 23 });
    out[0] = exponent;
    let nearest = |v: f32| {
        let error = |i: u8| (f32::from(FP4[usize::from(i)]) * scale - v).abs();
        (1..16).fold(0, |best, i| if error(i) < error(best) { i } else { best })
    };
    nibbles(&x.map(nearest), &mut out[1..]);
}

/// The scale that fits best of 16: the first makes the largest magnitude the table's first value, the others are
/// around it.
fn iq4_scale(x: &[f32; BLOCK]) -> f32 {
    let largest = largest(x);
    if largest.abs() < EPSILON {
        return 0.0;
    }
    let fit = |inverse: f32| {
        let values = iq4_indices(x, inverse).map(|i| f32::from(IQ4[usize::from(i)]));
        Fit::new(x.iter().zip(values).map(|(x, q)| (x * x * q * x, x * x * q * q)))
    };
    let first = f32::from(IQ4[0]);
    let mut best = fit(1.0 / (-largest / first));
    let mut gain = best.gain();
    for step in -7..=7 {
        let tried = fit((step as f32 + first) / largest);
        if tried.beats(gain) {
            (best, gain) = (tried, tried.gain());
        }
    }
    best.scale()
}

/// The table's nearest values, of two that are equally near the upper.
fn iq4_indices(x: &[f32; BLOCK], inverse: f32) -> [u8; BLOCK] {
    x.map(|v| {
        let v = v * inverse;
        let upper = IQ4.partition_point(|&value| f32::from(value) <= v).clamp(1, 15);
        let (low, high) = (f32::from(IQ4[upper - 1]), f32::from(IQ4[upper]));
        (if v - low < high - v { upper - 1 } else { upper }) as u8
    })
}
