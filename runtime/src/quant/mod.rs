//! Block-quantised weight types and their packed layout.
//!
//! A row is cut into blocks of 32 columns; each block has one float16 scale, and a weight is `scale * quant`. What a
//! type does with the 32 quants of a block is in its own file ([`q8_0`], [`q4_0`]); everything else is here. The
//! arithmetic is that of GGUF's types of the same name, so that a file's blocks can be repacked without loss.
//!
//! A quantised matrix `[rows, cols]` (cols a multiple of 32) is stored *packed*: 16 consecutive rows are interleaved so
//! that SIMD lanes are rows and no horizontal sum is ever needed. Two planes, one after the other, in one byte string:
//!
//! - quants, `[rows/16 rounded up][cols/32]` tiles. Q8_0 tile = `[8 quads][16 rows][4]` i8 (512 bytes): the byte at
//!   (quad, row, j) is the weight of column `4*quad + j`. Q4_0 tile = `[4 quads][16 rows][4]` bytes (256 bytes): the low
//!   nibble is column `4*quad + j`, the high nibble column `16 + 4*quad + j`, both stored +8.
//! - scales, `[rows/16 rounded up][cols/32][16 rows]` float16, little-endian.
//!
//! Rows beyond `rows` are zero: every byte of their quants and scales is 0. The byte string may lie anywhere, but kernels
//! are fastest when it starts at a multiple of 64, so that a register's worth never crosses a cache line.

pub mod q4_0;
pub mod q8_0;
pub mod quantize;

use half::f16;

/// Columns that share a scale.
pub const BLOCK: usize = 32;
/// Rows interleaved in one tile.
pub const TILE_ROWS: usize = 16;

/// Bytes of scales that belong to one tile: a float16 for each of its rows.
const TILE_SCALE_BYTES: usize = TILE_ROWS * 2;

/// The quants of one block: those of 32 consecutive columns of one row.
pub type Quants = [i8; BLOCK];

/// A quantised weight type: the block types of GGUF. Blocks of a row follow each other; a row is whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is described in its own file")]
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Q1_0,
    Q2_0,
    /// BitNet's own: ternary, one float32 scale for the whole tensor.
    I2S,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 18] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Tq1_0,
        Self::Tq2_0,
        Self::Mxfp4,
        Self::Q1_0,
        Self::Q2_0,
        Self::I2S,
    ];

    /// The type's name in files, options and reports.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.name() == name)
    }

    /// Its number in GGUF (`ggml_type`).
    pub const fn ggml_id(self) -> u32 {
        self.row().1
    }

    /// The type with this number in GGUF.
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.ggml_id() == id)
    }

    /// Columns of one block.
    pub const fn block_columns(self) -> usize {
        self.row().2
    }

    /// Bytes of one block in a GGUF file. (I2_S tensors end with 32 more, which hold their scale.)
    pub const fn block_bytes(self) -> usize {
        self.row().3
    }

    /// Name, number in GGUF, columns and bytes of a block.
    const fn row(self) -> (&'static str, u32, usize, usize) {
        match self {
            Self::Q4_0 => ("q4_0", 2, 32, 18),
            Self::Q4_1 => ("q4_1", 3, 32, 20),
            Self::Q5_0 => ("q5_0", 6, 32, 22),
            Self::Q5_1 => ("q5_1", 7, 32, 24),
            Self::Q8_0 => ("q8_0", 8, 32, 34),
            Self::Q2K => ("q2_k", 10, 256, 84),
            Self::Q3K => ("q3_k", 11, 256, 110),
            Self::Q4K => ("q4_k", 12, 256, 144),
            Self::Q5K => ("q5_k", 13, 256, 176),
            Self::Q6K => ("q6_k", 14, 256, 210),
            Self::Iq4Nl => ("iq4_nl", 20, 32, 18),
            Self::Iq4Xs => ("iq4_xs", 23, 256, 136),
            Self::Tq1_0 => ("tq1_0", 34, 256, 54),
            Self::Tq2_0 => ("tq2_0", 35, 256, 66),
            Self::Mxfp4 => ("mxfp4", 39, 32, 17),
            Self::Q1_0 => ("q1_0", 41, 128, 18),
            Self::Q2_0 => ("q2_0", 42, 64, 18),
            Self::I2S => ("i2_s", 36, 128, 32),
        }
    }

    /// Bytes of quants in one tile of 16 rows by 32 columns.
    pub const fn tile_bytes(self) -> usize {
        match self {
            Self::Q8_0 => q8_0::TILE_BYTES,
            Self::Q4_0 => q4_0::TILE_BYTES,
            _ => 0,
        }
    }

    /// Quantises 32 weights to their scale and quants.
    pub fn quantize_block(self, x: &[f32; BLOCK]) -> (f16, Quants) {
        match self {
            Self::Q8_0 => q8_0::quantize_block(x),
            Self::Q4_0 => q4_0::quantize_block(x),
            _ => unreachable!("has no packed form yet"),
        }
    }

    /// Writes the quants of row `row` (0..16) into a tile of [`BlockType::tile_bytes`].
    fn write_tile(self, tile: &mut [u8], row: usize, quants: &Quants) {
        match self {
            Self::Q8_0 => q8_0::write_tile(tile, row, quants),
            Self::Q4_0 => q4_0::write_tile(tile, row, quants),
            _ => unreachable!("has no packed form yet"),
        }
    }

    /// Reads the quants of row `row` (0..16) from a tile of [`BlockType::tile_bytes`].
    fn read_tile(self, tile: &[u8], row: usize) -> Quants {
        match self {
            Self::Q8_0 => q8_0::read_tile(tile, row),
            Self::Q4_0 => q4_0::read_tile(tile, row),
            _ => unreachable!("has no packed form yet"),
        }
    }
}

