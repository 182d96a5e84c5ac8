use super::testing::random_blocks;
use super::*;
use half::f16;
use proptest::prelude::*;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// All rows of a tensor, from its blocks and from its packed form.
fn dequantized(block: BlockType, bytes: &[u8], rows: usize, cols: usize) -> [Vec<f32>; 2] {
    let view = BlocksView::new(block, rows, cols, bytes).unwrap();
    let packed = pack_blocks(view);
    let packed = PackedView::new(block, rows, cols, &packed).unwrap();
    let mut out = [vec![0.0; rows * cols], vec![0.0; rows * cols]];
    for row in 0..rows {
        view.dequantize_row(row, &mut out[0][row * cols..][..cols]);
        dequantize_row(packed, row, &mut out[1][row * cols..][..cols]);
    }
    out
}

#[test]
fn types_are_found_by_name_and_number() {
    for block in BlockType::ALL {
        assert_eq!(BlockType::from_name(block.name()), Some(block));
        match block.ggml_id() {
            Some(id) => assert_eq!(BlockType::from_ggml_id(id), Some(block)),
            None => assert_eq!(block, BlockType::Q7_128, "a type of our own"),
        }
        assert!([32, 64, 128, 256].contains(&block.block_columns()));
    }
    assert_eq!(BlockType::from_name("q9_9"), None);
    assert_eq!(BlockType::from_ggml_id(9), None, "Q8_1 is for activations");
}

#[test]
fn sizes_are_checked() {
    assert_eq!(packed_len(BlockType::Q8_0, 16, 32), Some(512 + 32));
    assert_eq!(packed_len(BlockType::Q4_0, 17, 64), Some(2 * 2 * (256 + 32)));
    assert_eq!(packed_len(BlockType::Q4K, 16, 256), Some(8 * 256 + 2 * 32 + 8 * 2 * 16));
    assert_eq!(packed_len(BlockType::I2S, 16, 128), Some(4 * 128 + 4));
    assert_eq!(packed_len(BlockType::Q4_0, 0, 64), Some(0));
    assert_eq!(packed_len(BlockType::Q8_0, 16, 33), None);
    assert_eq!(packed_len(BlockType::Q4K, 16, 128), None);
    assert_eq!(packed_len(BlockType::Q8_0, usize::MAX, 64), None);
    assert_eq!(packed_len(BlockType::Q8_0, usize::MAX / 32, 32), None);
    assert_eq!(BlockType::Q6K.tensor_bytes(3, 512), Some(3 * 2 * 210));
    assert_eq!(BlockType::I2S.tensor_bytes(2, 128), Some(2 * 32 + 32));
    assert_eq!(BlockType::Q6K.tensor_bytes(3, 32), None);
    assert_eq!(BlockType::Q6K.tensor_bytes(usize::MAX / 8, 1 << 20), None);

    let bytes = vec![0; 512 + 32];
    assert!(PackedView::new(BlockType::Q8_0, 16, 32, &bytes).unwrap().is_consistent());
    assert!(PackedView::new(BlockType::Q8_0, 17, 32, &bytes).is_none());
    assert!(PackedView::new(BlockType::Q4_0, 16, 32, &bytes).is_none());
    assert!(PackedView::new(BlockType::Q8_0, 16, 31, &bytes).is_none());
    assert!(BlocksView::new(BlockType::Q8_0, 16, 32, &bytes).is_some());
    assert!(BlocksView::new(BlockType::Q8_0, 15, 32, &bytes).is_none());
    assert!(BlocksView::new(BlockType::Q8_0, 16, 33, &bytes).is_none());
}

/// No type costs more than half a byte for each 32 columns above its size in GGUF, but TQ1_0.
#[test]
fn packed_matrices_are_as_large_as_those_of_gguf() {
    for block in BlockType::ALL {
        let packed = packed_len(block, 16, 256).unwrap();
        let blocks = block.tensor_bytes(16, 256).unwrap() - block.tail_bytes();
        let more = (packed as f64 - blocks as f64) / (16 * 8) as f64;
        let limit = if block == BlockType::Tq1_0 { 1.5 } else { 0.5 };
        assert!((0.0..=limit).contains(&more), "{}: {more} bytes more", block.name());
    }
}

