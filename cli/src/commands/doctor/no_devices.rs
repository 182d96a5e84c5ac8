//! `babil doctor --devices` of a build without NPUs.

use anyhow::Result;

use crate::args::Context;
use crate::exit::UsageError;

/// # Errors
/// Always: there is nothing to show.
pub(super) fn run(_: &Context) -> Result<()> {
    Err(UsageError::new("this build is without NPUs (feature `npu`)").into())
}
