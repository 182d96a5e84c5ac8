//! What GGUF files of all architectures share: keys, tensor names, and the description that most families begin with.

use babil_runtime::spec::{
    Activation, AttentionSpec, DecoderSpec, FfnKind, FfnSpec, LayerSpec, Mixer, Norm, NormPlacement, OutputMatrix,
    Pairing, Part, Position, Projection, Role, Rope, RopeScaling, StackSpec, TensorNames,
};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{FromValue, Metadata};
use babil_runtime::{Error, Result};

/// The metadata of one architecture: `block_count` is the value of `llama.block_count`.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn find<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        self.metadata.find(&self.name(key))
    }

    pub(super) fn expect<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        self.metadata.expect(&self.name(key))
    }

    /// An error about the value of `key`.
    pub(super) fn bad(&self, key: &str, problem: impl std::fmt::Display) -> Error {
        self.metadata.bad(&self.name(key), problem)
    }
}

/// The description that a Llama-like model has by its keys: attention with rotary positions, a gated feed-forward, RMS
/// norms before both. Families change what is different in theirs.
pub(super) fn llama_like(keys: &Keys<'_>, weights: &Weights, pairing: Pairing) -> Result<DecoderSpec> {
    let dim: usize = keys.expect("embedding_length")?;
    let heads: usize = keys.expect("attention.head_count")?;
    let layers: usize = keys.expect("block_count")?;
    if heads == 0 || layers > 1024 {
        return Err(keys.bad("block_count", format!("{layers} layers of {heads} heads")));
    }
    let head_dim = keys.find("attention.key_length")?.unwrap_or(dim / heads);
    if keys.find("attention.value_length")?.is_some_and(|length: usize| length != head_dim) {
        return Err(keys.bad("attention.value_length", "values of another size than keys"));
    }
    let norm = Norm::Rms { eps: keys.expect("attention.layer_norm_rms_epsilon")?, offset: 0.0 };
    let mut attention = AttentionSpec::causal(heads, keys.find("attention.head_count_kv")?.unwrap_or(heads), head_dim);
    attention.rope = Some(rope(keys, weights, head_dim, pairing)?);
    let hidden = keys.expect("feed_forward_length")?;
    let layer = LayerSpec {
        norm,
        placement: NormPlacement::Pre,
        mixer: Mixer::Attention(attention),
        cross: None,
        ffn: FfnSpec { kind: FfnKind::Gated, hidden, activation: Activation::Silu, bias: false, sub_norm: None },
        residual_scale: 1.0,
    };
    let embedding = "token_embd.weight";
    let vocab = match weights.get(embedding).map(|tensor| tensor.shape()) {
        Some(&[vocab, _]) => vocab,
        _ => return Err(weights.bad(embedding, "is missing, or no matrix")),
    };
    let own = weights.get("output.weight").is_some();
    Ok(DecoderSpec {
        stack: StackSpec {
            vocab,
            dim,
            embed_scale: 1.0,
            position: Position::None,
            max_positions: keys.expect("context_length")?,
            layers: vec![layer; layers],
            final_norm: Some(norm),
        },
        output: if own { OutputMatrix::Own } else { OutputMatrix::Tied },
        output_bias: false,
        logit_scale: 1.0,
        logit_softcap: None,
    })
}

/// Rotary positions by the keys `rope.*` and the tensor `rope_freqs.weight`.
fn rope(keys: &Keys<'_>, weights: &Weights, head_dim: usize, pairing: Pairing) -> Result<Rope> {
    let dims = keys.find("rope.dimension_count")?.unwrap_or(head_dim);
    let theta = keys.find("rope.freq_base")?.unwrap_or(10_000.0);
    let factor = keys.find("rope.scaling.factor")?.unwrap_or(1.0);
    let scaling = match (weights.get("rope_freqs.weight"), keys.find("rope.scaling.type")?.unwrap_or("none")) {
        (Some(factors), _) => RopeScaling::PerPair { factors: factors.to_f32(), magnitude: 1.0 },
        (None, "none") => RopeScaling::None,
        (None, "linear") => RopeScaling::Linear { factor },
        (None, other) => return Err(keys.bad("rope.scaling.type", format!("`{other}` is not supported"))),
    };
    Ok(Rope { dims, theta, pairing, scaling })
}

/// The names of tensors, which are the same for all architectures.
pub(super) struct Names;

impl TensorNames for Names {
    fn names(&self, role: Role) -> Vec<String> {
        let name = match role {
            Role::Embedding(_) => "token_embd.weight".to_owned(),
            Role::Output => "output".to_owned(),
            Role::OutputBias => "output.bias".to_owned(),
            Role::FinalNorm(_) => return vec!["output_norm".to_owned(), "token_embd_norm".to_owned()],
            Role::Layer(_, index, part) => {
                let part = match part {
                    Part::MixerNorm => "attn_norm",
                    Part::MixerPostNorm => "post_attention_norm",
                    Part::SelfAttention(Projection::Query) => "attn_q",
                    Part::SelfAttention(Projection::Key) => "attn_k",
                    Part::SelfAttention(Projection::Value) => "attn_v",
                    Part::SelfAttention(Projection::Output) => "attn_output",
                    Part::HeadNorm(Projection::Query) => "attn_q_norm",
                    Part::HeadNorm(Projection::Key) => "attn_k_norm",
                    Part::AttentionSubNorm => "attn_sub_norm",
                    Part::ConvIn => "shortconv.in_proj",
                    Part::ConvKernel => "shortconv.conv",
                    Part::ConvOut => "shortconv.out_proj",
                    Part::FfnGate => "ffn_gate",
                    Part::FfnUp => "ffn_up",
                    Part::FfnSubNorm => "ffn_sub_norm",
                    Part::FfnDown => "ffn_down",
                    Part::FfnNorm => "ffn_norm",
                    Part::FfnPostNorm => "post_ffw_norm",
                    _ => return Vec::new(),
                };
                format!("blk.{index}.{part}")
            }
        };
        vec![name]
    }
}
