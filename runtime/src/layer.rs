//! The one layer that encoders and decoders share, driven by its [`LayerSpec`].

use std::sync::Arc;

use crate::Result;
use crate::ops::{Activations, Heads, LayerNorm, Linear, Machine, Matrix};
use crate::spec::{Activation, LayerSpec, NormPlacement, Part, Projection, Role, Stack, TensorNames};
use crate::weights::Weights;

/// An attention block's projections.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    output: Linear,
    heads: Heads,
}

/// A layer's parameters, resolved.
#[derive(Debug)]
pub(crate) struct Layer {
    placement: NormPlacement,
    attention: Attention,
    attention_norm: LayerNorm,
    pub(crate) cross: Option<(Attention, LayerNorm)>,
    up: Linear,
    activation: Activation,
    down: Linear,
    ffn_norm: LayerNorm,
}

/// Finds parameters in weights by the role they play.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) names: &'a dyn TensorNames,
}

impl Loader<'_> {
    /// The first of the role's names (plus `suffix`) that exists, or its first name for the error message.
    pub(crate) fn name(&self, role: Role, suffix: &str) -> String {
        let mut names = self.names.names(role);
        let found = names.iter().position(|name| self.weights.get(&format!("{name}{suffix}")).is_some());
        names.swap_remove(found.unwrap_or(0))
    }

    pub(crate) fn linear(&self, role: Role, rows: usize, cols: usize) -> Result<Linear> {
        Linear::load(self.weights, &self.name(role, ".weight"), rows, cols)
    }

    pub(crate) fn norm(&self, role: Role, dim: usize, norm: crate::spec::Norm) -> Result<LayerNorm> {
        LayerNorm::load(self.weights, &self.name(role, ".weight"), dim, norm)
    }

    pub(crate) fn matrix(&self, role: Role, rows: usize, cols: usize) -> Result<Arc<Matrix>> {
        Ok(Arc::new(Matrix::load(self.weights, &self.name(role, ""), rows, cols)?))
    }
}

impl Layer {
    pub(crate) fn load(loader: Loader<'_>, stack: Stack, index: usize, dim: usize, spec: &LayerSpec) -> Result<Self> {
        let role = |part| Role::Layer(stack, index, part);
        let attention = |part: fn(Projection) -> Part, spec: crate::spec::AttentionSpec| {
            let inner = spec.heads * spec.head_dim;
            Ok(Attention {
                query: loader.linear(role(part(Projection::Query)), inner, dim)?,
                key: loader.linear(role(part(Projection::Key)), inner, dim)?,
                value: loader.linear(role(part(Projection::Value)), inner, dim)?,
                output: loader.linear(role(part(Projection::Output)), dim, inner)?,
                heads: spec.into(),
            })
        };
        let norm = |part| loader.norm(role(part), dim, spec.norm);
        Ok(Self {
            placement: spec.placement,
            attention: attention(Part::SelfAttention, spec.attention)?,
            attention_norm: norm(Part::SelfAttentionNorm)?,
            cross: match spec.cross {
                Some(cross) => Some((attention(Part::CrossAttention, cross)?, norm(Part::CrossAttentionNorm)?)),
                None => None,
            },
            up: loader.linear(role(Part::FfnUp), spec.ffn.hidden, dim)?,
            activation: spec.ffn.activation,
            down: loader.linear(role(Part::FfnDown), dim, spec.ffn.hidden)?,
            ffn_norm: norm(Part::FfnNorm)?,
        })
    }
}

