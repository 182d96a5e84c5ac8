//! A translator without a model, for tests of programs that use one.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use babil_runtime::{Error, Result};

use super::translate::{Hypothesis, LanguagePair, Progress, SentenceTranslator, TranslateOptions, Translation};

/// "Translates" by writing in capitals. A token is a word, progress comes word by word, and the alternatives number
/// n > 1 end with ` (n)`.
#[derive(Debug)]
pub struct Shouter {
    pairs: Vec<LanguagePair>,
    max_source_tokens: usize,
    batches: Mutex<Vec<usize>>,
}

impl Default for Shouter {
    /// English to French and back, and German to English.
    fn default() -> Self {
        Self::new(&[("en", "fr"), ("fr", "en"), ("de", "en")], 64)
    }
}

impl Shouter {
    /// A translator that claims to know `pairs` and to take at most `max_source_tokens` words.
    pub fn new(pairs: &[(&str, &str)], max_source_tokens: usize) -> Self {
        let pairs = pairs.iter().map(|(from, to)| LanguagePair::new(*from, *to)).collect();
        Self { pairs, max_source_tokens, batches: Mutex::default() }
    }

    /// The sizes of the batches translated so far.
    pub fn batches(&self) -> Vec<usize> {
        self.batches.lock().map(|batches| batches.clone()).unwrap_or_default()
    }
}

impl SentenceTranslator for Shouter {
    fn accelerator(&self) -> Option<babil_runtime::accelerator::Report> {
        None
    }

    fn pairs(&self) -> &[LanguagePair] {
        &self.pairs
    }

    fn max_source_tokens(&self) -> usize {
        self.max_source_tokens
    }

    fn count_tokens(&self, text: &str, _: &LanguagePair) -> usize {
        text.split_whitespace().count()
    }

    fn translate(
        &self,
        batch: &[&str],
        pair: &LanguagePair,
        options: &TranslateOptions,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Translation>> {
        if !self.pairs.contains(pair) {
            return Err(Error::BadRequest(format!("unknown pair {pair}")));
        }
        if let Ok(mut batches) = self.batches.lock() {
            batches.push(batch.len());
        }
        let mut translations = Vec::new();
        for (sentence, source) in batch.iter().enumerate() {
            let source_tokens = self.count_tokens(source, pair) + 1;
            if source_tokens > self.max_source_tokens + 1 {
                return Err(Error::BadRequest(format!("sentence {sentence} is too long")));
            }
            let best = source.to_uppercase();
            for word in best.split_inclusive(char::is_whitespace) {
                if progress(Progress { sentence, text: word }).is_break() {
                    return Err(Error::Cancelled);
                }
            }
            let tokens: Vec<_> = best.split_whitespace().zip(0..).map(|(_, token)| token).collect();
            let hypotheses = (1..=options.alternatives.max(1))
                .map(|n| Hypothesis {
                    text: if n == 1 { best.clone() } else { format!("{best} ({n})") },
                    tokens: tokens.clone(),
                    score: -0.25 * n as f32,
                })
                .collect();
            translations.push(Translation { hypotheses, source_tokens, elapsed: Duration::from_millis(1) });
        }
        Ok(translations)
    }
}
