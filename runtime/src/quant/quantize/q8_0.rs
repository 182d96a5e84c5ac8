//! Floats -> Q8_0.

use half::f16;

/// scale = largest magnitude / 127; a quant is the nearest integer to x / scale, halves away from zero.
pub(super) fn quantize(x: &[f32], out: &mut [u8]) {
    let amax = x.iter().fold(0.0f32, |amax, v| amax.max(v.abs()));
    let scale = amax / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let (head, quants) = out.split_at_mut(2);
    head.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (q, v) in quants.iter_mut().zip(x) {
        *q = (v * inverse).round() as i8 as u8;
    }
}
