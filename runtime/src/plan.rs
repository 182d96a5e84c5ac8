//! A spec resolved against weights: immutable, shared by any number of sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Result;
use crate::cache::{CacheShape, KvType};
use crate::kernels::Kernels;
use crate::layer::Layer;
use crate::ops::{Embedding, Linear, Matrix, Norm, Rope, Stem, positions};
use crate::spec::{
    DecoderSpec, EncoderDecoderSpec, Input, Norm as NormSpec, OutputMatrix, Part, Position, Projection, Role, Stack,
    StackSpec, TensorNames,
};
use crate::weights::Weights;

/// Finds parameters in weights by the role they play.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) names: &'a dyn TensorNames,
}

impl Loader<'_> {
    /// The first of the role's names (plus `suffix`) that exists, or its first name for the error message.
    pub(crate) fn name(&self, role: Role, suffix: &str) -> String {
        let names = self.names.names(role);
        let found = names.iter().position(|name| self.weights.get(&format!("{name}{suffix}")).is_some());
        names.into_iter().nth(found.unwrap_or(0)).unwrap_or_default()
    }

    pub(crate) fn linear(&self, role: Role, rows: usize, cols: usize, bias: bool) -> Result<Linear> {
        Linear::load(self.weights, &self.name(role, ".weight"), rows, cols, bias)
    }

    /// A convolution over three positions as a map of `[features * 3]` numbers, the neighbours of a feature together.
    fn convolution(&self, role: Role, dim: usize, features: usize) -> Result<Linear> {
        let weight = Matrix::load_joined(self.weights, &(self.name(role, ".weight") + ".weight"), &[dim, features, 3])?;
        Ok(Linear::new(Arc::new(weight), Some(self.values(role, ".bias", dim)?)))
    }

    pub(crate) fn norm(&self, role: Role, dim: usize, norm: NormSpec) -> Result<Norm> {
        Norm::load(self.weights, &self.name(role, ".weight"), dim, norm)
    }

    pub(crate) fn matrix(&self, role: Role, rows: usize, cols: usize) -> Result<Arc<Matrix>> {
        Ok(Arc::new(Matrix::load(self.weights, &self.name(role, ""), rows, cols)?))
    }

    /// The table of positions that is added to a stack's rows, `[max_positions, dim]`, or nothing.
    pub(crate) fn positions(&self, stack: Stack, spec: &StackSpec) -> Result<Vec<f32>> {
        let learned = match spec.position {
            Position::Learned => self.values(Role::Positions(stack), "", spec.max_positions * spec.dim)?,
            Position::None | Position::Sinusoid { .. } => Vec::new(),
        };
        Ok(positions(spec, learned))
    }

    /// A tensor of `len` values, whatever its shape.
    pub(crate) fn values(&self, role: Role, suffix: &str, len: usize) -> Result<Vec<f32>> {
        let name = self.name(role, suffix) + suffix;
        let tensor = self.weights.get(&name).ok_or_else(|| self.weights.bad(&name, "is missing"))?;
        if tensor.shape().iter().product::<usize>() != len {
            let problem = format!("has shape {:?}, the model needs {len} values", tensor.shape());
            return Err(self.weights.bad(&name, problem));
        }
        Ok(tensor.to_f32())
    }
}

/// A stack of layers, resolved.
pub(crate) struct StackPlan {
    pub(crate) layers: Vec<Layer>,
    pub(crate) ropes: Vec<Rope>,
    pub(crate) final_norm: Option<Norm>,
}

impl StackPlan {
    fn load(loader: Loader<'_>, stack: Stack, spec: &StackSpec) -> Result<Self> {
        let mut ropes = Vec::new();
        let layers = spec.layers.iter().enumerate();
        let layers = layers.map(|(i, layer)| Layer::load(loader, &mut ropes, stack, i, spec.dim, layer));
        let layers = layers.collect::<Result<_>>()?;
        let norm = spec.final_norm.map(|norm| loader.norm(Role::FinalNorm(stack), spec.dim, norm));
        Ok(Self { layers, ropes, final_norm: norm.transpose()? })
    }
}

