//! Floats -> Q4_0.

use half::f16;

/// scale = (the signed value of largest magnitude) / -8, so that this value becomes exactly -8; a quant is x / scale
/// rounded to the nearest integer, at most 7.
pub(super) fn quantize(x: &[f32], out: &mut [u8]) {
    let largest = x.iter().fold(0.0f32, |max, &v| if v.abs() > max.abs() { v } else { max });
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let (head, quants) = out.split_at_mut(2);
    head.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    // x * inverse + 8.5 is positive, so the cast's truncation rounds to nearest.
    let code = |v: f32| ((v * inverse + 8.5) as i8).clamp(0, 15) as u8;
    let (low, high) = x.split_at(16);
    for (q, (&low, &high)) in quants.iter_mut().zip(low.iter().zip(high)) {
        *q = code(low) | code(high) << 4;
    }
}
