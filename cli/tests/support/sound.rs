//! Sound for tests: something like speech, and files of it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::f32::consts::TAU;
use std::path::PathBuf;

/// Samples per second of speech models.
pub(crate) const RATE: u32 = 16_000;

/// Something like vowels at 16 kHz, which the detector of voices takes for speech: a pulse with its harmonics under
/// three formants, swelling 4 times a second. Other pitches (Hz) are other voices.
fn vowels(seconds: f32, pitch: f32) -> Vec<f32> {
    let weight = |hertz: f32| {
        let formants = [700.0f32, 1200.0, 2600.0].into_iter();
        formants.map(|formant| 1.0 / (1.0 + ((hertz - formant) / 120.0).powi(2))).sum::<f32>()
    };
    let sample = |i: usize| {
        let t = i as f32 / RATE as f32;
        let wave = |k: u16| weight(f32::from(k) * pitch) * (TAU * f32::from(k) * pitch * t).sin();
        0.06 * (1..30).map(wave).sum::<f32>() * (0.55 - 0.45 * (TAU * 4.0 * t).cos())
    };
    (0..(seconds * RATE as f32) as usize).map(sample).collect()
}

/// So many utterances of 1.2 s with pauses of 1 s between them, and every third time of 2.6 s, which ends a sentence;
/// the pitch rises from one to the next, a few times.
pub(crate) fn speech(utterances: usize) -> Vec<f32> {
    let voices: Vec<_> = (0..7).map(|i| vowels(1.2, 105.0 + 9.0 * i as f32)).collect();
    let pause = |i: usize| vec![0.0; RATE as usize * if i.is_multiple_of(3) { 26 } else { 10 } / 10];
    (0..utterances).flat_map(|i| [&pause(i)[..], &voices[i % voices.len()]].concat()).chain(pause(1)).collect()
}

/// Bytes of 16-bit samples.
pub(crate) fn s16(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect()
}

/// A WAV file of 16-bit frames of `channels` samples.
pub(crate) fn wav(frames: &[u8], rate: u32, channels: u16) -> Vec<u8> {
    let size = frames.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((size + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2 * u32::from(channels)).to_le_bytes());
    file.extend((2 * channels).to_le_bytes());
    file.extend(b"\x10\0data");
    file.extend(size.to_le_bytes());
    file.extend(frames);
    file
}

/// A WAV file of [`speech`].
pub(crate) fn recording(utterances: usize) -> Vec<u8> {
    wav(&s16(&speech(utterances)), RATE, 1)
}

/// A file of the engine's tests.
pub(crate) fn sound_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/audio/files").join(name)
}

/// A speech model with random weights, of the parity tests.
pub(crate) fn speech_model(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/parity/speech").join(name);
    folder.to_str().unwrap().to_owned()
}
