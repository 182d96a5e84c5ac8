//! What `live.rs` is in a library without sound: captions that nobody can begin.

use std::sync::Arc;

use crate::failure::Result;
use crate::generation::Generation;
use crate::handles::Object;

/// There is none.
pub(crate) enum Listening {}

impl Listening {
    pub(crate) fn captions(&self) -> Arc<Generation> {
        match *self {}
    }

    pub(crate) fn push(&self, _: Vec<f32>) -> Result<bool> {
        match *self {}
    }

    pub(crate) fn end_of_sound(&self) {
        match *self {}
    }
}

impl Object for Listening {
    fn stop(&self) {
        match *self {}
    }

    fn wait(&self) {
        match *self {}
    }
}
