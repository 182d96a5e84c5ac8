//! Log-mel spectrograms as Whisper's: frames of 25 ms every 10 ms -> power spectra -> mel bands -> logarithms.
//!
//! The arithmetic is float64 throughout, because bands that are quiet beside the loudest one are compared with it: eight
//! decades of power are kept, and float32 has seven digits.

use std::sync::Arc;

use rustfft::Fft;
use rustfft::FftDirection::Forward;
use rustfft::algorithm::MixedRadixSmall;
use rustfft::algorithm::butterflies::{Butterfly5, Butterfly16};
use rustfft::num_complex::Complex;

use super::SAMPLE_RATE;
use crate::error::{Error, Result};

/// Samples of a frame (`n_fft`): 25 ms.
const FRAME: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// Frequencies of a frame's spectrum, 40 Hz apart.
const BINS: usize = FRAME / 2 + 1;
/// The least power that has a logarithm of its own.
const FLOOR: f64 = 1e-10;
/// Decades below the loudest band that are kept.
const DECADES: f64 = 8.0;

/// Makes log-mel spectrograms. Filters, window and FFT plan are computed once and used for any number of windows.
pub struct LogMel {
    filters: Vec<Filter>,
    /// A periodic Hann window: `[FRAME]`.
    hann: Vec<f64>,
    fft: MixedRadixSmall<f64>,
    /// Two frames, and then their spectra: `[FRAME]`.
    frames: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// Powers of one frame: `[BINS]`.
    powers: Vec<f64>,
}

/// A mel band: a triangle over a few neighbouring bins.
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

impl LogMel {
    /// For spectrograms of `mels` bands: 80, or 128 for the third large Whisper. [`Error::BadRequest`] for none at all, and for
    /// more bands than a spectrum has frequencies.
    pub fn new(mels: usize) -> Result<Self> {
        if mels == 0 || mels > BINS {
            return Err(Error::BadRequest(format!("{mels} mel bands: from 1 to {BINS} are possible")));
        }
        // 16 x 5 x 5, said here: a planner brings the code of every other length.
        let five: Arc<dyn Fft<f64>> = Arc::new(Butterfly5::new(Forward));
        let fft = MixedRadixSmall::new(
            Arc::new(Butterfly16::new(Forward)),
            Arc::new(MixedRadixSmall::new(five.clone(), five)),
        );
        let turn = std::f64::consts::TAU / FRAME as f64;
        Ok(Self {
            filters: filters(mels),
            hann: (0..FRAME).map(|i| 0.5 - 0.5 * (turn * i as f64).cos()).collect(),
            frames: vec![Complex::default(); FRAME],
            scratch: vec![Complex::default(); fft.get_inplace_scratch_len()],
            powers: vec![0.0; BINS],
            fft,
        })
    }

    /// Bands of a spectrogram.
    pub fn mels(&self) -> usize {
        self.filters.len()
    }

    /// Frames of a window of `samples` samples.
    pub fn frames(samples: usize) -> usize {
        samples / HOP
    }

    /// The spectrogram of the first `window` samples of `samples` (mono, 16 kHz, -1 to 1): `[mels, frames]`, row by row.
    ///
    /// Silence is appended to what is shorter than the window before anything else, as Whisper does; the values are relative
    /// to the loudest band in the window. [`Error::BadRequest`] for windows of less than a frame (400 samples).
    pub fn compute(&mut self, samples: &[f32], window: usize) -> Result<Vec<f32>> {
        if window < FRAME {
            return Err(Error::BadRequest(format!("a window of {window} samples: a frame has {FRAME}")));
        }
        let samples = &samples[..samples.len().min(window)];
        let (mels, frames) = (self.mels(), Self::frames(window));
        let mut log_mel = vec![FLOOR.log10(); mels * frames];
        let mut loudest = FLOOR.log10();
        for first in (0..frames).step_by(2) {
            // A frame has its window's middle at a multiple of the hop; before 0 and behind the end the window is mirrored.
            let start = (first * HOP) as isize - (FRAME / 2) as isize;
            if start >= samples.len() as isize && first * HOP + FRAME / 2 <= window {
                break; // silence from here on, but for what the last frames may mirror: that is silence too
            }
            // Both frames are real, so one transform makes both spectra: that of the imaginary part is its odd half.
            for (i, (value, hann)) in self.frames.iter_mut().zip(&self.hann).enumerate() {
                let sample = |start: isize| {
                    let at = mirrored(start + i as isize, window);
                    samples.get(at).map_or(0.0, |&sample| f64::from(sample)) * hann
                };
                *value = Complex::new(sample(start), sample(start + HOP as isize));
            }
            self.fft.process_with_scratch(&mut self.frames, &mut self.scratch);
            for (index, sign) in (first..frames).zip([1.0, -1.0]) {
                for (bin, power) in self.powers.iter_mut().enumerate() {
                    let mirror = self.frames[(FRAME - bin) % FRAME].conj();
                    *power = (self.frames[bin] + mirror * sign).norm_sqr() / 4.0;
                }
                for (mel, filter) in self.filters.iter().enumerate() {
                    let powers = &self.powers[filter.first_bin..];
                    let power: f64 = filter.weights.iter().zip(powers).map(|(weight, power)| weight * power).sum();
                    let log = power.max(FLOOR).log10();
                    loudest = loudest.max(log);
                    log_mel[mel * frames + index] = log;
                }
            }
        }
        Ok(log_mel.into_iter().map(|log| ((log.max(loudest - DECADES) + 4.0) / 4.0) as f32).collect())
    }
}

/// Index `at` of a window of `length` samples that is mirrored at its first and its last sample.
fn mirrored(at: isize, length: usize) -> usize {
    let at = at.unsigned_abs();
    if at < length { at } else { 2 * (length - 1) - at }
}

/// Triangles that are equally wide on Slaney's mel scale, from 0 Hz to half the sample rate, each of area 1.
fn filters(mels: usize) -> Vec<Filter> {
    let highest = f64::from(SAMPLE_RATE) / 2.0;
    let edge = |i: usize| hertz(mel(highest) * i as f64 / (mels + 1) as f64);
    let bin_width = f64::from(SAMPLE_RATE) / FRAME as f64;
    (0..mels)
        .map(|i| {
            let (low, middle, high) = (edge(i), edge(i + 1), edge(i + 2));
            let weight = |bin: usize| {
                let frequency = bin as f64 * bin_width;
                let slopes = ((frequency - low) / (middle - low)).min((high - frequency) / (high - middle));
                slopes.max(0.0) * 2.0 / (high - low)
            };
            let first_bin = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(BINS);
            Filter { first_bin, weights: (first_bin..BINS).map(weight).take_while(|&weight| weight > 0.0).collect() }
        })
        .collect()
}

/// Where Slaney's mel scale turns from linear to logarithmic: 15 mels, 1000 Hz.
const KNEE: (f64, f64) = (15.0, 1000.0);

/// Mels of a frequency.
fn mel(hertz: f64) -> f64 {
    if hertz < KNEE.1 { hertz * KNEE.0 / KNEE.1 } else { KNEE.0 + (hertz / KNEE.1).ln() * 27.0 / 6.4f64.ln() }
}

/// The frequency of so many mels.
fn hertz(mel: f64) -> f64 {
    if mel < KNEE.0 { mel * KNEE.1 / KNEE.0 } else { KNEE.1 * ((mel - KNEE.0) * 6.4f64.ln() / 27.0).exp() }
}
