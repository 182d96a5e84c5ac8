//! Devices that ONNX Runtime's execution providers reach: NPUs of Qualcomm, Intel, AMD and Apple, one way to all of them.
//!
//! ```text
//! Subgraph --graph.rs--> ONNX --compile.rs--> compiled for the device --cache.rs--> a folder of the cache
//!                                                     +--> session --> Compiled
//! ```
//!
//! - `library.rs`: the ONNX Runtime library and its plugins, which are found and loaded when somebody asks for a device. A
//!   program that has none works as ever, on the CPU;
//! - `onnx.rs`: a writer of ONNX models; `graph.rs`: a plan's subgraphs in it;
//! - `compile.rs`: from a subgraph to a session on the device; `cache.rs`: what was compiled before;
//! - `raw.rs`: what the crate `ort` has no safe function for. The only place with `unsafe`.

mod cache;
mod compile;
mod graph;
mod library;
mod onnx;
#[allow(unsafe_code)]
mod raw;

use std::path::PathBuf;

use crate::accelerator::Precision;

pub use self::compile::Npu;
pub use self::library::{Device, DeviceKind, Devices, Missing};

/// How to open a device.
#[derive(Clone, Debug)]
pub struct NpuOptions {
    /// Which one: a provider, or a provider and a kind of device, such as `OpenVINOExecutionProvider/npu`; `None` is the
    /// first NPU that can be used.
    pub device: Option<String>,
    /// How numbers are computed; `None` is float16, and float32 on a CPU.
    pub precision: Option<Precision>,
    /// Whether the provider may compute on the CPU what the device cannot.
    pub allow_fallback: bool,
    /// Threads for what runs on the CPU.
    pub threads: usize,
    /// Where compiled subgraphs are kept.
    pub folder: PathBuf,
}
