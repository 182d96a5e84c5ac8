//! Q2_K to Q6_K: super-blocks of 256 weights in groups, whose scales are quantised themselves.

use std::array;

use super::search::{EPSILON, Grid, affine, nearest, symmetric, symmetric_by_coordinates};
use super::{half, largest, through_half};

/// Weights of a super-block.
const SUPER: usize = 256;

/// 4-bit scale and offset of each group of 16, 2-bit quants, the scales of both.
pub(super) fn q2_k(x: &[f32; SUPER], out: &mut [u8; 84]) {
    let grid = Grid { n: 3, first: -0.5, steps: 15, error: f32::abs };
    let block = Affine::<16>::new::<16>(x, |x| x.map(f32::abs), &grid, 15);
    for (out, (scale, offset)) in out.iter_mut().zip(block.scales.iter().zip(&block.offsets)) {
        *out = scale | offset << 4;
    }
    two_bits(&block.quants, &mut out[16..80]);
    out[80..].copy_from_slice(&block.halves());
}

/// Third bits of the quants, their low two bits, 6-bit scales of groups of 16, the scales' scale.
pub(super) fn q3_k(x: &[f32; SUPER], out: &mut [u8; 110]) {
    out.fill(0);
    let Some(block) = Signed::new(x, 4, 32, f32::MIN_POSITIVE, symmetric_by_coordinates) else { return };
    out[..32].copy_from_slice(&bit_plane(&block.quants, 2));
    two_bits(&block.quants, &mut out[32..96]);
    let scales = &mut out[96..108];
    for (group, scale) in block.scales.iter().enumerate() {
        let scale = (scale + 32) as u8;
        scales[group % 8] |= (scale & 15) << (group / 8 * 4);
        scales[8 + group % 4] |= (scale >> 4) << (group / 4 * 2);
    }
    out[108..].copy_from_slice(&half(block.scale));
}

/// The scales of both, 6-bit scale and offset of each group of 32, 4-bit quants.
pub(super) fn q4_k(x: &[f32; SUPER], out: &mut [u8; 144]) {
    let grid = Grid { n: 15, first: -1.0, steps: 20, error: |e| e * e };
    let block = Affine::<8>::new::<32>(x, weights_of_32, &grid, 63);
    out[..4].copy_from_slice(&block.halves());
    out[4..16].copy_from_slice(&block.six_bit_scales());
    nibbles(&block.quants, 32, &mut out[16..]);
}

/// As Q4_K, with the fifth bits before the other four.
pub(super) fn q5_k(x: &[f32; SUPER], out: &mut [u8; 176]) {
    let grid = Grid { n: 31, first: -0.5, steps: 15, error: |e| e * e };
    let block = Affine::<8>::new::<32>(x, weights_of_32, &grid, 63);
    out[..4].copy_from_slice(&block.halves());
    out[4..16].copy_from_slice(&block.six_bit_scales());
    out[16..48].copy_from_slice(&bit_plane(&block.quants, 4));
    nibbles(&block.quants, 32, &mut out[48..]);
}

/// Low four bits of the quants, their high two, 8-bit scales of groups of 16, the scales' scale.
pub(super) fn q6_k(x: &[f32; SUPER], out: &mut [u8; 210]) {
    out.fill(0);
    let Some(block) = Signed::new(x, 32, 128, EPSILON, symmetric) else { return };
    nibbles(&block.quants, 64, &mut out[..128]);
    two_bits(&block.quants.map(|q| q >> 4), &mut out[128..192]);
    for (out, scale) in out[192..208].iter_mut().zip(block.scales) {
        *out = scale as u8;
    }
    out[208..].copy_from_slice(&half(block.scale));
}

/// How much the weights of a group count in Q4_K and Q5_K.
fn weights_of_32(x: &[f32; 32]) -> [f32; 32] {
    let mean = (x.iter().fold(0.0, |sum, v| sum + v * v) / 32.0).sqrt();
    x.map(|v| mean + v.abs())
}

/// A super-block of `G` groups: a weight is `scale * scales[g] * quant - offset * offsets[g]`.
struct Affine<const G: usize> {
    scale: f32,
    offset: f32,
    scales: [u8; G],
    offsets: [u8; G],
    quants: [u8; SUPER],
}

