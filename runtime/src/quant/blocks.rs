//! A quantised tensor as a GGUF file has it: rows of blocks, one after the other.

use super::format::Unpacked;
use super::{BLOCK, Block, BlockType, PackedMut, PackedView, packed_len};
use half::f16;
use std::ops::Range;

/// A borrowed tensor `[rows, cols]` of blocks.
#[derive(Clone, Copy, Debug)]
pub struct BlocksView<'a> {
    block: BlockType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    blocks: &'a [u8],
    tensor_scale: f32,
}

impl<'a> BlocksView<'a> {
    /// The tensor `[rows, cols]`, `bytes` being all of it; `None` unless it has exactly [`BlockType::tensor_bytes`] bytes.
    pub fn new(block: BlockType, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        if block.tensor_bytes(rows, cols)? != bytes.len() {
            return None;
        }
        let row_bytes = block.row_bytes(cols)?;
        let (blocks, tail) = bytes.split_at(rows * row_bytes);
        let tensor_scale = tail.first_chunk().map_or(1.0, |scale| f32::from_le_bytes(*scale));
        Some(Self { block, rows, cols, row_bytes, blocks, tensor_scale })
    }

    /// Its weight type.
    pub fn block(&self) -> BlockType {
        self.block
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features: whole blocks.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The scale of the whole tensor, 1 where the type has none.
    pub fn tensor_scale(&self) -> f32 {
        self.tensor_scale
    }

    /// The blocks of `rows`.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn rows_bytes(&self, rows: Range<usize>) -> &'a [u8] {
        &self.blocks[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    /// Writes row `row` as float32 to `out` `[cols]`.
    ///
    /// # Panics
    /// If there is no such row or `out` has another length than a row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "a row has {} columns", self.cols);
        let format = self.block.format();
        let mut parts = Unpacked::ZERO;
        let blocks = self.rows_bytes(row..row + 1).chunks_exact(format.bytes);
        for (bytes, out) in blocks.zip(out.chunks_exact_mut(format.columns)) {
            (format.unpack)(bytes, &mut parts);
            let heads = parts.heads.map(f16::from_bits);
            let codes = parts.codes.as_chunks::<BLOCK>().0;
            let columns = out.as_chunks_mut::<BLOCK>().0.iter_mut();
            for ((out, codes), subs) in columns.zip(codes).zip(parts.subs) {
                let scales = [0, 1].map(|half| format.scales.read(heads, subs, self.tensor_scale, half));
                let quants = codes.map(|code| format.code.quant(code));
                *out = Block { quants, scales: scales.map(|s| s.0), mins: scales.map(|s| s.1) }.dequantize();
            }
        }
    }

    /// Packs `rows`, up to 16 of them, into `scratch`, which grows if it must.
    ///
    /// # Panics
    /// If there are no such rows, or more than 16.
    pub fn pack_rows<'s>(&self, rows: Range<usize>, scratch: &'s mut Vec<u8>) -> PackedView<'s> {
        let len = packed_len(self.block, rows.len(), self.cols).expect("no more than the tensor has");
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        let bytes = &mut scratch[..len];
        let mut packed = PackedMut::new(self.block, rows.len(), self.cols, bytes).expect("of this length");
        packed.set_tensor_scale(self.tensor_scale);
        let mut groups = packed.groups();
        if let Some(group) = groups.next() {
            group.pack(self.rows_bytes(rows.clone()));
        }
        assert!(groups.next().is_none(), "more than 16 rows");
        drop(groups);
        PackedView::new(self.block, rows.len(), self.cols, &scratch[..len]).expect("of this length")
    }
}
