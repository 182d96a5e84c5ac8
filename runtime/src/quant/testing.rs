//! Blocks for tests.

use super::{BlockType, Scales};
use half::f16;

/// Where the float16 of a block are.
pub(crate) fn heads_at(block: BlockType) -> &'static [usize] {
    match block {
        BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 | BlockType::Q7_128 => &[0],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Iq4Nl | BlockType::Iq4Xs | BlockType::Q1_0 | BlockType::Q2_0 => &[0],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
        BlockType::Tq1_0 => &[52],
        BlockType::Tq2_0 => &[64],
        BlockType::Mxfp4 | BlockType::I2S => &[],
    }
}

/// A tensor of blocks whose bytes are those of `byte`, one after the other, and whose scales are those of `scale`.
pub(crate) fn blocks_of(
    block: BlockType,
    rows: usize,
    cols: usize,
    mut byte: impl FnMut() -> u8,
    mut scale: impl FnMut() -> f32,
) -> Vec<u8> {
    let len = block.tensor_bytes(rows, cols).expect("whole blocks");
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut byte).take(len).collect();
    let (blocks, tail) = bytes.split_at_mut(len - block.tail_bytes());
    for bytes in blocks.chunks_exact_mut(block.block_bytes()) {
        for &at in heads_at(block) {
            bytes[at..at + 2].copy_from_slice(&f16::from_f32(scale()).to_le_bytes());
        }
        if block.format().scales == Scales::Exponent {
            // Near 1, and now and then the subnormal ones.
            bytes[0] = if bytes[0] < 16 { bytes[0] / 8 } else { 120 + bytes[0] / 16 };
        }
    }
    if let Some(tail) = tail.first_chunk_mut() {
        *tail = scale().to_le_bytes();
    }
    bytes
}

/// A tensor of any blocks, with scales in -1..1.
pub(crate) fn random_blocks(block: BlockType, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let [mut bytes, mut scales] = [seed, !seed].map(|seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        }
    });
    blocks_of(block, rows, cols, || (bytes() >> 16) as u8, || scales() as f32 / (1u32 << 23) as f32 - 1.0)
}
