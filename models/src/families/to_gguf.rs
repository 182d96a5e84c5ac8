//! A Hugging Face folder of a language model -> what a GGUF file of it holds: metadata, and tensors by their names
//! there. Matrices stay where they are in the folder's files; vectors become float32.
//!
//! ```text
//! config.json --> spec --Description--> metadata --Keys--> spec again: both must say the same
//! weights, by role --> names, 1 + weight, rows of queries and keys in another order --> tensors
//! tokenizer.json --> Tokenizer --> metadata
//! ```
//!
//! What a family's files cannot say (windows of Qwen 2, for example) shows when the metadata are read again.

use std::collections::BTreeMap;
use std::path::Path;

use babil_runtime::kernels::Kernels;
use babil_runtime::plan::{DecoderPlan, Parameter, decoder_roles};
use babil_runtime::spec::{
    AttentionSpec, DecoderSpec, LayerSpec, Mixer, Norm, Pairing, Part, Projection, Role, Rope, RopeScaling, TensorNames,
};
use babil_runtime::text::Tokenizer;
use babil_runtime::weights::gguf::Value;
use babil_runtime::weights::{Tensor, Weights};
use babil_runtime::{Error, Result};
use serde_json::Value as Json;

use super::config::Config;
use super::description::{self, Description};
use super::names::joined_names;
use super::{GgufNames, HubNames, decoder_from_config, decoder_from_gguf, family_of};
use crate::files::ModelFiles;

/// A folder as a GGUF file has it.
#[derive(Debug)]
pub struct AsGguf {
    /// Metadata and tensors.
    pub weights: Weights,
    /// The tensors of `weights` whose rows are to be written in another order.
    pub turned: BTreeMap<String, Turned>,
}

/// The order of the rows of queries and keys in files of families whose rotary positions turn neighbours: features of a
/// head that are paired stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Features of a head.
    head_dim: usize,
    /// Features that are turned, the first of a head.
    dims: usize,
}

impl Turned {
    /// The row of the folder's matrix that is row `row` of the file's.
    pub fn source(self, row: usize) -> usize {
        let (head, feature) = (row / self.head_dim, row % self.head_dim);
        let feature = if feature < self.dims { feature % 2 * (self.dims / 2) + feature / 2 } else { feature };
        head * self.head_dim + feature
    }
}

