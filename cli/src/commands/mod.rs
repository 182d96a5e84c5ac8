//! One module per command: its arguments, and what it does.

pub(crate) mod list;
#[cfg(feature = "pull")]
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod verify;
