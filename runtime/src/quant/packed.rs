//! The packed layout: 16 consecutive rows are interleaved, so that SIMD lanes are rows and no horizontal sum is ever needed.
//!
//! A matrix `[rows, cols]` (cols being whole blocks) is two planes, one after the other, in one byte string. Kernels read
//! each of them from its start to its end.
//!
//! **Codes**, `[rows/16 rounded up][cols/32]` tiles. A tile is one or two planes of bits ([`Format::planes`]), lower bits
//! first. A plane of `n` bits is `n` registers `[16 rows][4]` of bytes; *quad* `q` (columns `4*q..4*q+4` of the 32) is in
//! register `q % n`, at bit `q / n * n` of each byte, so:
//!
//! | bits | registers | quads of a register, from the lowest bit up |
//! |---|---|---|
//! | 8 | 8 | `q` |
//! | 4 | 4 | `q`, `q + 4` |
//! | 2 | 2 | `q`, `q + 2`, `q + 4`, `q + 6` |
//! | 1 | 1 | all |
//!
//! **Scales**, `[rows/16 rounded up][blocks of a row]` times: the heads of 16 rows, `[heads][16 rows]` float16, then for each
//! 32 columns their subs, `[subs][16 rows]` bytes (see [`Scales`]). Where the scale is one for the matrix, this plane is a
//! float32. Numbers are little-endian.
//!
//! That is as many bytes as in GGUF but for: Q4_K and Q5_K, whose scales and minimums have 8 bits instead of 6 (half a byte
//! more for each 32 columns), Q3_K (half a byte) and IQ4_XS (a quarter) for the same reason, and TQ1_0, which has 2 bits for
//! a weight instead of 1.6.
//!
//! Rows beyond `rows` have codes and scales of 0. The byte string may lie anywhere, but kernels are fastest when it starts
//! at a multiple of 64, so that a register's worth never crosses a cache line.

use super::format::{Code, Format, Scales, Unpacked};
use super::{BLOCK, BlockType, BlocksView, TILE_ROWS, quantize};
use half::f16;

/// Bytes of a register: 4 columns of 16 rows.
const REGISTER: usize = TILE_ROWS * 4;

impl Format {
    /// Bytes of codes in one tile of 16 rows by 32 columns.
    pub(crate) const fn tile_bytes(&self) -> usize {
        REGISTER * (self.planes[0] + self.planes[1])
    }

    /// Tiles beside each other that share their heads: those of a block.
    pub(crate) const fn span(&self) -> usize {
        self.columns / BLOCK
    }

    /// Bytes of the scales of a block's columns of 16 rows.
    pub(crate) const fn span_bytes(&self) -> usize {
        TILE_ROWS * (2 * self.scales.heads() + self.span() * self.scales.subs())
    }

    /// Writes the codes of 16 rows of 32 columns to a tile.
    fn write_tile(&self, tile: &mut [u8], rows: &[Unpacked; TILE_ROWS], first: usize) {
        let mut place = 0;
        let mut registers = tile.as_chunks_mut().0;
        for bits in self.planes.into_iter().filter(|&bits| bits > 0) {
            let plane = registers.split_off_mut(..bits).expect("as many registers as bits");
            match bits {
                8 => write_plane::<8>(plane, rows, first, place),
                4 => write_plane::<4>(plane, rows, first, place),
                2 => write_plane::<2>(plane, rows, first, place),
                _ => write_plane::<1>(plane, rows, first, place),
            }
            place += bits;
        }
    }

    /// Reads the quants of row `lane` (0..16) of a tile.
    fn read_tile(&self, tile: &[u8], lane: usize) -> [i8; BLOCK] {
        let mut codes = [[0; 4]; BLOCK / 4];
        let (mut place, mut at) = (0, 0);
        for bits in self.planes.into_iter().filter(|&bits| bits > 0) {
            let mask = u32::from_ne_bytes([(0xff >> (8 - bits)) as u8; 4]);
            for (quad, codes) in codes.iter_mut().enumerate() {
                let bytes = tile[at + quad % bits * REGISTER + lane * 4..].first_chunk().expect("a register");
                // All four bytes at once: no bit leaves its byte.
                let quads = (u32::from_ne_bytes(*bytes) >> (quad / bits * bits) & mask) << place;
                *codes = (u32::from_ne_bytes(*codes) | quads).to_ne_bytes();
            }
            place += bits;
            at += bits * REGISTER;
        }
        let mut quants = [0; BLOCK];
        match self.code {
            Code::Signed => quants.iter_mut().zip(codes.as_flattened()).for_each(|(quant, &code)| *quant = code as i8),
            code => quants.iter_mut().zip(codes.as_flattened()).for_each(|(quant, &c)| *quant = code.quant(c)),
        }
        quants
    }

