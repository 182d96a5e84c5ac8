//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, and Q7_128: 32 or 128 weights as `scale * quant`, or `scale * quant + minimum`.

use super::{half, inverse, largest};

const BLOCK: usize = 32;

/// Scale, quants: the low half of a byte is one of the first 16, the high half one of the last.
pub(super) fn q4_0(x: &[f32; BLOCK], out: &mut [u8; 18]) {
    let (scale, quants) = signed(x, 8);
    out[..2].copy_from_slice(&half(scale));
    nibbles(&quants, &mut out[2..]);
}

/// Scale, minimum, quants as in Q4_0.
pub(super) fn q4_1(x: &[f32; BLOCK], out: &mut [u8; 20]) {
    let (scale, minimum, quants) = unsigned(x, 15);
    out[..2].copy_from_slice(&half(scale));
    out[2..4].copy_from_slice(&half(minimum));
    nibbles(&quants, &mut out[4..]);
}

/// Scale, the fifth bits as a u32, the other four as in Q4_0.
pub(super) fn q5_0(x: &[f32; BLOCK], out: &mut [u8; 22]) {
    let (scale, quants) = signed(x, 16);
    out[..2].copy_from_slice(&half(scale));
    out[2..6].copy_from_slice(&fifth_bits(&quants));
    nibbles(&quants, &mut out[6..]);
}

/// Scale, minimum, quants as in Q5_0.
pub(super) fn q5_1(x: &[f32; BLOCK], out: &mut [u8; 24]) {
    let (scale, minimum, quants) = unsigned(x, 31);
    out[..2].copy_from_slice(&half(scale));
    out[2..4].copy_from_slice(&half(minimum));
    out[4..8].copy_from_slice(&fifth_bits(&quants));
    nibbles(&quants, &mut out[8..]);
}

/// Scale, quants as i8.
pub(super) fn q8_0(x: &[f32; BLOCK], out: &mut [u8; 34]) {
    let scale = largest(x).abs() / 127.0;
    let inverse = inverse(scale);
    out[..2].copy_from_slice(&half(scale));
    for (out, v) in out[2..].iter_mut().zip(x) {
        *out = (v * inverse).round() as i8 as u8;
    }
}

/// Scale, quants as i8: -63..=63.
pub(super) fn q7_128(x: &[f32; 128], out: &mut [u8; 130]) {
    let scale = x.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 63.0;
    let inverse = inverse(scale);
    out[..2].copy_from_slice(&half(scale));
    for (out, v) in out[2..].iter_mut().zip(x) {
        *out = (v * inverse).round() as i8 as u8;
    }
}

/// The weight of largest magnitude becomes quant `-n`; quants, of -n..n, are stored `+n`.
fn signed(x: &[f32; BLOCK], n: u8) -> (f32, [u8; BLOCK]) {
    let n = f32::from(n);
    let scale = largest(x) / -n;
    let inverse = inverse(scale);
    // The sum is positive, so that truncation rounds to nearest.
    (scale, x.map(|v| ((v * inverse + (n + 0.5)) as u8).min(2 * n as u8 - 1)))
}

/// The smallest weight becomes quant 0, the largest `n`.
fn unsigned(x: &[f32; BLOCK], n: u8) -> (f32, f32, [u8; BLOCK]) {
    let minimum = x.iter().fold(f32::MAX, |min, &v| if v < min { v } else { min });
    let maximum = x.iter().fold(f32::MIN, |max, &v| if v > max { v } else { max });
    let scale = (maximum - minimum) / f32::from(n);
    let inverse = inverse(scale);
    (scale, minimum, x.map(|v| (((v - minimum) * inverse + 0.5) as u8).min(n)))
}

/// The low four bits of quants `i` and `16 + i` in byte `i`.
pub(super) fn nibbles(quants: &[u8; BLOCK], out: &mut [u8]) {
    let (low, high) = quants.split_at(BLOCK / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = low & 15 | high << 4;
    }
}

/// Bit `i` is bit 4 of quant `i`.
fn fifth_bits(quants: &[u8; BLOCK]) -> [u8; 4] {
    quants.iter().enumerate().fold(0u32, |bits, (i, q)| bits | u32::from(q >> 4 & 1) << i).to_le_bytes()
}
