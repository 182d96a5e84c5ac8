//! Descriptions of transformers, as data. A family (crate `babil-models`) reads a model's configuration into a spec;
//! [`crate::plan`] resolves it against the weights; the one forward pass of each kind is driven by it.
//!
//! New mathematics is one enum variant here, one block in the forward pass, and one parity test.
//!
//! - this file: stacks of layers and what they are made of;
//! - `rope.rs`: rotary positions and the ways to stretch them;
//! - `roles.rs`: a parameter of a model by the part it plays, and the names that files give it;
//! - `generation.rs`: how generation starts, ends and ranks;
//! - `check.rs`: refuses what does not fit together.

mod check;
mod generation;
mod roles;
mod rope;

use serde::Serialize;

pub use crate::kernels::Activation;
pub use generation::{EarlyStopping, GenerationSpec};
pub use roles::{Part, Projection, Role, Stack, TensorNames};
pub use rope::{Rope, RopeScaling};

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Norm {
    /// Mean and variance, with weight and bias (Ba et al. 2016).
    Layer {
        /// Added to the variance.
        eps: f32,
    },
    /// Root mean square, with weight (Zhang & Sennrich 2019).
    Rms {
        /// Added to the mean square.
        eps: f32,
        /// Added to the stored weights: 1 in Gemma's safetensors, 0 elsewhere.
        offset: f32,
    },
}

/// Where a sublayer `f` is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NormPlacement {
    /// x + f(norm(x))
    Pre,
    /// norm(x + f(x))
    Post,
    /// x + norm'(f(norm(x))): Gemma 2 and 3. The second norm has parameters of its own.
    Both,
}

/// The order in which features are paired: sine with cosine, or the two coordinates that a rotation turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Pairing {
    /// The first half with the second half, feature i with i + n/2 (Marian in transformers, GPT-NeoX).
    Halves,
    /// Neighbours, feature 2i with 2i + 1 (Vaswani et al. 2017, GPT-J).
    Interleaved,
}

/// What is added to embeddings to tell the model where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Position {
    /// Nothing: positions are told elsewhere, see [`AttentionSpec::rope`], or not at all.
    None,
    /// Sine and cosine of `p / base^(2i/dim)`.
    Sinusoid {
        /// 10000 in every published model.
        base: f32,
        /// The order of sines and cosines.
        pairing: Pairing,
        /// The `p` of the first token.
        first: usize,
    },
    /// A table that the model has learned ([`Role::Positions`]).
    Learned,
}

/// What the rows of a stack are made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Input {
    /// Tokens, looked up in a matrix ([`Role::Embedding`]).
    Tokens {
        /// Size of the vocabulary.
        vocab: usize,
        /// Embeddings are multiplied by this.
        scale: f32,
    },
    /// Frames of sound: `gelu(conv(gelu(conv(frames))))`, each convolution over a frame and its two neighbours, the
    /// second at every other frame ([`Role::Convolution`]; Whisper, Radford et al. 2022).
    Frames {
        /// Features of a frame: mel bands.
        features: usize,
    },
}

/// The positions that a query at position `p` of its own sequence reads: from `p - behind` to `p + ahead`, as far as
/// they exist. A query always reads at least one: the one nearest to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// How far back, `usize::MAX` for all.
    pub behind: usize,
    /// How far ahead: 0 is causal, `isize::MAX` is everything.
    pub ahead: isize,
}

impl Span {
    /// Everything: encoders.
    pub const FULL: Self = Self { behind: usize::MAX, ahead: isize::MAX };
    /// Itself and everything before: decoders.
    pub const CAUSAL: Self = Self { behind: usize::MAX, ahead: 0 };

    /// A sliding window: the last `positions` positions, itself included.
    pub const fn window(positions: usize) -> Self {
        Self { behind: positions.saturating_sub(1), ahead: 0 }
    }

    /// The positions that `position` reads of a sequence of `len` (at least 1, more than `position`).
    pub fn of(self, position: usize, len: usize) -> std::ops::Range<usize> {
        let end = position.saturating_add_signed(self.ahead).min(len - 1) + 1;
        position.saturating_sub(self.behind).min(end - 1)..end
    }
}

/// Which projections of an attention block have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AttentionBias {
    /// None of them: Llama.
    None,
    /// Query, key and value: Qwen 2.
    QueryKeyValue,
    /// All but the key's: Whisper.
    QueryValueOutput,
    /// All: Marian.
    All,
}

impl AttentionBias {
    /// Whether `projection` has one.
    pub fn of(self, projection: Projection) -> bool {
        match self {
            Self::None => false,
            Self::QueryKeyValue => projection != Projection::Output,
            Self::QueryValueOutput => projection != Projection::Key,
            Self::All => true,
        }
    }
}

/// Where the heads of queries and keys are normalised, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HeadNorm {
    /// Before they are rotated: Qwen 3, Gemma 3.
    BeforeRope,
    /// After they are rotated: Hunyuan.
    AfterRope,
}

