//! Attention of query heads to stored keys and values, once for all instruction sets.
//!
//! Keys lie in tiles of [`TILE`] positions, `[tiles][features][4 positions]`, so that lanes are positions and hardly anything
//! is left to add across a register: a register of 16 floats holds 4 features of 4 positions, and a query is laid out to
//! meet it, each of its features 4 times. Values lie one position after the other, and lanes are features. Heads of queries
//! that share keys and values go through them together: what is stored small is widened once for all.
//!
//! What is computed is fixed: a score is the sum over features i % 4 = 0, 1, 2 and 3, each in order, added as
//! `(0 + 2) + (1 + 3)`; with 8-bit keys it is such a sum for each 32 features, times their scale, added in order. Sums over
//! positions are in order. Products are added by fused multiply-add.

use super::simd::{Simd, Work};
use crate::quant::BLOCK;

/// Positions of a tile of keys.
pub const TILE: usize = 4;

/// Floats of a step of the scores: 4 features of a tile.
const CHUNK: usize = 4 * TILE;

/// Stored numbers.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// float32.
    F32(&'a [f32]),
    /// The bits of IEEE float16.
    F16(&'a [u16]),
    /// 8 bits each, and a float32 scale for every 32 features of a position. The scales of values lie in the order of the
    /// positions, those of keys `[tiles][features / 32][4 positions]`.
    Q8_0(&'a [i8], &'a [f32]),
}

impl Stored<'_> {
    /// Where the numbers are.
    fn address(&self) -> *const u8 {
        match self {
            Self::F32(values) => values.as_ptr().cast(),
            Self::F16(values) => values.as_ptr().cast(),
            Self::Q8_0(values, _) => values.as_ptr().cast(),
        }
    }

    /// How many numbers there are.
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Q8_0(values, _) => values.len(),
        }
    }
}

/// Keys of one head: `[tiles][dim][4 positions]`.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// Whole tiles.
    pub stored: Stored<'a>,
    /// Features, a multiple of 4; of 8-bit keys a multiple of 32.
    pub dim: usize,
    /// What is read after these, of the same type: brought near in the meantime.
    pub next: Option<Stored<'a>>,
}

impl Keys<'_> {
    /// How many tiles there are.
    pub fn tiles(&self) -> usize {
        self.stored.len() / (TILE * self.dim)
    }
}

/// Values of one head, each `stride` numbers after the one before.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// From the first value on.
    pub stored: Stored<'a>,
    /// Numbers from a position to the next; of 8-bit values a multiple of 32.
    pub stride: usize,
    /// How many values there are.
    pub positions: usize,
    /// What is read after these, of the same type: brought near in the meantime.
    pub next: Option<Stored<'a>>,
}

/// Whether `rows` rows of `width` numbers, each `stride` after the one before, are among `len` numbers.
fn fits(len: usize, rows: usize, stride: usize, width: usize) -> bool {
    let end = |last: usize| last.checked_mul(stride)?.checked_add(width);
    rows.checked_sub(1).is_none_or(|last| end(last).is_some_and(|end| end <= len))
}

