//! Language models: which family a file belongs to, and what comes with it besides the weights.

use std::path::{Path, PathBuf};

use babil_runtime::spec::{DecoderSpec, TensorNames};
use babil_runtime::text::Tokenizer;
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result, Token};
use serde::Deserialize;

use super::{GgufNames, HubNames, decoder_from_config, decoder_from_gguf, split_joined};
use crate::files::ModelFiles;

/// A decoder-only model as its family describes it.
pub struct Language {
    /// What it computes.
    pub spec: DecoderSpec,
    /// How its tensors are called.
    pub names: Box<dyn TensorNames + Send + Sync>,
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Language").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A language model's weights and description.
#[derive(Debug)]
pub struct Opened {
    /// Tensors and metadata.
    pub weights: Weights,
    /// The architecture's name in the file.
    pub architecture: String,
    /// What the weights are.
    pub language: Language,
}

/// Opens the weights at `path` (a GGUF file, or a folder with `config.json`) and describes them. `context` is how many
/// positions texts may have, where that is known: some models turn their positions otherwise when there are many.
///
/// # Errors
/// A file that is damaged, or a family that is not native: the message lists those that are.
pub fn open(path: &Path, context: Option<usize>) -> Result<Opened> {
    let context = context.unwrap_or(usize::MAX);
    let (mut weights, architecture, language) = if path.is_dir() {
        let files = ModelFiles::Folder(path.to_owned());
        let file = files.label("config.json");
        let config: serde_json::Value = files.json("config.json")?.ok_or_else(|| {
            Error::bad_file(&file, "does not exist: a language model is a GGUF file, or a folder with this file")
        })?;
        let spec = decoder_from_config(&file, &config, context)?;
        let architecture = config.get("model_type").and_then(serde_json::Value::as_str).unwrap_or_default();
        let names = Box::new(HubNames::new(&spec));
        (files.weights()?, architecture.to_owned(), Language { spec, names })
    } else {
        return describe(Weights::open(path)?, Some(context));
    };
    split_joined(&mut weights, &language.spec)?;
    Ok(Opened { weights, architecture, language })
}

/// As [`open`], for the `weights` of a GGUF file.
///
/// # Errors
/// As [`open`].
pub fn describe(mut weights: Weights, context: Option<usize>) -> Result<Opened> {
    let spec = decoder_from_gguf(&weights, context.unwrap_or(usize::MAX))?;
    let metadata = weights.gguf_metadata();
    let architecture = metadata.map(|metadata| metadata.expect::<&str>("general.architecture")).transpose()?;
    let architecture = architecture.unwrap_or_default().to_owned();
    let language = Language { spec, names: Box::new(GgufNames) };
    split_joined(&mut weights, &language.spec)?;
    Ok(Opened { weights, architecture, language })
}

/// The file with the weights of the model at `path`.
pub fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() }
}

/// The tokenizer of the model at `path`: the GGUF file's own, or a folder's `tokenizer.json`.
///
/// # Errors
/// A vocabulary that is missing, damaged or of an unknown kind.
pub fn tokenizer(path: &Path, weights: &Weights) -> Result<Tokenizer> {
    if let Some(metadata) = weights.gguf_metadata() {
        return Tokenizer::from_gguf(metadata);
    }
    const JSON: &str = "tokenizer.json";
    let files = folder(path);
    let rows = ["model.embed_tokens.weight", "embed_tokens.weight"].iter().find_map(|name| weights.get(name));
    let rows = rows.and_then(|matrix| matrix.shape().first().copied());
    let mut tokenizer =
        Tokenizer::from_json(&files.expect(JSON)?, &files.label(JSON), rows.unwrap_or(u32::MAX as usize))?;
    for name in ["generation_config.json", "config.json"] {
        let ends: Ends = files.json(name)?.unwrap_or_default();
        let eos = match ends.eos_token_id {
            Some(OneOrMore::One(id)) => vec![id],
            Some(OneOrMore::More(ids)) => ids,
            None => Vec::new(),
        };
        let pad = ends.pad_token_id.and_then(|id| id.try_into().ok());
        tokenizer.set_ends(ends.bos_token_id, &eos, pad);
    }
    Ok(tokenizer)
}

/// The files of the model at `path`: the folder itself, or the one that a file is in.
fn folder(path: &Path) -> ModelFiles {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    ModelFiles::Folder(folder.to_owned())
}

/// The tokens that begin and end a text, as configuration files tell them.
#[derive(Default, Deserialize)]
struct Ends {
    bos_token_id: Option<Token>,
    eos_token_id: Option<OneOrMore<Token>>,
    /// -1 where there is none.
    pad_token_id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

/// The chat template of the model at `path`, where it has one: the GGUF file's own, or a folder's `chat_template.jinja` or
/// the key `chat_template` of its `tokenizer_config.json`.
///
/// # Errors
/// It cannot be read.
pub fn template(path: &Path, weights: &Weights) -> Result<Option<String>> {
    if let Some(metadata) = weights.gguf_metadata() {
        return Ok(metadata.find::<&str>("tokenizer.chat_template")?.map(str::to_owned));
    }
    const JINJA: &str = "chat_template.jinja";
    let files = folder(path);
    if let Some(bytes) = files.read(JINJA)? {
        let text = String::from_utf8(bytes.into_owned());
        return text.map(Some).map_err(|_| Error::bad_file(files.label(JINJA), "is not UTF-8"));
    }
    #[derive(Default, Deserialize)]
    struct Config {
        chat_template: Option<OneOrMore<Template>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Template {
        Text(String),
        Named { name: String, template: String },
    }
    let config: Config = files.json("tokenizer_config.json")?.unwrap_or_default();
    Ok(match config.chat_template {
        None => None,
        Some(OneOrMore::One(Template::Text(text) | Template::Named { template: text, .. })) => Some(text),
        Some(OneOrMore::More(all)) => all.into_iter().find_map(|template| match template {
            Template::Named { name, template } if name == "default" => Some(template),
            _ => None,
        }),
    })
}
