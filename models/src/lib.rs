//! Model families, tasks and catalogue of babil, and the translator that ships with it.
#![forbid(unsafe_code)]

pub mod catalogue;
mod open;
pub mod tasks;

pub use open::{Backend, OpenOptions, Quant, open_translator};
