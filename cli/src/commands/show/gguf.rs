//! What a GGUF file says of itself: a summary, and lists of its keys and its tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{Array, Metadata, Value};
use serde::Serialize;
use serde_json::json;

use crate::output::human_bytes;

/// The template of conversations.
const TEMPLATE: &str = "tokenizer.chat_template";

/// An opened GGUF file.
pub(super) struct GgufFile {
    path: PathBuf,
    weights: Weights,
}

/// What it is, as far as it says.
#[derive(Serialize)]
pub(super) struct Summary {
    architecture: Option<String>,
    name: Option<String>,
    pub(super) licence: Option<String>,
    /// Values of all tensors.
    parameters: u64,
    context: Option<u64>,
    /// Number of tokens.
    vocabulary: Option<usize>,
    /// The kind of the tokenizer, and how it cuts text into words.
    tokenizer: Option<String>,
    special_tokens: Vec<SpecialToken>,
    template: bool,
    /// Of each type of tensor.
    types: BTreeMap<String, OfType>,
}

#[derive(Serialize)]
struct SpecialToken {
    role: String,
    id: u64,
    text: Option<String>,
}

#[derive(Default, Serialize)]
struct OfType {
    tensors: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct TensorRow<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: String,
    /// Dimensions, slowest first.
    shape: &'a [usize],
    bytes: Option<usize>,
}

impl GgufFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), weights: Weights::open(path)? })
    }

    fn metadata(&self) -> Result<&Metadata> {
        let problem = || babil_runtime::Error::bad_file(self.path.display().to_string(), "is no GGUF file");
        Ok(self.weights.gguf_metadata().ok_or_else(problem)?)
    }

    pub(super) fn summary(&self) -> Result<Summary> {
        let metadata = self.metadata()?;
        let architecture = text(metadata, "general.architecture");
        let context = architecture.as_ref().and_then(|name| number(metadata, &format!("{name}.context_length")));
        let tokens = metadata.find::<Array<'_>>("tokenizer.ggml.tokens").ok().flatten();
        let kinds = ["tokenizer.ggml.model", "tokenizer.ggml.pre"].map(|key| text(metadata, key));
        let tokenizer = match kinds {
            [Some(model), Some(pre)] => Some(format!("{model}, {pre}")),
            [model, pre] => model.or(pre),
        };
        let licence = match text(metadata, "general.license") {
            // The name beside it says more.
            Some(licence) if licence == "other" => text(metadata, "general.license.name").or(Some(licence)),
            licence => licence,
        };
        let mut types: BTreeMap<String, OfType> = BTreeMap::new();
        let mut parameters = 0;
        for (_, tensor) in self.weights.iter() {
            let of_type = types.entry(tensor.encoding().to_string()).or_default();
            of_type.tensors += 1;
            of_type.bytes += tensor.bytes().len() as u64;
            parameters += tensor.shape().iter().product::<usize>() as u64;
        }
        Ok(Summary {
            architecture,
            name: text(metadata, "general.name"),
            licence,
            parameters,
            context,
            vocabulary: tokens.map(|tokens| tokens.len()),
            tokenizer,
            special_tokens: special_tokens(metadata, tokens),
            template: metadata.get(TEMPLATE).is_some(),
            types,
        })
    }

    /// The template of conversations, if it has one.
    pub(super) fn template(&self) -> Result<Option<String>> {
        Ok(text(self.metadata()?, TEMPLATE))
    }

    /// Keys and values, a line each; long values are cut.
    pub(super) fn metadata_lines(&self) -> Result<String> {
        Ok(self.metadata()?.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
    }

    /// Tensors, a line each.
    pub(super) fn tensor_lines(&self) -> Result<String> {
        let rows = self.tensors()?;
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let line = |row: &TensorRow<'_>| {
            let TensorRow { name, kind, shape, bytes } = row;
            let bytes = bytes.map_or_else(|| "not used".to_owned(), |bytes| human_bytes(bytes as u64).to_string());
            format!("{name:width$}  {kind:<8}  {:<16}  {bytes}\n", format!("{shape:?}"))
        };
        Ok(rows.iter().map(line).collect())
    }

    fn tensors(&self) -> Result<Vec<TensorRow<'_>>> {
        let used = self.weights.iter().map(|(name, tensor)| TensorRow {
            name,
            kind: tensor.encoding().to_string(),
            shape: tensor.shape(),
            bytes: Some(tensor.bytes().len()),
        });
        let others = self.metadata()?.other_tensors().iter().map(|tensor| TensorRow {
            name: &tensor.name,
            kind: tensor.kind.to_owned(),
            shape: &tensor.shape,
            bytes: None,
        });
        Ok(used.chain(others).collect())
    }

    /// All of it.
    pub(super) fn json(&self) -> Result<serde_json::Value> {
        let metadata = self.metadata()?;
        let keys: serde_json::Map<_, _> =
            metadata.iter().map(|(key, value)| (key.to_owned(), to_json(value))).collect();
        Ok(json!({
            "path": self.path,
            "version": metadata.version(),
            "summary": self.summary()?,
            "template": self.template()?,
            "metadata": keys,
            "tensors": self.tensors()?,
        }))
    }
}