/// Where the rows of an encoder come from.
pub(crate) enum EncoderInput {
    Tokens(Embedding),
    Frames(Stem),
}

/// An encoder's parameters, resolved.
pub(crate) struct EncoderParts {
    pub(crate) input: EncoderInput,
    pub(crate) stack: StackPlan,
}

impl EncoderParts {
    fn load(loader: Loader<'_>, spec: &StackSpec) -> Result<Self> {
        let input = match spec.input {
            Input::Tokens { .. } => EncoderInput::Tokens(Embedding::load(loader, Stack::Encoder, spec, None)?),
            Input::Frames { features } => {
                let convolution = |index, features| loader.convolution(Role::Convolution(index), spec.dim, features);
                let convolutions = [convolution(0, features)?, convolution(1, spec.dim)?];
                let positions = loader.positions(Stack::Encoder, spec)?;
                EncoderInput::Frames(Stem::new(convolutions, positions))
            }
        };
        Ok(Self { input, stack: StackPlan::load(loader, Stack::Encoder, spec)? })
    }
}

/// A decoder's parameters, resolved.
pub(crate) struct DecoderParts {
    pub(crate) embedding: Embedding,
    pub(crate) stack: StackPlan,
    pub(crate) output: Linear,
}

impl DecoderParts {
    fn load(loader: Loader<'_>, spec: &DecoderSpec, shared: Option<Arc<Matrix>>) -> Result<Self> {
        let embedding = Embedding::load(loader, Stack::Decoder, &spec.stack, shared)?;
        let stack = StackPlan::load(loader, Stack::Decoder, &spec.stack)?;
        let (vocab, dim) = (spec.stack.vocab(), spec.stack.dim);
        let mut output = match spec.output {
            OutputMatrix::Tied => Linear::new(embedding.matrix.clone(), None),
            OutputMatrix::Own => loader.linear(Role::Output, vocab, dim, false)?,
        };
        if spec.output_bias {
            output.bias = Some(loader.values(Role::OutputBias, "", vocab)?);
        }
        Ok(Self { embedding, stack, output })
    }
}

/// A decoder-only model, ready to run.
pub struct DecoderPlan {
    spec: DecoderSpec,
    kernels: Kernels,
    pub(crate) parts: DecoderParts,
}

impl std::fmt::Debug for DecoderPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecoderPlan").field("spec", &self.spec).field("isa", &self.kernels.isa).finish()
    }
}

impl DecoderPlan {
    /// Resolves `spec` against `weights`, whose tensors are named by `names`.
    ///
    /// # Errors
    /// A spec that contradicts itself, or a tensor that is missing or has another shape.
    pub fn new(spec: DecoderSpec, weights: &Weights, names: &dyn TensorNames, kernels: Kernels) -> Result<Self> {
        spec.check()?;
        let parts = DecoderParts::load(Loader { weights, names }, &spec, None)?;
        Ok(Self { spec, kernels, parts })
    }

    /// What it was made from.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The kernels it runs on.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The shape of its conversations' caches.
    pub(crate) fn cache_shape(&self, kv: KvType) -> Result<CacheShape> {
        CacheShape::new(&self.spec.stack, kv, CacheShape::LONG_PAGE)
    }
}

