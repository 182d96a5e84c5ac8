//! The engine of babil: it knows how to run a transformer, and no model by name.
//!
//! Data flows one way: [`weights::Weights`] (a mapped file) and a [`spec`] (a description) make a
//! [`plan`] (immutable: resolved tensors, chosen kernels), a plan makes sessions (mutable: caches and
//! scratch), and [`generate`] drives a session through the [`model::Model`] trait into tokens.
//! `ARCHITECTURE.md` at the top of the repository is the map.
#![deny(unsafe_code)]

pub mod accelerator;
#[cfg(feature = "audio")]
pub mod audio;
mod cache;
mod cancel;
pub mod cpu_time;
mod decoder;
mod encoder;
pub mod energy;
pub mod error;
pub mod generate;
pub mod kernels;
mod layer;
pub mod memory;
pub mod model;
#[cfg(feature = "npu")]
pub mod npu;
mod ops;
pub mod plan;
pub mod quant;
pub mod sampling;
pub mod session;
pub mod spec;
pub mod statistics;
pub mod text;
pub mod threads;
pub mod topology;
pub mod weights;

pub use cancel::Cancel;
pub use error::{Error, Result};

/// A token id of a model's vocabulary.
pub type Token = u32;