/// Queries at position `p` are multiplied by `1 + factor * ln(1 + floor(p / every))`: Ministral 3, after Llama 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueryGrowth {
    /// Multiplies the logarithm.
    pub factor: f32,
    /// Positions of a step, at least one.
    pub every: usize,
}

impl QueryGrowth {
    /// What queries at `position` are multiplied by.
    pub(crate) fn at(self, position: usize) -> f32 {
        let steps = position / self.every;
        (1.0 + f64::from(self.factor) * ((1 + steps) as f64).ln()) as f32
    }
}

/// Multi-head attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Scores are multiplied by this; usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Which projections have a bias.
    pub bias: AttentionBias,
    /// Rotary positions.
    pub rope: Option<Rope>,
    /// Norms of every head of queries and keys ([`Part::HeadNorm`]).
    pub head_norm: Option<(HeadNorm, Norm)>,
    /// Makes queries longer at later positions.
    pub growth: Option<QueryGrowth>,
    /// What a query reads.
    pub span: Span,
    /// Scores become `cap * tanh(score / cap)`: Gemma 2.
    pub softcap: Option<f32>,
    /// A norm before the output projection ([`Part::AttentionSubNorm`]): BitNet.
    pub sub_norm: Option<Norm>,
}

impl AttentionSpec {
    /// `heads` heads of `head_dim` features that read their whole past: no biases, no positions, the usual scale.
    pub fn causal(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            bias: AttentionBias::None,
            rope: None,
            head_norm: None,
            growth: None,
            span: Span::CAUSAL,
            softcap: None,
            sub_norm: None,
        }
    }
}

/// What mixes the positions of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Mixer {
    /// Attention.
    Attention(AttentionSpec),
    /// LFM2's gated short convolution: `[b, c, x] = in(h)`; `y = conv(b * x)`, causal, one kernel per feature;
    /// `out(c * y)`.
    ShortConv {
        /// Positions that the convolution reads, the present one included.
        kernel: usize,
        /// Whether convolution and projections have biases.
        bias: bool,
    },
}

/// The shape of a feed-forward sublayer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FfnKind {
    /// `down(activation(up(x)))`
    Plain,
    /// `down(activation(gate(x)) * up(x))` (Shazeer 2020)
    Gated,
}

/// The feed-forward sublayer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FfnSpec {
    /// Its shape.
    pub kind: FfnKind,
    /// Features between the projections.
    pub hidden: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// Whether the projections have biases.
    pub bias: bool,
    /// A norm before the last projection ([`Part::FfnSubNorm`]): BitNet.
    pub sub_norm: Option<Norm>,
}

/// One layer: a mixer, cross-attention where given, feed-forward.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSpec {
    /// The norm of each sublayer.
    pub norm: Norm,
    /// Where it is applied.
    pub placement: NormPlacement,
    /// Mixes positions.
    pub mixer: Mixer,
    /// Attention to the encoder's output.
    pub cross: Option<AttentionSpec>,
    /// Feed-forward.
    pub ffn: FfnSpec,
    /// What a sublayer adds to the stream is multiplied by this: Granite; 1 elsewhere.
    pub residual_scale: f32,
}

/// A stack of layers over embedded tokens or frames: what encoders and decoders share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackSpec {
    /// What comes in.
    pub input: Input,
    /// Features of the residual stream.
    pub dim: usize,
    /// Position information.
    pub position: Position,
    /// Positions that the model was made for.
    pub max_positions: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// Applied after the last layer.
    pub final_norm: Option<Norm>,
}

impl StackSpec {
    /// Size of the vocabulary; 0 where no tokens come in.
    pub fn vocab(&self) -> usize {
        match self.input {
            Input::Tokens { vocab, .. } => vocab,
            Input::Frames { .. } => 0,
        }
    }

    /// What embeddings are multiplied by.
    pub fn embed_scale(&self) -> f32 {
        match self.input {
            Input::Tokens { scale, .. } => scale,
            Input::Frames { .. } => 1.0,
        }
    }
}

/// Where the output projection's matrix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OutputMatrix {
    /// It is the embedding matrix.
    Tied,
    /// It is a matrix of its own ([`Role::Output`]).
    Own,
}

/// A decoder: a stack and a projection to the vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecoderSpec {
    /// The layers.
    pub stack: StackSpec,
    /// The output projection.
    pub output: OutputMatrix,
    /// Whether it has a bias ([`Role::OutputBias`]).
    pub output_bias: bool,
    /// Logits are multiplied by this: Granite; 1 elsewhere.
    pub logit_scale: f32,
    /// Logits become `cap * tanh(logit / cap)`: Gemma 2.
    pub logit_softcap: Option<f32>,
}

/// An encoder and a decoder that attends to its output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderDecoderSpec {
    /// Reads the source.
    pub encoder: StackSpec,
    /// Writes the target.
    pub decoder: DecoderSpec,
}
