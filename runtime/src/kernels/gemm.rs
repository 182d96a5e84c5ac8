//! The product of packed weights and int8 activations, once for all instruction sets and all types of weights.
//!
//! What is computed is fixed. For each row of the weights and each token there is one float32 accumulator, which starts at
//! the bias or 0. To it, each block of 32 columns, in order, adds for each of its one or two scales, in order:
//!
//! 1. `fma(dot as f32, w_scale * x_scale, acc)`, `dot` being the exact integer product of the quants of these columns;
//! 2. where the type has minimums, `fma(w_min, -(sum as f32 * x_scale), acc)`, `sum` being the exact sum of the activations'
//!    quants of these columns.
//!
//! Where activations are coarse ([`Grain`]), weights have one scale for as many columns, and it is these, 128, that make a block
//! here.
//!
//! `w_scale` and `w_min` are float32, products of two factors at most (see [`Scales`]), and every product is rounded to
//! float32. An instruction set brings registers and a few operations on them ([`Simd`]); a type of weights is data
//! ([`Format`]), of which every branch below is decided at compile time.

use super::simd::{Simd, Work};
use crate::quant::{BLOCK, BlockType, Code, Format, Grain, PackedView, Scales, TILE_ROWS};
use crate::threads::ColumnsMut;
use std::marker::PhantomData;

/// int8 activations of `rows` tokens.
#[derive(Clone, Copy, Debug)]
pub struct ActivationsView<'a> {
    /// How they are quantised.
    pub grain: Grain,
    /// Tokens.
    pub rows: usize,
    /// Features, a multiple of [`Grain::columns`].
    pub cols: usize,
    /// `[rows, cols]`.
    pub quants: &'a [i8],
    /// `[rows, cols / columns]`.
    pub scales: &'a [f32],
    /// `[rows, cols / sum_columns]`: sums of quants (for offsets and minimums of weights).
    pub sums: &'a [i32],
}

impl ActivationsView<'_> {
    /// Whether the slices have the lengths that the shape asks for.
    pub fn is_consistent(&self) -> bool {
        self.cols.is_multiple_of(self.grain.columns())
            && self.rows.checked_mul(self.cols) == Some(self.quants.len())
            && self.rows.checked_mul(self.cols / self.grain.columns()) == Some(self.scales.len())
            && self.rows.checked_mul(self.cols / self.grain.sum_columns()) == Some(self.sums.len())
    }
}

/// A type of weights as a type, so that code is generic over it.
pub(super) trait Weights {
    /// Which it is.
    const BLOCK: BlockType;
    /// What it is.
    const FORMAT: &'static Format = Self::BLOCK.format();
    /// Scales per 32 columns, 1 or 2.
    const SCALES: usize = Self::FORMAT.scales.per_block();
    /// Quads of a tile's columns that share a scale.
    const QUADS: usize = BLOCK / 4 / Self::SCALES;
    /// Tiles beside each other whose products are added as integers: all have one scale.
    const TILES: usize = Self::FORMAT.activations.columns() / BLOCK;
    /// The largest magnitude of what is multiplied: a quant, or a code where codes are multiplied and the offset is
    /// subtracted from the result.
    const LARGEST: usize = match Self::FORMAT.code {
        Code::Signed => 128,
        Code::Minus(_) if Self::FORMAT.planes[0] == 8 => 127,
        Code::Minus(_) => (1 << (Self::FORMAT.planes[0] + Self::FORMAT.planes[1])) - 1,
        Code::Table(values) => {
            let (mut largest, mut i) = (0, 0);
            while i < values.len() {
                let value = values[i].unsigned_abs() as usize;
                largest = if value > largest { value } else { largest };
                i += 1;
            }
            largest
        }
    };
    /// What codes are above the quants, where it is codes that are multiplied.
    const OFFSET: i32 = match Self::FORMAT.code {
        Code::Minus(offset) => offset,
        Code::Signed | Code::Table(_) => 0,
    };
}

