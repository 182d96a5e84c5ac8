//! Any bytes opened as weights: an error, or a file of which everything can be looked at, and memory in proportion.

#![no_main]

use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{Array, Value};
use libfuzzer_sys::fuzz_target;

/// Every element, and those of arrays inside.
fn walk(array: Array<'_>) {
    assert_eq!(array.iter().count(), array.len());
    for value in array.iter() {
        if let Value::Array(inner) = value {
            walk(inner);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(weights) = Weights::from_vec(data.to_vec(), "fuzz") else { return };
    for (_, tensor) in weights.iter() {
        assert_eq!(tensor.encoding().byte_len(tensor.shape()), Some(tensor.bytes().len()));
    }
    let Some(metadata) = weights.gguf_metadata() else { return };
    for (key, value) in metadata.iter() {
        let _ = (value.to_string(), metadata.find::<u32>(key), metadata.find::<&str>(key));
        if let Value::Array(array) = value {
            walk(array);
        }
    }
});
