//! A microphone -> mono float32 at 16 kHz, as it is heard.
//!
//! ```text
//! device --cpal, on a thread of the system--> samples --> mono --> resampler --> Recorder
//! ```

use std::sync::Arc;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Device, ErrorKind, FromSample, SampleFormat, SizedSample, Stream, SupportedStreamConfig};

use super::pcm::mix;
use super::queue::Recorder;
use super::resample::Resampler;
use crate::error::{Error, Result};

/// A microphone that records until it is dropped.
pub struct Microphone {
    name: String,
    _stream: Stream,
}

impl Microphone {
    /// Records into `recorder` from the microphone that the system calls `name`; `None` is the one that the user chose
    /// there. A microphone that is unplugged ends the recording with an error.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a microphone that is not there, is in use, or may not be listened to.
    pub fn start(name: Option<&str>, recorder: Recorder) -> Result<Self> {
        let device = find(name)?;
        let name = device.to_string();
        let config = device.default_input_config().map_err(|error| failure(&name, error))?;
        let stream = match config.sample_format() {
            SampleFormat::I8 => record::<i8>(&device, config, recorder),
            SampleFormat::I16 => record::<i16>(&device, config, recorder),
            SampleFormat::I32 => record::<i32>(&device, config, recorder),
            SampleFormat::U8 => record::<u8>(&device, config, recorder),
            SampleFormat::U16 => record::<u16>(&device, config, recorder),
            SampleFormat::F32 => record::<f32>(&device, config, recorder),
            other => return Err(Error::Unsupported(format!("{name}: a microphone with samples of the type {other}"))),
        }?;
        stream.play().map_err(|error| failure(&name, error))?;
        Ok(Self { name, _stream: stream })
    }

    /// What the system calls it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The microphone called `name`.
fn find(name: Option<&str>) -> Result<Device> {
    let host = cpal::default_host();
    let Some(name) = name else {
        let none = || Error::BadRequest("there is no microphone, or this user may not listen to it".to_owned());
        return host.default_input_device().ok_or_else(none);
    };
    let mut devices: Vec<Device> = host.input_devices().map_err(|error| failure(name, error))?.collect();
    if let Some(found) = devices.iter().position(|device| device.to_string() == name) {
        return Ok(devices.swap_remove(found));
    }
    let names: Vec<String> = devices.iter().map(|device| format!("`{device}`")).collect();
    let names = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(Error::BadRequest(format!("no microphone is called `{name}`: {names}")))
}

/// A stream of samples of the type `T`.
fn record<T>(device: &Device, config: SupportedStreamConfig, recorder: Recorder) -> Result<Stream>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let name = device.to_string();
    let channels = usize::from(config.channels());
    let mut resampler = Resampler::new(config.sample_rate())?;
    let (mut interleaved, mut mono) = (Vec::new(), Vec::new());
    let recorder = Arc::new(recorder);
    let failing = recorder.clone();
    let sound = move |samples: &[T], _: &_| {
        interleaved.clear();
        interleaved.extend(samples.iter().map(|&sample| f32::from_sample_(sample)));
        mono.clear();
        mix(&interleaved, channels, &mut mono);
        let mut out = Vec::new();
        match resampler.push(&mono, &mut out) {
            Ok(()) if out.is_empty() => {}
            // Nobody listens any more: the stream is about to be dropped.
            Ok(()) => drop(recorder.push(out)),
            Err(error) => recorder.fail(error),
        }
    };
    let failed = {
        let name = name.clone();
        move |error: cpal::Error| match error.kind() {
            // A gap, another way to the same sound, a thread without priority: the sound goes on.
            ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => tracing::warn!("{name}: {error}"),
            _ => failing.fail(failure(&name, error)),
        }
    };
    device.build_input_stream(config.into(), sound, failed, None).map_err(|error| failure(&name, error))
}

fn failure(name: &str, error: cpal::Error) -> Error {
    Error::BadRequest(format!("the microphone {name}: {error}"))
}