/// How many quads' results fit into 16 bits, if each adds `products` products of a weight and an activation to them: 1, 2, 4
/// or as many as share a scale.
pub(super) const fn chain<W: Weights>(products: usize) -> usize {
    let mut chain = W::QUADS;
    while chain * products * W::LARGEST * W::FORMAT.activations.largest() > i16::MAX as usize {
        chain /= 2;
    }
    assert!(chain > 0);
    chain
}

/// The type of weights number `INDEX` of [`BlockType::ALL`].
pub(super) struct Type<const INDEX: usize>;

impl<const INDEX: usize> Weights for Type<INDEX> {
    const BLOCK: BlockType = BlockType::ALL[INDEX];
}

/// The most rows that are multiplied together.
const MAX_ROWS: usize = 2 * TILE_ROWS;

/// How far ahead weights are fetched that will be read soon, in bytes of codes.
const AHEAD: usize = 4096;

/// The most passes over a strip of rows among which the next one is dealt out; more of them fetch nothing.
const FETCHING: usize = 4;

/// What a pass over a strip of rows brings near of the weights further on.
///
/// The first pass fetches all of what will be read soon. Products of coarse blocks are so fast that it would wait for memory
/// then, which has nothing to do while the other passes compute: so each of these fetches a part of the next strip.
#[derive(Clone, Copy)]
struct Fetch {
    /// The passes among which tiles are dealt out, less one: 0, 1 or 3.
    mask: usize,
    /// The number of this pass; above `mask`, it fetches nothing.
    pass: usize,
    /// How far ahead, in bytes of codes.
    codes: usize,
    /// How far ahead, in bytes of scales.
    scales: usize,
}

impl Fetch {
    const NOTHING: Self = Self { mask: 0, pass: 1, codes: 0, scales: 0 };

    /// For the first of `passes` passes over strips of `groups` groups of rows with `blocks` blocks of columns.
    fn new<W: Weights>(passes: usize, groups: usize, blocks: usize) -> Self {
        let format = W::FORMAT;
        if passes == 1 || W::TILES == 1 {
            let scales = AHEAD * format.span_bytes() / (format.span() * format.tile_bytes());
            return Self { mask: 0, pass: 0, codes: AHEAD, scales };
        }
        Self {
            mask: (1 << passes.min(FETCHING).ilog2()) - 1,
            pass: 0,
            codes: groups * blocks * format.tile_bytes(),
            scales: groups * (blocks / format.span()) * format.span_bytes(),
        }
    }

    /// For the next pass.
    fn next(self) -> Self {
        Self { pass: self.pass + 1, ..self }
    }

    /// Whether tile `b` of a row is for this pass.
    fn includes<W: Weights>(&self, b: usize) -> bool {
        self.pass == if W::TILES == 1 { 0 } else { b & self.mask }
    }
}

/// Where accumulators start without a bias.
static ZEROS: [f32; MAX_ROWS] = [0.0; MAX_ROWS];

/// Runs the body for each of the numbers that is below the limit, with a number that the compiler knows.
macro_rules! unroll {
    ($i:ident < $limit:expr, $($number:literal)*; $body:block) => {$(
        if const { $number < $limit } {
            let $i: usize = $number;
            $body
        }
    )*};
}
pub(super) use unroll;

/// The codes of quad `quad` (0..8) of the rows at `rows`.
///
/// # Safety
/// As [`Simd::dots`].
#[inline(always)]
pub(super) unsafe fn codes<S: Simd, W: Weights>(rows: *const u8, quad: usize) -> S::Bytes {
    let [low, high] = W::FORMAT.planes;
    // SAFETY: the caller vouches for the tile; a plane of n bits has n registers of 64 bytes.
    unsafe {
        let codes = plane::<S>(rows, low, 0, quad);
        if high == 0 { codes } else { S::or(codes, plane::<S>(rows.add(low * TILE_ROWS * 4), high, low, quad)) }
    }
}

