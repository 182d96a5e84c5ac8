//! candle-transformers' Marian behind babil's [`Model`].
//!
//! It is there to compare with and to fall back on, not to be fast. Rows of a call run one after the other, never
//! padded. candle keeps the keys and values of one sequence inside its model: a call that continues the sequence of the
//! call before costs one position per new token, any other (a batch, a beam, a truncated state) computes its sequence
//! again from the start, so that a beam of `b` costs `b * n^2 / 2` positions for `n` tokens instead of `b * n`. States
//! hold their tokens and the encoder's output only, which makes forking and truncating them cheap.
//!
//! What this Marian cannot do is refused at [`CandleMarian::open`]: separate embeddings, different numbers of attention
//! heads in encoder and decoder, pre-norm layers, untied heads, learned positions.

use std::path::Path;

use babil_runtime::model::{EncoderDecoder, Logits, Model, Row, State};
use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result, Token};
use candle_core::{DType, Device, Shape, Tensor, TensorId};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Activation, Init, VarBuilder};
use candle_transformers::models::marian;

use super::{failed, root_cause};
use crate::convert;

/// A Marian model run by candle, in float32 on the CPU.
pub struct CandleMarian {
    model: marian::MTModel,
    vocab: usize,
    max_positions: usize,
    /// What candle's cache of the decoder holds.
    cached: Option<Cached>,
}

/// The contents of candle's decoder cache.
struct Cached {
    source: TensorId,
    tokens: Vec<Token>,
}

/// A sequence of a [`CandleMarian`].
#[derive(Clone, Debug)]
pub struct CandleState {
    /// The encoder's output, `[1, source tokens, d_model]`; shared by forks.
    encoded: Tensor,
    tokens: Vec<Token>,
}

impl State for CandleState {
    fn fork(&self) -> Self {
        self.clone()
    }

    fn position(&self) -> usize {
        self.tokens.len()
    }

    fn truncate(&mut self, position: usize) -> usize {
        self.tokens.truncate(position);
        self.tokens.len()
    }
}

impl CandleMarian {
    /// Opens a Hugging Face folder: `config.json`, and `model.safetensors` or else `pytorch_model.bin`.
    ///
    /// # Errors
    /// A file is missing or damaged, a tensor is missing or has another shape than `config.json` says, or
    /// [`Error::Unsupported`] names the key of `config.json` that candle's Marian cannot honour.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let config = Config::read(&folder.join("config.json"))?;
        let safetensors = folder.join("model.safetensors");
        let pytorch = folder.join("pytorch_model.bin");
        let weights = if !safetensors.exists() && pytorch.exists() {
            let mut converted = Vec::new();
            convert::pytorch_to_safetensors(&pytorch, &convert::MARIAN_COMPUTED, &mut converted)?;
            Weights::from_vec(converted, &pytorch.display().to_string())?
        } else {
            Weights::open(safetensors)?
        };
        let file = weights.file().to_owned();
        let variables = VarBuilder::from_backend(Box::new(Loader(weights)), DType::F32, Device::Cpu);
        let model = marian::MTModel::new(&config.for_candle()?, variables)
            .map_err(|e| Error::bad_file(file, root_cause(&e)))?;
        Ok(Self { model, vocab: config.vocab_size, max_positions: config.max_position_embeddings, cached: None })
    }

    fn check(&self, tokens: &[Token], position: usize) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::BadRequest("a sequence without tokens".to_owned()));
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.vocab) {
            return Err(Error::BadRequest(format!("token {token} is not in the vocabulary of {}", self.vocab)));
        }
        let length = position + tokens.len();
        if length > self.max_positions {
            return Err(Error::BadRequest(format!("{length} tokens are more than the model's {}", self.max_positions)));
        }
        Ok(())
    }

    /// Computes what the cache has not of `state`; `emit` gets the logits `[vocab]` after each token from position
    /// `wanted` on.
    fn decode(
        &mut self,
        state: &CandleState,
        wanted: usize,
        mut emit: impl FnMut(usize, &[f32]),
    ) -> candle_core::Result<()> {
        let tokens = &state.tokens;
        let reusable = |cached: &Cached| {
            cached.source == state.encoded.id() && cached.tokens.len() <= wanted && tokens.starts_with(&cached.tokens)
        };
        let mut done = self.cached.take().filter(reusable).map_or(0, |cached| cached.tokens.len());
        if done == 0 {
            self.model.reset_kv_cache();
        }
        // candle's causal mask covers the new tokens only: beyond the first call they have to come one by one.
        while done < tokens.len() {
            let new = if done == 0 { &tokens[..] } else { &tokens[done..=done] };
            let input = Tensor::new(new, &Device::Cpu)?.unsqueeze(0)?;
            let logits = self.model.decode(&input, &state.encoded, done)?.squeeze(0)?;
            for position in wanted.max(done)..done + new.len() {
                emit(position, &logits.get(position - done)?.to_vec1()?);
            }
            done += new.len();
        }
        self.cached = Some(Cached { source: state.encoded.id(), tokens: tokens.clone() });
        Ok(())
    }

    fn encode_one(&mut self, source: &[Token]) -> candle_core::Result<Tensor> {
        let input = Tensor::new(source, &Device::Cpu)?.unsqueeze(0)?;
        // candle's encoder caches keys and values like its decoder, and would attend to the sentence before.
        self.model.encoder().reset_kv_cache();
        let encoded = self.model.encoder().forward(&input, 0);
        self.model.encoder().reset_kv_cache();
        encoded
    }
}

