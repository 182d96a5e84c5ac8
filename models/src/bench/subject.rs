//! What is measured: a name -> a model, of which kind it is, and what its files say of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result};
use sha2::{Digest, Sha256};

use super::work::Task;
use crate::catalogue::{self, Catalogue, ModelKind, Resolved};
use crate::families;
use crate::files::ModelFiles;
use crate::open::OpenError;
use crate::quantize::MIXES;

/// A model that was found.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A language model's file or folder.
    Language(PathBuf),
    /// A translation model.
    Translation(ModelFiles),
    /// A speech model's file or folder.
    Speech(PathBuf),
}

impl Subject {
    /// The model called `name`: a name of the catalogue, a folder or a file.
    ///
    /// # Errors
    /// A model that does not exist or was not pulled, or files that are no model.
    pub fn find(name: &str) -> std::result::Result<Self, OpenError> {
        let entry = Catalogue::get().find(name);
        let path = Path::new(name);
        if entry.is_none() && path.is_file() {
            return Ok(Self::of_file(path)?);
        }
        match catalogue::resolve(name)? {
            Resolved::Bundled => Ok(Self::Translation(crate::open::bundled()?)),
            Resolved::Gguf(path) => Ok(Self::Language(path)),
            Resolved::Directory(folder) => match entry.and_then(|entry| entry.kind) {
                Some(ModelKind::Language) => Ok(Self::Language(folder)),
                Some(ModelKind::Translation) => Ok(Self::Translation(ModelFiles::Folder(folder))),
                Some(ModelKind::Speech) => Ok(Self::Speech(folder)),
                None => Ok(Self::of_folder(folder)?),
            },
            Resolved::NotPulled { entry } => Err(catalogue::Error::NotPulled { name: entry.name }.into()),
        }
    }

    fn of_file(path: &Path) -> Result<Self> {
        let mut magic = [0; 4];
        let mut file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        file.read_exact(&mut magic).map_err(|error| Error::io("read", path, error))?;
        match &magic {
            b"GGUF" => Ok(Self::Language(path.to_owned())),
            // whisper.cpp's number, little-endian.
            b"lmgg" => Ok(Self::Speech(path.to_owned())),
            _ => Err(Error::bad_file(path.display().to_string(), "is neither a GGUF file nor one of whisper.cpp")),
        }
    }

    fn of_folder(folder: PathBuf) -> Result<Self> {
        let files = ModelFiles::Folder(folder.clone());
        let config: Option<serde_json::Value> = files.json("config.json")?;
        let missing =
            || Error::bad_file(files.label("config.json"), "does not exist: this is not the folder of a model");
        Ok(match config.ok_or_else(missing)?["model_type"].as_str() {
            Some("marian") => Self::Translation(files),
            Some("whisper") => Self::Speech(folder),
            _ => Self::Language(folder),
        })
    }

    /// What it does.
    pub fn task(&self) -> Task {
        match self {
            Self::Language(_) => Task::Language,
            Self::Translation(_) => Task::Translation,
            Self::Speech(_) => Task::Speech,
        }
    }

    /// What its files say.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub fn facts(&self) -> Result<Facts> {
        let (weights, label, file) = match self {
            Self::Language(path) | Self::Speech(path) => {
                let file = families::weights_file(path);
                let weights = match path.is_dir() {
                    true => ModelFiles::Folder(path.clone()).weights()?,
                    false => Weights::open(path)?,
                };
                (weights, path.display().to_string(), Content::File(file))
            }
            Self::Translation(files) => {
                let content = match files {
                    ModelFiles::Folder(folder) => Content::File(folder.join("model.safetensors")),
                    ModelFiles::BuiltIn { .. } | ModelFiles::Archive(_) => {
                        Content::BuiltIn(files.expect("model.safetensors")?.into_owned())
                    }
                };
                let label = files.folder().map_or_else(|| files.label(""), |folder| folder.display().to_string());
                (files.weights()?, label.trim_end_matches('/').to_owned(), content)
            }
        };
        let mut facts = Facts::of(&weights, self.family(&weights)?, label);
        facts.sha256 = content_hash(&file)?;
        Ok(facts)
    }

    /// The name of the architecture.
    fn family(&self, weights: &Weights) -> Result<String> {
        let of_folder = |folder: &Path| -> Result<Option<String>> {
            let config: Option<serde_json::Value> = ModelFiles::Folder(folder.to_owned()).json("config.json")?;
            Ok(config.and_then(|config| config["model_type"].as_str().map(str::to_owned)))
        };
        let name = match (self, weights.gguf_metadata()) {
            (Self::Translation(_), _) => Some("marian".to_owned()),
            (Self::Speech(_), _) => Some("whisper".to_owned()),
            (Self::Language(_), Some(metadata)) => metadata.find::<&str>("general.architecture")?.map(str::to_owned),
            (Self::Language(path), None) => of_folder(path)?,
        };
        Ok(name.unwrap_or_else(|| "unknown".to_owned()))
    }
}