    /// Writes the scales of a block's columns of 16 rows.
    fn write_scales(&self, out: &mut [u8], rows: &[Unpacked; TILE_ROWS]) {
        let (heads, subs) = out.split_at_mut(self.scales.heads() * TILE_ROWS * 2);
        for (lane, row) in rows.iter().enumerate() {
            for (heads, head) in heads.chunks_exact_mut(TILE_ROWS * 2).zip(row.heads) {
                heads[lane * 2..][..2].copy_from_slice(&head.to_le_bytes());
            }
            for (i, sub) in subs.chunks_exact_mut(TILE_ROWS).enumerate() {
                sub[lane] = row.subs[i / self.scales.subs()][i % self.scales.subs()];
            }
        }
    }
}

/// Writes `BITS` bits, from `place` on, of the codes of 16 rows of 32 columns to a plane of a tile.
fn write_plane<const BITS: usize>(
    plane: &mut [[u8; REGISTER]],
    rows: &[Unpacked; TILE_ROWS],
    first: usize,
    place: usize,
) {
    let mask = u32::from_ne_bytes([(0xff >> (8 - BITS)) as u8; 4]);
    let plane: &mut [_; BITS] = plane.try_into().expect("a register for each bit");
    for (lane, row) in rows.iter().enumerate() {
        let codes: &[u8; BLOCK] = row.codes[first..].first_chunk().expect("32 columns");
        // All four bytes at once: no bit leaves its byte.
        let quads: [u32; BLOCK / 4] = std::array::from_fn(|quad| {
            u32::from_ne_bytes([0, 1, 2, 3].map(|column| codes[quad * 4 + column])) >> place & mask
        });
        for (register, to) in plane.iter_mut().enumerate() {
            let bytes = (0..8 / BITS).fold(0, |bytes, i| bytes | quads[register + i * BITS] << (i * BITS));
            to[lane * 4..][..4].copy_from_slice(&bytes.to_ne_bytes());
        }
    }
}

/// Bytes of the two planes of a packed `[rows, cols]` matrix, `(codes, scales)`; `None` when rows are not whole blocks or a
/// size does not fit `usize`.
fn plane_lens(block: BlockType, rows: usize, cols: usize) -> Option<(usize, usize)> {
    let format = block.format();
    if !cols.is_multiple_of(format.columns) {
        return None;
    }
    let groups = rows.div_ceil(TILE_ROWS);
    let codes = groups.checked_mul(cols / BLOCK)?.checked_mul(format.tile_bytes())?;
    let scales = match format.scales {
        Scales::Tensor => size_of::<f32>(),
        _ => groups.checked_mul(cols / format.columns)?.checked_mul(format.span_bytes())?,
    };
    Some((codes, scales))
}

/// Bytes of a packed `[rows, cols]` matrix; `None` when rows are not whole blocks or the size does not fit `usize`.
pub fn packed_len(block: BlockType, rows: usize, cols: usize) -> Option<usize> {
    let (codes, scales) = plane_lens(block, rows, cols)?;
    codes.checked_add(scales)
}

/// A borrowed packed matrix; see the module's description for the layout.
#[derive(Clone, Copy, Debug)]
pub struct PackedView<'a> {
    /// Its weight type.
    pub block: BlockType,
    /// Output features.
    pub rows: usize,
    /// Input features: whole blocks.
    pub cols: usize,
    /// The plane of codes.
    pub codes: &'a [u8],
    /// The plane of scales.
    pub scales: &'a [u8],
}

