//! What a user may ask of sampling, as data.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Token};

/// How tokens are chosen. The fields stand in the order in which they act; the defaults are llama.cpp's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingOptions {
    /// Added to the logits of single tokens; minus infinity forbids one.
    pub logit_bias: Vec<(Token, f32)>,
    /// Penalties for tokens that occur already.
    pub penalties: Penalties,
    /// Penalties for tokens that would continue a repetition.
    pub dry: Dry,
    /// Only the `top_k` most probable tokens remain; 0 is off.
    pub top_k: usize,
    /// Only tokens about as surprising as the distribution is on average, until they make up this much (Meister et al.
    /// 2022); 1 is off.
    pub typical_p: f32,
    /// Only the most probable tokens that together make up this much; 1 is off.
    pub top_p: f32,
    /// Only tokens at least this many times as probable as the most probable one; 0 is off.
    pub min_p: f32,
    /// Exclusion of the most probable tokens.
    pub xtc: Xtc,
    /// Logits are divided by it; 0 always takes the most probable token that bias, penalties and grammar leave, whatever
    /// the options above say.
    pub temperature: f32,
    /// Instead of everything between the penalties and the temperature.
    pub mirostat: Option<Mirostat>,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// Penalties for tokens that occur among the last `window`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Penalties {
    /// How many of the last tokens (prompt included) count; 0 is off.
    pub window: usize,
    /// Positive logits are divided by it, others multiplied; 1 is off.
    pub repetition: f32,
    /// Subtracted once per occurrence.
    pub frequency: f32,
    /// Subtracted once.
    pub presence: f32,
}

/// "Don't repeat yourself": a token that would continue a repetition of length `n >= allowed_length` loses
/// `multiplier * base^(n - allowed_length)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dry {
    /// 0 is off.
    pub multiplier: f32,
    /// At least 1.
    pub base: f32,
    /// Repetitions shorter than this cost nothing.
    pub allowed_length: usize,
    /// How many of the last tokens (prompt included) are searched for repetitions; 0 is off.
    pub window: usize,
    /// Texts that no repetition goes across; [`super::breaker_sequences`] turns them into tokens.
    pub breakers: Vec<String>,
}

/// Where several tokens are at least `threshold` probable, sometimes all of them but the last are excluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xtc {
    /// How often; 0 is off.
    pub probability: f32,
    /// Above 0.5 it cannot exclude anything.
    pub threshold: f32,
}

/// Mirostat 2.0 (Basu et al. 2021): keeps the surprise of the chosen tokens near `tau` bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirostat {
    /// Target, in bits.
    pub tau: f32,
    /// Learning rate.
    pub eta: f32,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            penalties: Penalties::default(),
            dry: Dry::default(),
            top_k: 40,
            typical_p: 1.0,
            top_p: 0.95,
            min_p: 0.05,
            xtc: Xtc::default(),
            temperature: 0.8,
            mirostat: None,
            seed: 0,
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        Self { window: 64, repetition: 1.0, frequency: 0.0, presence: 0.0 }
    }
}

impl Default for Dry {
    fn default() -> Self {
        let breakers = ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, window: 64, breakers }
    }
}

