//! What is measured: a piece of work that can be done again and again, and what it comes to.

use std::fmt;
use std::time::Duration;

use babil_runtime::Result;
use babil_runtime::accelerator::Report;
use serde::{Deserialize, Serialize};

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Continues text.
    Language,
    /// Translates.
    Translation,
    /// Writes down what is said.
    Speech,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Language => "language",
            Self::Translation => "translation",
            Self::Speech => "speech",
        })
    }
}

/// A test of a language model, as llama-bench has them: so many tokens are read, then so many are generated, one by
/// one, behind a text of `depth` tokens that is not part of what is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Test {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are generated after it.
    pub generate: usize,
    /// Tokens before both.
    pub depth: usize,
}

impl Test {
    /// Tokens that a context needs to hold.
    pub fn positions(self) -> usize {
        self.prompt + self.generate + self.depth
    }
}

/// As llama-bench names them: `pp512`, `tg128 @ d4096`, `pp512+tg128`.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = match (self.prompt, self.generate) {
            (prompt, 0) => format!("pp{prompt}"),
            (0, generate) => format!("tg{generate}"),
            (prompt, generate) => format!("pp{prompt}+tg{generate}"),
        };
        if self.depth > 0 {
            name += &format!(" @ d{}", self.depth);
        }
        f.pad(&name)
    }
}

/// What was done, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens that the model read: of a prompt, or of sentences to translate.
    pub read: u64,
    /// Tokens that it generated.
    pub generated: u64,
    /// Words of the sentences to translate.
    pub words: u64,
    /// Sound that was heard.
    pub audio: Duration,
    /// From the beginning of the work to the first token that was generated, where it reads something first.
    pub first_token: Option<Duration>,
}

impl Work {
    /// Tokens read and generated.
    pub fn tokens(&self) -> u64 {
        self.read + self.generated
    }
}

/// A piece of work that can be done again and again.
pub trait Workload {
    /// Does what comes before the work and is not measured, such as filling the context; again and again is once.
    ///
    /// # Errors
    /// The model's own, cancelled among them.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Does the work.
    ///
    /// # Errors
    /// The model's own, cancelled among them.
    fn run(&mut self) -> Result<Work>;

    /// What ran where so far, unless everything is for the CPU.
    fn accelerator(&self) -> Option<Report> {
        None
    }
}

/// Numbers without a pattern, always the same: speed does not depend on which tokens a model reads.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(1)
    }
}

impl Random {
    /// A number from 0 on, below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    /// A number from -1 to 1.
    pub fn sample(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_called_as_llama_bench_calls_them() {
        let name = |prompt, generate, depth| Test { prompt, generate, depth }.to_string();
        assert_eq!(name(512, 0, 0), "pp512");
        assert_eq!(name(0, 128, 4096), "tg128 @ d4096");
        assert_eq!(name(512, 128, 0), "pp512+tg128");
        assert_eq!(name(512, 128, 64), "pp512+tg128 @ d64");
    }
}