/// The scores of one or several heads with all positions of `keys`. `q` is `[heads][dim][4]`, each feature 4 times; head
/// `h`'s scores go to `scores[h * stride..]`.
///
/// # Panics
/// If lengths do not fit each other.
pub(super) fn scores<S: Simd>(q: &[f32], keys: Keys<'_>, scores: &mut [f32], stride: usize) {
    let Keys { stored, dim, next } = keys;
    assert!(dim > 0 && dim.is_multiple_of(4), "keys of {dim} features");
    let (tiles, row) = (keys.tiles(), dim * TILE);
    assert!(q.len().is_multiple_of(row) && stored.len() == tiles * row, "queries or keys of another length");
    let heads = q.len() / row;
    assert!(fits(scores.len(), heads, stride, tiles * TILE), "no room for the scores");
    // Without anything to come, what is there is brought near again, which costs nothing. Heads that come second find the
    // work done.
    let next = next.unwrap_or(stored).address();
    let mut head = 0;
    while head < heads {
        let (q, to) = (q[head * row..].as_ptr(), scores[head * stride..].as_mut_ptr());
        let count = (heads - head).min(4);
        // SAFETY: whoever has a table has a CPU for it. `q` points to `count` heads and more, `to` to room for their
        // scores, and the stored numbers are `tiles` whole tiles, with as many scales as are looked at.
        unsafe {
            match stored {
                Stored::F32(keys) => run::<S, f32>(count, q, Source::new(keys, &[], next), dim, tiles, to, stride),
                Stored::F16(keys) => run::<S, u16>(count, q, Source::new(keys, &[], next), dim, tiles, to, stride),
                Stored::Q8_0(keys, scales) => {
                    assert!(dim.is_multiple_of(BLOCK) && scales.len() == keys.len() / BLOCK, "a scale for each block");
                    run::<S, i8>(count, q, Source::new(keys, scales, next), dim, tiles, to, stride);
                }
            }
        }
        head += count;
    }

    /// # Safety
    /// As of [`Scores`].
    unsafe fn run<S: Simd, E: Element>(
        heads: usize,
        q: *const f32,
        keys: Source<E>,
        dim: usize,
        tiles: usize,
        to: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's duty. Few heads, and those of wide registers, take several tiles at once: a sum waits for
        // the one before it, so that there must be enough of them.
        unsafe {
            match (heads, S::LANES) {
                (1, _) => S::with(Scores::<E, 1, 4> { q, keys, dim, tiles, to, stride }),
                (2, _) => S::with(Scores::<E, 2, 2> { q, keys, dim, tiles, to, stride }),
                (3, 16) => S::with(Scores::<E, 3, 2> { q, keys, dim, tiles, to, stride }),
                (3, _) => S::with(Scores::<E, 3, 1> { q, keys, dim, tiles, to, stride }),
                (_, 16) => S::with(Scores::<E, 4, 2> { q, keys, dim, tiles, to, stride }),
                _ => S::with(Scores::<E, 4, 1> { q, keys, dim, tiles, to, stride }),
            }
        }
    }
}

/// Adds to the results of one or several heads the sum of all values, each times its probability: that of head `h` and
/// position `i` is `p[h * stride + i]`. `out` is `[heads][dim]`.
///
/// # Panics
/// If lengths do not fit each other.
pub(super) fn sums<S: Simd>(p: &[f32], stride: usize, values: Values<'_>, out: &mut [f32], dim: usize) {
    let Values { stored, stride: step, positions, next } = values;
    if positions == 0 {
        return;
    }
    assert!(dim > 0 && out.len().is_multiple_of(dim), "results of another length");
    assert!(fits(stored.len(), positions, step, dim), "too few values");
    let heads = out.len() / dim;
    assert!(fits(p.len(), heads, stride, positions), "too few probabilities");
    let next = next.unwrap_or(stored).address();
    let mut head = 0;
    while head < heads {
        let (p, out) = (p[head * stride..].as_ptr(), out[head * dim..].as_mut_ptr());
        let count = (heads - head).min(4);
        // SAFETY: whoever has a table has a CPU for it. `p` points to the probabilities of `count` heads and more, `out` to
        // their results, and there are `positions` values, with as many scales as are looked at.
        unsafe {
            match stored {
                Stored::F32(v) => run::<S, f32>(count, p, stride, Source::new(v, &[], next), step, positions, out, dim),
                Stored::F16(v) => run::<S, u16>(count, p, stride, Source::new(v, &[], next), step, positions, out, dim),
                Stored::Q8_0(v, scales) => {
                    let fits = step.is_multiple_of(BLOCK) && dim.is_multiple_of(BLOCK);
                    assert!(fits && scales.len() >= v.len() / BLOCK, "a scale for each block");
                    run::<S, i8>(count, p, stride, Source::new(v, scales, next), step, positions, out, dim);
                }
            }
        }
        head += count;
    }

    /// # Safety
    /// As of [`Sums`].
    #[allow(clippy::too_many_arguments, reason = "what Sums is made of")]
    unsafe fn run<S: Simd, E: Element>(
        heads: usize,
        p: *const f32,
        stride: usize,
        values: Source<E>,
        step: usize,
        positions: usize,
        out: *mut f32,
        dim: usize,
    ) {
        // SAFETY: the caller's duty. As with scores: 4 registers of features, or of 16 floats up to 16.
        unsafe {
            match (heads, S::LANES) {
                (1, _) => S::with(Sums::<E, 1, 4> { p, stride, values, step, positions, out, dim }),
                (2, 16) => S::with(Sums::<E, 2, 4> { p, stride, values, step, positions, out, dim }),
                (2, _) => S::with(Sums::<E, 2, 2> { p, stride, values, step, positions, out, dim }),
                (3, 16) => S::with(Sums::<E, 3, 4> { p, stride, values, step, positions, out, dim }),
                (3, _) => S::with(Sums::<E, 3, 1> { p, stride, values, step, positions, out, dim }),
                (_, 16) => S::with(Sums::<E, 4, 4> { p, stride, values, step, positions, out, dim }),
                _ => S::with(Sums::<E, 4, 1> { p, stride, values, step, positions, out, dim }),
            }
        }
    }
}