impl<'a> PackedView<'a> {
    /// Splits a packed `[rows, cols]` matrix into its planes; `None` unless `bytes` has exactly [`packed_len`] bytes.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        let (codes_len, scales_len) = plane_lens(block, rows, cols)?;
        let (codes, scales) = bytes.split_at_checked(codes_len)?;
        (scales.len() == scales_len).then_some(Self { block, rows, cols, codes, scales })
    }

    /// Whether the planes have the lengths that the shape asks for: true of every view that [`PackedView::new`] made.
    pub fn is_consistent(&self) -> bool {
        plane_lens(self.block, self.rows, self.cols) == Some((self.codes.len(), self.scales.len()))
    }

    /// Columns `32*index..` of row `row`.
    ///
    /// # Panics
    /// If the row or the columns are beyond the matrix.
    pub fn block(&self, row: usize, index: usize) -> Block {
        let (format, blocks) = (self.block.format(), self.cols / BLOCK);
        assert!(row < self.rows && index < blocks, "block ({row}, {index}) of [{}, {blocks}]", self.rows);
        let (group, lane) = (row / TILE_ROWS, row % TILE_ROWS);
        let tile = &self.codes[(group * blocks + index) * format.tile_bytes()..][..format.tile_bytes()];
        let (mut heads, mut subs, mut tensor) = ([f16::ZERO; 2], [0; 2], 0.0);
        if format.scales == Scales::Tensor {
            tensor = f32::from_le_bytes(*self.scales.first_chunk().expect("a scale"));
        } else {
            let span = (group * blocks + index) / format.span();
            let scales = &self.scales[span * format.span_bytes()..][..format.span_bytes()];
            let (head_bytes, sub_bytes) = scales.split_at(format.scales.heads() * TILE_ROWS * 2);
            for (head, bytes) in heads.iter_mut().zip(head_bytes.chunks_exact(TILE_ROWS * 2)) {
                *head = f16::from_le_bytes([bytes[lane * 2], bytes[lane * 2 + 1]]);
            }
            let sub_bytes = &sub_bytes[index % format.span() * format.scales.subs() * TILE_ROWS..];
            for (sub, bytes) in subs.iter_mut().take(format.scales.subs()).zip(sub_bytes.chunks_exact(TILE_ROWS)) {
                *sub = bytes[lane];
            }
        }
        let scales = [0, 1].map(|half| format.scales.read(heads, subs, tensor, half));
        Block { quants: format.read_tile(tile, lane), scales: scales.map(|s| s.0), mins: scales.map(|s| s.1) }
    }
}

/// 32 consecutive weights of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// For each column.
    pub quants: [i8; BLOCK],
    /// For columns 0..16 and 16..32.
    pub scales: [f32; 2],
    /// For columns 0..16 and 16..32.
    pub mins: [f32; 2],
}

impl Block {
    /// The weights, `scale * quant - min` each. The product is exact, or `min` is 0: so they are rounded once, as in the
    /// programs that GGUF comes from.
    pub fn dequantize(&self) -> [f32; BLOCK] {
        std::array::from_fn(|i| self.scales[i / 16] * f32::from(self.quants[i]) - self.mins[i / 16])
    }
}

/// Writes row `row` of a packed matrix as float32 to `out` `[cols]`.
///
/// # Panics
/// If `row` is beyond the matrix or `out` has another length than a row.
pub fn dequantize_row(view: PackedView<'_>, row: usize, out: &mut [f32]) {
    assert_eq!(out.len(), view.cols, "a row has {} columns", view.cols);
    for (index, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        *out = view.block(row, index).dequantize();
    }
}

/// A packed matrix to be written; see the module's description for the layout.
#[derive(Debug)]
pub struct PackedMut<'a> {
    block: BlockType,
    rows: usize,
    cols: usize,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
}

impl<'a> PackedMut<'a> {
    /// A writer over `bytes`, which must have exactly [`packed_len`] bytes (else `None`). Only what is written changes.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &'a mut [u8]) -> Option<Self> {
        let (codes_len, scales_len) = plane_lens(block, rows, cols)?;
        let (codes, scales) = bytes.split_at_mut_checked(codes_len)?;
        (scales.len() == scales_len).then_some(Self { block, rows, cols, codes, scales })
    }

    /// Stores the scale of the whole matrix, where the type has one; nothing otherwise.
    pub fn set_tensor_scale(&mut self, scale: f32) {
        if self.block.format().scales == Scales::Tensor {
            self.scales.copy_from_slice(&scale.to_le_bytes());
        }
    }

    /// The matrix in pieces of 16 rows, the last of which may have fewer. They can be written by several threads.
    pub fn groups(self) -> impl Iterator<Item = RowsMut<'a>> {
        let Self { block, rows, cols, codes, scales } = self;
        let format = block.format();
        let code_bytes = cols / BLOCK * format.tile_bytes();
        let scale_bytes = cols / format.columns * format.span_bytes();
        let (mut codes, mut scales) = (codes, scales);
        (0..rows).step_by(TILE_ROWS).map(move |first| RowsMut {
            block,
            rows: first..rows.min(first + TILE_ROWS),
            codes: codes.split_off_mut(..code_bytes).expect("as many as rows ask for"),
            scales: scales.split_off_mut(..scale_bytes).expect("as many as rows ask for"),
        })
    }
}