enum Content {
    File(PathBuf),
    BuiltIn(Vec<u8>),
}

/// What a model is, besides its speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its file or folder.
    pub filename: String,
    /// Architecture, size and type, as in `llama 135M Q4_0`.
    pub model_type: String,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Values of all tensors.
    pub parameters: u64,
    /// Bytes of weights that a decoder reads for each token: all tensors, but for embeddings that are not the output
    /// matrix as well. `None` of models with an encoder.
    pub bytes_per_token: Option<u64>,
    /// Hexadecimal, of the file with the weights; `None` where there are several.
    pub sha256: Option<String>,
}

impl Facts {
    fn of(weights: &Weights, family: String, filename: String) -> Self {
        let (mut bytes, mut parameters) = (0, 0);
        let mut types: Vec<(String, u64)> = Vec::new();
        for (_, tensor) in weights.iter() {
            let (size, name) = (tensor.bytes().len() as u64, tensor.encoding().to_string());
            bytes += size;
            parameters += tensor.shape().iter().product::<usize>() as u64;
            match types.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += size,
                None => types.push((name, size)),
            }
        }
        let mixed =
            weights.gguf_metadata().and_then(|metadata| metadata.find::<u32>("general.file_type").ok().flatten());
        let mix =
            mixed.and_then(|number| MIXES.iter().find(|mix| mix.file_type == number)).map(|mix| mix.name.to_owned());
        let most = types.into_iter().max_by_key(|(_, size)| *size).map(|(name, _)| name);
        let kind = mix.or(most).unwrap_or_default().to_uppercase();
        let tied = weights.get("output.weight").is_none();
        let decoder = weights.gguf_metadata().is_some();
        let embedding =
            weights.get("token_embd.weight").filter(|_| !tied).map_or(0, |tensor| tensor.bytes().len() as u64);
        Self {
            filename,
            model_type: format!("{family} {} {kind}", size_label(parameters)),
            bytes,
            parameters,
            bytes_per_token: decoder.then(|| bytes - embedding),
            sha256: None,
        }
    }
}

/// `135M`, `1.2B`.
fn size_label(parameters: u64) -> String {
    match parameters {
        0..1_000_000 => format!("{:.0}K", parameters as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0}M", parameters as f64 / 1e6),
        _ => format!("{:.1}B", parameters as f64 / 1e9),
    }
}

fn content_hash(content: &Content) -> Result<Option<String>> {
    let mut hasher = Sha256::new();
    match content {
        Content::BuiltIn(bytes) => hasher.update(bytes),
        // Weights in several files, or made from others.
        Content::File(path) if !path.exists() => return Ok(None),
        Content::File(path) => {
            let mut file = File::open(path).map_err(|error| Error::io("open", path, error))?;
            let mut block = vec![0; 1 << 20];
            loop {
                match file.read(&mut block).map_err(|error| Error::io("read", path, error))? {
                    0 => break,
                    count => hasher.update(&block[..count]),
                }
            }
        }
    }
    Ok(Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity(name: &str) -> String {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("parity").join(name).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_name_or_a_path_is_a_model_of_some_kind() {
        for (name, task) in [
            ("lm/llama/model.gguf", Task::Language),
            ("lm/qwen3", Task::Language),
            ("relu", Task::Translation),
            ("speech/en", Task::Speech),
        ] {
            let subject = Subject::find(&parity(name)).unwrap();
            assert_eq!(subject.task(), task, "{name}");
            let facts = subject.facts().unwrap();
            assert!(facts.bytes > 0 && facts.parameters > 0 && facts.filename.ends_with(name), "{facts:?}");
            assert_eq!(facts.sha256.unwrap().len(), 64);
        }
        let facts = Subject::find(&parity("lm/llama/model.gguf")).unwrap().facts().unwrap();
        assert!(facts.model_type.starts_with("llama ") && facts.model_type.ends_with(" F32"), "{}", facts.model_type);
        assert!(facts.bytes_per_token.unwrap() <= facts.bytes);
        assert!(matches!(Subject::find("no-such-model"), Err(OpenError::Catalogue(_))));
        assert!(Subject::find(&parity("README.md")).is_err());
        assert!(Subject::find(&parity("pytorch")).is_err());
    }

    #[cfg(feature = "bundled")]
    #[test]
    fn the_bundled_translator_is_a_model_too() {
        let subject = Subject::find("en-fr").unwrap();
        assert_eq!(subject.task(), Task::Translation);
        let facts = subject.facts().unwrap();
        assert_eq!((facts.filename.as_str(), facts.sha256.map(|hash| hash.len())), ("bundled/en-fr", Some(64)));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([134_515_008, 1_240_000_000, 90_000].map(size_label), ["135M", "1.2B", "90K"]);
    }
}
