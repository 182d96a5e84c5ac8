//! Whisper (Radford et al. 2022) in all sizes, and models of its architecture (distil-whisper): the description from
//! transformers' `config.json` or from the header of a whisper.cpp file, and the names of both.

use babil_runtime::spec::{
    Activation, AttentionBias, AttentionSpec, DecoderSpec, EncoderDecoderSpec, FfnKind, FfnSpec, Input, LayerSpec,
    Mixer, Norm, NormPlacement, OutputMatrix, Part, Position, Projection, Role, Span, Stack, StackSpec, TensorNames,
};
use babil_runtime::weights::whisper_ggml::Header;
use babil_runtime::{Error, Result};
use serde::Deserialize;

use super::names::bart;

/// The sizes of a model, by the names of transformers' `config.json`.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Config {
    pub vocab_size: usize,
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub decoder_layers: usize,
    pub decoder_attention_heads: usize,
    pub decoder_ffn_dim: usize,
    /// Positions of the encoder's output; twice as many frames come in.
    pub max_source_positions: usize,
    pub max_target_positions: usize,
    #[serde(default = "gelu")]
    pub activation_function: String,
    #[serde(default)]
    pub scale_embedding: bool,
}

fn gelu() -> String {
    "gelu".to_owned()
}

impl Config {
    /// That of a whisper.cpp file.
    pub fn from_header(header: &Header) -> Self {
        Self {
            vocab_size: header.vocab,
            num_mel_bins: header.mels,
            d_model: header.audio_state,
            encoder_layers: header.audio_layers,
            encoder_attention_heads: header.audio_heads,
            encoder_ffn_dim: header.audio_state.saturating_mul(4),
            decoder_layers: header.text_layers,
            decoder_attention_heads: header.text_heads,
            decoder_ffn_dim: header.text_state.saturating_mul(4),
            max_source_positions: header.audio_context,
            max_target_positions: header.text_context,
            activation_function: gelu(),
            scale_embedding: false,
        }
    }

    /// The model's description.
    ///
    /// # Errors
    /// A configuration that this family cannot run, naming the key.
    pub fn spec(&self) -> Result<EncoderDecoderSpec> {
        if self.activation_function != "gelu" {
            let function = &self.activation_function;
            return Err(Error::Unsupported(format!("activation_function `{function}` (config.json)")));
        }
        for (key, layers) in [("encoder_layers", self.encoder_layers), ("decoder_layers", self.decoder_layers)] {
            if layers > 1024 {
                return Err(Error::Unsupported(format!("{key} {layers} (config.json)")));
            }
        }
        let scale = if self.scale_embedding { (self.d_model as f32).sqrt() } else { 1.0 };
        let stack = |input, max_positions, layer, layers| StackSpec {
            input,
            dim: self.d_model,
            position: Position::Learned,
            max_positions,
            layers: vec![layer; layers],
            final_norm: Some(NORM),
        };
        let encoder = self.layer(self.encoder_attention_heads, self.encoder_ffn_dim, Stack::Encoder);
        let decoder = self.layer(self.decoder_attention_heads, self.decoder_ffn_dim, Stack::Decoder);
        let (frames, tokens) =
            (Input::Frames { features: self.num_mel_bins }, Input::Tokens { vocab: self.vocab_size, scale });
        let spec = EncoderDecoderSpec {
            encoder: stack(frames, self.max_source_positions, encoder, self.encoder_layers),
            decoder: DecoderSpec {
                stack: stack(tokens, self.max_target_positions, decoder, self.decoder_layers),
                output: OutputMatrix::Tied,
                output_bias: false,
                logit_scale: 1.0,
                logit_softcap: None,
            },
        };
        spec.check()?;
        Ok(spec)
    }

    fn layer(&self, heads: usize, hidden: usize, stack: Stack) -> LayerSpec {
        let head_dim = self.d_model.checked_div(heads).unwrap_or(0);
        let bias = AttentionBias::QueryValueOutput;
        let causal = AttentionSpec { bias, ..AttentionSpec::causal(heads, heads, head_dim) };
        let full = AttentionSpec { span: Span::FULL, ..causal.clone() };
        let (mixer, cross) = match stack {
            Stack::Encoder => (full, None),
            Stack::Decoder => (causal, Some(full)),
        };
        LayerSpec {
            norm: NORM,
            placement: NormPlacement::Pre,
            mixer: Mixer::Attention(mixer),
            cross,
            ffn: FfnSpec { kind: FfnKind::Plain, hidden, activation: Activation::Gelu, bias: true, sub_norm: None },
            residual_scale: 1.0,
        }
    }
}

const NORM: Norm = Norm::Layer { eps: 1e-5 };

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of transformers' `WhisperForConditionalGeneration`.
    Transformers,
    /// OpenAI's, which whisper.cpp keeps.
    OpenAi,
}

impl TensorNames for Names {
    fn names(&self, role: Role) -> Vec<String> {
        match self {
            Self::Transformers => transformers(role),
            Self::OpenAi => open_ai(role),
        }
        .into_iter()
        .collect()
    }
}

fn name_of(stack: Stack) -> &'static str {
    match stack {
        Stack::Encoder => "encoder",
        Stack::Decoder => "decoder",
    }
}

fn transformers(role: Role) -> Option<String> {
    match role {
        Role::Convolution(index) => Some(format!("model.encoder.conv{}", index + 1)),
        role => bart(role),
    }
}

fn open_ai(role: Role) -> Option<String> {
    let projection = |block: &str, projection| {
        let name = match projection {
            Projection::Query => "query",
            Projection::Key => "key",
            Projection::Value => "value",
            Projection::Output => "out",
        };
        format!("{block}.{name}")
    };
    Some(match role {
        Role::Embedding(_) => "decoder.token_embedding.weight".to_owned(),
        Role::Positions(stack) => format!("{}.positional_embedding", name_of(stack)),
        Role::Convolution(index) => format!("encoder.conv{}", index + 1),
        Role::Output | Role::OutputBias => return None,
        Role::FinalNorm(Stack::Encoder) => "encoder.ln_post".to_owned(),
        Role::FinalNorm(Stack::Decoder) => "decoder.ln".to_owned(),
        Role::Layer(stack, index, part) => {
            let part = match part {
                Part::SelfAttention(p) => projection("attn", p),
                Part::MixerNorm => "attn_ln".to_owned(),
                Part::CrossAttention(p) => projection("cross_attn", p),
                Part::CrossAttentionNorm => "cross_attn_ln".to_owned(),
                Part::FfnUp => "mlp.0".to_owned(),
                Part::FfnDown => "mlp.2".to_owned(),
                Part::FfnNorm => "mlp_ln".to_owned(),
                _ => return None,
            };
            format!("{}.blocks.{index}.{part}", name_of(stack))
        }
    })
}