/// The bits of quad `quad` in a plane of `bits` bits, moved to bit `place`.
///
/// # Safety
/// As [`Simd::dots`], `at` being the rows' first byte in the plane.
#[inline(always)]
unsafe fn plane<S: Simd>(at: *const u8, bits: usize, place: usize, quad: usize) -> S::Bytes {
    // SAFETY: the caller vouches for the plane.
    unsafe {
        let register = S::bytes(at.add(quad % bits * TILE_ROWS * 4));
        match bits {
            8 => register,
            _ => S::field(register, (quad / bits * bits) as i32 - place as i32, ((1 << bits) - 1) << place),
        }
    }
}

/// The heads of rows `lane..`, those that the type has.
///
/// # Safety
/// `span` must point to [`Format::span_bytes`] of scales.
#[inline(always)]
pub(super) unsafe fn heads<S: Simd, W: Weights>(span: *const u8, lane: usize) -> [S::Floats; 2] {
    // SAFETY: heads lie inside the span.
    unsafe {
        let mut heads = [S::splat(0.0); 2];
        unroll!(i < W::FORMAT.scales.heads(), 0 1; {
            heads[i] = S::f16(span.add((i * TILE_ROWS + lane) * 2));
        });
        heads
    }
}

/// The scales of half `half` of block `block` (counted from the beginning of its span) of rows `lane..`, whose heads are
/// `heads`.
///
/// # Safety
/// `span` must point to [`Format::span_bytes`] of scales, or to the scale of the whole matrix.
#[inline(always)]
pub(super) unsafe fn scale<S: Simd, W: Weights>(
    heads: [S::Floats; 2],
    span: *const u8,
    block: usize,
    half: usize,
    lane: usize,
) -> S::Floats {
    // SAFETY: subs lie inside the span.
    unsafe {
        let sub = |index| sub::<W>(span, block, index);
        match W::FORMAT.scales {
            Scales::F16 | Scales::F16Min => heads[0],
            Scales::Byte => S::mul(heads[0], S::i8(sub(0).add(lane))),
            Scales::ByteHalves => S::mul(heads[0], S::i8(sub(half).add(lane))),
            Scales::ByteMin => S::mul_u8(heads[0], sub(0), lane),
            Scales::NibbleHalvesMin => S::mul_nibbles(heads[0], sub(half), lane, false),
            Scales::Exponent => S::powers_of_two(sub(0).add(lane)),
            Scales::Tensor => S::splat(f32::from_le_bytes(span.cast::<[u8; 4]>().read())),
        }
    }
}

/// The minimums, where there are any.
///
/// # Safety
/// As [`scale`].
#[inline(always)]
pub(super) unsafe fn min<S: Simd, W: Weights>(
    heads: [S::Floats; 2],
    span: *const u8,
    block: usize,
    half: usize,
    lane: usize,
) -> S::Floats {
    // SAFETY: subs lie inside the span.
    unsafe {
        match W::FORMAT.scales {
            Scales::ByteMin => S::mul_u8(heads[1], sub::<W>(span, block, 1), lane),
            Scales::NibbleHalvesMin => S::mul_nibbles(heads[1], sub::<W>(span, block, half), lane, true),
            _ => heads[1],
        }
    }
}

/// Where sub `index` of block `block` is.
///
/// # Safety
/// It must be inside the span.
#[inline(always)]
unsafe fn sub<W: Weights>(span: *const u8, block: usize, index: usize) -> *const u8 {
    let scales = W::FORMAT.scales;
    // SAFETY: the caller's duty.
    unsafe { span.add(scales.heads() * TILE_ROWS * 2 + (block * scales.subs() + index) * TILE_ROWS) }
}

