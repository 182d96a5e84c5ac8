//! A translator of one direction, for what is heard and for subtitles.

use std::sync::Arc;

use babil_models::tasks::document::{Job, Pace};
use babil_models::tasks::translate::{LanguagePair, SentenceTranslator, TranslateOptions};
use babil_runtime::Cancel;

/// Translates from one language into another.
#[derive(Clone)]
pub(crate) struct Interpreter {
    pub(crate) translator: Arc<dyn SentenceTranslator>,
    pub(crate) pair: LanguagePair,
}

impl Interpreter {
    /// Runs `work` with what translates, until it is cancelled.
    pub(crate) fn with<T>(&self, cancel: &Cancel, work: impl FnOnce(Job<'_>) -> T) -> T {
        let options = TranslateOptions { cancel: cancel.clone(), ..TranslateOptions::default() };
        let cancelled = || cancel.is_cancelled();
        let Self { translator, pair } = self;
        work(Job { translator: &**translator, pair, options: &options, pace: Pace::default(), cancelled: &cancelled })
    }
}
