//! The native library that Java, Kotlin and C programs load: a thin layer over [`babil_models`].
//!
//! ```text
//! dev.babil.Native --java--> handles --> Engine, Chat, Generation --> babil-models
//! ```
//!
//! - `handles.rs`: what Java holds are numbers; what they stand for is looked up, and may be gone;
//! - `generation.rs`: a computation on a thread of its own, pulled piece by piece, cancelled from anywhere;
//! - `engine.rs`, `chat.rs`, `interpreter.rs`, `live.rs`, `subtitles.rs`, `store.rs`: models, conversations, live captions,
//!   subtitles and the folder of pulled models over that;
//! - `energy.rs`: meters that Java reads, windows of time and the joules in them;
//! - `needs.rs`: what a model would take, before it is opened;
//! - `failure.rs`: every error as one with a code;
//! - `java.rs`: the native methods, the only place that knows Java; `c/`: the functions of C.
//!
//! Only the last two and `descriptor.rs` have `unsafe` code.
#![deny(unsafe_code)]

mod bytes;
mod c;
mod chat;
mod descriptor;
mod energy;
mod engine;
mod failure;
mod generation;
mod handles;
mod interpreter;
mod java;
#[cfg_attr(not(feature = "audio"), path = "live_without_sound.rs")]
mod live;
mod needs;
mod store;
mod subtitles;
#[cfg(feature = "testing")]
mod testing;

pub use c::*;