impl Model for CandleMarian {
    type State = CandleState;

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, CandleState>], logits: &mut Logits) -> Result<()> {
        for row in rows.iter() {
            self.check(row.tokens, row.state.position())?;
        }
        logits.reset(rows.iter().map(|row| row.want.rows(row.tokens.len())).sum(), self.vocab);
        let mut first = 0;
        for row in rows.iter_mut() {
            row.state.tokens.extend_from_slice(row.tokens);
            let count = row.want.rows(row.tokens.len());
            if count == 0 {
                // Computed together with what follows.
                continue;
            }
            let wanted = row.state.tokens.len() - count;
            let emit = |position, values: &[f32]| logits.row_mut(first + position - wanted).copy_from_slice(values);
            self.decode(row.state, wanted, emit).map_err(failed)?;
            first += count;
        }
        Ok(())
    }
}

impl EncoderDecoder for CandleMarian {
    fn encode(&mut self, sources: &[&[Token]]) -> Result<Vec<CandleState>> {
        for source in sources {
            self.check(source, 0)?;
        }
        let encode = |source: &&[Token]| {
            let encoded = self.encode_one(source).map_err(failed)?;
            Ok(CandleState { encoded, tokens: Vec::new() })
        };
        sources.iter().map(encode).collect()
    }
}

/// Gives candle its tensors, as float32 copies.
struct Loader(Weights);

impl SimpleBackend for Loader {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        match self.0.expect(name, shape.dims()) {
            Ok(tensor) => Tensor::from_vec(tensor.to_f32(), shape, device)?.to_dtype(dtype),
            Err(Error::BadTensor { tensor, problem, .. }) => candle_core::bail!("tensor `{tensor}`: {problem}"),
            Err(error) => Err(candle_core::Error::wrap(error)),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.0.get(name).map(|tensor| tensor.shape().to_vec()).unwrap_or_default();
        self.get(shape.into(), name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }
}

/// The parts of `config.json` that change what the model computes, with transformers' defaults.
#[derive(serde::Deserialize)]
struct Config {
    #[serde(skip)]
    file: String,
    #[serde(default)]
    model_type: String,
    vocab_size: usize,
    decoder_vocab_size: Option<usize>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    d_model: usize,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    activation_function: String,
    #[serde(default)]
    scale_embedding: bool,
    #[serde(default = "yes")]
    share_encoder_decoder_embeddings: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default = "yes")]
    static_position_embeddings: bool,
    #[serde(default)]
    normalize_embedding: bool,
    #[serde(default)]
    normalize_before: bool,
    #[serde(default)]
    add_final_layer_norm: bool,
}

