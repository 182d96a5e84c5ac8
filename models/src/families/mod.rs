//! Model families: a configuration file -> a spec and the names of its tensors. No arithmetic here.

pub mod marian;