/// Blocks and values of llama.cpp: see `tests/quant/make_vectors.py`.
#[test]
fn values_are_those_of_llama_cpp() {
    #[derive(serde::Deserialize)]
    struct Case {
        r#type: String,
        blocks: String,
        values: String,
    }
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    let cases: Vec<Case> = include_str!("../../tests/quant/blocks.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), BlockType::ALL.len() - 2, "every type but I2_S and our own");
    for case in cases {
        let block = BlockType::from_name(&case.r#type).unwrap();
        let expected: Vec<f32> =
            hex(&case.values).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        for found in dequantized(block, &hex(&case.blocks), 1, expected.len()) {
            assert_eq!(bits(&found), bits(&expected), "{}", case.r#type);
        }
    }
}

/// Byte i holds weights i, 32 + i, 64 + i and 96 + i from the high bits down, the tail a scale.
#[test]
fn i2_s_is_as_described() {
    let mut bytes = vec![0b01_01_01_01; 32];
    bytes[3] = 0b00_01_10_01;
    bytes[31] = 0b10_00_01_10;
    bytes.extend([&0.75f32.to_le_bytes()[..], &[0xAA; 28]].concat());
    let mut expected = vec![0.0; 128];
    (expected[3], expected[64 + 3]) = (-0.75, 0.75);
    (expected[31], expected[32 + 31], expected[96 + 31]) = (0.75, -0.75, 0.75);
    assert_eq!(dequantized(BlockType::I2S, &bytes, 1, 128), [expected.clone(), expected]);
}

#[test]
fn the_layout_is_the_documented_one() {
    // Row 17 is lane 1 of the second group of rows; its last 32 columns are the last tile of that group.
    let (rows, row) = (18, 17);
    for block in BlockType::ALL {
        let cols = 2 * block.block_columns();
        let bytes = random_blocks(block, rows, cols, 5);
        let blocks = BlocksView::new(block, rows, cols, &bytes).unwrap();
        let packed = pack_blocks(blocks);
        let view = PackedView::new(block, rows, cols, &packed).unwrap();
        let mut parts = format::Unpacked::ZERO;
        (block.format().unpack)(&blocks.rows_bytes(row..row + 1)[block.block_bytes()..], &mut parts);

        let [low, high] = block.format().planes;
        let tile = &view.codes[view.codes.len() - (low + high) * 64..];
        let codes = &parts.codes[block.block_columns() - 32..block.block_columns()];
        for (i, &code) in codes.iter().enumerate() {
            let (quad, j) = (i / 4, i % 4);
            let field = |plane: &[u8], bits: usize| match bits {
                0 => 0,
                8 => plane[quad * 64 + 4 + j],
                4 => plane[quad % 4 * 64 + 4 + j] >> (4 * (quad / 4)) & 15,
                2 => plane[quad % 2 * 64 + 4 + j] >> (2 * (quad / 2)) & 3,
                _ => plane[4 + j] >> quad & 1,
            };
            let stored = field(tile, low) | field(&tile[low * 64..], high).unbounded_shl(low as u32);
            assert_eq!(stored, code, "{} column {i}", block.name());
        }

        let scales = block.format().scales;
        if scales == Scales::Tensor {
            assert_eq!(view.scales, &bytes[bytes.len() - 32..][..4]);
            continue;
        }
        let span = &view.scales[view.scales.len() - block.format().span_bytes()..];
        for (head, bits) in parts.heads.into_iter().enumerate().take(scales.heads()) {
            assert_eq!(span[head * 32 + 2..][..2], bits.to_le_bytes(), "{} head {head}", block.name());
        }
        let subs = &span[scales.heads() * 32..];
        for (i, row) in subs.chunks_exact(16).enumerate() {
            assert_eq!(row[1], parts.subs[i / scales.subs()][i % scales.subs()], "{} sub {i}", block.name());
            assert!(row[2..].iter().all(|&sub| sub == 0), "rows that do not exist are 0");
        }
    }
}

/// What [`pack_blocks`] makes depends on each row alone, so any 16 rows of it can be packed on their own.
#[test]
fn rows_packed_alone_are_the_same() {
    let mut scratch = Vec::new();
    for block in BlockType::ALL {
        let (rows, cols) = (39, block.block_columns() * 2);
        let bytes = random_blocks(block, rows, cols, 6);
        let blocks = BlocksView::new(block, rows, cols, &bytes).unwrap();
        let whole = pack_blocks(blocks);
        let whole = PackedView::new(block, rows, cols, &whole).unwrap();
        for part in [0..16, 16..32, 32..39, 5..6, 20..30] {
            let alone = blocks.pack_rows(part.clone(), &mut scratch);
            for (i, row) in part.enumerate() {
                assert_eq!(alone.block(i, 1), whole.block(row, 1), "{}", block.name());
            }
        }
    }
}

/// Quants of any bits and scales that float16 has come out again, and rows that are not given stay as they are.
#[test]
fn quants_survive_packing() {
    let (rows, cols) = (39, 96);
    let quants: Vec<i8> = (0..rows * cols).map(|i| (i * 37 % 251) as i8).collect();
    let scales: Vec<f32> = (0..rows * cols / BLOCK).map(|i| (i + 1) as f32 / 64.0).collect();
    let mut bytes = vec![0; packed_len(BlockType::Q8_0, rows, cols).unwrap()];
    for group in PackedMut::new(BlockType::Q8_0, rows, cols, &mut bytes).unwrap().groups() {
        // Of the last rows, one less.
        let given = group.rows().start..group.rows().end.min(rows - 1);
        let of = |width: usize| given.start * width..given.end * width;
        group.pack_quants(&quants[of(cols)], &scales[of(cols / BLOCK)]);
    }
    let view = PackedView::new(BlockType::Q8_0, rows, cols, &bytes).unwrap();
    for row in 0..rows {
        for index in 0..cols / BLOCK {
            let (block, at) = (view.block(row, index), row * cols / BLOCK + index);
            let (quants, scale) = match row < rows - 1 {
                true => (&quants[at * BLOCK..][..BLOCK], scales[at]),
                false => (&[0; BLOCK][..], 0.0),
            };
            assert_eq!((&block.quants[..], block.scales), (quants, [scale; 2]), "row {row}");
        }
    }
}

proptest! {
    #[test]
    fn blocks_survive_packing(rows in 1usize..40, blocks in 1usize..3, seed in any::<u64>()) {
        for block in BlockType::ALL {
            let cols = blocks * block.block_columns();
            let [plain, packed] = dequantized(block, &random_blocks(block, rows, cols, seed), rows, cols);
            prop_assert!(plain.iter().any(|&v| v != 0.0));
            prop_assert_eq!(bits(&plain), bits(&packed));
        }
    }

    /// Scales of any bits, infinite ones and those that are no numbers included.
    #[test]
    fn no_block_is_refused(bytes in prop::collection::vec(any::<u8>(), 210)) {
        for block in BlockType::ALL {
            let bytes = [&bytes[..block.block_bytes()], &vec![0x55; block.tail_bytes()][..]].concat();
            let [plain, packed] = dequantized(block, &bytes, 1, block.block_columns());
            for (a, b) in plain.iter().zip(&packed) {
                prop_assert!(a == b || (a.is_nan() && b.is_nan()));
            }
        }
    }
}

#[test]
fn powers_of_two_are_exact() {
    for exponent in 0..=255u8 {
        assert_eq!(f64::from(power_of_two(exponent)), (f64::from(exponent) - 128.0).exp2());
    }
    assert_eq!(f16::ZERO.to_bits(), 0, "rows that do not exist have scales of 0");
}
