//! What people do with models: translate and subtitle (now, from text), chat, transcribe (to come).

pub mod chat;
pub mod document;
pub mod glossary;
pub mod language;
pub mod segment;
pub mod subtitles;
pub mod testing;
pub mod translate;
pub mod translator;
