//! Marian / opus-mt, as Hugging Face transformers stores it (`model_type: "marian"`): config.json,
//! generation_config.json, and the tensor names of `MarianMTModel`.
//!
//! Beyond transformers' own implementation, `normalize_before` and `add_final_layer_norm` are honoured (pre-norm
//! layers, final norms named `layer_norm` as in BART): the bundled translator is such a model.

use babil_runtime::spec::{
    Activation, AttentionBias, AttentionSpec, DecoderSpec, EarlyStopping, EncoderDecoderSpec, FfnKind, FfnSpec,
    GenerationSpec, Input, LayerSpec, Mixer, Norm, NormPlacement, OutputMatrix, Pairing, Position, Role, Span,
    StackSpec, TensorNames,
};
use babil_runtime::{Error, Result, Token};
use serde::Deserialize;
use serde_json::Value;

use super::names::bart;

/// What `config.json` says; generation keys may also stand in `generation_config.json`, which wins.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Config {
    pub vocab_size: usize,
    pub decoder_vocab_size: Option<usize>,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub decoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub decoder_ffn_dim: usize,
    pub activation_function: String,
    pub max_position_embeddings: usize,
    #[serde(default)]
    pub scale_embedding: bool,
    #[serde(default = "yes")]
    pub share_encoder_decoder_embeddings: bool,
    #[serde(default)]
    pub normalize_before: bool,
    #[serde(default)]
    pub add_final_layer_norm: bool,
    #[serde(default)]
    pub normalize_embedding: bool,
    #[serde(flatten)]
    pub generation: GenerationConfig,
}

fn yes() -> bool {
    true
}

/// The keys of `generation_config.json` that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs)]
pub struct GenerationConfig {
    pub pad_token_id: Option<Token>,
    pub eos_token_id: Option<Token>,
    pub decoder_start_token_id: Option<Token>,
    pub forced_eos_token_id: Option<Token>,
    pub bad_words_ids: Option<Vec<Vec<Token>>>,
    pub max_length: Option<usize>,
    pub num_beams: Option<usize>,
    pub length_penalty: Option<f32>,
    pub early_stopping: Option<Value>,
    pub renormalize_logits: Option<bool>,
}

impl Config {
    /// The model's description.
    ///
    /// # Errors
    /// A configuration that this family cannot run, naming the key.
    pub fn spec(&self) -> Result<EncoderDecoderSpec> {
        if self.normalize_embedding {
            return Err(Error::Unsupported("normalize_embedding (config.json)".to_owned()));
        }
        let activation = match self.activation_function.as_str() {
            "swish" | "silu" => Activation::Silu,
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            other => return Err(Error::Unsupported(format!("activation_function `{other}` (config.json)"))),
        };
        for (key, layers) in [("encoder_layers", self.encoder_layers), ("decoder_layers", self.decoder_layers)] {
            if layers > 1024 {
                return Err(Error::Unsupported(format!("{key} {layers} (config.json)")));
            }
        }
        let norm = Norm::Layer { eps: 1e-5 };
        let scale = if self.scale_embedding { (self.d_model as f32).sqrt() } else { 1.0 };
        let stack = |vocab, layers, heads: usize, hidden, cross| {
            let head_dim = self.d_model.checked_div(heads).unwrap_or(0);
            let causal = AttentionSpec { bias: AttentionBias::All, ..AttentionSpec::causal(heads, heads, head_dim) };
            let full = AttentionSpec { span: Span::FULL, ..causal.clone() };
            let layer = LayerSpec {
                norm,
                placement: if self.normalize_before { NormPlacement::Pre } else { NormPlacement::Post },
                mixer: Mixer::Attention(if cross { causal } else { full.clone() }),
                cross: cross.then_some(full),
                ffn: FfnSpec { kind: FfnKind::Plain, hidden, activation, bias: true, sub_norm: None },
                residual_scale: 1.0,
            };
            StackSpec {
                input: Input::Tokens { vocab, scale },
                dim: self.d_model,
                position: Position::Sinusoid { base: 10_000.0, pairing: Pairing::Halves, first: 0 },
                max_positions: self.max_position_embeddings,
                layers: vec![layer; layers],
                final_norm: self.add_final_layer_norm.then_some(norm),
            }
        };
        let (encoder, decoder) = (self.encoder_attention_heads, self.decoder_attention_heads);
        let target_vocab = self.decoder_vocab_size.unwrap_or(self.vocab_size);
        let spec = EncoderDecoderSpec {
            encoder: stack(self.vocab_size, self.encoder_layers, encoder, self.encoder_ffn_dim, false),
            decoder: DecoderSpec {
                stack: stack(target_vocab, self.decoder_layers, decoder, self.decoder_ffn_dim, true),
                output: OutputMatrix::Tied,
                output_bias: true,
                logit_scale: 1.0,
                logit_softcap: None,
            },
        };
        spec.check()?;
        Ok(spec)
    }
}

