//! What a layer is made of: linear maps, norms, attention, rotations, convolutions,
//! embeddings. They call kernels and own no state.

mod attention;
mod embedding;
mod linear;
mod norm;
mod rope;
mod short_conv;

pub(crate) use attention::{
    Block, Heads, Partial, attend, attend_part, block_of_head, key_width, keys_len, parts, tile_keys,
};
pub(crate) use embedding::Embedding;
pub(crate) use linear::{Activations, Linear, Matrix};
pub(crate) use norm::Norm;
pub(crate) use rope::{Rope, Rotations};
pub(crate) use short_conv::ShortConv;

use crate::kernels::Kernels;
use crate::threads::ThreadPool;

/// What every operation runs on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) pool: &'a ThreadPool,
}
