//! The one error type of the engine. Every variant says what is wrong, where, and what to do about it.

use std::path::PathBuf;

/// What went wrong while loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "open", "read", "map", "write", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
    /// A file is not what its name or place says, or is damaged.
    #[error("{file}: {problem}")]
    BadFile {
        /// The file's path, or the name of a built-in file.
        file: String,
        /// What is wrong, and where in the file.
        problem: String,
    },
    /// A tensor is missing, or has another shape or type than the model needs.
    #[error("{file}: tensor `{tensor}`: {problem}")]
    BadTensor {
        /// The file's path, or the name of a built-in file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong: expected and found shapes, types or offsets.
        problem: String,
    },
    /// A file that could have sound, and has none: a film without a sound track, a recording of no length.
    #[error("{file}: there is no sound in it")]
    NoSound {
        /// The file's path.
        file: String,
    },
    /// Sound that is not decoded here, where no `ffmpeg` can do it instead.
    #[error("{file}: {codec} is not decoded here, and no ffmpeg was found that could: convert it with `{command}`")]
    UndecodableSound {
        /// The file's path.
        file: String,
        /// What it is encoded in.
        codec: String,
        /// What makes a file of it that can be read.
        command: String,
    },
    /// The model or a request asks for something that this version cannot do.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A request that does not fit the model: too long, an unknown language, a bad option.
    #[error("{0}")]
    BadRequest(String),
    /// A model that needs more memory than it may have; nothing of it was loaded.
    #[error("{0}")]
    TooLarge(String),
    /// An energy meter did not measure what was asked for, and why.
    #[error("not measured: {0}")]
    NotMeasured(String),
    /// An accelerator cannot be had, or failed; where it was in use, the CPU has taken over.
    #[error("{0}")]
    Accelerator(String),
    /// The caller cancelled; what was produced before is valid.
    #[error("cancelled")]
    Cancelled,
}

/// A result with the engine's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// An [`Error::BadFile`].
    pub fn bad_file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadFile { file: file.into(), problem: problem.into() }
    }
}
