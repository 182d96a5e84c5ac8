//! What a model would need, from what its files say of themselves: nothing is loaded, and nothing is made of them.

use std::path::Path;

use babil_models::files::{ModelFiles, StoredWeights};
use babil_models::language::{Described, LanguageOptions, available_memory};
use babil_models::working_memory;
use babil_runtime::quant::{BlockType, packed_len};
use babil_runtime::weights::{Encoding, Weights};

use crate::bytes::Record;
#[cfg(feature = "audio")]
use crate::engine::Place;
use crate::engine::{Found, Options, Source};
use crate::failure::{Code, Failure, Result};

/// What a model needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Mapped from a file.
    pub(crate) weights: u64,
    /// The program's own memory: tables that are decoded, and what one text, sentence or window takes.
    pub(crate) working: u64,
    /// Copies on disk that are made once: packed weights, and a torch file's as safetensors.
    pub(crate) disk: u64,
    /// Tokens of context; 0 where there is no such thing.
    pub(crate) context: u64,
}

impl Needs {
    /// Those of the model at `source`.
    pub(crate) fn of(source: Source, options: &Options) -> Result<Self> {
        Ok(match source.find()? {
            Found::Translator(files) => Self::of_translator(&files, &options.packed())?,
            Found::Language(place) => {
                // What it needs is asked, not whether that is too much.
                let options = LanguageOptions { memory_limit: None, ..options.language() };
                let Described { memory, context, .. } = place.describe(&options)?;
                Self {
                    weights: memory.weights,
                    working: memory.anonymous(),
                    disk: memory.packed_copy,
                    context: context as u64,
                }
            }
            #[cfg(feature = "audio")]
            Found::Speech(place) => Self::of_speech(&place, &options.packed())?,
            #[cfg(not(feature = "audio"))]
            Found::Speech(place) => return Err(crate::engine::without_sound(&place.label())),
        })
    }

    /// Those of a translator, with a copy in the folder `packed` where there has to be one.
    pub(crate) fn of_translator(files: &ModelFiles, packed: &Path) -> Result<Self> {
        Ok(Self::of_stored(&files.stored_weights(packed)?).with(working_memory(files)?))
    }

    /// Those of a speech model.
    #[cfg(feature = "audio")]
    pub(crate) fn of_speech(place: &Place, packed: &Path) -> Result<Self> {
        use babil_models::families::whisper::Config;
        use babil_models::speech::working_memory;
        use babil_runtime::Error;

        let of_files = |files: &ModelFiles| -> Result<Self> {
            let missing = || Error::bad_file(files.label("config.json"), "does not exist: a model has one");
            let config: Config = files.json("config.json")?.ok_or_else(missing)?;
            Ok(Self::of_stored(&files.stored_weights(packed)?).with(working_memory(&config)?))
        };
        let of_weights = |weights: &Weights| -> Result<Self> {
            // One that is no file of whisper.cpp is refused when it is opened.
            let config = weights.whisper_header().map(Config::from_header);
            let working = config.map(|config| working_memory(&config)).transpose()?;
            Ok(Self::of_weights(weights).with(working.unwrap_or(0)))
        };
        match place {
            Place::Path(path) if path.is_file() => of_weights(&Weights::open(path)?),
            Place::Path(path) => of_files(&ModelFiles::Folder(path.clone())),
            Place::Mapped(weights) => of_weights(weights),
            Place::Archive(archive) => of_files(&ModelFiles::Archive(archive.clone())),
        }
    }

    fn of_stored(stored: &StoredWeights) -> Self {
        match stored {
            StoredWeights::Mapped(weights) => Self::of_weights(weights),
            StoredWeights::Torch { tensors, .. } => {
                let mut needs = Self::default();
                for (encoding, shape) in tensors {
                    let bytes = bytes_of(*encoding, shape);
                    needs.tensor(*encoding, shape, bytes, false);
                    needs.disk += bytes;
                }
                needs
            }
        }
    }

