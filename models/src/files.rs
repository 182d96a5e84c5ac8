//! The files of one model: a folder, an archive, or data inside the program.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use babil_runtime::weights::{Encoding, Weights};
use babil_runtime::{Error, Result};

use crate::archive::Archive;
use crate::convert;

/// Where a model's files are.
#[derive(Clone, Debug)]
pub enum ModelFiles {
    /// A folder.
    Folder(PathBuf),
    /// A zip archive that compresses nothing.
    Archive(Archive),
    /// Files that are part of the program.
    BuiltIn {
        /// Stands for the folder in messages.
        label: &'static str,
        /// Name and content of each file.
        files: &'static [(&'static str, &'static [u8])],
    },
}

/// The weights of a model as they are stored, before anything is made of them.
#[derive(Debug)]
pub enum StoredWeights {
    /// They can be mapped as they are.
    Mapped(Weights),
    /// A torch file that has to be converted first.
    Torch {
        /// The file.
        file: PathBuf,
        /// Encoding and shape of its tensors.
        tensors: Vec<(Encoding, Vec<usize>)>,
    },
}

impl ModelFiles {
    /// How messages name the file `name`.
    pub fn label(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Archive(archive) => format!("{}/{name}", archive.label()),
            Self::BuiltIn { label, .. } => format!("{label}/{name}"),
        }
    }

    /// The folder's path, where there is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Archive(_) | Self::BuiltIn { .. } => None,
        }
    }

    /// The content of a small file, or `None` where it does not exist.
    ///
    /// # Errors
    /// The file exists but cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(None),
                    Err(error) => Err(Error::io("read", path, error)),
                }
            }
            Self::Archive(archive) => Ok(archive.read(name)?.map(Cow::Owned)),
            Self::BuiltIn { files, .. } => {
                Ok(files.iter().find(|(file, _)| *file == name).map(|(_, bytes)| Cow::Borrowed(*bytes)))
            }
        }
    }

    /// The content of a file that must exist.
    ///
    /// # Errors
    /// It does not exist or cannot be read.
    pub fn expect(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        self.read(name)?.ok_or_else(|| Error::bad_file(self.label(name), "does not exist, the model needs it"))
    }

    /// A JSON file, or `None` where it does not exist.
    ///
    /// # Errors
    /// It cannot be read, or is not what `T` needs: the message names the key.
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::bad_file(self.label(name), e.to_string()))
    }

    /// The weights: `model.safetensors`, its shards, or `pytorch_model.bin` converted once, into the folder of packed
    /// weights.
    ///
    /// # Errors
    /// There are none, or they cannot be read.
    pub fn weights(&self) -> Result<Weights> {
        self.weights_in(&crate::packed_folder())
    }

    /// As [`Self::weights`], where what is converted goes into the folder `packed`.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn weights_in(&self, packed: &Path) -> Result<Weights> {
        match self.stored_weights(packed)? {
            StoredWeights::Mapped(weights) => Ok(weights),
            StoredWeights::Torch { file, .. } => {
                Weights::open(convert::safetensors_of(&file, &convert::MARIAN_COMPUTED, packed)?)
            }
        }
    }

    /// What [`Self::weights_in`] would open, without converting anything.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn stored_weights(&self, packed: &Path) -> Result<StoredWeights> {
        let mapped = match self {
            Self::BuiltIn { files, .. } => match files.iter().find(|(file, _)| *file == SINGLE) {
                Some((_, bytes)) => Weights::from_static(bytes, &self.label(SINGLE)),
                None => Err(Error::bad_file(self.label(SINGLE), "does not exist")),
            },
            Self::Archive(archive) => match archive.part(SINGLE) {
                Some(part) => Weights::open_part(&part),
                None => Err(Error::bad_file(self.label(SINGLE), "does not exist")),
            },
            Self::Folder(folder) if folder.join(SINGLE).exists() => Weights::open(folder.join(SINGLE)),
            Self::Folder(folder) if folder.join(SHARDS).exists() => Weights::open_sharded(folder.join(SHARDS)),
            Self::Folder(folder) if folder.join(PICKLE).exists() => {
                let file = folder.join(PICKLE);
                match convert::converted(&file, packed)? {
                    Some(converted) => Weights::open(converted),
                    None => {
                        let tensors = convert::torch_tensors(&file, &convert::MARIAN_COMPUTED)?;
                        return Ok(StoredWeights::Torch { file, tensors });
                    }
                }
            }
            Self::Folder(folder) => Err(Error::bad_file(
                folder.display().to_string(),
                "holds no weights: neither model.safetensors nor pytorch_model.bin",
            )),
        };
        mapped.map(StoredWeights::Mapped)
    }
}

const SINGLE: &str = "model.safetensors";
const SHARDS: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