/// Stored numbers, by address.
#[derive(Clone, Copy)]
struct Source<E> {
    at: *const E,
    /// Of those that are 8-bit.
    scales: *const f32,
    /// What comes after them; it need not be readable.
    next: *const u8,
}

impl<E: Element> Source<E> {
    fn new(numbers: &[E], scales: &[f32], next: *const u8) -> Self {
        Self { at: numbers.as_ptr(), scales: scales.as_ptr(), next }
    }

    /// Brings near what is as far from the beginning of what comes next as number `index` is from that of these.
    ///
    /// # Safety
    /// As of [`Simd::prefetch`].
    #[inline(always)]
    unsafe fn prefetch<S: Simd>(&self, index: usize) {
        // SAFETY: the caller's duty.
        unsafe { S::prefetch(self.next.wrapping_add(index * size_of::<E>())) }
    }
}

/// A type of stored numbers.
trait Element: Copy {
    /// Whether 32 features share a scale.
    const SCALED: bool;

    /// Loads `S::LANES` numbers.
    ///
    /// # Safety
    /// They must be readable, and the CPU support the instruction set.
    unsafe fn load<S: Simd>(at: *const Self) -> S::Floats;

    /// One number.
    fn value(self) -> f32;
}

impl Element for f32 {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const Self) -> S::Floats {
        // SAFETY: the caller's duty.
        unsafe { S::load(at) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

/// The bits of a float16.
impl Element for u16 {
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const Self) -> S::Floats {
        // SAFETY: the caller's duty.
        unsafe { S::f16(at.cast()) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        super::generic::widen_f16(self.to_le_bytes())
    }
}

impl Element for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const Self) -> S::Floats {
        // SAFETY: the caller's duty.
        unsafe { S::i8(at.cast()) }
    }

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from(self)
    }
}

/// Scores of `H` heads, `T` tiles at a time.
///
/// Whoever makes one vouches for `H` queries at `q`, `tiles` tiles of `dim` features (and their scales) at `keys`, and room
/// for the scores at `to`.
struct Scores<E, const H: usize, const T: usize> {
    q: *const f32,
    keys: Source<E>,
    dim: usize,
    tiles: usize,
    to: *mut f32,
    stride: usize,
}

impl<E: Element, const H: usize, const T: usize> Work for Scores<E, H, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut tile = 0;
        // SAFETY: tiles are below `self.tiles`.
        unsafe {
            while tile + T <= self.tiles {
                self.tiles::<S, T>(tile);
                tile += T;
            }
            while tile < self.tiles {
                self.tiles::<S, 1>(tile);
                tile += 1;
            }
        }
    }
}

impl<E: Element, const H: usize, const T: usize> Scores<E, H, T> {
    /// The scores of `C` tiles from number `tile` on.
    ///
    /// # Safety
    /// There must be so many, and the CPU support the instruction set.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const C: usize>(&self, tile: usize) {
        let row = self.dim * TILE;
        // Numbers of a tile that share a scale, or all.
        let group = if E::SCALED { BLOCK * TILE } else { row };
        // SAFETY: all offsets are inside what was vouched for.
        unsafe {
            let mut totals = [[[S::splat(0.0); 4]; C]; H];
            for first in (0..row).step_by(group) {
                let mut sums = [[[S::splat(0.0); 4]; C]; H];
                for at in (first..first + group).step_by(CHUNK) {
                    for t in 0..C {
                        self.keys.prefetch::<S>((tile + t) * row + at);
                    }
                    for r in 0..CHUNK / S::LANES {
                        let at = at + r * S::LANES;
                        for t in 0..C {
                            let keys = E::load::<S>(self.keys.at.add((tile + t) * row + at));
                            for h in 0..H {
                                sums[h][t][r] = S::fma(keys, S::load(self.q.add(h * row + at)), sums[h][t][r]);
                            }
                        }
                    }
                }
                if E::SCALED {
                    for t in 0..C {
                        let scale = S::quads(self.keys.scales.add(((tile + t) * row + first) / BLOCK));
                        for h in 0..H {
                            for r in 0..CHUNK / S::LANES {
                                totals[h][t][r] = S::fma(sums[h][t][r], scale, totals[h][t][r]);
                            }
                        }
                    }
                } else {
                    totals = sums;
                }
            }
            for h in 0..H {
                for t in 0..C {
                    S::sum_quads(totals[h][t], self.to.add(h * self.stride + (tile + t) * TILE));
                }
            }
        }
    }
}

