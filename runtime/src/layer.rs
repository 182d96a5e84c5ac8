//! The one layer that encoders and decoders share, driven by its [`LayerSpec`].

use std::mem::swap;
use std::ops::Range;

use crate::Result;
use crate::ops::{
    Activations, COLUMNS, Heads, Linear, Machine, Norm, Rope, Rotations, ShortConv, StemScratch, for_rows, forward_all,
};
use crate::plan::Loader;
use crate::spec::{
    Activation, AttentionSpec, FfnKind, FfnSpec, HeadNorm, LayerSpec, Mixer as MixerSpec, NormPlacement, Part,
    Projection, QueryGrowth, Role, Span, Stack,
};

/// Rows that a feed-forward block takes at once, so that what is widest in a layer stays small and near.
pub(crate) const FFN_ROWS: usize = 512;

/// An attention block's parameters.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    pub(crate) heads: Heads,
    pub(crate) span: Span,
    /// Index into the rotations of a step.
    pub(crate) rope: Option<usize>,
    pub(crate) head_norm: Option<(HeadNorm, [Norm; 2])>,
    pub(crate) growth: Option<QueryGrowth>,
    pub(crate) sub_norm: Option<Norm>,
}

/// What mixes positions, resolved.
#[derive(Debug)]
pub(crate) enum Mixer {
    Attention(Box<Attention>),
    ShortConv(Box<ShortConv>),
}

/// A feed-forward block's parameters.
#[derive(Debug)]
pub(crate) struct Ffn {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) activation: Activation,
    pub(crate) sub_norm: Option<Norm>,
    pub(crate) down: Linear,
}

/// The norms of a sublayer.
#[derive(Debug)]
pub(crate) enum Norms {
    Pre(Norm),
    Post(Norm),
    Both(Norm, Norm),
}

/// A layer's parameters, resolved.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) mixer: Mixer,
    pub(crate) mixer_norms: Norms,
    pub(crate) cross: Option<(Attention, Norms)>,
    pub(crate) ffn: Ffn,
    pub(crate) ffn_norms: Norms,
    pub(crate) residual_scale: f32,
}

impl Layer {
    pub(crate) fn load(
        loader: Loader<'_>,
        ropes: &mut Vec<Rope>,
        stack: Stack,
        index: usize,
        dim: usize,
        spec: &LayerSpec,
    ) -> Result<Self> {
        let role = |part| Role::Layer(stack, index, part);
        let norm = |part| loader.norm(role(part), dim, spec.norm);
        let norms = |before, after: Option<Part>| {
            Ok(match (spec.placement, after) {
                (NormPlacement::Pre, _) => Norms::Pre(norm(before)?),
                (NormPlacement::Both, Some(after)) => Norms::Both(norm(before)?, norm(after)?),
                (NormPlacement::Post | NormPlacement::Both, _) => Norms::Post(norm(before)?),
            })
        };
        let mixer = match &spec.mixer {
            MixerSpec::Attention(attention) => Mixer::Attention(Box::new(Attention::load(
                loader,
                ropes,
                &|part| role(part),
                Part::SelfAttention,
                dim,
                attention,
            )?)),
            &MixerSpec::ShortConv { kernel, bias } => {
                let stored = loader.values(role(Part::ConvKernel), ".weight", dim * kernel)?;
                Mixer::ShortConv(Box::new(ShortConv {
                    input: loader.linear(role(Part::ConvIn), 3 * dim, dim, bias)?,
                    // [dim, kernel] as stored; a position's row must lie together.
                    kernel: (0..kernel * dim).map(|i| stored[i % dim * kernel + i / dim]).collect(),
                    bias: bias.then(|| loader.values(role(Part::ConvKernel), ".bias", dim)).transpose()?,
                    output: loader.linear(role(Part::ConvOut), dim, dim, bias)?,
                }))
            }
        };
        let cross = match &spec.cross {
            Some(cross) => {
                let attention = Attention::load(loader, ropes, &|part| role(part), Part::CrossAttention, dim, cross)?;
                Some((attention, norms(Part::CrossAttentionNorm, None)?))
            }
            None => None,
        };
        Ok(Self {
            mixer,
            mixer_norms: norms(Part::MixerNorm, Some(Part::MixerPostNorm))?,
            cross,
            ffn: Ffn::load(loader, &|part| role(part), dim, &spec.ffn)?,
            ffn_norms: norms(Part::FfnNorm, Some(Part::FfnPostNorm))?,
            residual_scale: spec.residual_scale,
        })
    }
}

