//! What the usual keys of a language model say, and the spec that follows: Llama's. Families change what they do
//! otherwise.

use babil_runtime::Result;
use babil_runtime::spec::{
    Activation, AttentionBias, AttentionSpec, DecoderSpec, FfnKind, FfnSpec, Input, LayerSpec, Mixer, Norm,
    NormPlacement, OutputMatrix, Pairing, Position, Rope, Span, StackSpec,
};

use super::config::Config;
use super::keys::Keys;

/// More layers than this are a mistake, and would be allocated.
const MOST_LAYERS: usize = 1 << 10;

/// The numbers of a model whose layers are all alike.
pub(super) struct Dense {
    pub(super) vocab: usize,
    pub(super) dim: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) hidden: usize,
    pub(super) max_positions: usize,
    pub(super) norm: Norm,
    pub(super) activation: Activation,
    pub(super) bias: AttentionBias,
    pub(super) ffn_bias: bool,
    pub(super) rope: Rope,
    pub(super) output: OutputMatrix,
}

/// What a family's implementation takes where config.json is silent.
pub(super) struct Defaults {
    pub(super) activation: Activation,
    pub(super) theta: f32,
    pub(super) tied: bool,
    /// Features of a head; `None`: the width over the heads.
    pub(super) head_dim: Option<usize>,
    /// See [`Config::rope`].
    pub(super) rope_keys: &'static [&'static str],
}

impl Defaults {
    /// Those of Llama.
    pub(super) const LLAMA: Self =
        Self { activation: Activation::Silu, theta: 10_000.0, tied: false, head_dim: None, rope_keys: &[] };
}

impl Dense {
    /// The keys that nearly all of transformers' models share.
    pub(super) fn from_config(config: &Config<'_>, defaults: &Defaults) -> Result<Self> {
        let (dim, heads) = (config.expect("hidden_size")?, config.expect("num_attention_heads")?);
        let head_dim = config.or("head_dim", defaults.head_dim.unwrap_or(head_dim(dim, heads)))?;
        let layers = config.expect("num_hidden_layers")?;
        if layers > MOST_LAYERS {
            return Err(config.unsupported("num_hidden_layers"));
        }
        let bias = config.or("attention_bias", false)?;
        let tied = config.or("tie_word_embeddings", defaults.tied)?;
        Ok(Self {
            vocab: config.expect("vocab_size")?,
            dim,
            layers,
            heads,
            kv_heads: config.or("num_key_value_heads", heads)?,
            head_dim,
            hidden: config.first(&["block_ff_dim", "intermediate_size"])?,
            max_positions: config.expect("max_position_embeddings")?,
            norm: Norm::Rms { eps: config.first(&["rms_norm_eps", "norm_eps"])?, offset: 0.0 },
            activation: config.activation("hidden_act", defaults.activation)?,
            bias: if bias { AttentionBias::All } else { AttentionBias::None },
            ffn_bias: config.or("mlp_bias", false)?,
            rope: config.rope(head_dim, defaults.theta, defaults.rope_keys)?,
            output: if tied { OutputMatrix::Tied } else { OutputMatrix::Own },
        })
    }

    /// The keys that nearly all of llama.cpp's architectures share. What is optional there is seen from the tensors.
    pub(super) fn from_gguf(keys: &Keys<'_>, pairing: Pairing) -> Result<Self> {
        let (dim, heads) = (keys.expect("embedding_length")?, keys.expect("attention.head_count")?);
        let layers = keys.expect("block_count")?;
        if layers > MOST_LAYERS {
            return Err(keys.unsupported("block_count"));
        }
        let head_dim = keys.or("attention.key_length", head_dim(dim, heads))?;
        if keys.or("attention.value_length", head_dim)? != head_dim {
            return Err(keys.unsupported("attention.value_length"));
        }
        if !keys.or("attention.causal", true)? {
            return Err(keys.unsupported("attention.causal"));
        }
        let has = |name: &str| keys.weights.get(name).is_some();
        let bias_of = |part: &str| (0..layers).any(|layer| has(&format!("blk.{layer}.{part}.bias")));
        let kv_heads = keys.per_layer("attention.head_count_kv", layers)?;
        let vocab = keys.weights.get("token_embd.weight").and_then(|tensor| tensor.shape().first().copied());
        Ok(Self {
            vocab: vocab.unwrap_or(0),
            dim,
            layers,
            heads,
            kv_heads: kv_heads.and_then(|all| all.into_iter().max()).unwrap_or(heads),
            head_dim,
            hidden: keys.expect("feed_forward_length")?,
            max_positions: keys.expect("context_length")?,
            norm: Norm::Rms { eps: keys.expect("attention.layer_norm_rms_epsilon")?, offset: 0.0 },
            activation: Activation::Silu,
            bias: match (bias_of("attn_q") || bias_of("attn_qkv"), bias_of("attn_output")) {
                (false, _) => AttentionBias::None,
                (true, false) => AttentionBias::QueryKeyValue,
                (true, true) => AttentionBias::All,
            },
            ffn_bias: bias_of("ffn_up"),
            rope: keys.rope(head_dim, pairing)?,
            output: if has("output.weight") { OutputMatrix::Own } else { OutputMatrix::Tied },
        })
    }

    /// Llama's decoder of these numbers.
    pub(super) fn spec(self) -> DecoderSpec {
        let attention = AttentionSpec {
            bias: self.bias,
            rope: Some(self.rope),
            ..AttentionSpec::causal(self.heads, self.kv_heads, self.head_dim)
        };
        let layer = LayerSpec {
            norm: self.norm,
            placement: NormPlacement::Pre,
            mixer: Mixer::Attention(attention),
            cross: None,
            ffn: FfnSpec {
                kind: FfnKind::Gated,
                hidden: self.hidden,
                activation: self.activation,
                bias: self.ffn_bias,
                sub_norm: None,
            },
            residual_scale: 1.0,
        };
        DecoderSpec {
            stack: StackSpec {
                input: Input::Tokens { vocab: self.vocab, scale: 1.0 },
                dim: self.dim,
                position: Position::None,
                max_positions: self.max_positions,
                layers: vec![layer; self.layers],
                final_norm: Some(self.norm),
            },
            output: self.output,
            output_bias: false,
            logit_scale: 1.0,
            logit_softcap: None,
        }
    }
}

/// The usual width of a head.
fn head_dim(dim: usize, heads: usize) -> usize {
    dim.checked_div(heads).unwrap_or(0)
}

/// The attention of every layer that has it.
pub(super) fn attentions(spec: &mut DecoderSpec) -> impl Iterator<Item = (usize, &mut AttentionSpec)> {
    spec.stack.layers.iter_mut().enumerate().filter_map(|(index, layer)| match &mut layer.mixer {
        Mixer::Attention(attention) => Some((index, attention)),
        Mixer::ShortConv { .. } => None,
    })
}

/// Gives layers the windows that [`Config::windows`] found.
pub(super) fn set_windows(spec: &mut DecoderSpec, windows: &[Option<usize>]) {
    for ((_, attention), window) in attentions(spec).zip(windows) {
        attention.span = window.map_or(Span::CAUSAL, Span::window);
    }
}
