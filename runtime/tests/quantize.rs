//! The quantisers of GGUF's types against ggml's own, byte for byte.
//!
//! `BABIL_QUANTIZE_VECTORS` names a larger file of `quantize/make_vectors.py` to check as well.

use babil_runtime::quant::BlockType;
use babil_runtime::quant::quantize::{is_supported, quantize_row};
use proptest::prelude::*;

fn u32_at(bytes: &mut &[u8]) -> usize {
    let (value, rest) = bytes.split_first_chunk().unwrap();
    *bytes = rest;
    u32::from_le_bytes(*value) as usize
}

/// Checks a file of vectors and returns the types in it.
fn check(mut bytes: &[u8]) -> Vec<BlockType> {
    let (rows, columns) = (u32_at(&mut bytes), u32_at(&mut bytes));
    let (x, mut bytes) = bytes.split_at(4 * rows * columns);
    let x: Vec<f32> = x.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    let mut types = Vec::new();
    while !bytes.is_empty() {
        let block = BlockType::from_ggml_id(u32_at(&mut bytes) as u32).unwrap();
        let row_bytes = u32_at(&mut bytes);
        let mut found = vec![0; row_bytes];
        for (row, x) in x.chunks_exact(columns).enumerate() {
            let expected;
            (expected, bytes) = bytes.split_at(row_bytes);
            quantize_row(block, x, &mut found);
            let at = found.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!(at, None, "{}: row {row} of {rows}:\n{found:02x?}\n{expected:02x?}\n{x:?}", block.name());
        }
        types.push(block);
    }
    types
}

fn supported() -> Vec<BlockType> {
    BlockType::ALL.into_iter().filter(|block| is_supported(*block)).collect()
}

#[test]
fn blocks_are_those_of_ggml() {
    let types = check(include_bytes!("quantize/vectors.bin"));
    assert!(supported().into_iter().filter(|block| block.ggml_id().is_some()).eq(types));
    if let Ok(path) = std::env::var("BABIL_QUANTIZE_VECTORS") {
        check(&std::fs::read(path).unwrap());
    }
}

proptest! {
    /// A block does not depend on its neighbours, and no value makes a quantiser panic.
    #[test]
    fn blocks_are_independent(bits in prop::collection::vec(any::<u32>(), 256), block in prop::sample::select(supported())) {
        let x: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let columns = block.block_columns();
        let mut whole = vec![0; 256 / columns * block.block_bytes()];
        quantize_row(block, &x, &mut whole);
        let mut one = vec![0xaa; block.block_bytes()];
        for (x, expected) in x.chunks_exact(columns).zip(whole.chunks_exact(block.block_bytes())) {
            quantize_row(block, x, &mut one);
            prop_assert_eq!(&one, expected);
        }
    }
}
