//! Q8_0: 32 weights as 8-bit quants in -127..=127 and a float16 scale.

use super::{BLOCK, Quants, TILE_ROWS};
use half::f16;

/// Bytes of a tile: `[8 quads][16 rows][4]` i8.
pub(super) const TILE_BYTES: usize = TILE_ROWS * BLOCK;

/// scale = largest magnitude / 127; a quant is the nearest integer to x / scale, halves away from zero.
pub fn quantize_block(x: &[f32; BLOCK]) -> (f16, Quants) {
    let amax = x.iter().fold(0.0f32, |amax, v| amax.max(v.abs()));
    let scale = amax / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    (f16::from_f32(scale), x.map(|v| (v * inverse).round() as i8))
}

pub(super) fn write_tile(tile: &mut [u8], row: usize, quants: &Quants) {
    for (quad, quants) in quants.as_chunks::<4>().0.iter().enumerate() {
        let at = (quad * TILE_ROWS + row) * 4;
        tile[at..at + 4].copy_from_slice(&quants.map(|q| q as u8));
    }
}

pub(super) fn read_tile(tile: &[u8], row: usize) -> Quants {
    std::array::from_fn(|i| tile[(i / 4 * TILE_ROWS + row) * 4 + i % 4] as i8)
}
