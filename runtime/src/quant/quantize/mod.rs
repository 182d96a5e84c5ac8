//! float32 -> the blocks of GGUF, byte for byte what ggml's reference quantisers write without an importance matrix, and
//! our own.
//!
//! A row is cut into blocks that know nothing of each other. The simple types take scale and quants from a block's
//! extremes (`linear.rs`, `ternary.rs`, and MXFP4 in `table.rs`). The others search (`search.rs`): a super-block of 256
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
        BlockType::Q7_128 => blocks(x, out, linear::q7_128),
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

#[cfg(test)]
mod tests {
    use super::super::BlocksView;
    use super::*;
    use proptest::prelude::*;

    const TYPES: [BlockType; 3] = [BlockType::Q8_0, BlockType::Q7_128, BlockType::Q4_0];

    /// The test signal of llama.cpp's quantisation tests: a smooth curve with values in -1.9..=2.1.
    fn signal(n: usize, offset: f32) -> Vec<f32> {
        (0..n).map(|i| 0.1 + 2.0 * (i as f32 + offset).cos()).collect()
    }

    fn round_trip(block: BlockType, x: &[f32]) -> Vec<f32> {
        let mut blocks = vec![0; block.row_bytes(x.len()).unwrap()];
        quantize_row(block, x, &mut blocks);
        let mut out = vec![0.0; x.len()];
        BlocksView::new(block, 1, x.len(), &blocks).unwrap().dequantize_row(0, &mut out);
        out
    }

    /// The limits of llama.cpp's `test-quantize-fns` for types that are not k-quants.
    #[test]
    fn errors_stay_within_the_limits_of_the_field() {
        const N: usize = 32 * 128;
        let (x, y) = (signal(N, 0.0), signal(N, 1.0));
        let exact: f64 = x.iter().zip(&y).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let y8 = round_trip(BlockType::Q8_0, &y);
        for block in TYPES {
            let xq = round_trip(block, &x);
            let squares: f64 = x.iter().zip(&xq).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let error = squares.sqrt() / N as f64;
            assert!(error < 0.002, "{block:?}: quantisation error {error}");

            let dot: f64 = xq.iter().zip(&y8).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let error = (dot - exact).abs() / N as f64;
            assert!(error < 0.02, "{block:?}: dot product error {error}");
        }
    }

    proptest! {
        #[test]
        fn a_weight_moves_by_at_most_half_a_step(
            x in prop::collection::vec(-100.0f32..100.0, 128),
            exponent in -10i32..10,
        ) {
            let x: Vec<f32> = x.iter().map(|v| v * (exponent as f32).exp2()).collect();
            let amax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            // Half a step, plus what rounding the scale to float16 adds at the end of the range. Q4_0 has one value
            // fewer on the side opposite to the largest weight, where the error may reach a whole step.
            let steps = [(BlockType::Q8_0, 127.0, 0.5), (BlockType::Q7_128, 63.0, 0.5), (BlockType::Q4_0, 8.0, 1.0)];
            for (block, most, steps) in steps {
                let step = amax / most;
                let limit = step * steps + amax / 1024.0 + 1e-5;
                for (a, b) in x.iter().zip(round_trip(block, &x)) {
                    prop_assert!((a - b).abs() <= limit, "{:?}: {} became {}, limit {}", block, a, b, limit);
                }
            }
        }
    }

    #[test]
    fn zeros_and_odd_values_do_not_panic() {
        for block in TYPES {
            assert_eq!(round_trip(block, &[0.0; 128]), [0.0; 128]);
            for bad in [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, f32::MAX] {
                let mut x = [1.0; 128];
                x[7] = bad;
                round_trip(block, &x);
                round_trip(block, &[bad; 128]);
            }
        }
    }
}