/// The weights of one block, `scale * quant` each.
pub fn dequantize_block(scale: f16, quants: &Quants) -> [f32; BLOCK] {
    let scale = scale.to_f32();
    quants.map(|q| scale * f32::from(q))
}

/// Bytes of the two planes of a packed `[rows, cols]` matrix, `(quants, scales)`; `None` when `cols` is not a multiple
/// of [`BLOCK`] or a size does not fit `usize`.
fn plane_lens(block: BlockType, rows: usize, cols: usize) -> Option<(usize, usize)> {
    if !cols.is_multiple_of(BLOCK) {
        return None;
    }
    let tiles = rows.div_ceil(TILE_ROWS).checked_mul(cols / BLOCK)?;
    Some((tiles.checked_mul(block.tile_bytes())?, tiles.checked_mul(TILE_SCALE_BYTES)?))
}

/// Bytes of a packed `[rows, cols]` matrix; `None` when `cols` is not a multiple of [`BLOCK`] or the size does not fit
/// `usize`.
pub fn packed_len(block: BlockType, rows: usize, cols: usize) -> Option<usize> {
    let (quants, scales) = plane_lens(block, rows, cols)?;
    quants.checked_add(scales)
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

impl<'a> PackedView<'a> {
    /// Splits a packed `[rows, cols]` matrix into its planes; `None` unless `bytes` has exactly [`packed_len`] bytes.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let (quants_len, scales_len) = plane_lens(block, rows, cols)?;
        let (quants, scales) = bytes.split_at_checked(quants_len)?;
        (scales.len() == scales_len).then_some(Self { block, rows, cols, quants, scales })
    }

    /// Whether the planes have the lengths that the shape asks for: true of every view that [`PackedView::new`] made.
    pub fn is_consistent(&self) -> bool {
        plane_lens(self.block, self.rows, self.cols) == Some((self.quants.len(), self.scales.len()))
    }

    /// The scale and quants of block `index` (columns `32*index..`) of row `row`.
    ///
    /// # Panics
    /// If the row or the block is beyond the matrix.
    pub fn block(&self, row: usize, index: usize) -> (f16, Quants) {
        let place = Place::new(self.block, self.rows, self.cols, row, index);
        let quants = self.block.read_tile(&self.quants[place.tile], place.lane);
        let scale = &self.scales[place.scale];
        (f16::from_le_bytes([scale[0], scale[1]]), quants)
    }
}

/// Writes row `row` of a packed matrix as float32 to `out` `[cols]`.
///
/// # Panics
/// If `row` is beyond the matrix or `out` has another length than a row.
pub fn dequantize_row(view: PackedView<'_>, row: usize, out: &mut [f32]) {
    assert_eq!(out.len(), view.cols, "a row has {} columns", view.cols);
    for (index, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let (scale, quants) = view.block(row, index);
        *out = dequantize_block(scale, &quants);
    }
}

/// A packed matrix while it is written, block by block or row by row and in any order; see the module's description for
/// the layout.
#[derive(Debug)]
pub struct PackedMut<'a> {
    block: BlockType,
    rows: usize,
    cols: usize,
    quants: &'a mut [u8],
    scales: &'a mut [u8],
}

