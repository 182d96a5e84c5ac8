//! The product of packed weights and int8 activations: all of it but the inner loop.
//!
//! An instruction set brings a [`Tile`]: one or two groups of 16 rows times a few tokens, over all columns. [`gemm`] here
//! checks the operands, walks over the output and stores the results. What a tile computes is fixed: for each row and
//! token one float32 accumulator, to which each block of 32 columns, in order, adds
//! `(integer dot product) * (weight scale * activation scale)` with a fused multiply-add; the product of the scales is
//! rounded to float32 first.

use crate::quant::{BLOCK, BlockType, PackedView, TILE_ROWS};
use crate::threads::ColumnsMut;
use std::ops::Range;

/// int8 activations of `rows` tokens, quantised in blocks of 32 with a float32 scale each.
#[derive(Clone, Copy, Debug)]
pub struct ActivationsView<'a> {
    /// Tokens.
    pub rows: usize,
    /// Features, a multiple of 32.
    pub cols: usize,
    /// `[rows, cols]`, each in -127..=127.
    pub quants: &'a [i8],
    /// `[rows, cols/32]`.
    pub scales: &'a [f32],
    /// `[rows, cols/32]`: the sum of each block's quants (kernels with unsigned weights subtract with it).
    pub sums: &'a [i32],
}

impl ActivationsView<'_> {
    /// Whether the slices have the lengths that the shape asks for.
    pub fn is_consistent(&self) -> bool {
        let blocks = self.rows.checked_mul(self.cols / BLOCK);
        self.cols.is_multiple_of(BLOCK)
            && self.rows.checked_mul(self.cols) == Some(self.quants.len())
            && blocks == Some(self.scales.len())
            && blocks == Some(self.sums.len())
    }
}

/// How the quants of a [`BlockType`] lie in a tile, as a type, so that a tile is generic over it. Each instruction set
/// extends it with a trait of its own that loads a quad of columns into a register.
pub(super) trait Weights {
    /// Which type it is.
    const BLOCK: BlockType;
    /// The quant of row `row` (0..16) and column `4 * quad + j`.
    fn weight(tile: &[u8], quad: usize, row: usize, j: usize) -> i32;
}

/// [`BlockType::Q8_0`]
pub(super) struct Q8_0;

impl Weights for Q8_0 {
    const BLOCK: BlockType = BlockType::Q8_0;

    #[inline(always)]
    fn weight(tile: &[u8], quad: usize, row: usize, j: usize) -> i32 {
        i32::from(tile[(quad * TILE_ROWS + row) * 4 + j] as i8)
    }
}

/// [`BlockType::Q4_0`]
pub(super) struct Q4_0;

impl Weights for Q4_0 {
    const BLOCK: BlockType = BlockType::Q4_0;

    #[inline(always)]
    fn weight(tile: &[u8], quad: usize, row: usize, j: usize) -> i32 {
        let byte = tile[(quad % 4 * TILE_ROWS + row) * 4 + j];
        i32::from(byte >> (quad / 4 * 4) & 15) - 8
    }
}

/// The most rows that a tile has.
const MAX_ROWS: usize = 2 * TILE_ROWS;

/// The accumulators of one token; a tile uses the first `16 * GROUPS`.
pub(super) type Acc = [f32; MAX_ROWS];

/// An instruction set's inner loop.
pub(super) trait Tile {
    /// The weights it multiplies.
    type Weights: Weights;
    /// Groups of 16 rows that it multiplies together: 1 or 2.
    const GROUPS: usize;
    /// The most tokens that it multiplies together, 1..=4: as many as there are registers for.
    const TOKENS: usize;

    /// Adds the product of `GROUPS` groups of 16 rows, from `group` on, and `M` tokens, from `token` on, to `acc`.
    ///
    /// # Safety
    /// - The CPU must support the instruction set.
    /// - `w` must be of type `Weights::BLOCK`, `w` and `x` consistent (see their `is_consistent`), with equal `cols`.
    /// - `group + GROUPS` must be at most the number of groups of `w`, `token + M` at most `x.rows`.
    unsafe fn multiply<const M: usize>(
        w: PackedView<'_>,
        group: usize,
        x: ActivationsView<'_>,
        token: usize,
        acc: &mut [Acc; M],
    );
}

