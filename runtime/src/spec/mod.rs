//! Descriptions of transformers, as data. A family (crate `babil-models`) reads a model's configuration into a spec;
//! [`crate::plan`] resolves it against the weights; the one forward pass of each kind is driven by it.
//!
//! New mathematics is one enum variant here, one block in the forward pass, and one parity test.

use serde::Serialize;

use crate::Token;
pub use crate::kernels::Activation;

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Norm {
    /// Mean and variance, with weight and bias (Ba et al. 2016).
    Layer {
        /// Added to the variance.
        eps: f32,
    },
}

/// Where a sublayer `f` is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NormPlacement {
    /// x + f(norm(x))
    Pre,
    /// norm(x + f(x))
    Post,
}

/// What tells the model where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Position {
    /// Added to the embedding: `sin(p / base^(2i/dim))` in the first half of the features, `cos` of the same angles in
    /// the second (the layout of Hugging Face's Marian; Vaswani et al. 2017 interleave them).
    SinusoidHalves {
        /// 10000 in every published model.
        base: f32,
    },
}

/// Multi-head attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AttentionSpec {
    /// Query, key and value heads.
    pub heads: usize,
    /// Features per head; scores are scaled by `1 / sqrt(head_dim)`.
    pub head_dim: usize,
}

/// The feed-forward sublayer: `down(activation(up(x)))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FfnSpec {
    /// Features between the two projections.
    pub hidden: usize,
    /// Applied to them.
    pub activation: Activation,
}

/// One layer: self-attention, cross-attention where given, feed-forward. Every projection has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerSpec {
    /// The norm of each sublayer.
    pub norm: Norm,
    /// Where it is applied.
    pub placement: NormPlacement,
    /// Self-attention (causal in a decoder).
    pub attention: AttentionSpec,
    /// Attention to the encoder's output.
    pub cross: Option<AttentionSpec>,
    /// Feed-forward.
    pub ffn: FfnSpec,
}

/// A stack of layers over embedded tokens: what encoders and decoders share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackSpec {
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Features of the residual stream.
    pub dim: usize,
    /// Embeddings are multiplied by this.
    pub embed_scale: f32,
    /// Position information.
    pub position: Position,
    /// Positions that the model may see.
    pub max_positions: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// Applied after the last layer.
    pub final_norm: Option<Norm>,
}

/// An encoder and a decoder that attends to its output; the decoder's output projection is its own embedding
/// (tied) plus a bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderDecoderSpec {
    /// Reads the source.
    pub encoder: StackSpec,
    /// Writes the target.
    pub decoder: StackSpec,
}

/// How generation starts, ends and ranks: a model's defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GenerationSpec {
    /// The token that the decoder starts from.
    pub start: Token,
    /// The token that ends a sequence.
    pub eos: Token,
    /// Tokens that are never generated.
    pub suppressed: Vec<Token>,
    /// Most tokens to generate, the end of sentence included.
    pub max_tokens: usize,
    /// Whether the last of `max_tokens` is forced to be `eos`.
    pub forced_eos: bool,
    /// Beam width.
    pub beam: usize,
    /// Scores are divided by `tokens ^ length_penalty`.
    pub length_penalty: f32,
    /// Whether probabilities are normalised again after suppression.
    pub renormalize: bool,
}

/// Encoder or decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Reads the source.
    Encoder,
    /// Writes the target.
    Decoder,
}

/// A projection of an attention block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Projection {
    Query,
    Key,
    Value,
    Output,
}

/// A part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A projection of self-attention.
    SelfAttention(Projection),
    /// The norm of self-attention.
    SelfAttentionNorm,
    /// A projection of attention to the encoder.
    CrossAttention(Projection),
    /// The norm of attention to the encoder.
    CrossAttentionNorm,
    /// First projection of the feed-forward.
    FfnUp,
    /// Second projection of the feed-forward.
    FfnDown,
    /// The norm of the feed-forward.
    FfnNorm,
}

/// A parameter of the model, by the role it plays. A family knows the name that its files give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding matrix `[vocab, dim]`; the decoder's is the output projection too.
    Embedding(Stack),
    /// The bias of the output projection, `[vocab]` in any shape with as many elements.
    OutputBias,
    /// The norm after the last layer: its prefix, see [`TensorNames`].
    FinalNorm(Stack),
    /// A part of layer `.1`: its prefix, see [`TensorNames`].
    Layer(Stack, usize, Part),
}

/// The names a family's files give to parameters. For norms and projections the name is a prefix: `.weight` and
/// `.bias` follow.
pub trait TensorNames {
    /// Names to look for, in order of preference.
    fn names(&self, role: Role) -> Vec<String>;
}
