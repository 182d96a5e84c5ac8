//! What can go wrong, as callers of other languages see it: a code to decide by, and a message to read.

use std::any::Any;
use std::io::ErrorKind;

use babil_models::tasks::document::DocumentError;
use babil_models::{OpenError, catalogue};
use babil_runtime::Error;

/// What a caller can do about a failure. The numbers are those of `dev.babil.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Change the request: it does not suit the model, or is none.
    BadArgument = 0,
    /// There is no such file or model, or it has not been pulled.
    NotFound = 1,
    /// The file is damaged, or not what it should be.
    BadModel = 2,
    /// The model, or this build of the library, cannot do it.
    Unsupported = 3,
    /// It needs more memory than it may have. Nothing was loaded.
    TooLarge = 4,
    /// Something else is under way that must end first.
    Busy = 5,
    /// The disk or the file system.
    Io = 6,
    /// The connection, or what answers at its other end.
    Network = 7,
    /// It was cancelled.
    Cancelled = 8,
    /// A mistake in babil. What it was found in can no longer be used, everything else can.
    Internal = 9,
    /// The meter did not say enough, or nothing.
    NotMeasured = 10,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The handle stands for nothing: it was closed. `IllegalStateException` in Java.
    Closed(&'static str),
    /// `BabilException` in Java.
    Error { code: Code, message: String },
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Error { code, message: message.into() }
    }

    /// What a panic is for the caller.
    pub(crate) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Self::new(Code::Internal, format!("a mistake in babil, please report it: {text}"))
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Error { code: Code::Busy | Code::Network, .. })
    }
}

fn of_io(error: &std::io::Error) -> Code {
    match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::Io,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Io { source, .. } => of_io(source),
            Error::BadFile { .. } | Error::BadTensor { .. } => Code::BadModel,
            Error::Unsupported(_) | Error::UndecodableSound { .. } | Error::Accelerator(_) => Code::Unsupported,
            Error::BadRequest(_) | Error::NoSound { .. } => Code::BadArgument,
            Error::TooLarge(_) => Code::TooLarge,
            Error::Cancelled => Code::Cancelled,
            Error::NotMeasured(_) => Code::NotMeasured,
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<catalogue::Error> for Failure {
    fn from(error: catalogue::Error) -> Self {
        let code = match (&error, error.kind()) {
            (catalogue::Error::Busy { .. }, _) => Code::Busy,
            (_, catalogue::Kind::Usage) => Code::BadArgument,
            (_, catalogue::Kind::NoModel) => Code::NotFound,
            (_, catalogue::Kind::BadModel) => Code::BadModel,
            (_, catalogue::Kind::Network) => Code::Network,
            (_, catalogue::Kind::Disk) => Code::Io,
            (_, catalogue::Kind::Cancelled) => Code::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Catalogue(error) => error.into(),
            OpenError::Engine(error) => error.into(),
        }
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Engine(error) => error.into(),
            // What is written is refused only where the generation is over.
            DocumentError::Write(_) => Self::new(Code::Cancelled, "cancelled"),
            error => Self::new(Code::BadArgument, error.to_string()),
        }
    }
}