/// An encoder-decoder model, ready to run.
pub struct EncoderDecoderPlan {
    spec: EncoderDecoderSpec,
    kernels: Kernels,
    pub(crate) encoder: EncoderParts,
    pub(crate) decoder: DecoderParts,
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
        let encoder = EncoderParts::load(loader, &spec.encoder)?;
        let name = |stack| loader.name(Role::Embedding(stack), "");
        let shared = match &encoder.input {
            EncoderInput::Tokens(tokens) if name(Stack::Encoder) == name(Stack::Decoder) => Some(tokens.matrix.clone()),
            _ => None,
        };
        let decoder = DecoderParts::load(loader, &spec.decoder, shared)?;
        Ok(Self { spec, kernels, encoder, decoder })
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

/// The tensors of `weights` that an encoder-decoder of this spec reads: name, and whether it is a matrix that may be
/// quantised. Those that are missing are left out: [`EncoderDecoderPlan::new`] is what complains.
pub fn parameters(spec: &EncoderDecoderSpec, weights: &Weights, names: &dyn TensorNames) -> Vec<(String, bool)> {
    let mut found = Parameters { loader: Loader { weights, names }, found: BTreeMap::new() };
    found.stack(Stack::Encoder, &spec.encoder);
    found.decoder(&spec.decoder);
    found.names()
}

/// As [`parameters`], of a decoder-only model.
pub fn decoder_parameters(spec: &DecoderSpec, weights: &Weights, names: &dyn TensorNames) -> Vec<(String, bool)> {
    let mut found = Parameters { loader: Loader { weights, names }, found: BTreeMap::new() };
    found.decoder(spec);
    found.names()
}

/// What a tensor is to a model.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The part it plays.
    pub role: Role,
    /// What of it this is: `.weight`, `.bias` or `.scale`, or nothing where the role has one tensor.
    pub suffix: &'static str,
    /// Whether it is a matrix that may be quantised.
    pub matrix: bool,
}

/// As [`decoder_parameters`], with what each tensor is.
pub fn decoder_roles(spec: &DecoderSpec, weights: &Weights, names: &dyn TensorNames) -> BTreeMap<String, Parameter> {
    let mut found = Parameters { loader: Loader { weights, names }, found: BTreeMap::new() };
    found.decoder(spec);
    found.found
}

/// Collects the names of parameters that exist.
struct Parameters<'a> {
    loader: Loader<'a>,
    found: BTreeMap<String, Parameter>,
}

impl Parameters<'_> {
    /// Adds what exists of a role's tensors: suffix, and whether it is a matrix.
    fn add(&mut self, role: Role, suffixes: &[(&'static str, bool)]) {
        for &(suffix, matrix) in suffixes {
            let name = self.loader.name(role, suffix) + suffix;
            if self.loader.weights.get(&name).is_some() {
                self.found.insert(name, Parameter { role, suffix, matrix });
            }
        }
    }

    fn names(self) -> Vec<(String, bool)> {
        self.found.into_iter().map(|(name, parameter)| (name, parameter.matrix)).collect()
    }

    fn stack(&mut self, stack: Stack, spec: &StackSpec) {
        const LINEAR: &[(&str, bool)] = &[(".weight", true), (".bias", false), (".scale", false)];
        const SMALL: &[(&str, bool)] = &[(".weight", false), (".bias", false)];
        match spec.input {
            Input::Tokens { .. } => self.add(Role::Embedding(stack), &[("", true)]),
            Input::Frames { .. } => {
                self.add(Role::Convolution(0), SMALL);
                self.add(Role::Convolution(1), SMALL);
            }
        }
        if spec.position == Position::Learned {
            self.add(Role::Positions(stack), &[("", false)]);
        }
        self.add(Role::FinalNorm(stack), SMALL);
        for index in 0..spec.layers.len() {
            let mut add = |part, suffixes| self.add(Role::Layer(stack, index, part), suffixes);
            for projection in [Projection::Query, Projection::Key, Projection::Value, Projection::Output] {
                add(Part::SelfAttention(projection), LINEAR);
                add(Part::CrossAttention(projection), LINEAR);
                add(Part::HeadNorm(projection), SMALL);
            }
            for part in [Part::FfnGate, Part::FfnUp, Part::FfnDown, Part::ConvIn, Part::ConvOut] {
                add(part, LINEAR);
            }
            for part in [
                Part::MixerNorm,
                Part::MixerPostNorm,
                Part::AttentionSubNorm,
                Part::ConvKernel,
                Part::CrossAttentionNorm,
                Part::FfnNorm,
                Part::FfnPostNorm,
                Part::FfnSubNorm,
            ] {
                add(part, SMALL);
            }
        }
    }

    fn decoder(&mut self, spec: &DecoderSpec) {
        self.stack(Stack::Decoder, &spec.stack);
        if spec.output == OutputMatrix::Own {
            self.add(Role::Output, &[(".weight", true), (".scale", false)]);
        }
        if spec.output_bias {
            self.add(Role::OutputBias, &[("", false)]);
        }
    }
}
