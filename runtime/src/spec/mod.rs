//! Descriptions of transformers, as data. A family (crate `babil-models`) reads a model's configuration into a spec;
//! [`crate::plan`] resolves it against the weights; the one forward pass of each kind is driven by it.
//!
//! New mathematics is one enum variant here, one block in the forward pass, and one parity test.

use serde::Serialize;

pub use crate::kernels::Activation;
use crate::{Error, Result, Token};

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

/// Where sines and cosines stand in a position vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Pairing {
    /// All sines, then all cosines (Marian in transformers, fairseq).
    Halves,
    /// Sine and cosine of an angle side by side (Vaswani et al. 2017).
    Interleaved,
}

/// What tells the model where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Position {
    /// Added to the embedding: sine and cosine of `p / base^(2i/dim)`.
    Sinusoid {
        /// 10000 in every published model.
        base: f32,
        /// The order of sines and cosines.
        pairing: Pairing,
        /// The `p` of the first token.
        first: usize,
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

impl EncoderDecoderSpec {
    /// Refuses specs whose parts do not fit each other, and sizes that no real model has: what follows allocates by
    /// them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] says which part.
    pub fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 20;
        const MOST_LAYERS: usize = 1 << 10;
        const MOST_POSITIONS: usize = 1 << 16;
        let bad = |what: String| Err(Error::Unsupported(what));
        for (stack, name) in [(&self.encoder, "encoder"), (&self.decoder, "decoder")] {
            let (dim, vocab, positions) = (stack.dim, stack.vocab, stack.max_positions);
            let possible = (2..=MOST).contains(&dim) && dim % 2 == 0 && vocab > 0;
            if !possible || !(1..=MOST_POSITIONS).contains(&positions) || dim * positions > MOST << 6 {
                return bad(format!("an {name} of width {dim}, vocabulary {vocab} and {positions} positions"));
            }
            if stack.layers.len() > MOST_LAYERS {
                return bad(format!("{} {name} layers", stack.layers.len()));
            }
            for layer in &stack.layers {
                for attention in [Some(layer.attention), layer.cross].into_iter().flatten() {
                    if attention.heads == 0 || attention.heads.checked_mul(attention.head_dim) != Some(dim) {
                        return bad(format!("{} heads in {name} layers of width {dim}", attention.heads));
                    }
                }
                if layer.cross.is_some() != (name == "decoder") {
                    return bad("attention to the encoder anywhere but in every decoder layer".to_owned());
                }
            }
        }
        if self.encoder.dim != self.decoder.dim {
            return bad(format!("an encoder of width {} under a decoder of {}", self.encoder.dim, self.decoder.dim));
        }
        Ok(())
    }
}

/// When the search for a sequence ends, once as many hypotheses have finished as the beam is wide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum EarlyStopping {
    /// When the best running one, at its present length, is not better than the worst of them.
    #[default]
    No,
    /// At once.
    Yes,
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
    /// When a search with enough finished hypotheses ends.
    pub early_stopping: EarlyStopping,
    /// Whether probabilities are normalised again after suppression.
    pub renormalize: bool,
}

impl GenerationSpec {
    /// The widest beam.
    pub const MOST_BEAMS: usize = 128;

    /// Refuses values that a model with `vocab` tokens cannot generate with.
    ///
    /// # Errors
    /// [`Error::BadRequest`] says which value.
    pub fn check(&self, vocab: usize) -> Result<()> {
        let bad = |what: String| Err(Error::BadRequest(what));
        if let Some(token) = [self.start, self.eos].iter().chain(&self.suppressed).find(|&&t| t as usize >= vocab) {
            return bad(format!("token {token} is outside the vocabulary of {vocab}"));
        }
        if !(1..=Self::MOST_BEAMS).contains(&self.beam) {
            return bad(format!("a beam of {}: it must be 1 to {}", self.beam, Self::MOST_BEAMS));
        }
        if self.max_tokens == 0 {
            return bad("at least one token must be generated".to_owned());
        }
        if !self.length_penalty.is_finite() || self.length_penalty.abs() > 10.0 {
            return bad(format!("a length penalty of {}", self.length_penalty));
        }
        Ok(())
    }
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
