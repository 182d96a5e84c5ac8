//! What can go wrong between a model's name and its files: [`Error`].

use std::io;
use std::path::{Path, PathBuf};

use super::{Repository, Unfit};

/// What went wrong. Every variant says what to do about it, where anything can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An environment variable holds something that cannot be used.
    #[error("{variable}: {problem}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// Neither a name of the catalogue, nor a repository, nor a path.
    #[error(
        "unknown model `{name}`: not in the catalogue (`babil list`), not a path, and not of the form owner/repo{}",
        did_you_mean(suggestion)
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// A name of the catalogue that resembles it.
        suggestion: Option<String>,
    },
    /// A known model whose files are not in the cache.
    #[error("`{name}` is not in the cache; get it with `babil pull {name}`")]
    NotPulled {
        /// The model's name.
        name: String,
    },
    /// No model of the catalogue knows a pair of languages.
    #[error("no model of the catalogue translates from `{from}` into `{to}` (`babil list` shows what they do)")]
    NoTranslator {
        /// Code of the source language.
        from: String,
        /// Code of the target language.
        to: String,
    },
    /// The built-in model has no files to pull, verify or remove.
    #[error("`{name}` is built in: there is nothing to {action}")]
    Bundled {
        /// The model's name.
        name: String,
        /// What was asked for.
        action: &'static str,
    },
    /// The hub knows no such repository, revision or file.
    #[error("{endpoint} has no {}`{repository}` at revision `{revision}`", file_of(file))]
    NotFound {
        /// The hub.
        endpoint: String,
        /// `owner/repo`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// The file, when the repository itself exists.
        file: Option<String>,
    },
    /// The hub wants to know who asks (it also answers so for repositories that do not exist).
    #[error("the hub refuses access to `{repository}` (HTTP {status}): {}", access_advice(*with_token))]
    Unauthorized {
        /// `owner/repo`.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The licence of a repository has to be accepted first.
    #[error(
        "`{repository}` is gated (HTTP {status}): accept its terms at {page}, and put a token of that account into HF_TOKEN"
    )]
    Gated {
        /// `owner/repo`.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// Where its terms are.
        page: String,
    },
    /// A repository without the files that make a model.
    #[error("`{repository}` has no {missing}: it is no model that babil can load")]
    MissingFiles {
        /// `owner/repo`.
        repository: String,
        /// The missing files.
        missing: String,
    },
    /// Not exactly one of a repository's GGUF files is what was asked for.
    #[error("`{repository}` has {}", files_to_choose(unfit))]
    ChooseFile {
        /// `owner/repo`.
        repository: String,
        /// What was asked for, and what there is.
        unfit: Unfit,
    },
    /// The network is needed, and forbidden.
    #[error("offline (--offline or HF_HUB_OFFLINE): cannot fetch `{name}`")]
    Offline {
        /// The model's name.
        name: String,
    },
    /// No answer, a broken connection, or an HTTP status that means failure, after every retry.
    #[error("{url}: {problem}")]
    Network {
        /// The address, without its query.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The hub's answer cannot be right.
    #[error("{url}: the answer cannot be used: {problem}")]
    BadAnswer {
        /// The address, without its query.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// What arrived is not what the hub announced. Nothing of it is kept.
    #[error("{file}: wrong checksum: expected {expected}, received {found}; the download was deleted, try again")]
    Checksum {
        /// The file.
        file: String,
        /// The announced hash, in hexadecimal.
        expected: String,
        /// The hash of what arrived.
        found: String,
    },
    /// Cached files are not what their names promise.
    #[error("`{name}`: {damaged} damaged {}; run `babil rm {name}` and `babil pull {name}`", if *damaged == 1 { "file" } else { "files" })]
    Damaged {
        /// The model's name.
        name: String,
        /// How many.
        damaged: usize,
    },
    /// No room for the rest of a file. The part that fits is kept, and the next pull continues it.
    #[error("no space left for {file}: {missing} more bytes are needed in {}; the part so far is kept", folder.display())]
    DiskFull {
        /// The file.
        file: String,
        /// How many bytes of it are still to come.
        missing: u64,
        /// The folder that is full.
        folder: PathBuf,
    },
    /// The operating system refused to read or write in the cache.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "open", "create", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// Another process is downloading files of this model.
    #[error("`{name}` is being downloaded by another process")]
    Busy {
        /// The model's name.
        name: String,
    },
    /// The caller cancelled; what has arrived is kept, and the next pull continues.
    #[error("cancelled")]
    Cancelled,
}

/// A result with the catalogue's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Errors by what a caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Change a setting or the request.
    Usage,
    /// Choose another model, or pull it.
    NoModel,
    /// The model's files are damaged or of an unknown kind.
    BadModel,
    /// Try again, or look at the connection, the token or the hub.
    Network,
    /// Look at the disk or the cache folder.
    Disk,
    /// Nothing: the caller cancelled.
    Cancelled,
}

impl Error {
    /// Why no model of `repository` was chosen.
    pub(crate) fn unfit(repository: &Repository, unfit: Unfit) -> Self {
        let repository = repository.to_string();
        match unfit {
            Unfit::Missing(missing) => Self::MissingFiles { repository, missing },
            Unfit::NoneOf { files, .. } if files.is_empty() => {
                Self::MissingFiles { repository, missing: "GGUF file".to_owned() }
            }
            unfit => Self::ChooseFile { repository, unfit },
        }
    }

    /// An [`Error::Io`] maker, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What a caller can do about this error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. } | Self::Bundled { .. } => Kind::Usage,
            Self::Unknown { .. }
            | Self::NotPulled { .. }
            | Self::NoTranslator { .. }
            | Self::NotFound { .. }
            | Self::ChooseFile { .. } => Kind::NoModel,
            Self::MissingFiles { .. } | Self::Damaged { .. } => Kind::BadModel,
            Self::Unauthorized { .. }
            | Self::Gated { .. }
            | Self::Offline { .. }
            | Self::Network { .. }
            | Self::BadAnswer { .. }
            | Self::Checksum { .. } => Kind::Network,
            Self::DiskFull { .. } | Self::Io { .. } | Self::Busy { .. } => Kind::Disk,
            Self::Cancelled => Kind::Cancelled,
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn file_of(file: &Option<String>) -> String {
    file.as_ref().map(|file| format!("file `{file}` in ")).unwrap_or_default()
}

fn files_to_choose(unfit: &Unfit) -> String {
    match unfit {
        Unfit::Missing(missing) => format!("no {missing}"),
        Unfit::NoneOf { wanted, files } => format!("no `{wanted}` among its GGUF files: {}", files.join(", ")),
        Unfit::Several { wanted, files } => {
            let of_type = if wanted.is_empty() { String::new() } else { format!(" for `{wanted}`") };
            let files = files.join(", ");
            format!("several GGUF files{of_type}: {files}; name one as owner/repo:TYPE or owner/repo/FILE.gguf")
        }
    }
}

fn access_advice(with_token: bool) -> &'static str {
    if with_token {
        "the token of HF_TOKEN has no right to read it, or there is no such repository"
    } else {
        "it is private or gated and needs a token in HF_TOKEN, or there is no such repository"
    }
}
