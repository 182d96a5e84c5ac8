//! Floats -> blocks as in a GGUF file.

mod q4_0;
mod q8_0;

use super::BlockType;

/// Quantises `x`, whole blocks, to `out`, their bytes.
///
/// # Panics
/// If `x` is not whole blocks or `out` has another length than they have.
pub fn quantize_row(block: BlockType, x: &[f32], out: &mut [u8]) {
    assert_eq!(block.row_bytes(x.len()), Some(out.len()), "not whole blocks of {}", block.name());
    let blocks = x.chunks_exact(block.block_columns()).zip(out.chunks_exact_mut(block.block_bytes()));
    for (x, out) in blocks {
        match block {
            BlockType::Q8_0 => q8_0::quantize(x, out),
            BlockType::Q4_0 => q4_0::quantize(x, out),
            _ => unreachable!("has no quantiser yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLOCK, BlocksView};
    use super::*;
    use proptest::prelude::*;

    const TYPES: [BlockType; 2] = [BlockType::Q8_0, BlockType::Q4_0];

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
            x in prop::collection::vec(-100.0f32..100.0, BLOCK),
            exponent in -10i32..10,
        ) {
            let x: Vec<f32> = x.iter().map(|v| v * (exponent as f32).exp2()).collect();
            let amax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            // Half a step, plus what rounding the scale to float16 adds at the end of the range. Q4_0 has one value
            // fewer on the side opposite to the largest weight, where the error may reach a whole step.
            for (block, step, steps) in [(BlockType::Q8_0, amax / 127.0, 0.5), (BlockType::Q4_0, amax / 8.0, 1.0)] {
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
            assert_eq!(round_trip(block, &[0.0; 32]), [0.0; 32]);
            for bad in [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, f32::MAX] {
                let mut x = [1.0; 32];
                x[7] = bad;
                round_trip(block, &x);
                round_trip(block, &[bad; 32]);
            }
        }
    }
}