/// Reads the language model in `folder`.
///
/// # Errors
/// A folder that this version cannot run, or one that says what GGUF files of its family cannot say.
pub fn to_gguf(folder: &Path) -> Result<AsGguf> {
    let files = ModelFiles::Folder(folder.to_owned());
    let file = files.label("config.json");
    // Whatever is missing or damaged is said as when the model is run.
    let opened = super::open(folder, None)?;
    let spec = opened.language.spec;
    DecoderPlan::new(spec.clone(), &opened.weights, &*opened.language.names, Kernels::from_env()?)?;
    let json: Json = files.json("config.json")?.unwrap_or_default();
    let source = Source {
        folder,
        file: &file,
        json: &json,
        weights: files.weights()?,
        tokenizer: super::tokenizer(folder, &opened.weights)?,
        template: super::template(folder, &opened.weights)?,
        spec,
    };
    // An architecture that has two names means two things by them.
    let family = family_of(&file, &Config::new(&file, &json, usize::MAX)?)?;
    let mut result = Err(Error::Unsupported(String::new()));
    for architecture in family.architectures {
        result = source.as_file(architecture, family.to_gguf);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// A folder, read.
struct Source<'a> {
    folder: &'a Path,
    file: &'a str,
    json: &'a Json,
    /// As they are in the files: joined matrices are joined.
    weights: Weights,
    tokenizer: Tokenizer,
    template: Option<String>,
    spec: DecoderSpec,
}

type Describe = fn(&mut Description<'_>, &DecoderSpec, &Config<'_>) -> Result<()>;

impl Source<'_> {
    fn as_file(&self, architecture: &str, describe: Describe) -> Result<AsGguf> {
        let config = Config::new(self.file, self.json, usize::MAX)?;
        let mut out = Description::new(architecture, &self.name());
        out.usual(&self.spec)?;
        describe(&mut out, &self.spec, &config)?;
        let label = self.folder.join("tokenizer.json").display().to_string();
        self.tokenizer.to_gguf(self.spec.stack.vocab(), &label, &mut out.entries)?;
        if let Some(template) = &self.template {
            out.entries.set("tokenizer.chat_template", Value::Str(template.as_bytes()));
        }
        let Description { entries, mut tensors, final_norm, .. } = out;
        let mut queries_and_keys = Vec::new();
        for (name, parameter) in decoder_roles(&self.spec, &self.weights, &HubNames::new(&self.spec)) {
            let tensor = self.weights.get(&name).expect("a name of these weights");
            let new = match parameter.role {
                Role::FinalNorm(_) => Some(final_norm.to_owned()),
                role => GgufNames.names(role).into_iter().next(),
            };
            let Some(new) = new.filter(|_| parameter.suffix != ".bias" || has_bias(&self.spec, parameter.role)) else {
                continue;
            };
            let new = new + parameter.suffix;
            if let Role::Layer(_, layer, Part::SelfAttention(Projection::Query | Projection::Key)) = parameter.role {
                queries_and_keys.push((new.clone(), layer));
            }
            tensors.insert(new, if parameter.matrix { tensor.clone() } else { vector(&self.spec, parameter, tensor) });
        }
        let joined = joined_names(&self.weights, &self.spec);
        for (hub, gguf) in &joined {
            tensors.insert(gguf.clone(), self.weights.get(hub).expect("a name of these weights").clone());
        }
        let label = format!("{} as a GGUF file", self.folder.display());
        let mut weights = Weights::from_entries(label.clone(), &entries, tensors.clone())?;
        let pairing = self.check(&weights, architecture)?;
        let mut turned = BTreeMap::new();
        if pairing == Pairing::Interleaved {
            if let Some((hub, _)) = joined.first() {
                return Err(Error::Unsupported(format!("`{hub}` in a model of {architecture} as a GGUF file")));
            }
            for (name, layer) in queries_and_keys {
                let Some(order) = self.order(layer) else { continue };
                let tensor = &tensors[&name];
                if tensor.shape().len() == 1 {
                    let values = tensor.to_f32();
                    let values: Vec<f32> = (0..values.len()).map(|row| values[order.source(row)]).collect();
                    tensors.insert(name, Tensor::from_f32(&[values.len()], &values));
                } else {
                    turned.insert(name, order);
                }
            }
            weights = Weights::from_entries(label, &entries, tensors)?;
        }
        Ok(AsGguf { weights, turned })
    }

    /// The model's name: the folder's.
    fn name(&self) -> String {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.to_owned());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let says = ["phi-3", "phi3"].iter().any(|part| name.to_lowercase().contains(part));
        // See `strips_spaces`.
        if self.tokenizer.strips_spaces() && !says { format!("{name} (Phi-3)") } else { name }
    }

    /// The order of the rows of a layer's queries and keys. Layers without positions have that of the others.
    fn order(&self, layer: usize) -> Option<Turned> {
        let own = match &self.spec.stack.layers[layer].mixer {
            Mixer::Attention(attention) => attention,
            Mixer::ShortConv { .. } => return None,
        };
        let dims = own.rope.as_ref().map_or(own.head_dim, |rope| rope.dims);
        Some(Turned { head_dim: own.head_dim, dims })
    }

    /// Refuses a file that does not say what the folder says; tells which features files of the architecture pair.
    fn check(&self, weights: &Weights, architecture: &str) -> Result<Pairing> {
        let mut pairing = Pairing::Halves;
        for context in [1, usize::MAX] {
            let folder = decoder_from_config(self.file, self.json, context)?;
            let file = decoder_from_gguf(weights, context)?;
            let ropes = description::attentions(&file).filter_map(|attention| attention.rope.as_ref());
            pairing = ropes.map(|rope| rope.pairing).last().unwrap_or(pairing);
            if let Some(difference) = difference("", &comparable(folder)?, &comparable(file)?) {
                let problem = format!(
                    "{}: a GGUF file of the architecture `{architecture}` cannot say this: {difference}",
                    self.file
                );
                return Err(Error::Unsupported(problem));
            }
        }
        Ok(pairing)
    }
}