impl<const G: usize> Affine<G> {
    /// `weigh` says how much the weights of a group count; scales and offsets are quantised to 0..=`levels`.
    fn new<const N: usize>(x: &[f32; SUPER], weigh: fn(&[f32; N]) -> [f32; N], grid: &Grid, levels: u8) -> Self {
        let groups = x.as_chunks::<N>().0;
        let fits: [_; G] = array::from_fn(|g| affine(&groups[g], &weigh(&groups[g]), grid));
        let greatest = |values: [f32; G]| values.into_iter().fold(0.0, |max, v| if v > max { v } else { max });
        let quantised = |values: [f32; G], max: f32| {
            let inverse = if max > 0.0 { f32::from(levels) / max } else { 0.0 };
            values.map(|v| (nearest(inverse * v) as u8).min(levels))
        };
        let (scales, offsets) = (fits.map(|fit| fit.0), fits.map(|fit| fit.1));
        let (max_scale, max_offset) = (greatest(scales), greatest(offsets));
        let mut block = Self {
            scale: max_scale / f32::from(levels),
            offset: max_offset / f32::from(levels),
            scales: quantised(scales, max_scale),
            offsets: quantised(offsets, max_offset),
            quants: [0; SUPER],
        };
        for (g, quants) in block.quants.as_chunks_mut::<N>().0.iter_mut().enumerate() {
            *quants = fits[g].2;
            let scale = through_half(block.scale) * f32::from(block.scales[g]);
            if scale != 0.0 {
                let offset = through_half(block.offset) * f32::from(block.offsets[g]);
                *quants = groups[g].map(|v| nearest((v + offset) / scale).clamp(0, grid.n) as u8);
            }
        }
        block
    }

    /// The two scales as stored.
    fn halves(&self) -> [u8; 4] {
        let ([a, b], [c, d]) = (half(self.scale), half(self.offset));
        [a, b, c, d]
    }
}

impl Affine<8> {
    /// Eight scales and eight offsets of 6 bits: those of the first four groups are whole, in bytes of which the other
    /// four take the upper two bits.
    fn six_bit_scales(&self) -> [u8; 12] {
        let mut out = [0; 12];
        for g in 0..4 {
            let (scale, offset) = (self.scales[g + 4], self.offsets[g + 4]);
            out[g] = self.scales[g] | scale >> 4 << 6;
            out[g + 4] = self.offsets[g] | offset >> 4 << 6;
            out[g + 8] = scale & 15 | (offset & 15) << 4;
        }
        out
    }
}

/// A super-block of 16 groups: a weight is `scale * scales[g] * (quant - n)`.
struct Signed {
    scale: f32,
    scales: [i32; 16],
    quants: [u8; SUPER],
}

impl Signed {
    /// The scale of largest magnitude becomes `-levels`; `None` where it is below `least`.
    fn new(
        x: &[f32; SUPER],
        n: i32,
        levels: i32,
        least: f32,
        search: fn(&[f32; 16], i32) -> (f32, [u8; 16]),
    ) -> Option<Self> {
        let groups = x.as_chunks::<16>().0;
        let fits: [_; 16] = array::from_fn(|g| search(&groups[g], n));
        let scales = fits.map(|fit| fit.0);
        let largest = largest(&scales);
        if largest.abs() < least {
            return None;
        }
        let inverse = -(levels as f32) / largest;
        let scale = 1.0 / inverse;
        let scales = scales.map(|v| nearest(inverse * v).clamp(-levels, levels - 1));
        let mut quants = [0; SUPER];
        for (g, quants) in quants.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = through_half(scale) * scales[g] as f32;
            *quants = match scale {
                0.0 => fits[g].1,
                _ => groups[g].map(|v| (nearest(v / scale).clamp(-n, n - 1) + n) as u8),
            };
        }
        Some(Self { scale, scales, quants })
    }
}

/// Two bits of each of 256 quants: byte `b` of a half's 32 holds columns `b`, `b + 32`, `b + 64`, `b + 96` from the low
/// bits up.
pub(super) fn two_bits(quants: &[u8; SUPER], out: &mut [u8]) {
    for (out, quants) in out.as_chunks_mut::<32>().0.iter_mut().zip(quants.as_chunks::<128>().0) {
        *out = array::from_fn(|b| (0..4).fold(0, |bits, i| bits | (quants[b + 32 * i] & 3) << (2 * i)));
    }
}

/// The low four bits of columns `c` and `c + distance` in one byte.
fn nibbles(quants: &[u8; SUPER], distance: usize, out: &mut [u8]) {
    for (out, quants) in out.chunks_exact_mut(distance).zip(quants.chunks_exact(2 * distance)) {
        for (b, out) in out.iter_mut().enumerate() {
            *out = quants[b] & 15 | quants[b + distance] << 4;
        }
    }
}

/// Bit `bit` of each quant: byte `b` holds columns `b`, `b + 32`, ... from the low bit up.
fn bit_plane(quants: &[u8; SUPER], bit: u8) -> [u8; 32] {
    array::from_fn(|b| (0..8).fold(0, |bits, i| bits | (quants[b + 32 * i] >> bit & 1) << i))
}