impl Summary {
    /// Labels and values, in the order to show them in.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut line = |label, value: Option<String>| lines.extend(value.map(|value| (label, value)));
        line("name", self.name.clone());
        line("family", self.architecture.clone());
        line("parameters", Some(count(self.parameters)));
        for (kind, of) in &self.types {
            let plural = if of.tensors == 1 { "" } else { "s" };
            line("tensors", Some(format!("{kind}: {} tensor{plural}, {}", of.tensors, human_bytes(of.bytes))));
        }
        line("context", self.context.map(|tokens| format!("{tokens} tokens")));
        line("vocabulary", self.vocabulary.map(|tokens| format!("{tokens} tokens")));
        line("tokenizer", self.tokenizer.clone());
        for SpecialToken { role, id, text } in &self.special_tokens {
            let text = text.as_ref().map(|text| format!(" {text:?}")).unwrap_or_default();
            line("token", Some(format!("{role}: {id}{text}")));
        }
        line("template", Some(if self.template { "yes (--template prints it)" } else { "no" }.to_owned()));
        lines
    }
}

/// `134515008` as `135 million`.
pub(super) fn count(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..1_000_000_000 => format!("about {} million", (number as f64 / 1e6).round()),
        _ => format!("about {:.2} billion", number as f64 / 1e9),
    }
}

fn text(metadata: &Metadata, key: &str) -> Option<String> {
    match metadata.get(key)? {
        Value::Str(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn number(metadata: &Metadata, key: &str) -> Option<u64> {
    metadata.find(key).ok().flatten()
}

/// The tokens that have a role: keys such as `tokenizer.ggml.eos_token_id`.
fn special_tokens(metadata: &Metadata, tokens: Option<Array<'_>>) -> Vec<SpecialToken> {
    let role_of = |key: &str| Some(key.strip_prefix("tokenizer.ggml.")?.strip_suffix("_token_id")?.to_owned());
    let special = metadata.iter().filter_map(|(key, _)| {
        // Files write 4294967295 for none.
        let known = |id: &u64| tokens.is_none_or(|tokens| *id < tokens.len() as u64);
        let (role, id) = (role_of(key)?, number(metadata, key).filter(known)?);
        let text = tokens.and_then(|tokens| match tokens.iter().nth(usize::try_from(id).ok()?)? {
            Value::Str(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        Some(SpecialToken { role, id, text })
    });
    special.collect()
}

fn to_json(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::U8(v) => v.into(),
        Value::I8(v) => v.into(),
        Value::U16(v) => v.into(),
        Value::I16(v) => v.into(),
        Value::U32(v) => v.into(),
        Value::I32(v) => v.into(),
        Value::U64(v) => v.into(),
        Value::I64(v) => v.into(),
        Value::F32(v) => v.into(),
        Value::F64(v) => v.into(),
        Value::Bool(v) => v.into(),
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Array(array) => array.iter().map(to_json).collect(),
    }
}