impl GenerationConfig {
    /// How to generate: these values, and where one is missing those of `fallback`, then the reference's defaults.
    ///
    /// # Errors
    /// No end or start token, or a kind of suppression that is not a single token.
    pub fn spec(&self, fallback: &Self) -> Result<GenerationSpec> {
        let missing = |key: &str| Error::Unsupported(format!("a model without {key} (config.json)"));
        let eos = self.eos_token_id.or(fallback.eos_token_id).ok_or_else(|| missing("eos_token_id"))?;
        let pad = self.pad_token_id.or(fallback.pad_token_id);
        let start = self.decoder_start_token_id.or(fallback.decoder_start_token_id).or(pad);
        let bad_words = self.bad_words_ids.as_ref().or(fallback.bad_words_ids.as_ref());
        let suppressed = match bad_words {
            None => pad.into_iter().collect(),
            Some(words) => {
                let single = |word: &Vec<Token>| <[Token; 1]>::try_from(word.as_slice()).ok().map(|[token]| token);
                let all: Option<Vec<Token>> = words.iter().map(single).collect();
                all.ok_or_else(|| Error::Unsupported("bad_words_ids of several tokens".to_owned()))?
            }
        };
        let early_stopping = match self.early_stopping.as_ref().or(fallback.early_stopping.as_ref()) {
            None | Some(Value::Bool(false)) => EarlyStopping::No,
            Some(Value::Bool(true)) => EarlyStopping::Yes,
            Some(other) => return Err(Error::Unsupported(format!("early_stopping {other} (generation_config.json)"))),
        };
        Ok(GenerationSpec {
            start: start.ok_or_else(|| missing("decoder_start_token_id"))?,
            eos,
            suppressed,
            max_tokens: self.max_length.or(fallback.max_length).unwrap_or(512).saturating_sub(1),
            forced_eos: self.forced_eos_token_id.or(fallback.forced_eos_token_id) == Some(eos),
            beam: self.num_beams.or(fallback.num_beams).unwrap_or(4),
            length_penalty: self.length_penalty.or(fallback.length_penalty).unwrap_or(1.0),
            early_stopping,
            renormalize: self.renormalize_logits.or(fallback.renormalize_logits).unwrap_or(false),
        })
    }
}

/// The tensor names of `MarianMTModel`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// `share_encoder_decoder_embeddings`
    pub shared: bool,
}

impl TensorNames for Names {
    fn names(&self, role: Role) -> Vec<String> {
        let shared = matches!(role, Role::Embedding(_)) && self.shared;
        let first = match role {
            Role::OutputBias => Some("final_logits_bias".to_owned()),
            _ if shared => Some("model.shared.weight".to_owned()),
            _ => None,
        };
        first.into_iter().chain(bart(role)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_stopping_is_read_and_other_criteria_are_refused() {
        let spec = |own: &str| {
            let fallback = serde_json::from_str(r#"{"pad_token_id": 1, "eos_token_id": 0}"#).unwrap();
            serde_json::from_str::<GenerationConfig>(own).unwrap().spec(&fallback)
        };
        assert_eq!(spec(r#"{"early_stopping": true}"#).unwrap().early_stopping, EarlyStopping::Yes);
        assert_eq!(spec(r#"{"early_stopping": false}"#).unwrap().early_stopping, EarlyStopping::No);
        assert_eq!(spec(r#"{"early_stopping": null}"#).unwrap().early_stopping, EarlyStopping::No);
        let refused = spec(r#"{"early_stopping": "never"}"#).unwrap_err().to_string();
        assert_eq!(refused, r#"not supported: early_stopping "never" (generation_config.json)"#);
    }
}