/// [`super::GemmPacked`] by means of `T`, and of `Rest` for a last group of rows that `T` is too wide for.
///
/// # Safety
/// The CPU must support the instruction sets of `T` and `Rest`.
pub(super) unsafe fn gemm<T: Tile, Rest: Tile>(
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    assert!(w.block == T::Weights::BLOCK && w.block == Rest::Weights::BLOCK, "a kernel for other weights");
    assert!(w.is_consistent(), "packed weights of another length than their shape");
    assert!(x.is_consistent(), "activations of another length than their shape");
    assert_eq!(w.cols, x.cols, "weights and activations differ in columns");
    assert_eq!(out.rows(), x.rows, "output and activations differ in rows");
    assert!(bias.is_none_or(|bias| bias.len() == w.rows), "one bias for each row of the weights");
    let columns = out.columns();
    assert!(columns.end <= w.rows, "columns {columns:?} of a product with {} columns", w.rows);
    assert!(columns.start.is_multiple_of(TILE_ROWS), "columns start in the middle of a group");

    const { assert!(Rest::GROUPS == 1) };
    let groups = columns.start / TILE_ROWS..columns.end.div_ceil(TILE_ROWS);
    let split = groups.start + groups.len() / T::GROUPS * T::GROUPS;
    // SAFETY: the operands were checked above; `split` leaves whole tiles to T; Rest::GROUPS divides what remains.
    unsafe {
        strips::<T>(groups.start..split, w, x, bias, out);
        strips::<Rest>(split..groups.end, w, x, bias, out);
    }
}

/// The product of some groups of rows, a multiple of `T::GROUPS`, and all tokens.
///
/// # Safety
/// As [`Tile::multiply`], for all of `groups` and all tokens.
unsafe fn strips<T: Tile>(
    groups: Range<usize>,
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    // As few passes as possible, of about equal size.
    let passes = x.rows.div_ceil(T::TOKENS).max(1);
    let step = x.rows.div_ceil(passes).max(1);
    // The rows of a strip stay in the cache while the tokens pass.
    for group in groups.step_by(T::GROUPS) {
        for token in (0..x.rows).step_by(step) {
            // SAFETY: the caller vouches for the groups, and there are as many tokens from `token` on.
            unsafe {
                match step.min(x.rows - token) {
                    1 => strip::<T, 1>(group, token, w, x, bias, out),
                    2 => strip::<T, 2>(group, token, w, x, bias, out),
                    3 => strip::<T, 3>(group, token, w, x, bias, out),
                    _ => strip::<T, 4>(group, token, w, x, bias, out),
                }
            }
        }
    }
}

/// The product of `T::GROUPS` groups of rows and `M` tokens, with bias, stored to `out`.
///
/// # Safety
/// As [`Tile::multiply`].
unsafe fn strip<T: Tile, const M: usize>(
    group: usize,
    token: usize,
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    const { assert!(T::GROUPS * TILE_ROWS <= MAX_ROWS && T::TOKENS <= 4) };
    if M > T::TOKENS {
        unreachable!("a pass has at most TOKENS tokens");
    }
    let columns = out.columns();
    let row = group * TILE_ROWS;
    let width = (T::GROUPS * TILE_ROWS).min(columns.end - row);
    let mut acc = [[0.0; MAX_ROWS]; M];
    if let Some(bias) = bias {
        acc.iter_mut().for_each(|acc| acc[..width].copy_from_slice(&bias[row..row + width]));
    }
    // SAFETY: the caller's duty.
    unsafe { T::multiply(w, group, x, token, &mut acc) };
    for (token, acc) in (token..).zip(&acc) {
        out.row_mut(token)[row - columns.start..][..width].copy_from_slice(&acc[..width]);
    }
}