/// Where a layer's queries find their keys and values: what differs between encoder and decoder.
pub(crate) trait Context {
    /// Self-attention of all rows: stores `k` and `v` (`[rows, dim]`) as it sees fit and writes the attended values of
    /// `q` to `out`.
    fn attend_self(&mut self, machine: Machine<'_>, heads: Heads, qkv: [&[f32]; 3], out: &mut [f32]);

    /// Attention of all rows' `q` to the encoder's output.
    fn attend_memory(&mut self, machine: Machine<'_>, heads: Heads, q: &[f32], out: &mut [f32]);
}

/// Buffers of a forward pass; they grow to the largest batch seen and stay.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    hidden: Vec<f32>,
    pub(crate) activations: Activations,
}

/// The first `len` values of `buffer`, which grows if it must; contents unspecified.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Layer {
    /// Runs the layer over `scratch.x` (`[rows, dim]`, the residual stream), in place.
    pub(crate) fn forward(
        &self,
        machine: Machine<'_>,
        scratch: &mut Scratch,
        rows: usize,
        dim: usize,
        context: &mut dyn Context,
    ) {
        let Scratch { x, normed, q, k, v, attended, hidden, activations } = scratch;
        let x = sized(x, rows * dim);
        let normed = sized(normed, rows * dim);

        let attention = &self.attention;
        let inner = rows * attention.query.weight.rows();
        let (q, k, v) = (sized(q, inner), sized(k, inner), sized(v, inner));
        let attended = sized(attended, inner);
        let projections = [&attention.query, &attention.key, &attention.value];
        {
            let input = self.input(machine, &self.attention_norm, x, normed);
            let input = activations.prepare(machine, input, dim, &projections);
            for (projection, out) in projections.iter().zip([&mut *q, &mut *k, &mut *v]) {
                projection.forward(machine, input, out);
            }
        }
        context.attend_self(machine, attention.heads, [q, k, v], attended);
        let input = activations.prepare(machine, attended, inner / rows, &[&attention.output]);
        attention.output.forward(machine, input, normed);
        self.merge(machine, &self.attention_norm, x, normed);

        if let Some((attention, norm)) = &self.cross {
            let inner = rows * attention.query.weight.rows();
            let (q, attended) = (&mut q[..inner], &mut attended[..inner]);
            let input = self.input(machine, norm, x, normed);
            let input = activations.prepare(machine, input, dim, &[&attention.query]);
            attention.query.forward(machine, input, q);
            context.attend_memory(machine, attention.heads, q, attended);
            let input = activations.prepare(machine, attended, inner / rows, &[&attention.output]);
            attention.output.forward(machine, input, normed);
            self.merge(machine, norm, x, normed);
        }

        let hidden = sized(hidden, rows * self.up.weight.rows());
        let input = self.input(machine, &self.ffn_norm, x, normed);
        let input = activations.prepare(machine, input, dim, &[&self.up]);
        self.up.forward(machine, input, hidden);
        (machine.kernels.activate)(self.activation, hidden);
        let input = activations.prepare(machine, hidden, hidden.len() / rows, &[&self.down]);
        self.down.forward(machine, input, normed);
        self.merge(machine, &self.ffn_norm, x, normed);
    }

    /// A sublayer's input: the stream itself, or its norm.
    fn input<'a>(&self, machine: Machine<'_>, norm: &LayerNorm, x: &'a [f32], normed: &'a mut [f32]) -> &'a [f32] {
        match self.placement {
            NormPlacement::Post => x,
            NormPlacement::Pre => {
                norm.forward(machine, x, normed);
                normed
            }
        }
    }

    /// Adds a sublayer's `output` to the stream `x`, normalising the sum where the spec says so.
    fn merge(&self, machine: Machine<'_>, norm: &LayerNorm, x: &mut [f32], output: &mut [f32]) {
        match self.placement {
            NormPlacement::Pre => (machine.kernels.add)(output, x),
            NormPlacement::Post => {
                (machine.kernels.add)(x, output);
                norm.forward(machine, output, x);
            }
        }
    }
}

impl Scratch {
    /// Normalises the first `len` values of the residual stream.
    pub(crate) fn normalize_stream(&mut self, machine: Machine<'_>, norm: &LayerNorm, len: usize) {
        let normed = sized(&mut self.normed, len);
        norm.forward(machine, &self.x[..len], normed);
        std::mem::swap(&mut self.x, &mut self.normed);
    }
}
