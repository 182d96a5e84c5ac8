//! Block-quantised weight types and their packed layout. (skeleton: to be completed)
//!
//! A quantised matrix `[rows, cols]` (cols a multiple of 32) is stored *packed*: 16 consecutive rows are interleaved so
//! that SIMD lanes are rows and no horizontal sum is ever needed. Two planes, one after the other, in one byte string:
//!
//! - quants, `[rows/16 rounded up][cols/32]` tiles. Q8_0 tile = `[8 quads][16 rows][4]` i8 (512 bytes): the byte at
//!   (quad, row, j) is the weight of column `4*quad + j`. Q4_0 tile = `[4 quads][16 rows][4]` bytes (256 bytes): the low
//!   nibble is column `4*quad + j`, the high nibble column `16 + 4*quad + j`, both stored +8.
//! - scales, `[rows/16 rounded up][cols/32][16 rows]` float16, little-endian.
//!
//! A weight is `scale * quant`. Rows beyond `rows` are zero.

/// Columns that share a scale.
pub const BLOCK: usize = 32;
/// Rows interleaved in one tile.
pub const TILE_ROWS: usize = 16;

/// A weight type stored in packed blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// 8-bit quants in -127..=127, one float16 scale per 32 weights.
    Q8_0,
    /// 4-bit quants in -8..=7, one float16 scale per 32 weights.
    Q4_0,
}

/// A borrowed packed matrix; see the module's description for the layout.
#[derive(Clone, Copy, Debug)]
pub struct PackedView<'a> {
    /// Its weight type.
    pub block: BlockType,
    /// Output features.
    pub rows: usize,
    /// Input features, a multiple of [`BLOCK`].
    pub cols: usize,
    /// The quants plane.
    pub quants: &'a [u8],
    /// The scales plane.
    pub scales: &'a [u8],
}
