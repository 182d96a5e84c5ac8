//! A parameter of a model by the part it plays; a family knows the name that its files give it.

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
    /// The norm of the mixer's input (of its sum with the stream, for post-norm layers).
    MixerNorm,
    /// The norm of the mixer's output, where both are normalised.
    MixerPostNorm,
    /// A projection of self-attention.
    SelfAttention(Projection),
    /// The norm of each head of queries or keys, `[head_dim]`.
    HeadNorm(Projection),
    /// The norm before the output projection of self-attention.
    AttentionSubNorm,
    /// The first projection of a short convolution, `[3 dim, dim]`: b, c, x.
    ConvIn,
    /// The kernels of a short convolution, `[dim, kernel]` in any shape with as many elements, oldest position first.
    ConvKernel,
    /// The last projection of a short convolution, `[dim, dim]`.
    ConvOut,
    /// A projection of attention to the encoder.
    CrossAttention(Projection),
    /// The norm of attention to the encoder.
    CrossAttentionNorm,
    /// The gate of a gated feed-forward.
    FfnGate,
    /// First projection of the feed-forward.
    FfnUp,
    /// The norm before the last projection of the feed-forward.
    FfnSubNorm,
    /// Last projection of the feed-forward.
    FfnDown,
    /// The norm of the feed-forward's input (of its sum with the stream, for post-norm layers).
    FfnNorm,
    /// The norm of the feed-forward's output, where both are normalised.
    FfnPostNorm,
}

/// A parameter of the model, by the role it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding matrix `[vocab, dim]`, by its full name.
    Embedding(Stack),
    /// Learned positions, `[max_positions, dim]`, by their full name.
    Positions(Stack),
    /// One of the two convolutions that frames go through, 0 or 1: its prefix, see [`TensorNames`]. The weight is
    /// `[dim, features in, 3]`.
    Convolution(usize),
    /// The output projection `[vocab, dim]`, where it is not the decoder's embedding: its prefix.
    Output,
    /// The bias of the output projection, `[vocab]` in any shape with as many elements, by its full name.
    OutputBias,
    /// The norm after the last layer: its prefix, see [`TensorNames`].
    FinalNorm(Stack),
    /// A part of layer `.1`: its prefix, see [`TensorNames`].
    Layer(Stack, usize, Part),
}

/// The names a family's files give to parameters. For norms and projections the name is a prefix: `.weight` and
/// `.bias` follow, and `.scale` for a number that multiplies the whole matrix.
pub trait TensorNames {
    /// Names to look for, in order of preference; none where the family has no such parameter.
    fn names(&self, role: Role) -> Vec<String>;
}
