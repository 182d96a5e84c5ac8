//! Packing weights takes the memory of a piece of them and of their scales, not that of a matrix.

#[path = "support/allocator.rs"]
mod allocator;

use babil_runtime::quant::BlockType;
use babil_runtime::weights::{Encoding, TensorToWrite, Weights, packed_copy, write_safetensors};

/// One test, because the counters are the process's.
#[test]
fn a_piece_of_a_matrix_is_in_memory_at_a_time() {
    let (rows, cols) = (8192, 2048);
    let content = Box::new(|out: &mut dyn std::io::Write| (0..rows).try_for_each(|_| out.write_all(&[0x3c; 2 * 2048])));
    let tensor = TensorToWrite { name: "w".to_owned(), encoding: Encoding::F16, shape: vec![rows, cols], content };
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, &[tensor], &Default::default()).unwrap();
    let weights = Weights::from_vec(bytes, "random").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for block in [BlockType::Q8_0, BlockType::Q4K] {
        let pack = || packed_copy(&weights, &[("w".to_owned(), true)], Some(block), folder.path()).unwrap();
        let (copy, peak) = allocator::peak_of(pack);
        assert_eq!(copy.get("w").unwrap().encoding(), Encoding::Packed(block));
        // Of 17 and 10 MB: a piece of 1 MB, scales of 1 or 1.3 MB, and 16 rows of floats and of blocks for each core.
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        assert!(peak < (3 << 20) + cores * 16 * cols * 6, "{peak} bytes for {}", block.name());
    }
}