impl Attention {
    fn load(
        loader: Loader<'_>,
        ropes: &mut Vec<Rope>,
        role: &dyn Fn(Part) -> Role,
        part: fn(Projection) -> Part,
        dim: usize,
        spec: &AttentionSpec,
    ) -> Result<Self> {
        let (inner, keys) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let linear =
            |projection, rows, cols| loader.linear(role(part(projection)), rows, cols, spec.bias.of(projection));
        let rope = spec.rope.as_ref().map(|rope| {
            ropes.iter().position(|known| known.spec() == rope).unwrap_or_else(|| {
                ropes.push(Rope::new(rope));
                ropes.len() - 1
            })
        });
        let head_norm = match spec.head_norm {
            Some((place, norm)) => {
                let load = |of| loader.norm(role(Part::HeadNorm(of)), spec.head_dim, norm);
                Some((place, [load(Projection::Query)?, load(Projection::Key)?]))
            }
            None => None,
        };
        let sub_norm = spec.sub_norm.map(|norm| loader.norm(role(Part::AttentionSubNorm), inner, norm));
        Ok(Self {
            query: linear(Projection::Query, inner, dim)?,
            key: linear(Projection::Key, keys, dim)?,
            value: linear(Projection::Value, keys, dim)?,
            output: linear(Projection::Output, dim, inner)?,
            heads: spec.into(),
            span: spec.span,
            rope,
            head_norm,
            growth: spec.growth,
            sub_norm: sub_norm.transpose()?,
        })
    }
}

impl Ffn {
    fn load(loader: Loader<'_>, role: &dyn Fn(Part) -> Role, dim: usize, spec: &FfnSpec) -> Result<Self> {
        let &FfnSpec { kind, hidden, activation, bias, sub_norm } = spec;
        let gate = match kind {
            FfnKind::Gated => Some(loader.linear(role(Part::FfnGate), hidden, dim, bias)?),
            FfnKind::Plain => None,
        };
        let sub_norm = sub_norm.map(|norm| loader.norm(role(Part::FfnSubNorm), hidden, norm)).transpose()?;
        let up = loader.linear(role(Part::FfnUp), hidden, dim, bias)?;
        Ok(Self { gate, up, activation, sub_norm, down: loader.linear(role(Part::FfnDown), dim, hidden, bias)? })
    }
}