    /// Those of an encoder and decoder, whose matrices are quantised.
    fn of_weights(weights: &Weights) -> Self {
        let mut needs = Self::default();
        // Whoever has packed a model has packed all matrices of it: what is two-dimensional and is not are tables.
        let packed = weights.iter().any(|(_, tensor)| tensor.as_packed().is_some());
        for (_, tensor) in weights.iter() {
            needs.tensor(tensor.encoding(), tensor.shape(), tensor.bytes().len() as u64, packed);
        }
        needs
    }

    /// Adds a tensor of a model whose matrices are `packed` already, or are going to be.
    fn tensor(&mut self, encoding: Encoding, shape: &[usize], bytes: u64, packed: bool) {
        match (encoding, shape) {
            (Encoding::F32 | Encoding::F16 | Encoding::Bf16, &[rows, cols]) if !packed => {
                let packed = packed_len(BlockType::Q8_0, rows, cols).map_or(bytes, |bytes| bytes as u64);
                self.weights += packed;
                self.disk += packed;
            }
            (Encoding::F32 | Encoding::F16 | Encoding::Bf16, shape) => self.working += bytes_of(Encoding::F32, shape),
            _ => self.weights += bytes,
        }
    }

    fn with(self, working: u64) -> Self {
        Self { working: self.working + working, ..self }
    }

    /// What a limit is compared with.
    pub(crate) fn total(&self) -> u64 {
        self.weights + self.working
    }

    /// Refuses a model that needs more than `limit` bytes.
    pub(crate) fn check(&self, limit: Option<u64>) -> Result<()> {
        match limit {
            Some(limit) if self.total() > limit => {
                let problem = format!("the model needs {} bytes, more than the limit of {limit}", self.total());
                Err(Failure::new(Code::TooLarge, problem))
            }
            _ => Ok(()),
        }
    }

    /// The record of `dev.babil.Native.plan`.
    pub(crate) fn record(&self) -> Vec<u8> {
        let record = Record::default().long(self.weights).long(self.working).long(self.disk).long(self.context);
        record.long(available()).into_bytes()
    }
}

/// Bytes that programs can still take; 0 where the system does not say.
pub(crate) fn available() -> u64 {
    available_memory().unwrap_or(0)
}

/// Bytes of a tensor of plain numbers.
fn bytes_of(encoding: Encoding, shape: &[usize]) -> u64 {
    let number = if encoding == Encoding::F32 { 4 } else { 2 };
    number * shape.iter().map(|&size| size as u64).product::<u64>()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::engine::Engine;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity").join(name)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A translator whose weights are a torch file is planned, and refused, before anything is converted.
    #[test]
    fn a_torch_file_is_not_converted_to_be_planned_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "generation_config.json"] {
            fs::copy(fixture("swish").join(name), folder.path().join(name)).unwrap();
        }
        fs::copy(fixture("pytorch/pytorch_model.bin"), folder.path().join("pytorch_model.bin")).unwrap();
        let packed = tempfile::tempdir().unwrap();
        let options = |memory_limit| Options {
            packed_folder: Some(packed.path().to_owned()),
            memory_limit,
            ..Options::default()
        };
        let source = || Source::Path(folder.path().to_owned());
        let before = names(folder.path());
        let planned = Needs::of(source(), &options(None)).unwrap();
        let refused = Engine::open(source(), &options(Some(planned.total() - 1)));
        assert!(matches!(refused, Err(Failure::Error { code: Code::TooLarge, .. })));
        assert_eq!((names(folder.path()), names(packed.path())), (before, Vec::new()), "nothing was made");
        ModelFiles::Folder(folder.path().to_owned()).weights_in(packed.path()).unwrap();
        assert!(names(folder.path()).contains(&"model.safetensors".to_owned()));
        // Converted, it needs the same, without that copy.
        let converted = Needs::of(source(), &options(None)).unwrap();
        let plain = Needs::of(Source::Path(fixture("swish")), &options(None)).unwrap();
        assert_eq!(converted, plain);
        let copy = fs::metadata(folder.path().join("model.safetensors")).unwrap().len();
        assert_eq!((planned.weights, planned.working), (plain.weights, plain.working));
        let header = copy - (planned.disk - plain.disk);
        assert!(header > 0 && header < 16 << 10, "the copy has {copy} bytes, {planned:?} against {plain:?}");
    }
}
