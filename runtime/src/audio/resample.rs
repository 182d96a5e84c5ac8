//! Mono sound of any sample rate -> 16 kHz, in pieces: an exact length, without the filter's delay, and the same samples however
//! the sound was cut into pieces.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, WindowFunction};

use super::SAMPLE_RATE;
use crate::error::{Error, Result};

/// Sample rates that are taken: a header may say anything.
const RATES: std::ops::RangeInclusive<u32> = 1000..=768_000;

/// Samples that are transformed at a time, at most: a rate that has little in common with 16 kHz needs many, and memory for them.
const MOST_TRANSFORMED: usize = 1 << 18;

/// Samples of one rate in, samples at 16 kHz out.
pub(super) struct Resampler {
    rate: u32,
    /// None where nothing is to be done.
    filter: Option<Filter>,
    /// Samples taken in and given out so far.
    taken: u64,
    given: u64,
}

/// rubato's windowed sinc, applied by Fourier transforms of a fixed number of samples.
struct Filter {
    fft: Fft<f32>,
    /// Samples that do not fill a transform yet.
    waiting: Vec<f32>,
    out: Vec<f32>,
    /// Samples at the beginning that are only the filter's delay.
    skip: usize,
}

impl Resampler {
    /// For samples at `rate` per second; [`Error::Unsupported`] outside of what exists.
    pub(super) fn new(rate: u32) -> Result<Self> {
        if !RATES.contains(&rate) {
            return Err(Error::Unsupported(format!(
                "sound of {rate} samples per second: from {} to {} are read",
                RATES.start(),
                RATES.end()
            )));
        }
        let filter = if rate == SAMPLE_RATE { None } else { Some(Filter::new(rate)?) };
        Ok(Self { rate, filter, taken: 0, given: 0 })
    }

    /// The rate of what it takes.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes `samples` in, and appends to `out` what they complete.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.taken += samples.len() as u64;
        let before = out.len();
        match &mut self.filter {
            None => out.extend_from_slice(samples),
            Some(filter) => filter.push(samples, out)?,
        }
        self.given += (out.len() - before) as u64;
        Ok(())
    }

    /// Appends to `out` what is still inside: in all `samples in * 16000 / rate`, rounded. What follows is a new sound.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let (rate, target) = (u128::from(self.rate), u128::from(SAMPLE_RATE));
        let whole = ((u128::from(self.taken) * target * 2 + rate) / (rate * 2)) as u64;
        if let Some(filter) = &mut self.filter {
            let start = out.len();
            let missing = whole.saturating_sub(self.given) as usize;
            let silence = vec![0.0; filter.fft.fft_size_in()];
            while out.len() - start < missing {
                filter.push(&silence, out)?;
            }
            out.truncate(start + missing);
            filter.reset();
        }
        (self.taken, self.given) = (0, 0);
        Ok(())
    }
}

impl Filter {
    fn new(rate: u32) -> Result<Self> {
        // Transforms of at least a thirty-second of a second, which is also the length of the sinc, and of an even number of
        // samples: else its middle, and with it all of the sound, would be half a sample off.
        let even = 2 * (rate / gcd(rate, SAMPLE_RATE)) as usize;
        if even > MOST_TRANSFORMED {
            return Err(Error::Unsupported(format!("sound of {rate} samples per second: too odd a rate")));
        }
        let length = (rate as usize / 32).next_multiple_of(even);
        let (rate_in, rate_out) = (rate as usize, SAMPLE_RATE as usize);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(rate_in, rate_out, length, 1, 1, window, FixedSync::Both)
            .map_err(|error| Error::Unsupported(format!("sound of {rate} samples per second: {error}")))?;
        let out = vec![0.0; fft.output_frames_max()];
        Ok(Self { skip: fft.output_delay(), waiting: Vec::new(), fft, out })
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.waiting.extend_from_slice(samples);
        let internal = |problem: String| Error::Unsupported(format!("resampling: {problem}"));
        let mut done = 0;
        loop {
            let (wanted, room) = (self.fft.input_frames_next(), self.out.len());
            let Some(piece) = self.waiting.get(done..done + wanted) else { break };
            let from = InterleavedSlice::new(piece, 1, wanted).map_err(|error| internal(error.to_string()))?;
            let mut to =
                InterleavedSlice::new_mut(&mut self.out, 1, room).map_err(|error| internal(error.to_string()))?;
            let (read, written) = self
                .fft
                .process_into_buffer(&from, &mut to, None::<&Indexing>)
                .map_err(|error| internal(error.to_string()))?;
            let skipped = self.skip.min(written);
            self.skip -= skipped;
            out.extend_from_slice(&self.out[skipped..written]);
            done += read;
        }
        self.waiting.drain(..done);
        Ok(())
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.waiting.clear();
        self.skip = self.fft.output_delay();
    }
}

/// The greatest common divisor.
fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn all(rate: u32, sound: &[f32], pieces: &[usize]) -> Vec<f32> {
        let mut resampler = Resampler::new(rate).unwrap();
        let (mut out, mut rest) = (Vec::new(), sound);
        for &piece in pieces {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            resampler.push(now, &mut out).unwrap();
            rest = later;
        }
        resampler.push(rest, &mut out).unwrap();
        resampler.finish(&mut out).unwrap();
        out
    }

    /// A sine of `hertz`, `seconds` long.
    fn sine(hertz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let count = (seconds * f64::from(rate)).round() as usize;
        (0..count).map(|i| (TAU * hertz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    /// A sine is a sine at the new rate, in step with the old one; what 16 kHz cannot hold disappears.
    #[test]
    fn sines_stay_and_what_cannot_be_held_disappears() {
        for rate in [8000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 44_101, 384_000] {
            for hertz in [100.0, 1000.0, 3300.0] {
                let out = all(rate, &sine(hertz, rate, 0.5), &[]);
                let expected = sine(hertz, 16_000, 0.5);
                assert!(out.len().abs_diff(expected.len()) <= 1, "{rate}");
                let middle = 1500..6500;
                let error = out[middle.clone()].iter().zip(&expected[middle]).map(|(a, b)| (a - b).abs());
                let worst = error.fold(0.0, f32::max);
                assert!(worst < 1e-3, "{hertz} Hz at {rate}: {worst}");
            }
            if rate > 24_000 {
                let out = all(rate, &sine(9500.0, rate, 0.5), &[]);
                let loudest = out[1500..6500].iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
                assert!(loudest < 2e-4, "9500 Hz at {rate}: {loudest}");
            }
        }
    }

    #[test]
    fn rates_that_do_not_exist_are_refused() {
        assert!(Resampler::new(0).is_err());
        assert!(Resampler::new(u32::MAX).is_err());
        assert!(Resampler::new(700_001).is_err());
        assert!(Resampler::new(768_000).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn length_is_exact_and_pieces_do_not_matter(
            rate in prop_oneof![Just(44_100u32), Just(8000), Just(16_000), Just(48_000), 4000u32..100_000],
            count in 0usize..6000,
            pieces in prop::collection::vec(0usize..700, 0..12),
        ) {
            let sound: Vec<f32> = (0..count).map(|i| ((i * 7919 % 1000) as f32) / 1000.0 - 0.5).collect();
            let whole = all(rate, &sound, &[]);
            let exact = (count as f64 * 16_000.0 / f64::from(rate)).round() as usize;
            prop_assert_eq!(whole.len(), exact);
            prop_assert_eq!(whole, all(rate, &sound, &pieces));
        }
    }
}