/// The product of `N` registers of rows, the first of them the first of group `group`, and `M` tokens, from `token` on:
/// accumulators start with the values at `start`, one for each row, and are stored at `to`, for each token. `P` registers
/// are in flight together: they share the loads of the activations.
///
/// # Safety
/// - The CPU must support the instruction set.
/// - `w` must be of type `W::BLOCK`, `w` and `x` consistent (see their `is_consistent`), with equal `cols`.
/// - `w` must have the groups and `x` the tokens.
/// - `start` must be readable and each of `to` writable for `N * LANES` floats.
#[inline(always)]
unsafe fn multiply<S: Simd, W: Weights, const N: usize, const P: usize, const M: usize>(
    w: PackedView<'_>,
    group: usize,
    x: ActivationsView<'_>,
    token: usize,
    start: *const f32,
    to: [*mut f32; M],
    fetch: Fetch,
) {
    const { assert!(N.is_multiple_of(P) && N <= 4 && N * S::LANES <= MAX_ROWS) };
    let format = W::FORMAT;
    let (blocks, span) = (w.cols / BLOCK, format.span());
    let group_of = |n: usize| group + n * S::LANES / TILE_ROWS;
    // The first byte of register n's rows in tile b of their group, and the scales of the tile's span.
    let tile = |n: usize, b: usize| {
        let lane = n * S::LANES % TILE_ROWS;
        // SAFETY: the plane of codes has `blocks` tiles for each group, and b < blocks.
        unsafe { w.codes.as_ptr().add((group_of(n) * blocks + b) * format.tile_bytes() + lane * 4) }
    };
    let scales = |n: usize, b: usize| {
        // SAFETY: the plane of scales has `blocks / span` spans for each group (of 0 bytes where there is one scale only).
        unsafe { w.scales.as_ptr().add((group_of(n) * (blocks / span) + b / span) * format.span_bytes()) }
    };
    // Brings near what lies ahead of tile b, if that is for this pass. (The processor's own fetching ends with a page.)
    let bring = |b: usize| {
        if fetch.includes::<W>(b) {
            for n in (0..N).filter(|n| (n * S::LANES).is_multiple_of(TILE_ROWS)) {
                // SAFETY: what is fetched need not be readable.
                unsafe {
                    unroll!(line < W::FORMAT.planes[0] + W::FORMAT.planes[1], 0 1 2 3 4 5 6 7; {
                        S::prefetch(tile(n, b).wrapping_add(fetch.codes + line * 64));
                    });
                    S::prefetch(scales(n, b).wrapping_add(fetch.scales));
                }
            }
        }
    };
    const {
        assert!(W::FORMAT.span().is_multiple_of(W::TILES));
        assert!(W::TILES == 1 || (W::SCALES == 1 && !W::FORMAT.scales.have_min()), "coarse, with more than one scale");
    }
    // SAFETY: the closures above point to what they say; for each of its tokens, `x` has `blocks` blocks of 32 quants, and a
    // scale and two sums for each of them, or, coarse, a scale and a sum for `TILES` of them.
    unsafe {
        let mut totals = [[S::splat(0.0); N]; M];
        for m in 0..M {
            for n in 0..N {
                totals[m][n] = S::load(start.add(n * S::LANES));
            }
        }
        for first in (0..blocks).step_by(span) {
            // Heads that belong to one block are loaded where they are needed: there are no registers to keep them in.
            let mut span_heads = [[S::splat(0.0); 2]; N];
            if span > 1 {
                for n in 0..N {
                    span_heads[n] = heads::<S, W>(scales(n, first), n * S::LANES % TILE_ROWS);
                }
            }
            for b in (first..first + span).step_by(W::TILES) {
                bring(b);
                let mut quants = [x.quants.as_ptr(); M];
                let mut x_scales = [0.0; M];
                for m in 0..M {
                    quants[m] = quants[m].add((token + m) * w.cols + b * BLOCK);
                    x_scales[m] = *x.scales.as_ptr().add(((token + m) * blocks + b) / W::TILES);
                }
                unroll!(half < W::SCALES, 0 1; {
                    let mut sums = [0; M];
                    for m in 0..M {
                        let block = (token + m) * blocks + b;
                        sums[m] = match (W::FORMAT.activations, W::SCALES) {
                            (Grain::Fine, 2) => *x.sums.as_ptr().add(block * 2 + half),
                            (Grain::Fine, _) => *x.sums.as_ptr().add(block * 2) + *x.sums.as_ptr().add(block * 2 + 1),
                            (Grain::Coarse, _) => *x.sums.as_ptr().add(block / W::TILES),
                        };
                    }
                    unroll!(part < N / P, 0 1 2 3; {
                        let mut rows = [w.codes.as_ptr(); P];
                        for p in 0..P {
                            rows[p] = tile(part * P + p, b);
                        }
                        let mut dots = [[S::start::<W>(rows[0], 0); P]; M];
                        for m in 0..M {
                            for p in 0..P {
                                dots[m][p] = S::start::<W>(rows[p], sums[m]);
                            }
                        }
                        unroll!(t < W::TILES, 0 1 2 3; {
                            if t > 0 && half == 0 && part == 0 {
                                bring(b + t);
                            }
                            let (mut rows, mut quants) = (rows, quants);
                            for p in 0..P {
                                rows[p] = rows[p].add(t * W::FORMAT.tile_bytes());
                            }
                            for m in 0..M {
                                quants[m] = quants[m].add(t * BLOCK);
                            }
                            dots = S::dots::<W, P, M>(dots, rows, half * W::QUADS, quants);
                        });
                        for p in 0..P {
                            let n = part * P + p;
                            let (span_scales, lane) = (scales(n, b), n * S::LANES % TILE_ROWS);
                            let heads = if span == 1 { heads::<S, W>(span_scales, lane) } else { span_heads[n] };
                            let w_scale = scale::<S, W>(heads, span_scales, b % span, half, lane);
                            for m in 0..M {
                                let scale = S::mul(w_scale, S::splat(x_scales[m]));
                                totals[m][n] = S::fma(S::floats(dots[m][p]), scale, totals[m][n]);
                            }
                            if format.scales.have_min() {
                                let w_min = min::<S, W>(heads, span_scales, b % span, half, lane);
                                for m in 0..M {
                                    let sum = S::splat(-(sums[m] as f32 * x_scales[m]));
                                    totals[m][n] = S::fma(w_min, sum, totals[m][n]);
                                }
                            }
                        }
                    });
                });
            }
        }
        for m in 0..M {
            for n in 0..N {
                S::store(to[m].add(n * S::LANES), totals[m][n]);
            }
        }
    }
}

