//! Model families, tasks and catalogue of babil, and the translator that ships with it.
#![forbid(unsafe_code)]

#[cfg(feature = "candle")]
pub mod candle;
pub mod convert;
pub mod tasks;
