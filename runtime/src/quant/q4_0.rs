//! Q4_0: 32 weights as 4-bit quants in -8..=7 and a float16 scale.

use super::{BLOCK, Quants, TILE_ROWS};
use half::f16;

/// Bytes of a tile: `[4 quads][16 rows][4]`, two quants in each.
pub(super) const TILE_BYTES: usize = TILE_ROWS * BLOCK / 2;

/// scale = (the signed value of largest magnitude) / -8, so that this value becomes exactly -8; a quant is x / scale
/// rounded to the nearest integer, at most 7.
pub fn quantize_block(x: &[f32; BLOCK]) -> (f16, Quants) {
    let largest = x.iter().fold(0.0f32, |max, &v| if v.abs() > max.abs() { v } else { max });
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    // x * inverse + 8.5 is positive, so the cast's truncation rounds to nearest.
    (f16::from_f32(scale), x.map(|v| ((v * inverse + 8.5) as i8).clamp(0, 15) - 8))
}

/// The low nibble of byte (quad, row, j) is column `4*quad + j`, the high nibble column `16 + 4*quad + j`.
pub(super) fn write_tile(tile: &mut [u8], row: usize, quants: &Quants) {
    let (low, high) = quants.split_at(BLOCK / 2);
    for (i, (low, high)) in low.iter().zip(high).enumerate() {
        let nibble = |q: i8| q.wrapping_add(8) as u8 & 15;
        tile[(i / 4 * TILE_ROWS + row) * 4 + i % 4] = nibble(*low) | nibble(*high) << 4;
    }
}

pub(super) fn read_tile(tile: &[u8], row: usize) -> Quants {
    std::array::from_fn(|i| {
        let byte = tile[(i % 16 / 4 * TILE_ROWS + row) * 4 + i % 4];
        (byte >> (i / 16 * 4) & 15) as i8 - 8
    })
}