impl<'a> PackedMut<'a> {
    /// A writer over `bytes`, which must have exactly [`packed_len`] bytes (else `None`). They are zeroed first.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &'a mut [u8]) -> Option<Self> {
        let (quants_len, scales_len) = plane_lens(block, rows, cols)?;
        let (quants, scales) = bytes.split_at_mut_checked(quants_len)?;
        if scales.len() != scales_len {
            return None;
        }
        quants.fill(0);
        scales.fill(0);
        Some(Self { block, rows, cols, quants, scales })
    }

    /// Stores block `index` (columns `32*index..`) of row `row`, quantised already.
    ///
    /// # Panics
    /// If the row or the block is beyond the matrix.
    pub fn set_block(&mut self, row: usize, index: usize, scale: f16, quants: &Quants) {
        let place = Place::new(self.block, self.rows, self.cols, row, index);
        self.block.write_tile(&mut self.quants[place.tile], place.lane, quants);
        self.scales[place.scale].copy_from_slice(&scale.to_le_bytes());
    }

    /// Quantises and stores row `row`: `x` `[cols]`.
    ///
    /// # Panics
    /// If `row` is beyond the matrix or `x` has another length than a row.
    pub fn quantize_row(&mut self, row: usize, x: &[f32]) {
        assert_eq!(x.len(), self.cols, "a row has {} columns", self.cols);
        for (index, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
            let (scale, quants) = self.block.quantize_block(x);
            self.set_block(row, index, scale, &quants);
        }
    }
}

/// Quantises and packs a float32 matrix, `weights` `[rows, cols]` row-major. For a matrix that should not be in memory as
/// float32 all at once, feed [`PackedMut`] a row at a time.
///
/// # Panics
/// If `cols` is not a multiple of [`BLOCK`] or `weights` does not have `rows * cols` values.
pub fn pack(block: BlockType, weights: &[f32], rows: usize, cols: usize) -> Vec<u8> {
    assert_eq!(Some(weights.len()), rows.checked_mul(cols), "weights are not [{rows}, {cols}]");
    let len = packed_len(block, rows, cols).expect("columns are a multiple of 32");
    let mut bytes = vec![0; len];
    let mut packed = PackedMut::new(block, rows, cols, &mut bytes).expect("as long as packed_len says");
    if cols > 0 {
        for (row, x) in weights.chunks_exact(cols).enumerate() {
            packed.quantize_row(row, x);
        }
    }
    bytes
}

/// Where one block lies in a packed matrix.
struct Place {
    /// Its tile, in the quants plane.
    tile: std::ops::Range<usize>,
    /// Its scale, in the scales plane.
    scale: std::ops::Range<usize>,
    /// Its row inside the tile, 0..16.
    lane: usize,
}

impl Place {
    fn new(block: BlockType, rows: usize, cols: usize, row: usize, index: usize) -> Self {
        let blocks = cols / BLOCK;
        assert!(row < rows && index < blocks, "block ({row}, {index}) of a matrix of [{rows}, {blocks}] blocks");
        let lane = row % TILE_ROWS;
        let tile = row / TILE_ROWS * blocks + index;
        let quants = tile * block.tile_bytes();
        let scale = (tile * TILE_ROWS + lane) * 2;
        Self { tile: quants..quants + block.tile_bytes(), scale: scale..scale + 2, lane }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [BlockType; 2] = [BlockType::Q8_0, BlockType::Q4_0];

    /// The test signal of llama.cpp's quantisation tests: a smooth curve with values in -1.9..=2.1.
    fn signal(n: usize, offset: f32) -> Vec<f32> {
        (0..n).map(|i| 0.1 + 2.0 * (i as f32 + offset).cos()).collect()
    }

    fn round_trip(block: BlockType, x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        let bytes = pack(block, x, rows, cols);
        let view = PackedView::new(block, rows, cols, &bytes).unwrap();
        let mut out = vec![0.0; x.len()];
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            dequantize_row(view, row, out);
        }
        out
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(packed_len(BlockType::Q8_0, 16, 32), Some(512 + 32));
        assert_eq!(packed_len(BlockType::Q4_0, 17, 64), Some(2 * 2 * (256 + 32)));
        assert_eq!(packed_len(BlockType::Q4_0, 0, 64), Some(0));
        assert_eq!(packed_len(BlockType::Q8_0, 16, 33), None);
        assert_eq!(packed_len(BlockType::Q8_0, usize::MAX, 64), None);
        assert_eq!(packed_len(BlockType::Q8_0, usize::MAX / 32, 32), None);

        let bytes = vec![0; 512 + 32];
        assert!(PackedView::new(BlockType::Q8_0, 16, 32, &bytes).unwrap().is_consistent());
        assert!(PackedView::new(BlockType::Q8_0, 17, 32, &bytes).is_none());
        assert!(PackedView::new(BlockType::Q4_0, 16, 32, &bytes).is_none());
        assert!(PackedView::new(BlockType::Q8_0, 16, 31, &bytes).is_none());
    }

