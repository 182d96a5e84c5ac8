//! float32 -> the blocks of GGUF, byte for byte what ggml's reference quantisers write without an importance matrix.
//!
//! A row is cut into blocks that know nothing of each other. The simple types take scale and quants from a block's
//! extremes ([`linear`], [`ternary`], and MXFP4 in [`table`]). The others search ([`search`]): a super-block of 256
//! weights is cut into groups of 16 or 32, each group gets the scale (and offset) that fits its weights best, these
//! are quantised in turn by a scale of the super-block, and the weights are rounded once more to what is left of them.
//!
//! All arithmetic is float32, in the order of the reference and without fused operations, because the last bit of a
//! sum decides which of two fits is the better.

mod k;
mod linear;
mod search;
mod table;
mod ternary;

use half::f16;

use super::BlockType;

/// Quantises a row `x` into its blocks `out`. Values that are not finite, or so large that a scale does not fit
/// float16, give blocks without meaning.
///
/// # Panics
/// `x` is not whole blocks, `out` does not have the bytes of as many, or `block` is I2_S: that has one scale for all
/// rows of a matrix, so a row alone does not decide its bytes.
pub fn quantize_row(block: BlockType, x: &[f32], out: &mut [u8]) {
    match block {
        BlockType::Q4_0 => blocks(x, out, linear::q4_0),
        BlockType::Q4_1 => blocks(x, out, linear::q4_1),
        BlockType::Q5_0 => blocks(x, out, linear::q5_0),
        BlockType::Q5_1 => blocks(x, out, linear::q5_1),
        BlockType::Q8_0 => blocks(x, out, linear::q8_0),
        BlockType::Q2K => blocks(x, out, k::q2_k),
        BlockType::Q3K => blocks(x, out, k::q3_k),
        BlockType::Q4K => blocks(x, out, k::q4_k),
        BlockType::Q5K => blocks(x, out, k::q5_k),
        BlockType::Q6K => blocks(x, out, k::q6_k),
        BlockType::Iq4Nl => blocks(x, out, table::iq4_nl),
        BlockType::Iq4Xs => blocks(x, out, table::iq4_xs),
        BlockType::Mxfp4 => blocks(x, out, table::mxfp4),
        BlockType::Tq1_0 => blocks(x, out, ternary::tq1_0),
        BlockType::Tq2_0 => blocks(x, out, ternary::tq2_0),
        BlockType::Q1_0 => blocks(x, out, ternary::q1_0),
        BlockType::Q2_0 => blocks(x, out, ternary::q2_0),
        BlockType::I2S => panic!("i2_s is not quantised by rows"),
    }
}

/// Whether [`quantize_row`] can write this type.
pub fn is_supported(block: BlockType) -> bool {
    block != BlockType::I2S
}

/// Applies `quantize` to each block of `COLUMNS` weights and its `BYTES` bytes.
fn blocks<const COLUMNS: usize, const BYTES: usize>(
    x: &[f32],
    out: &mut [u8],
    quantize: fn(&[f32; COLUMNS], &mut [u8; BYTES]),
) {
    let (x, rest) = x.as_chunks::<COLUMNS>();
    let (out, over) = out.as_chunks_mut::<BYTES>();
    assert!(rest.is_empty() && over.is_empty() && x.len() == out.len(), "a row is whole blocks of {COLUMNS} weights");
    for (x, out) in x.iter().zip(out) {
        quantize(x, out);
    }
}

/// float16, little-endian.
fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

/// `value` as it comes back from float16.
fn through_half(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// 1 / value, and 0 for 0.
fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

/// The first value of largest magnitude, with its sign.
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest: f32, &v| if v.abs() > largest.abs() { v } else { largest })
}
