//! The candle backend: models of candle-transformers behind babil's [`Model`](babil_runtime::model::Model), as a second,
//! independent implementation.
//!
//! It is there to compare with, and for architectures that are not native yet; not to be fast.

mod language;
mod marian;

use babil_runtime::Error;

pub use language::{ARCHITECTURES, CandleLanguageModel, CandleSequence};
pub use marian::{CandleMarian, CandleState};

fn failed(error: candle_core::Error) -> Error {
    Error::Unsupported(format!("candle failed: {}", root_cause(&error)))
}

/// candle's message without the backtrace that it may carry.
fn root_cause(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => root_cause(inner),
        candle_core::Error::Context { inner, context } => format!("{context}: {}", root_cause(inner)),
        other => other.to_string(),
    }
}
