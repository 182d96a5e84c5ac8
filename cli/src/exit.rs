//! Exit codes: part of the interface, so that scripts can tell one failure from another.

use std::process::ExitCode;

use babil_models::catalogue::{Error as CatalogueError, Kind};
use babil_runtime::Error as RuntimeError;

use crate::output::ClosedPipe;

/// The exit codes as `--help` shows them; [`Exit`] holds the values.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success
    1  failure of another kind
    2  wrong usage
    3  unknown model, or a model that is not pulled
    4  bad model file
    5  bad input
    6  network
    7  disk or cache
  130  interrupted

Environment:
  HF_HOME, HF_HUB_CACHE  where models are cached (shared with other tools of the hub)
  HF_TOKEN               access token, for private and gated repositories
  HF_ENDPOINT            another hub, such as a mirror
  HF_HUB_OFFLINE         1 forbids network connections, as --offline
  BABIL_CACHE            where quantised copies of models are kept
  BABIL_ONNXRUNTIME      the ONNX Runtime library of --device npu: its file, or the folder it is in
  BABIL_ISA              forces an instruction set: scalar, avx2, avxvnni, avx512, amx, neon, dotprod, i8mm
  BABIL_LOG              log filter, such as `debug` or `babil_models=trace`";

/// Arguments that cannot be combined, or that are missing something: found after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(String);

impl UsageError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success = 0,
    Failure = 1,
    /// Also clap's own code for arguments that it cannot parse.
    Usage = 2,
    NoModel = 3,
    BadModel = 4,
    BadInput = 5,
    Network = 6,
    Disk = 7,
    Interrupted = 130,
}

impl Exit {
    /// The code for `error`: that of the first cause that has one.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failure)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<CatalogueError>() {
            return Some(match error.kind() {
                Kind::Usage => Self::Usage,
                Kind::NoModel => Self::NoModel,
                Kind::BadModel => Self::BadModel,
                Kind::Network => Self::Network,
                Kind::Disk => Self::Disk,
                Kind::Cancelled => Self::Interrupted,
            });
        }
        if let Some(error) = cause.downcast_ref::<RuntimeError>() {
            return match error {
                RuntimeError::Io { .. } => Some(Self::Disk),
                RuntimeError::BadFile { .. } | RuntimeError::BadTensor { .. } | RuntimeError::Unsupported(_) => {
                    Some(Self::BadModel)
                }
                RuntimeError::BadRequest(_)
                | RuntimeError::TooLarge(_)
                | RuntimeError::NoSound { .. }
                | RuntimeError::UndecodableSound { .. } => Some(Self::BadInput),
                RuntimeError::Cancelled => Some(Self::Interrupted),
                _ => None,
            };
        }
        if cause.is::<UsageError>() {
            return Some(Self::Usage);
        }
        cause.downcast_ref::<ClosedPipe>().map(|_| Self::Success)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_first_cause_with_a_code_decides() {
        let bad_request = RuntimeError::BadRequest("too long".into());
        let error = Err::<(), _>(bad_request).context("line 3").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::BadInput);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything")), Exit::Failure);
        assert_eq!(Exit::of(&ClosedPipe.into()), Exit::Success);
    }

    #[test]
    fn help_lists_every_code() {
        for exit in [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::NoModel,
            Exit::BadModel,
            Exit::BadInput,
            Exit::Network,
            Exit::Disk,
            Exit::Interrupted,
        ] {
            let code = format!("{:>5}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&code)), "{exit:?}");
        }
    }
}
