//! One module per command: its arguments, and what it does.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod list;
pub(crate) mod man;
#[cfg(feature = "pull")]
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod translate;
pub(crate) mod verify;
