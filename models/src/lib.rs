//! Model families, tasks and catalogue of babil, and the translator that ships with it.
#![forbid(unsafe_code)]

pub mod archive;
pub mod bench;
#[cfg(feature = "bundled")]
pub mod bundled;
#[cfg(feature = "candle")]
pub mod candle;
pub mod catalogue;
pub mod convert;
mod device;
pub mod families;
pub mod files;
mod fingerprint;
pub mod language;
mod open;
pub mod power;
pub mod quantize;
#[cfg(feature = "audio")]
pub mod speech;
pub mod tasks;

pub use device::{Device, DeviceOptions};
pub use open::{
    Backend, OpenError, OpenOptions, Quant, cache_folder, open_files, open_translator, packed_folder, plan,
    translator_spec, working_memory,
};
