//! Rotary positions (Su et al. 2021) and the ways to stretch them beyond the length that a model was trained on.

use serde::Serialize;

use super::Pairing;

/// Rotary positions: pair i of the first `dims` features of each query and key head is turned by
/// `position * frequency[i]`, and multiplied by a magnitude (see [`Rope::frequencies`]).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Features that are turned, even; those beyond stay as they are.
    pub dims: usize,
    /// `frequency[i] = theta^(-2i/dims)`, before scaling.
    pub theta: f32,
    /// Which features make a pair.
    pub pairing: Pairing,
    /// How frequencies are changed.
    pub scaling: RopeScaling,
}

/// How the frequencies of [`Rope`] are changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Divided by `factor` (Chen et al. 2023).
    Linear {
        /// How many times longer.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, those between interpolated.
    Llama3 {
        /// How many times longer.
        factor: f32,
        /// Wavelengths above `original / low` are divided.
        low: f32,
        /// Wavelengths below `original / high` are kept.
        high: f32,
        /// Positions that the model was first trained on.
        original: f32,
    },
    /// YaRN (Peng et al. 2023), as in transformers' `_compute_yarn_parameters`.
    Yarn {
        /// How many times longer.
        factor: f32,
        /// Positions that the model was first trained on.
        original: f32,
        /// Above this many turns in `original` positions a frequency is kept; usually 32.
        beta_fast: f32,
        /// Below this many it is divided; usually 1.
        beta_slow: f32,
        /// The magnitude; usually `0.1 ln(factor) + 1`.
        magnitude: f32,
        /// Whether the borders between kept and divided frequencies are rounded to whole pairs; usually true.
        truncate: bool,
    },
    /// Each divided by a factor of its own: `rope_freqs` of GGUF files, LongRoPE (Ding et al. 2024).
    PerPair {
        /// A divisor for each of the `dims / 2` pairs.
        factors: Vec<f32>,
        /// Multiplies sine and cosine.
        magnitude: f32,
    },
}

impl RopeScaling {
    /// The magnitude of YaRN in transformers, where a configuration names none; `scales` are `mscale` and
    /// `mscale_all_dim`.
    pub fn yarn_magnitude(factor: f32, scales: Option<(f32, f32)>) -> f32 {
        let magnitude = |scale: f32| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        match scales {
            Some((one, all)) if one != 0.0 && all != 0.0 => magnitude(one) / magnitude(all),
            _ => magnitude(1.0),
        }
    }

    /// The magnitude of LongRoPE: `sqrt(1 + ln(longest / original) / ln(original))`.
    pub fn long_magnitude(longest: usize, original: usize) -> f32 {
        let (longest, original) = (longest as f64, original as f64);
        if longest <= original { 1.0 } else { (1.0 + (longest / original).ln() / original.ln()).sqrt() as f32 }
    }
}

impl Rope {
    /// The angle by which each pair turns from one position to the next, `[dims / 2]`, and what sine and cosine are
    /// multiplied by.
    ///
    /// Rounded to float32 where transformers rounds, so that long texts turn by the same angles.
    pub fn frequencies(&self) -> (Vec<f32>, f32) {
        let half = self.dims / 2;
        let plain = |i: usize| 1.0 / self.theta.powf((2 * i) as f32 / self.dims as f32);
        let all = |f: &dyn Fn(usize) -> f32| (0..half).map(f).collect::<Vec<_>>();
        match &self.scaling {
            RopeScaling::None => (all(&plain), 1.0),
            RopeScaling::Linear { factor } => (all(&|i| plain(i) / factor), 1.0),
            RopeScaling::PerPair { factors, magnitude } => (all(&|i| plain(i) / factors[i]), *magnitude),
            &RopeScaling::Llama3 { factor, low, high, original } => {
                let scaled = |i: usize| {
                    let frequency = plain(i);
                    let wavelength = std::f32::consts::TAU / frequency;
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (all(&scaled), 1.0)
            }
            &RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude, truncate } => {
                // The pair that turns `turns` times in `original` positions.
                let pair = |turns: f32| {
                    let turns = f64::from(original) / (f64::from(turns) * std::f64::consts::TAU);
                    self.dims as f64 * turns.ln() / (2.0 * f64::from(self.theta).ln())
                };
                let (mut from, mut to) = (pair(beta_fast), pair(beta_slow));
                if truncate {
                    (from, to) = (from.floor(), to.ceil());
                }
                let (from, mut to) = (from.max(0.0) as f32, to.min(self.dims as f64 - 1.0) as f32);
                if from == to {
                    to += 0.001;
                }
                let scaled = |i: usize| {
                    let divided = ((i as f32 - from) / (to - from)).clamp(0.0, 1.0);
                    let frequency = plain(i);
                    frequency / factor * divided + frequency * (1.0 - divided)
                };
                (all(&scaled), magnitude)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { dims: 8, theta: 10_000.0, pairing: Pairing::Halves, scaling }
    }

    #[test]
    fn plain_and_divided_frequencies() {
        let (plain, one) = rope(RopeScaling::None).frequencies();
        for (i, frequency) in plain.iter().enumerate() {
            assert!((frequency / 10f32.powi(-(i as i32)) - 1.0).abs() < 1e-6);
        }
        assert_eq!(one, 1.0);
        let halved: Vec<_> = plain.iter().map(|f| f / 2.0).collect();
        assert_eq!(rope(RopeScaling::Linear { factor: 2.0 }).frequencies(), (halved.clone(), 1.0));
        let factors = vec![2.0; 4];
        assert_eq!(rope(RopeScaling::PerPair { factors, magnitude: 3.0 }).frequencies(), (halved, 3.0));
    }

    /// Values of `ROPE_INIT_FUNCTIONS` of transformers 5.23 for theta 10000, 8 features.
    #[test]
    fn stretched_frequencies_are_those_of_transformers() {
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 2048.0 };
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original: 2048.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            magnitude: 1.138_629_4,
            truncate: true,
        };
        let cases = [(llama3, EXPECTED_LLAMA3), (yarn, EXPECTED_YARN)];
        for (scaling, expected) in cases {
            for (found, expected) in rope(scaling).frequencies().0.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    const EXPECTED_LLAMA3: [f32; 4] = [1.0, 0.1, 0.007_840_188, 0.000_125];
    const EXPECTED_YARN: [f32; 4] = [1.0, 0.1, 0.006_25, 0.000_25];
}