impl Default for Xtc {
    fn default() -> Self {
        Self { probability: 0.0, threshold: 0.1 }
    }
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl SamplingOptions {
    /// The longest window of penalties and DRY.
    pub const LONGEST_WINDOW: usize = 1 << 20;

    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Refuses values that mean nothing, for a model with `vocab` tokens.
    ///
    /// # Errors
    /// [`Error::BadRequest`] names the option, its value and what it may be.
    pub fn check(&self, vocab: usize) -> Result<()> {
        let Self { penalties, dry, xtc, .. } = self;
        range("temperature", self.temperature, 0.0, 1000.0)?;
        range("top_p", self.top_p, 0.0, 1.0)?;
        range("min_p", self.min_p, 0.0, 1.0)?;
        range("typical_p", self.typical_p, 0.0, 1.0)?;
        range("xtc.probability", xtc.probability, 0.0, 1.0)?;
        range("xtc.threshold", xtc.threshold, 0.0, 1.0)?;
        window("penalties.window", penalties.window)?;
        range("penalties.repetition", penalties.repetition, 0.01, 100.0)?;
        range("penalties.frequency", penalties.frequency, -100.0, 100.0)?;
        range("penalties.presence", penalties.presence, -100.0, 100.0)?;
        window("dry.window", dry.window)?;
        range("dry.multiplier", dry.multiplier, 0.0, 100.0)?;
        range("dry.base", dry.base, 1.0, 100.0)?;
        if dry.breakers.iter().any(String::is_empty) {
            return Err(Error::BadRequest("dry.breakers holds an empty text".to_owned()));
        }
        if let Some(Mirostat { tau, eta }) = self.mirostat {
            range("mirostat.tau", tau, 0.0, 100.0)?;
            range("mirostat.eta", eta, 0.0, 1.0)?;
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab {
                let problem = format!("logit_bias for token {token}: the vocabulary has {vocab} tokens");
                return Err(Error::BadRequest(problem));
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let problem =
                    format!("logit_bias of {bias} for token {token}: it must be finite, or -inf to forbid it");
                return Err(Error::BadRequest(problem));
            }
        }
        Ok(())
    }
}

fn range(name: &str, value: f32, least: f32, most: f32) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::BadRequest(format!("{name} of {value}: it must be between {least} and {most}")))
}

fn window(name: &str, tokens: usize) -> Result<()> {
    if tokens <= SamplingOptions::LONGEST_WINDOW {
        return Ok(());
    }
    Err(Error::BadRequest(format!("{name} of {tokens}: at most {} tokens", SamplingOptions::LONGEST_WINDOW)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_refused_by_name() {
        let bad: &[fn(&mut SamplingOptions)] = &[
            |o| o.temperature = f32::NAN,
            |o| o.temperature = -0.1,
            |o| o.top_p = 1.5,
            |o| o.min_p = -1.0,
            |o| o.typical_p = f32::INFINITY,
            |o| o.xtc.probability = 2.0,
            |o| o.xtc.threshold = -0.5,
            |o| o.penalties.window = usize::MAX,
            |o| o.penalties.repetition = 0.0,
            |o| o.penalties.frequency = f32::NAN,
            |o| o.penalties.presence = 1e9,
            |o| o.dry.window = 2 << 20,
            |o| o.dry.multiplier = -1.0,
            |o| o.dry.base = 0.5,
            |o| o.dry.breakers = vec![String::new()],
            |o| o.mirostat = Some(Mirostat { tau: -1.0, eta: 0.1 }),
            |o| o.mirostat = Some(Mirostat { tau: 5.0, eta: 7.0 }),
            |o| o.logit_bias = vec![(100, 0.0)],
            |o| o.logit_bias = vec![(7, f32::NAN)],
        ];
        let messages: Vec<_> = bad
            .iter()
            .map(|change| {
                let mut options = SamplingOptions::default();
                change(&mut options);
                options.check(100).unwrap_err().to_string()
            })
            .collect();
        insta::assert_snapshot!(messages.join("\n"));
        SamplingOptions::default().check(100).unwrap();
        SamplingOptions::greedy().check(100).unwrap();
    }

    #[test]
    fn options_are_read_with_defaults_and_unknown_names_refused() {
        let read = |text| serde_json::from_str::<SamplingOptions>(text).map_err(|e| e.to_string());
        let options = read(r#"{"temperature": 0.5, "mirostat": {"tau": 3.0}, "logit_bias": [[7, -1.5]]}"#).unwrap();
        let mirostat = Some(Mirostat { tau: 3.0, eta: 0.1 });
        let expected =
            SamplingOptions { temperature: 0.5, mirostat, logit_bias: vec![(7, -1.5)], ..SamplingOptions::default() };
        assert_eq!(options, expected);
        assert!(read(r#"{"temprature": 0.5}"#).unwrap_err().contains("temprature"));
        let text = serde_json::to_string(&expected).unwrap();
        assert_eq!(read(&text).unwrap(), expected);
    }
}