/// A vector, or a small matrix that is computed with in float32.
fn vector(spec: &DecoderSpec, parameter: Parameter, tensor: &Tensor) -> Tensor {
    let mut values = tensor.to_f32();
    if let (Some(Norm::Rms { offset, .. }), ".weight") = (norm_of(spec, parameter.role), parameter.suffix) {
        values.iter_mut().for_each(|value| *value += offset);
    }
    // Kernels of convolutions have a dimension of 1 for the channels that they read.
    let shape: Vec<usize> = match *tensor.shape() {
        [features, 1, kernel] => vec![features, kernel],
        ref shape => shape.to_vec(),
    };
    Tensor::from_f32(&shape, &values)
}

/// Whether a part of a layer has a bias; one that the model does not read is none.
fn has_bias(spec: &DecoderSpec, role: Role) -> bool {
    let Role::Layer(_, layer, part) = role else { return false };
    let layer = &spec.stack.layers[layer];
    match (part, &layer.mixer) {
        (Part::SelfAttention(projection), Mixer::Attention(attention)) => attention.bias.of(projection),
        (Part::FfnGate | Part::FfnUp | Part::FfnDown, _) => layer.ffn.bias,
        (Part::ConvIn | Part::ConvKernel | Part::ConvOut, Mixer::ShortConv { bias, .. }) => *bias,
        _ => false,
    }
}

/// The norm that a role is the weight of.
fn norm_of(spec: &DecoderSpec, role: Role) -> Option<Norm> {
    let Role::Layer(_, layer, part) = role else {
        return spec.stack.final_norm.filter(|_| matches!(role, Role::FinalNorm(_)));
    };
    let layer = &spec.stack.layers[layer];
    let attention = match &layer.mixer {
        Mixer::Attention(attention) => Some(attention),
        Mixer::ShortConv { .. } => None,
    };
    match part {
        Part::MixerNorm | Part::MixerPostNorm | Part::FfnNorm | Part::FfnPostNorm => Some(layer.norm),
        Part::FfnSubNorm => layer.ffn.sub_norm,
        Part::AttentionSubNorm => attention?.sub_norm,
        Part::HeadNorm(_) => Some(attention?.head_norm?.1),
        _ => None,
    }
}

/// A spec without what folders and files say differently: which features are paired, what is added to norms, and how
/// frequencies come about.
fn comparable(mut spec: DecoderSpec) -> Result<Json> {
    let plain = |norm: &mut Norm| {
        if let Norm::Rms { offset, .. } = norm {
            *offset = 0.0;
        }
    };
    spec.stack.final_norm.iter_mut().for_each(plain);
    for LayerSpec { norm, mixer, ffn, .. } in &mut spec.stack.layers {
        plain(norm);
        ffn.sub_norm.iter_mut().for_each(plain);
        if let Mixer::Attention(AttentionSpec { rope, head_norm, sub_norm, .. }) = mixer {
            head_norm.iter_mut().for_each(|(_, norm)| plain(norm));
            sub_norm.iter_mut().for_each(plain);
            if let Some(rope) = rope {
                let (factors, magnitude) = rope.frequencies();
                let scaling = RopeScaling::PerPair { factors, magnitude };
                *rope = Rope { pairing: Pairing::Halves, scaling, ..rope.clone() };
            }
        }
    }
    serde_json::to_value(spec).map_err(|error| Error::Unsupported(error.to_string()))
}

/// The first place where two descriptions differ by more than rounding.
fn difference(place: &str, folder: &Json, file: &Json) -> Option<String> {
    let inside = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (folder, file) {
        (Json::Object(a), Json::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).find_map(|((key, a), b)| difference(&inside(key), a, b))
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => (0..)
            .zip(a.iter().zip(b))
            .find_map(|(index, (a, b)): (usize, _)| difference(&inside(&index.to_string()), a, b)),
        (Json::Number(a), Json::Number(b)) if near(a.as_f64(), b.as_f64()) => None,
        _ if folder == file => None,
        _ => Some(format!("`{place}` would be {} instead of {}", said(file), said(folder))),
    }
}

/// A value, for a message.
fn said(value: &Json) -> String {
    const MOST: usize = 60;
    if value.as_u64() == Some(usize::MAX as u64) {
        return "unlimited".to_owned();
    }
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(MOST) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    const ROUNDING: f64 = 1e-6;
    matches!((a, b), (Some(a), Some(b)) if (a - b).abs() <= ROUNDING * a.abs())
}
