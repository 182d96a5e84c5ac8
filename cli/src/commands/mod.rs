//! One module per command: its arguments, and what it does.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod list;
#[cfg(feature = "audio")]
pub(crate) mod listen;
pub(crate) mod man;
pub(crate) mod perplexity;
pub(crate) mod plan;
#[cfg(feature = "pull")]
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod show;
#[cfg(feature = "audio")]
pub(crate) mod subtitle;
pub(crate) mod tokenize;
#[cfg(feature = "audio")]
pub(crate) mod transcribe;
pub(crate) mod translate;
pub(crate) mod verify;
