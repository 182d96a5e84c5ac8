//! Helpers for the tests of kernels, and plain definitions of what they compute.

use super::{ActivationsView, Isa, Kernels, QuantizeRow};
use crate::quant::testing::random_blocks;
use crate::quant::{self, BLOCK, BlockType, BlocksView, Grain, PackedView};

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
    pub(super) grain: Grain,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) quants: Vec<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) sums: Vec<i32>,
}

impl Activations {
    /// Quantises `x` `[rows, cols]` to `grain`.
    pub(super) fn new(kernels: Kernels, grain: Grain, x: &[f32], cols: usize) -> Self {
        Self::with(kernels.quantize(grain), grain, x, cols)
    }

    /// The same by another function.
    pub(super) fn with(quantize: QuantizeRow, grain: Grain, x: &[f32], cols: usize) -> Self {
        let (row_scales, row_sums) = (cols / grain.columns(), cols / grain.sum_columns());
        let rows = x.len() / cols;
        let mut quants = vec![0; x.len()];
        let (mut scales, mut sums) = (vec![0.0; rows * row_scales], vec![0; rows * row_sums]);
        for m in 0..rows {
            quantize(
                &x[m * cols..][..cols],
                &mut quants[m * cols..][..cols],
                &mut scales[m * row_scales..][..row_scales],
                &mut sums[m * row_sums..][..row_sums],
            );
        }
        Self { grain, rows, cols, quants, scales, sums }
    }

    /// From quants of any value that is in range, and scales, of which there may be more.
    pub(super) fn from_parts(grain: Grain, quants: Vec<i8>, scales: &[f32], cols: usize) -> Self {
        let scales = scales[..quants.len() / grain.columns()].to_vec();
        let sum = |quants: &[i8]| quants.iter().map(|&q| i32::from(q)).sum();
        let sums = quants.chunks_exact(grain.sum_columns()).map(sum).collect();
        Self { grain, rows: quants.len() / cols, cols, quants, scales, sums }
    }

    pub(super) fn view(&self) -> ActivationsView<'_> {
        self.slice(0..self.rows)
    }

    /// Tokens `range` alone.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> ActivationsView<'_> {
        let of_rows = |columns: usize| range.start * self.cols / columns..range.end * self.cols / columns;
        ActivationsView {
            rows: range.len(),
            cols: self.cols,
            grain: self.grain,
            quants: &self.quants[of_rows(1)],
            scales: &self.scales[of_rows(self.grain.columns())],
            sums: &self.sums[of_rows(self.grain.sum_columns())],
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
    let together = w.block.activations().columns() / BLOCK;
    let mut out = Vec::new();
    for m in 0..x.rows {
        for n in 0..w.rows {
            let (mut acc, mut dot) = (bias.map_or(0.0, |bias| bias[n]), 0);
            for b in 0..blocks {
                let block = w.block(n, b);
                let x_scale = x.scales[(m * blocks + b) / together];
                let quants = &x.quants[m * x.cols + b * BLOCK..][..BLOCK];
                let width = BLOCK / w.block.format().scales.per_block();
                for (first, x) in (0..BLOCK).step_by(width).zip(quants.chunks_exact(width)) {
                    let weights = &block.quants[first..first + width];
                    dot += weights.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum::<i32>();
                    if !(b + 1).is_multiple_of(together) {
                        continue;
                    }
                    acc = (dot as f32).mul_add(block.scales[first / 16] * x_scale, acc);
                    dot = 0;
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