/// Panics unless the operands of [`super::GemmPacked`] for weights of type `W` fit each other.
pub(super) fn check<W: Weights>(w: PackedView<'_>, x: ActivationsView<'_>, bias: Option<&[f32]>, out: &ColumnsMut<'_>) {
    assert!(w.block == W::BLOCK, "a kernel for other weights");
    assert!(w.is_consistent(), "packed weights of another length than their shape");
    assert!(x.is_consistent(), "activations of another length than their shape");
    assert_eq!(w.cols, x.cols, "weights and activations differ in columns");
    assert!(x.grain == W::FORMAT.activations, "activations of another grain");
    assert_eq!(out.rows(), x.rows, "output and activations differ in rows");
    assert!(bias.is_none_or(|bias| bias.len() == w.rows), "one bias for each row of the weights");
    let columns = out.columns();
    assert!(columns.end <= w.rows, "columns {columns:?} of a product with {} columns", w.rows);
    assert!(columns.start.is_multiple_of(TILE_ROWS), "columns start in the middle of a group");
}

/// [`super::GemmPacked`] with `N` registers of rows at a time, of which `P` are in flight together; for one token `N1` and `P1`,
/// so that memory is read from one end to the other.
///
/// # Safety
/// The CPU must support the instruction set, and the operands must fit each other: see [`check`].
pub(super) unsafe fn gemm<S: Simd, W: Weights, const N: usize, const P: usize, const N1: usize, const P1: usize>(
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    const { assert!((N * S::LANES).is_multiple_of(TILE_ROWS) && N1 * S::LANES == TILE_ROWS) };
    // SAFETY: the CPU and the operands are the caller's duty.
    unsafe { S::with(Product::<W, N, P, N1, P1> { w, x, bias, out, _weights: PhantomData }) };
}

