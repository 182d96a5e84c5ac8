//! Tensors that a test changes before a model is made of them.

use std::collections::BTreeMap;

use babil_runtime::weights::{Encoding, TensorToWrite, Weights, write_safetensors};

/// Shape and values of every tensor.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// All tensors of a model in float32.
pub(crate) fn read(weights: &Weights) -> Tensors {
    weights.iter().map(|(name, t)| (name.to_owned(), (t.shape().to_vec(), t.to_f32()))).collect()
}

/// A model's weights, in memory.
pub(crate) fn written(tensors: &Tensors) -> Weights {
    let list: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, values))| TensorToWrite {
            name: name.clone(),
            encoding: Encoding::F32,
            shape: shape.clone(),
            content: Box::new(|out| values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))),
        })
        .collect();
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, &list, &BTreeMap::new()).unwrap();
    Weights::from_vec(bytes, "changed by a test").unwrap()
}
