//! A spec resolved against weights: immutable, shared by any number of sessions.

use std::sync::Arc;

use crate::Result;
use crate::kernels::Kernels;
use crate::layer::{Layer, Loader};
use crate::ops::{Embedding, LayerNorm, Linear, Matrix};
use crate::spec::{EncoderDecoderSpec, Part, Projection, Role, Stack, StackSpec, TensorNames};
use crate::weights::Weights;

/// A stack of layers, resolved.
pub(crate) struct StackPlan {
    pub(crate) embedding: Embedding,
    pub(crate) matrix: Arc<Matrix>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Option<LayerNorm>,
}

impl StackPlan {
    fn load(loader: Loader<'_>, stack: Stack, spec: &StackSpec) -> Result<Self> {
        let layers = spec.layers.iter().enumerate();
        let norm = spec.final_norm.map(|norm| loader.norm(Role::FinalNorm(stack), spec.dim, norm));
        Ok(Self {
            embedding: Embedding::new(spec),
            matrix: loader.matrix(Role::Embedding(stack), spec.vocab, spec.dim)?,
            layers: layers.map(|(i, layer)| Layer::load(loader, stack, i, spec.dim, layer)).collect::<Result<_>>()?,
            final_norm: norm.transpose()?,
        })
    }
}

/// An encoder-decoder model, ready to run.
pub struct EncoderDecoderPlan {
    spec: EncoderDecoderSpec,
    kernels: Kernels,
    pub(crate) encoder: StackPlan,
    pub(crate) decoder: StackPlan,
    pub(crate) output: Linear,
}

impl std::fmt::Debug for EncoderDecoderPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderDecoderPlan").field("spec", &self.spec).field("isa", &self.kernels.isa).finish()
    }
}

impl EncoderDecoderPlan {
    /// Resolves `spec` against `weights`, whose tensors are named by `names`.
    ///
    /// # Errors
    /// A spec that contradicts itself, or a tensor that is missing or has another shape.
    pub fn new(spec: EncoderDecoderSpec, weights: &Weights, names: &dyn TensorNames, kernels: Kernels) -> Result<Self> {
        spec.check()?;
        let loader = Loader { weights, names };
        let encoder = StackPlan::load(loader, Stack::Encoder, &spec.encoder)?;
        let mut decoder = StackPlan::load(loader, Stack::Decoder, &spec.decoder)?;
        let same = |stack| loader.name(Role::Embedding(stack), "");
        if same(Stack::Encoder) == same(Stack::Decoder) {
            decoder.matrix = encoder.matrix.clone();
        }
        let bias_name = loader.name(Role::OutputBias, "");
        let bias = weights.get(&bias_name).ok_or_else(|| weights.bad(&bias_name, "is missing"))?;
        if bias.shape().iter().product::<usize>() != spec.decoder.vocab {
            let (shape, vocab) = (bias.shape(), spec.decoder.vocab);
            return Err(weights.bad(&bias_name, format!("has shape {shape:?}, the model needs {vocab} values")));
        }
        let output = Linear { weight: decoder.matrix.clone(), bias: Some(bias.to_f32()), scale: None };
        Ok(Self { spec, kernels, encoder, decoder, output })
    }

    /// What it was made from.
    pub fn spec(&self) -> &EncoderDecoderSpec {
        &self.spec
    }

    /// The kernels it runs on.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }
}

/// The tensors of `weights` that a model of this spec reads: name, and whether it is a matrix that may be quantised.
/// Those that are missing are left out: [`EncoderDecoderPlan::new`] is what complains.
pub fn parameters(spec: &EncoderDecoderSpec, weights: &Weights, names: &dyn TensorNames) -> Vec<(String, bool)> {
    let loader = Loader { weights, names };
    let mut found = std::collections::BTreeMap::new();
    let mut add = |role: Role, suffixes: &[(&str, bool)]| {
        for &(suffix, matrix) in suffixes {
            let name = loader.name(role, suffix) + suffix;
            if weights.get(&name).is_some() {
                found.insert(name, matrix);
            }
        }
    };
    const LINEAR: &[(&str, bool)] = &[(".weight", true), (".bias", false)];
    const NORM: &[(&str, bool)] = &[(".weight", false), (".bias", false)];
    add(Role::OutputBias, &[("", false)]);
    for (stack, spec) in [(Stack::Encoder, &spec.encoder), (Stack::Decoder, &spec.decoder)] {
        add(Role::Embedding(stack), &[("", true)]);
        add(Role::FinalNorm(stack), NORM);
        for index in 0..spec.layers.len() {
            for projection in [Projection::Query, Projection::Key, Projection::Value, Projection::Output] {
                add(Role::Layer(stack, index, Part::SelfAttention(projection)), LINEAR);
                add(Role::Layer(stack, index, Part::CrossAttention(projection)), LINEAR);
            }
            for part in [Part::FfnUp, Part::FfnDown] {
                add(Role::Layer(stack, index, part), LINEAR);
            }
            for part in [Part::SelfAttentionNorm, Part::CrossAttentionNorm, Part::FfnNorm] {
                add(Role::Layer(stack, index, part), NORM);
            }
        }
    }
    found.into_iter().collect()
}
