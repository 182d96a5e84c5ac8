//! Sound in: files and streams of any kind -> mono float32 at 16 kHz -> segments of speech, log-mel spectrograms.

mod container;
mod ffmpeg;
mod mel;
#[cfg(feature = "mic")]
mod microphone;
mod opus;
mod pcm;
mod queue;
mod resample;
mod segments;
mod source;

pub use mel::{HOP, LogMel};
#[cfg(feature = "mic")]
pub use microphone::Microphone;
pub use pcm::{Pcm, SampleFormat};
pub use queue::{Block, Recorder, Recording, WhenFull, recording};
pub use segments::{Segment, SegmentOptions, Segmenter};
pub use source::{Audio, AudioOptions, TrackChoice};

/// Samples per second of everything behind the decoders: what speech models hear.
pub const SAMPLE_RATE: u32 = 16_000;
