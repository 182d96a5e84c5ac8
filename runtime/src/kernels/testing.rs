//! Helpers for the tests of kernels, and plain definitions of what they compute.

use super::{ActivationsView, Isa, Kernels, QuantizeRow, SUM_COLUMNS};
use crate::quant::testing::random_blocks;
use crate::quant::{self, BLOCK, BlockType, BlocksView, PackedView};

/// Calls `f` with every table that this CPU can run, not only the best. When `f` panics, the instruction set is printed.
pub(super) fn for_each_kernel(f: impl Fn(Kernels)) {
    struct Note(Isa);
    impl Drop for Note {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("instruction set: {}", self.0);
            }
        }
    }
    for kernels in Kernels::all() {
        let note = Note(kernels.isa);
        f(kernels);
        drop(note);
    }
}

/// Asserts that two slices have the same bits; NaNs are equal to each other.
#[track_caller]
pub(super) fn assert_same_bits(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "value {i}: {a:e} instead of {b:e}");
    }
}

/// How many representable float32 lie between two finite numbers.
pub(super) fn ulps(a: f32, b: f32) -> u32 {
    let ordered = |v: f32| {
        let bits = v.to_bits() as i32;
        if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// Reproducible values in -1..1 (a linear congruential generator).
pub(super) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Activations that own their values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activations {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) quants: Vec<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) sums: Vec<i32>,
}

impl Activations {
    /// Quantises `x` `[rows, cols]`.
    pub(super) fn new(kernels: Kernels, x: &[f32], cols: usize) -> Self {
        Self::with(kernels.quantize_row, x, cols)
    }

    /// The same by another function.
    pub(super) fn with(quantize: QuantizeRow, x: &[f32], cols: usize) -> Self {
        let (rows, blocks) = (x.len() / cols, cols / BLOCK);
        let mut quants = vec![0; x.len()];
        let (mut scales, mut sums) = (vec![0.0; rows * blocks], vec![0; rows * blocks * 2]);
        for m in 0..rows {
            quantize(
                &x[m * cols..][..cols],
                &mut quants[m * cols..][..cols],
                &mut scales[m * blocks..][..blocks],
                &mut sums[m * blocks * 2..][..blocks * 2],
            );
        }
        Self { rows, cols, quants, scales, sums }
    }

    /// From quants and scales of any value.
    pub(super) fn from_parts(quants: Vec<i8>, scales: Vec<f32>, cols: usize) -> Self {
        let sums = quants.chunks_exact(SUM_COLUMNS).map(|block| block.iter().map(|&q| i32::from(q)).sum()).collect();
        Self { rows: quants.len() / cols, cols, quants, scales, sums }
    }

    pub(super) fn view(&self) -> ActivationsView<'_> {
        let Self { rows, cols, quants, scales, sums } = self;
        ActivationsView { rows: *rows, cols: *cols, quants, scales, sums }
    }

    /// Tokens `range` alone.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> ActivationsView<'_> {
        let blocks = self.cols / BLOCK;
        ActivationsView {
            rows: range.len(),
            cols: self.cols,
            quants: &self.quants[range.start * self.cols..range.end * self.cols],
            scales: &self.scales[range.start * blocks..range.end * blocks],
            sums: &self.sums[range.start * blocks * 2..range.end * blocks * 2],
        }
    }
}

/// A packed matrix that owns its bytes.
pub(super) struct Packed {
    block: BlockType,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Packed {
    /// Quantises and packs `weights` `[rows, cols]`.
    pub(super) fn new(block: BlockType, weights: &[f32], rows: usize, cols: usize) -> Self {
        Self { block, rows, cols, bytes: quant::pack(block, weights, rows, cols) }
    }

    /// Packs blocks as in a GGUF file.
    pub(super) fn from_blocks(block: BlockType, blocks: &[u8], rows: usize, cols: usize) -> Self {
        let view = BlocksView::new(block, rows, cols, blocks).expect("blocks of this shape");
        Self { block, rows, cols, bytes: quant::pack_blocks(view) }
    }

    /// Any blocks.
    pub(super) fn random(block: BlockType, rows: usize, cols: usize, seed: u64) -> Self {
        Self::from_blocks(block, &random_blocks(block, rows, cols, seed), rows, cols)
    }

    pub(super) fn view(&self) -> PackedView<'_> {
        PackedView::new(self.block, self.rows, self.cols, &self.bytes).expect("packed by `pack`")
    }
}

/// [`super::GemmPacked`], as it is defined, for all columns: out `[x.rows, w.rows]`.
pub(super) fn gemm_packed(w: PackedView<'_>, x: ActivationsView<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let blocks = w.cols / BLOCK;
    let mut out = Vec::new();
    for m in 0..x.rows {
        for n in 0..w.rows {
            let mut acc = bias.map_or(0.0, |bias| bias[n]);
            for b in 0..blocks {
                let block = w.block(n, b);
                let x_scale = x.scales[m * blocks + b];
                let quants = &x.quants[m * x.cols + b * BLOCK..][..BLOCK];
                let width = BLOCK / w.block.format().scales.per_block();
                for (first, x) in (0..BLOCK).step_by(width).zip(quants.chunks_exact(width)) {
                    let weights = &block.quants[first..first + width];
                    let dot: i32 = weights.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
                    acc = (dot as f32).mul_add(block.scales[first / 16] * x_scale, acc);
                    if w.block.format().scales.have_min() {
                        let sum: i32 = x.iter().map(|&x| i32::from(x)).sum();
                        acc = block.mins[first / 16].mul_add(-(sum as f32 * x_scale), acc);
                    }
                }
            }
            out.push(acc);
        }
    }
    out
}

/// The dot product of two rows, as it is defined: 16 lanes, merged in a tree.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        lanes[i % 16] = a.mul_add(b, lanes[i % 16]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}