/// What [`gemm`] computes; its operands fit each other.
struct Product<'a, 'o, W, const N: usize, const P: usize, const N1: usize, const P1: usize> {
    w: PackedView<'a>,
    x: ActivationsView<'a>,
    bias: Option<&'a [f32]>,
    out: &'a mut ColumnsMut<'o>,
    _weights: PhantomData<W>,
}

impl<W: Weights, const N: usize, const P: usize, const N1: usize, const P1: usize> Work
    for Product<'_, '_, W, N, P, N1, P1>
{
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { w, x, bias, out, .. } = self;
        let columns = out.columns();
        let tokens = x.rows;
        let start = |row: usize, width: usize| bias.map_or(&ZEROS[..width], |bias| &bias[row..row + width]).as_ptr();
        // The strips of rows that are whole; a strip stays in the cache while the tokens pass.
        let width = if tokens == 1 { N1 } else { N } * S::LANES;
        let whole = columns.start..columns.end - columns.len() % width;
        let passes = tokens / S::TOKENS + (tokens % S::TOKENS).count_ones() as usize;
        let fetch = Fetch::new::<W>(passes, width.div_ceil(TILE_ROWS), w.cols / BLOCK);
        // SAFETY: rows are among the columns of `out`, which are rows of the weights; as many as a strip has are read at `start`
        // and written at `to`.
        unsafe {
            for row in whole.clone().step_by(width) {
                let (group, start) = (row / TILE_ROWS, start(row, width));
                let mut to = |token: usize| {
                    let to = out.row_mut(token)[row - columns.start..][..width].as_mut_ptr();
                    // The lines that the next strip's results end in: else storing them waits for memory.
                    for line in (TILE_ROWS..=width).step_by(TILE_ROWS) {
                        S::prefetch_to_write(to.wrapping_add(width + line - 1));
                    }
                    to
                };
                if tokens == 1 {
                    // A constant: no loop over blocks asks whether to fetch.
                    let fetch = Fetch::new::<W>(1, 1, 1);
                    multiply::<S, W, N1, P1, 1>(w, group, x, 0, start, [to(0)], fetch);
                    continue;
                }
                let (mut token, mut fetch) = (0, fetch);
                if const { S::TOKENS == 4 } {
                    while token + 4 <= tokens {
                        let to = [to(token), to(token + 1), to(token + 2), to(token + 3)];
                        multiply::<S, W, N, P, 4>(w, group, x, token, start, to, fetch);
                        (token, fetch) = (token + 4, fetch.next());
                    }
                    if token + 2 <= tokens {
                        let to = [to(token), to(token + 1)];
                        multiply::<S, W, N, P, 2>(w, group, x, token, start, to, fetch);
                        (token, fetch) = (token + 2, fetch.next());
                    }
                }
                while token < tokens {
                    multiply::<S, W, N, P, 1>(w, group, x, token, start, [to(token)], fetch);
                    (token, fetch) = (token + 1, fetch.next());
                }
            }
            for row in (whole.end..columns.end).step_by(TILE_ROWS) {
                let rows = row..columns.end.min(row + TILE_ROWS);
                let mut start = [0.0; TILE_ROWS];
                if let Some(bias) = bias {
                    start[..rows.len()].copy_from_slice(&bias[rows.clone()]);
                }
                for token in 0..tokens {
                    let mut result = [0.0; TILE_ROWS];
                    let to = [result.as_mut_ptr()];
                    multiply::<S, W, N1, P1, 1>(w, row / TILE_ROWS, x, token, start.as_ptr(), to, Fetch::NOTHING);
                    out.row_mut(token)[row - columns.start..][..rows.len()].copy_from_slice(&result[..rows.len()]);
                }
            }
        }
    }
}
