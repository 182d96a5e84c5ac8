//! Generation over any [`crate::model::Model`]: beam search for translation, and streams of sampled tokens and text for
//! language models.
//!
//! [`Context`] (a text and the state that has seen it) and a [`crate::sampling::Sampler`] -> [`TokenStream`] ->
//! [`TextStream`].

mod beam;
mod context;
#[cfg(test)]
pub(crate) mod fake;
mod lookup;
mod stop;
mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use beam::{Generated, Step, generate, generate_within};
pub use context::Context;
pub use lookup::Lookup;
pub use stop::StopStrings;
pub use stream::{Counts, Finish, Overflow, Progress, StreamOptions, TokenStream};
pub use text::TextStream;