    /// The limits of llama.cpp's `test-quantize-fns` for types that are not k-quants.
    #[test]
    fn errors_stay_within_the_limits_of_the_field() {
        const N: usize = 32 * 128;
        let (x, y) = (signal(N, 0.0), signal(N, 1.0));
        let exact: f64 = x.iter().zip(&y).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let y8 = round_trip(BlockType::Q8_0, &y, 1, N);
        for block in TYPES {
            let xq = round_trip(block, &x, 1, N);
            let squares: f64 = x.iter().zip(&xq).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let error = squares.sqrt() / N as f64;
            assert!(error < 0.002, "{block:?}: quantisation error {error}");

            let dot: f64 = xq.iter().zip(&y8).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let error = (dot - exact).abs() / N as f64;
            assert!(error < 0.02, "{block:?}: dot product error {error}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let (rows, cols) = (17, 64);
        for block in TYPES {
            let mut bytes = vec![0xAA; packed_len(block, rows, cols).unwrap()];
            let mut packed = PackedMut::new(block, rows, cols, &mut bytes).unwrap();
            let quants: Quants = std::array::from_fn(|i| (i % 16) as i8 - 8);
            packed.set_block(16, 1, f16::from_f32(0.5), &quants);
            let view = PackedView::new(block, rows, cols, &bytes).unwrap();
            // Row 16 is lane 0 of the second group of rows; block 1 of 2 is its second tile.
            let tile = &view.quants[3 * block.tile_bytes()..];
            for quad in 0..8 {
                for j in 0..4 {
                    let stored = match block {
                        BlockType::Q8_0 => tile[quad * 64 + j] as i8,
                        _ => (tile[quad % 4 * 64 + j] >> (quad / 4 * 4) & 15) as i8 - 8,
                    };
                    assert_eq!(stored, quants[4 * quad + j], "{block:?} quad {quad} byte {j}");
                }
            }
            assert_eq!(view.scales[3 * 32..][..2], f16::from_f32(0.5).to_le_bytes());
            assert_eq!(view.block(16, 1), (f16::from_f32(0.5), quants));
            let written = view.quants.iter().chain(view.scales).filter(|&&b| b != 0).count();
            assert!(written <= 34, "only the block was written");
        }
    }

    proptest! {
        #[test]
        fn a_weight_moves_by_at_most_half_a_step(
            x in prop::collection::vec(-100.0f32..100.0, BLOCK),
            exponent in -10i32..10,
        ) {
            let x: Vec<f32> = x.iter().map(|v| v * (exponent as f32).exp2()).collect();
            let amax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            // Half a step, plus what rounding the scale to float16 adds at the end of the range. Q4_0 has one value
            // fewer on the side opposite to the largest weight, where the error may reach a whole step.
            for (block, step, steps) in [(BlockType::Q8_0, amax / 127.0, 0.5), (BlockType::Q4_0, amax / 8.0, 1.0)] {
                let limit = step * steps + amax / 1024.0 + 1e-5;
                for (a, b) in x.iter().zip(round_trip(block, &x, 1, BLOCK)) {
                    prop_assert!((a - b).abs() <= limit, "{:?}: {} became {}, limit {}", block, a, b, limit);
                }
            }
        }

        #[test]
        fn blocks_survive_packing(
            rows in 1usize..40,
            blocks in 1usize..4,
            quants in prop::array::uniform32(-8i8..8),
            scale in -1.0f32..1.0,
            at in (0usize..40, 0usize..4),
        ) {
            let (row, index) = (at.0 % rows, at.1 % blocks);
            for block in TYPES {
                let mut bytes = vec![0; packed_len(block, rows, blocks * BLOCK).unwrap()];
                let mut packed = PackedMut::new(block, rows, blocks * BLOCK, &mut bytes).unwrap();
                packed.set_block(row, index, f16::from_f32(scale), &quants);
                let view = PackedView::new(block, rows, blocks * BLOCK, &bytes).unwrap();
                prop_assert_eq!(view.block(row, index), (f16::from_f32(scale), quants));
            }
        }
    }

    #[test]
    fn zeros_and_odd_values_do_not_panic() {
        for block in TYPES {
            assert_eq!(round_trip(block, &[0.0; 32], 1, 32), [0.0; 32]);
            for bad in [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, f32::MAX] {
                let mut x = [1.0; 32];
                x[7] = bad;
                round_trip(block, &x, 1, 32);
                round_trip(block, &[bad; 32], 1, 32);
            }
        }
    }
}
