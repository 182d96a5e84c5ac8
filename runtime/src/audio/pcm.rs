//! Samples without a container: bytes of a stream -> mono float32.

use std::io::{ErrorKind, Read};

use super::source::Source;
use crate::error::{Error, Result};

/// How a sample is written; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// 16 bits, signed.
    S16,
    /// 32 bits, floating point, from -1 to 1.
    F32,
}

/// What is to be known of samples without a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcm {
    /// How each sample is written.
    pub format: SampleFormat,
    /// Samples per second of each channel.
    pub rate: u32,
    /// Channels, interleaved.
    pub channels: u16,
}

impl SampleFormat {
    fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::F32 => 4,
        }
    }

    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::S16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32768.0,
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => 0.0,
        }
    }
}

/// Mixes interleaved frames of `channels` samples down to their mean, and appends it to `mono`. What is not a number is silence,
/// and nothing is louder than full scale.
pub(super) fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    let clean = |sample: f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    match channels {
        0 => {}
        1 => mono.extend(interleaved.iter().map(|&sample| clean(sample))),
        _ => {
            let share = 1.0 / channels as f32;
            mono.extend(interleaved.chunks_exact(channels).map(|frame| clean(frame.iter().sum::<f32>() * share)));
        }
    }
}

/// The samples of a reader, as they come.
pub(super) struct Samples<R> {
    reader: R,
    format: SampleFormat,
    channels: usize,
    /// Bytes read: `kept` of them are the beginning of a frame.
    buffer: Vec<u8>,
    kept: usize,
    interleaved: Vec<f32>,
}

impl<R: Read> Samples<R> {
    pub(super) fn new(reader: R, format: SampleFormat, channels: usize) -> Self {
        let frame = format.bytes() * channels;
        let buffer = vec![0; (1 << 16) / frame.max(1) * frame + frame];
        Self { reader, format, channels, buffer, kept: 0, interleaved: Vec::new() }
    }

    /// Appends what one read brings, whole frames only; false at the end.
    pub(super) fn next(&mut self, mono: &mut Vec<f32>) -> std::io::Result<bool> {
        let count = loop {
            match self.reader.read(&mut self.buffer[self.kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let filled = self.kept + count;
        let whole = filled - filled % (self.format.bytes() * self.channels);
        self.interleaved.clear();
        let samples = self.buffer[..whole].chunks_exact(self.format.bytes());
        self.interleaved.extend(samples.map(|bytes| self.format.sample(bytes)));
        mix(&self.interleaved, self.channels, mono);
        self.buffer.copy_within(whole..filled, 0);
        self.kept = filled - whole;
        Ok(count > 0)
    }

    /// Whether the last frame was cut.
    fn cut(&self) -> bool {
        self.kept > 0
    }
}

/// A stream of samples as a source.
pub(super) struct PcmSource<R> {
    name: String,
    samples: Samples<R>,
    rate: u32,
    ended: bool,
}

impl<R: Read + Send> PcmSource<R> {
    pub(super) fn new(name: &str, reader: R, pcm: Pcm) -> Result<Self> {
        if pcm.channels == 0 {
            return Err(Error::BadRequest(format!("{name}: samples of no channels")));
        }
        let samples = Samples::new(reader, pcm.format, usize::from(pcm.channels));
        Ok(Self { name: name.to_owned(), samples, rate: pcm.rate, ended: false })
    }
}

impl<R: Read + Send> Source for PcmSource<R> {
    fn next(&mut self, mono: &mut Vec<f32>, warnings: &mut Vec<String>) -> Result<Option<u32>> {
        if self.ended {
            return Ok(None);
        }
        if self.samples.next(mono).map_err(|error| Error::io("read", &self.name, error))? {
            return Ok(Some(self.rate));
        }
        self.ended = true;
        if self.samples.cut() {
            warnings.push("the last sample is cut off".to_owned());
        }
        Ok(None)
    }
}
