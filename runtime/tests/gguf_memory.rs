//! Opening a GGUF file takes memory in proportion to its header as it really is, whatever it claims, and none for the
//! strings and numbers of its vocabulary.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "gguf/builder.rs"]
mod builder;

use babil_runtime::weights::Weights;
use builder::{ARRAY, File, STRING, U32, array, sample, string};

/// Peak of memory taken while `bytes`, which belong to the caller already, are opened.
fn peak(bytes: Vec<u8>) -> usize {
    allocator::peak_of(|| drop(Weights::from_vec(bytes, "model.gguf"))).1
}

/// One test, because the counters are the process's.
#[test]
fn memory_is_bounded_by_the_header() {
    // Small: what the first error message and a small table take.
    const SMALL: usize = 8 << 10;

    // A vocabulary of 150,000 tokens, and a large tensor: views.
    let tokens: Vec<u8> = (0..150_000).flat_map(|i| string(format!("token {i}"))).collect();
    let vocabulary = File::new(1 << 20)
        .key("tokenizer.ggml.tokens", ARRAY, &array(STRING, 150_000, &tokens))
        .key("tokenizer.ggml.scores", ARRAY, &array(6, 150_000, &vec![0; 600_000]))
        .tensor("t", &[1 << 18], 0, 0);
    let found = peak(vocabulary.bytes());
    assert!(found < SMALL, "{found} bytes");

    // Claims of a large file whose header is short.
    let large = File::new(8 << 20);
    for claim in [large.claiming(1 << 17, 0), large.claiming(0, 1 << 19), large.claiming(1 << 17, 1 << 19)] {
        // Zeros are keys without a name: the second is refused.
        let found = peak(claim);
        assert!(found < (8 << 20) * 8, "{found} bytes");
    }

    // Many short entries: the tables are a small multiple of the header.
    let mut many = File::new(32);
    for i in 0..10_000u32 {
        many = many.key(format!("{i}"), U32, &[0; 4]).tensor(format!("{i}"), &[1], 24, 0);
    }
    let bytes = many.bytes();
    let len = bytes.len();
    let found = peak(bytes);
    assert!(found < 8 * len, "{found} bytes for a header of {len}");

    // Every byte of a header wrong.
    let whole = sample().bytes();
    for at in 8..whole.len() - 32 * 36 {
        for number in [u64::MAX, 1 << 40, 1 << 20, 500] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            let found = peak(bytes);
            assert!(found < SMALL, "{found} bytes when byte {at} starts {number}");
        }
    }
}