fn yes() -> bool {
    true
}

fn default_positions() -> usize {
    1024
}

/// The most positions for which candle may make its table.
const MAX_POSITIONS: usize = 1 << 16;

impl Config {
    fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let config: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::bad_file(&file, format!("not a Marian configuration: {e}")))?;
        Ok(Self { file, ..config })
    }

    /// The configuration in candle's terms, or the first key that candle's Marian cannot honour.
    fn for_candle(&self) -> Result<marian::Config> {
        let refuse = |key: &str, value: &dyn std::fmt::Display, why: &str| {
            Err(Error::Unsupported(format!("{}: `{key}` is {value}: {why}", self.file)))
        };
        let keys = [
            ("share_encoder_decoder_embeddings", self.share_encoder_decoder_embeddings, true),
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("static_position_embeddings", self.static_position_embeddings, true),
            ("normalize_embedding", self.normalize_embedding, false),
            ("normalize_before", self.normalize_before, false),
            ("add_final_layer_norm", self.add_final_layer_norm, false),
        ];
        for (key, value, needed) in keys {
            if value != needed {
                return refuse(key, &value, &format!("the candle backend needs {needed}"));
            }
        }
        if !["", "marian"].contains(&self.model_type.as_str()) {
            return refuse("model_type", &self.model_type, "the candle backend knows marian only");
        }
        if let Some(size) = self.decoder_vocab_size.filter(|&size| size != self.vocab_size) {
            return refuse("decoder_vocab_size", &size, "the candle backend needs one vocabulary for both sides");
        }
        let heads = self.decoder_attention_heads;
        if self.encoder_attention_heads != heads {
            let why = format!("the candle backend needs as many as the decoder has, {heads}");
            return refuse("encoder_attention_heads", &self.encoder_attention_heads, &why);
        }
        if heads == 0 || !self.d_model.is_multiple_of(heads) || self.d_model == 0 || !self.d_model.is_multiple_of(2) {
            return refuse("d_model", &self.d_model, &format!("not an even multiple of {heads} attention heads"));
        }
        if !(1..=MAX_POSITIONS).contains(&self.max_position_embeddings) {
            let why = format!("the candle backend needs 1 to {MAX_POSITIONS}");
            return refuse("max_position_embeddings", &self.max_position_embeddings, &why);
        }
        let activation_function = match self.activation_function.as_str() {
            "swish" | "silu" => Activation::Silu,
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            other => {
                return refuse("activation_function", &other, "the candle backend knows swish, silu, relu and gelu");
            }
        };
        Ok(marian::Config {
            vocab_size: self.vocab_size,
            decoder_vocab_size: Some(self.vocab_size),
            max_position_embeddings: self.max_position_embeddings,
            encoder_layers: self.encoder_layers,
            encoder_ffn_dim: self.encoder_ffn_dim,
            encoder_attention_heads: heads,
            decoder_layers: self.decoder_layers,
            decoder_ffn_dim: self.decoder_ffn_dim,
            decoder_attention_heads: heads,
            activation_function,
            d_model: self.d_model,
            scale_embedding: self.scale_embedding,
            share_encoder_decoder_embeddings: true,
            use_cache: true,
            is_encoder_decoder: true,
            // Generation is not candle's business here; it does not look at these.
            decoder_start_token_id: 0,
            pad_token_id: 0,
            eos_token_id: 0,
            forced_eos_token_id: 0,
        })
    }
}

#[cfg(test)]
mod tests;