/// Sums of values of `H` heads, `C` times 16 features at a time.
///
/// Whoever makes one vouches for `H` rows of `positions` probabilities at `p`, as many values (and their scales), and `H`
/// results of `dim` features at `out`.
struct Sums<E, const H: usize, const C: usize> {
    p: *const f32,
    stride: usize,
    values: Source<E>,
    step: usize,
    positions: usize,
    out: *mut f32,
    dim: usize,
}

impl<E: Element, const H: usize, const C: usize> Work for Sums<E, H, C> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut feature = 0;
        // SAFETY: features are below `self.dim`.
        unsafe {
            while feature + C * 16 <= self.dim {
                self.features::<S, C>(feature);
                feature += C * 16;
            }
            while feature + 16 <= self.dim {
                self.features::<S, 1>(feature);
                feature += 16;
            }
            while feature < self.dim {
                self.feature(feature);
                feature += 1;
            }
        }
    }
}

impl<E: Element, const H: usize, const C: usize> Sums<E, H, C> {
    /// The probability of `position` for head `h`, times the scale of `feature` where there is one.
    ///
    /// # Safety
    /// They must be among those that were vouched for.
    #[inline(always)]
    unsafe fn factor(&self, h: usize, position: usize, feature: usize) -> f32 {
        // SAFETY: the caller's duty.
        unsafe {
            let p = *self.p.add(h * self.stride + position);
            if E::SCALED { p * *self.values.scales.add((position * self.step + feature) / BLOCK) } else { p }
        }
    }

    /// `N` times 16 features from `feature` on.
    ///
    /// # Safety
    /// There must be so many, and the CPU support the instruction set.
    #[inline(always)]
    unsafe fn features<S: Simd, const N: usize>(&self, feature: usize) {
        // SAFETY: all offsets are inside what was vouched for.
        unsafe {
            let mut sums = [[[S::splat(0.0); 4]; N]; H];
            for h in 0..H {
                for n in 0..N {
                    for r in 0..16 / S::LANES {
                        sums[h][n][r] = S::load(self.out.add(h * self.dim + feature + n * 16 + r * S::LANES));
                    }
                }
            }
            for position in 0..self.positions {
                for n in 0..N {
                    let mut factors = [S::splat(0.0); H];
                    for h in 0..H {
                        factors[h] = S::splat(self.factor(h, position, feature + n * 16));
                    }
                    self.values.prefetch::<S>(position * self.step + feature + n * 16);
                    for r in 0..16 / S::LANES {
                        let at = position * self.step + feature + n * 16 + r * S::LANES;
                        let values = E::load::<S>(self.values.at.add(at));
                        for h in 0..H {
                            sums[h][n][r] = S::fma(factors[h], values, sums[h][n][r]);
                        }
                    }
                }
            }
            for h in 0..H {
                for n in 0..N {
                    for r in 0..16 / S::LANES {
                        S::store(self.out.add(h * self.dim + feature + n * 16 + r * S::LANES), sums[h][n][r]);
                    }
                }
            }
        }
    }

    /// One feature.
    ///
    /// # Safety
    /// It must be one of those that were vouched for.
    #[inline(always)]
    unsafe fn feature(&self, feature: usize) {
        // SAFETY: all offsets are inside what was vouched for.
        unsafe {
            for h in 0..H {
                let out = self.out.add(h * self.dim + feature);
                let mut sum = *out;
                for position in 0..self.positions {
                    let value = (*self.values.at.add(position * self.step + feature)).value();
                    sum = self.factor(h, position, feature).mul_add(value, sum);
                }
                *out = sum;
            }
        }
    }
}
