//! Packing weights takes the memory of a piece of them and of their scales, not that of a matrix.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "gguf/builder.rs"]
mod builder;

use babil_runtime::quant::BlockType;
use babil_runtime::weights::{Encoding, Weights, packed_copy};
use builder::File;

const F16: u32 = 1;
const Q8_0: u32 = 8;

/// One test, because the counters are the process's.
#[test]
fn a_piece_of_a_matrix_is_in_memory_at_a_time() {
    let (rows, cols) = (8192, 2048);
    for (ggml_type, bytes_per_block) in [(Q8_0, 34), (F16, 64)] {
        let bytes = rows * cols / 32 * bytes_per_block;
        let file = File::new(bytes).tensor("t", &[cols as u64, rows as u64], ggml_type, 0);
        let weights = Weights::from_vec(file.bytes(), "model.gguf").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pack = || packed_copy(&weights, &[("t".to_owned(), true)], Some(BlockType::Q8_0), folder.path()).unwrap();
        let (copy, peak) = allocator::peak_of(pack);
        assert_eq!(copy.get("t").unwrap().encoding(), Encoding::Packed(BlockType::Q8_0));
        let scales = rows * cols / 32 * 2;
        assert!(peak < (4 << 20) + 2 * scales && peak < bytes / 3, "{peak} bytes for {bytes}");
    }
}