/// Where a layer finds its past: what differs between encoder and decoder.
pub(crate) trait Context {
    /// Self-attention of all rows: stores `k` and `v` (`[rows, kv_heads * head_dim]`) as it sees fit and writes the
    /// attended values of `q` (`[rows, heads * head_dim]`) to `out`.
    fn attend_self(&mut self, machine: Machine<'_>, attention: &Attention, qkv: [&[f32]; 3], out: &mut [f32]);

    /// Attention of all rows' `q` to the encoder's output.
    fn attend_memory(&mut self, machine: Machine<'_>, attention: &Attention, q: &[f32], out: &mut [f32]);

    /// A short convolution over each row's past, which it stores: `bcx` is `[rows, 3 dim]`, its x becomes b * x.
    fn convolve(&mut self, machine: Machine<'_>, conv: &ShortConv, bcx: &mut [f32], out: &mut [f32]);
}

/// Buffers of a forward pass; they grow to the largest batch seen and stay.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The residual stream.
    pub(crate) x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    /// For what is normalised in place.
    spare: Vec<f32>,
    hidden: Vec<f32>,
    gate: Vec<f32>,
    pub(crate) stem: StemScratch,
    pub(crate) activations: Activations,
    /// Of the rows of this step.
    positions: Vec<usize>,
    /// Of the rows of this step, for each kind of rotation.
    rotations: Vec<Rotations>,
}

/// The first `len` values of `buffer`, which grows if it must; contents unspecified.
pub(crate) fn sized<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// Tells the layers at which `positions` the rows of a step are, and prepares the rotations of all `ropes`.
pub(crate) fn set_positions(ropes: &[Rope], scratch: &mut Scratch, positions: impl Iterator<Item = usize>) {
    let Scratch { positions: known, rotations, .. } = scratch;
    known.clear();
    known.extend(positions);
    rotations.resize_with(ropes.len(), Rotations::default);
    for (rope, rotations) in ropes.iter().zip(rotations) {
        rope.rotations(known.iter().copied(), rotations);
    }
}

/// Normalises the first `len` values of `x`, by way of `spare`.
fn normalize(machine: Machine<'_>, norm: &Norm, x: &mut Vec<f32>, spare: &mut Vec<f32>, len: usize) {
    norm.forward(machine, &x[..len], sized(spare, len));
    swap(x, spare);
}

impl Layer {
    /// Runs the layer over `scratch.x` (`[rows, dim]`, the residual stream), in place.
    pub(crate) fn forward(
        &self,
        machine: Machine<'_>,
        ropes: &[Rope],
        scratch: &mut Scratch,
        rows: usize,
        dim: usize,
        context: &mut dyn Context,
    ) {
        sized(&mut scratch.x, rows * dim);
        sized(&mut scratch.normed, rows * dim);
        match &self.mixer {
            Mixer::Attention(attention) => {
                self.self_attention(machine, ropes, attention, scratch, rows, dim, context);
            }
            Mixer::ShortConv(conv) => self.short_conv(machine, conv, scratch, rows, dim, context),
        }
        if let Some((attention, norms)) = &self.cross {
            let inner = rows * attention.query.weight.rows();
            let Scratch { x, normed, q, attended, activations, .. } = scratch;
            let (q, attended) = (sized(q, inner), sized(attended, inner));
            let input = norms.input(machine, &x[..rows * dim], &mut normed[..rows * dim]);
            let input = activations.prepare(machine, input, dim, &[&attention.query]);
            attention.query.forward(machine, input, q);
            context.attend_memory(machine, attention, q, attended);
            let input = activations.prepare(machine, attended, inner / rows, &[&attention.output]);
            attention.output.forward(machine, input, &mut normed[..rows * dim]);
            self.merge(machine, norms, scratch, 0..rows * dim, dim);
        }
        for first in (0..rows).step_by(FFN_ROWS) {
            self.feed_forward(machine, scratch, first..rows.min(first + FFN_ROWS), dim);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a layer runs on, and where")]
    fn self_attention(
        &self,
        machine: Machine<'_>,
        ropes: &[Rope],
        attention: &Attention,
        scratch: &mut Scratch,
        rows: usize,
        dim: usize,
        context: &mut dyn Context,
    ) {
        let Scratch { x, normed, q, k, v, attended, spare, activations, positions, rotations, .. } = scratch;
        let (inner, keys) = (rows * attention.query.weight.rows(), rows * attention.key.weight.rows());
        {
            let projections = [&attention.query, &attention.key, &attention.value];
            let input = self.mixer_norms.input(machine, &x[..rows * dim], &mut normed[..rows * dim]);
            let input = activations.prepare(machine, input, dim, &projections);
            let [query, key, value] = projections;
            let maps = [(query, sized(q, inner)), (key, sized(k, keys)), (value, sized(v, keys))];
            forward_all(machine, input, maps);
        }
        let head_dim = attention.heads.dim;
        let mut norm_heads = |place: HeadNorm, q: &mut Vec<f32>, k: &mut Vec<f32>| {
            if let Some((_, [query, key])) = attention.head_norm.as_ref().filter(|(at, _)| *at == place) {
                normalize(machine, query, q, spare, inner);
                normalize(machine, key, k, spare, keys);
            }
        };
        norm_heads(HeadNorm::BeforeRope, q, k);
        if let Some(rope) = attention.rope {
            ropes[rope].rotate(machine, &rotations[rope], &mut q[..inner], head_dim);
            ropes[rope].rotate(machine, &rotations[rope], &mut k[..keys], head_dim);
        }
        norm_heads(HeadNorm::AfterRope, q, k);
        if let Some(growth) = attention.growth {
            for (q, &position) in q[..inner].chunks_exact_mut(inner / rows).zip(&*positions) {
                let factor = growth.at(position);
                q.iter_mut().for_each(|value| *value *= factor);
            }
        }

        context.attend_self(machine, attention, [&q[..inner], &k[..keys], &v[..keys]], sized(attended, inner));
        if let Some(norm) = &attention.sub_norm {
            normalize(machine, norm, attended, spare, inner);
        }
        let input = activations.prepare(machine, &attended[..inner], inner / rows, &[&attention.output]);
        attention.output.forward(machine, input, &mut normed[..rows * dim]);
        self.merge(machine, &self.mixer_norms, scratch, 0..rows * dim, dim);
    }

    fn short_conv(
        &self,
        machine: Machine<'_>,
        conv: &ShortConv,
        scratch: &mut Scratch,
        rows: usize,
        dim: usize,
        context: &mut dyn Context,
    ) {
        let Scratch { x, normed, hidden, attended, activations, .. } = scratch;
        let bcx = sized(hidden, rows * 3 * dim);
        let input = self.mixer_norms.input(machine, &x[..rows * dim], &mut normed[..rows * dim]);
        let input = activations.prepare(machine, input, dim, &[&conv.input]);
        conv.input.forward(machine, input, bcx);
        let out = sized(attended, rows * dim);
        context.convolve(machine, conv, bcx, out);
        let input = activations.prepare(machine, out, dim, &[&conv.output]);
        conv.output.forward(machine, input, &mut normed[..rows * dim]);
        self.merge(machine, &self.mixer_norms, scratch, 0..rows * dim, dim);
    }

    /// Of some of the rows.
    fn feed_forward(&self, machine: Machine<'_>, scratch: &mut Scratch, rows: Range<usize>, dim: usize) {
        let Scratch { x, normed, hidden, gate, spare, activations, .. } = scratch;
        let Ffn { gate: gate_map, up, activation, sub_norm, down } = &self.ffn;
        let (stream, rows) = (rows.start * dim..rows.end * dim, rows.len());
        let len = rows * up.weight.rows();
        let input = self.ffn_norms.input(machine, &x[stream.clone()], &mut normed[..rows * dim]);
        match gate_map {
            Some(gate_map) => {
                let (hidden, gate) = (sized(hidden, len), sized(gate, len));
                let input = activations.prepare(machine, input, dim, &[gate_map, up]);
                machine.team.columns_of_both([hidden, gate], len / rows, COLUMNS, &|mut hidden, mut gate| {
                    up.columns(machine, input, &mut hidden);
                    gate_map.columns(machine, input, &mut gate);
                    for row in 0..rows {
                        (machine.kernels.gated)(*activation, gate.row_mut(row), hidden.row_mut(row));
                    }
                });
            }
            None => {
                let hidden = sized(hidden, len);
                let input = activations.prepare(machine, input, dim, &[up]);
                machine.team.columns([(hidden, len / rows)], COLUMNS, &|_, mut hidden| {
                    up.columns(machine, input, &mut hidden);
                    for row in 0..rows {
                        (machine.kernels.activate)(*activation, hidden.row_mut(row));
                    }
                });
            }
        }
        if let Some(norm) = sub_norm {
            normalize(machine, norm, hidden, spare, len);
        }
        let input = activations.prepare(machine, &hidden[..len], len / rows, &[down]);
        down.forward(machine, input, &mut normed[..rows * dim]);
        self.merge(machine, &self.ffn_norms, scratch, stream, dim);
    }

    /// Adds a sublayer's output (`scratch.normed`, from its beginning) to `stream`, some rows of `scratch.x`, normalised as
    /// `norms` say.
    fn merge(&self, machine: Machine<'_>, norms: &Norms, scratch: &mut Scratch, stream: Range<usize>, dim: usize) {
        let Scratch { x, normed, spare, .. } = scratch;
        let len = stream.len();
        if let Norms::Both(_, after) = norms {
            normalize(machine, after, normed, spare, len);
        }
        let (x, output) = (&mut x[stream], &mut normed[..len]);
        if self.residual_scale != 1.0 {
            (machine.kernels.scale)(self.residual_scale, output);
        }
        match norms {
            Norms::Pre(_) | Norms::Both(..) => add(machine, output, x, dim),
            Norms::Post(norm) => {
                add(machine, x, output, dim);
                norm.forward(machine, output, x);
            }
        }
    }
}

/// y += x, both `[rows, width]`.
fn add(machine: Machine<'_>, x: &[f32], y: &mut [f32], width: usize) {
    for_rows(machine, y, width, &|rows, y| (machine.kernels.add)(&x[rows.start * width..rows.end * width], y));
}

impl Norms {
    /// A sublayer's input: the stream itself, or its norm.
    fn input<'a>(&self, machine: Machine<'_>, x: &'a [f32], normed: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::Post(_) => x,
            Self::Pre(norm) | Self::Both(norm, _) => {
                norm.forward(machine, x, normed);
                normed
            }
        }
    }
}

impl Scratch {
    /// Normalises the first `len` values of the residual stream.
    pub(crate) fn normalize_stream(&mut self, machine: Machine<'_>, norm: &Norm, len: usize) {
        normalize(machine, norm, &mut self.x, &mut self.normed, len);
    }
}
