//! What people do with models: translate and subtitle, chat, transcribe, listen.

pub mod chat;
pub mod document;
pub mod glossary;
pub mod language;
#[cfg(feature = "audio")]
pub mod live;
pub mod segment;
pub mod subtitles;
pub mod testing;
#[cfg(feature = "audio")]
pub mod transcribe;
pub mod translate;
pub mod translator;