/// Up to 16 rows of a packed matrix, to be written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    block: BlockType,
    rows: std::ops::Range<usize>,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
}

impl RowsMut<'_> {
    /// Which rows.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.rows.clone()
    }

    /// Packs `blocks`, the blocks of these rows as in a GGUF file.
    ///
    /// # Panics
    /// If `blocks` has another length than these rows.
    pub fn pack(self, blocks: &[u8]) {
        let format = self.block.format();
        let tiles = self.codes.len() / format.tile_bytes();
        let row_bytes = tiles / format.span() * format.bytes;
        assert_eq!(blocks.len(), self.rows.len() * row_bytes, "blocks of other rows");
        let mut rows = [Unpacked::ZERO; TILE_ROWS];
        for (i, codes) in self.codes.chunks_exact_mut(format.span() * format.tile_bytes()).enumerate() {
            for (lane, row) in rows.iter_mut().enumerate().take(self.rows.len()) {
                (format.unpack)(&blocks[lane * row_bytes + i * format.bytes..][..format.bytes], row);
            }
            for (b, tile) in codes.chunks_exact_mut(format.tile_bytes()).enumerate() {
                format.write_tile(tile, &rows, b * BLOCK);
            }
            format.write_scales(&mut self.scales[i * format.span_bytes()..][..format.span_bytes()], &rows);
        }
    }
}

impl RowsMut<'_> {
    /// Packs rows that are quantised to 8 bits already: their quants, `[rows, cols]`, and a scale for every 32 columns, which
    /// is rounded to float16. There may be fewer than these rows; the others are left as they are.
    ///
    /// # Panics
    /// If the type is not [`BlockType::Q8_0`], there are more rows, or quants and scales do not fit each other.
    pub fn pack_quants(self, quants: &[i8], scales: &[f32]) {
        assert!(self.block == BlockType::Q8_0, "a type that is not packed of quants");
        let blocks = self.codes.len() / (BLOCK * TILE_ROWS);
        let (quants, rest) = quants.as_chunks::<BLOCK>();
        assert!(rest.is_empty() && quants.len() == scales.len() && quants.len() <= blocks * self.rows.len());
        for (lane, (quants, scales)) in quants.chunks_exact(blocks).zip(scales.chunks_exact(blocks)).enumerate() {
            let tiles = self.codes.chunks_exact_mut(BLOCK * TILE_ROWS).zip(self.scales.chunks_exact_mut(TILE_ROWS * 2));
            for ((tile, heads), (quants, scale)) in tiles.zip(quants.iter().zip(scales)) {
                for (register, quad) in tile.chunks_exact_mut(REGISTER).zip(quants.as_chunks::<4>().0) {
                    register[lane * 4..][..4].copy_from_slice(&quad.map(|quant| quant as u8));
                }
                heads[lane * 2..][..2].copy_from_slice(&f16::from_f32(*scale).to_le_bytes());
            }
        }
    }
}

/// Packs a tensor of a GGUF file.
pub fn pack_blocks(blocks: BlocksView<'_>) -> Vec<u8> {
    let (block, rows, cols) = (blocks.block(), blocks.rows(), blocks.cols());
    let mut bytes = vec![0; packed_len(block, rows, cols).expect("about as many as the blocks have")];
    let mut packed = PackedMut::new(block, rows, cols, &mut bytes).expect("as long as packed_len says");
    packed.set_tensor_scale(blocks.tensor_scale());
    packed.groups().for_each(|group| {
        let rows = blocks.rows_bytes(group.rows());
        group.pack(rows);
    });
    bytes
}

/// Quantises and packs a float32 matrix, `weights` `[rows, cols]` row-major.
///
/// # Panics
/// If rows are not whole blocks, `weights` does not have `rows * cols` values, or the type has a scale for the whole matrix.
pub fn pack(block: BlockType, weights: &[f32], rows: usize, cols: usize) -> Vec<u8> {
    assert_eq!(Some(weights.len()), rows.checked_mul(cols), "weights are not [{rows}, {cols}]");
    let mut blocks = vec![0; block.tensor_bytes(rows, cols).expect("whole blocks")];
    quantize::quantize_row(block, weights, &mut blocks);
    pack_blocks(BlocksView::new(block, rows, cols, &blocks).expect("of this length"))
}
