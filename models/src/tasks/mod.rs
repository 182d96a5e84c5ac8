//! What people do with models: translate (now), chat, transcribe and subtitle (to come).

pub mod chat;
pub mod document;
pub mod glossary;
pub mod language;
pub mod segment;
pub mod subtitles;
pub mod testing;
pub mod translate;
pub mod translator;
