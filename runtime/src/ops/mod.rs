//! What a layer is made of: linear maps, norms, attention, embeddings. They call kernels and own no state.

mod attention;
mod embedding;
mod linear;
mod norm;

pub(crate) use attention::{Block, Heads, attend};
pub(crate) use embedding::Embedding;
pub(crate) use linear::{Activations, Linear, Matrix};
pub(crate) use norm::LayerNorm;

use crate::kernels::Kernels;
use crate::threads::ThreadPool;

/// What every operation runs on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) pool: &'a ThreadPool,
}
