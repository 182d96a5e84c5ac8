//! candle-transformers' quantised language models, read from GGUF files, behind babil's [`Model`].
//!
//! Rows of a call run one after the other. candle keeps the keys and values of one sequence inside its model: a call
//! that continues the sequence of the call before costs one position per new token, any other computes its sequence
//! again from the start. States hold their tokens only, which makes forking and truncating them cheap.
//!
//! candle ignores what it does not know in a file, so each architecture lists here the tensors that candle reads, and a
//! file with others (rotary factors, biases, experts) is refused, as are settings that candle has fixed.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use babil_runtime::model::{Logits, Model, Row, State};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::Metadata;
use babil_runtime::{Error, Result, Token};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::{
    quantized_gemma3 as gemma3, quantized_glm4 as glm4, quantized_lfm2 as lfm2, quantized_llama as llama,
    quantized_phi as phi2, quantized_phi3 as phi3, quantized_qwen2 as qwen2, quantized_qwen3 as qwen3,
};

use super::{failed, root_cause};

/// The architectures that open, as `general.architecture` names them.
pub const ARCHITECTURES: [&str; 8] = ["gemma3", "glm4", "lfm2", "llama", "phi2", "phi3", "qwen2", "qwen3"];

/// Positions of a sequence. Some of candle's models have tables of that size whatever the file says, and others make
/// tables and caches as large as the file says.
const MAX_POSITIONS: usize = 4096;

/// A language model run by candle, in float32 on the CPU.
pub struct CandleLanguageModel {
    path: PathBuf,
    network: Network,
    vocab: usize,
    max_positions: usize,
    /// The tokens whose keys and values candle holds.
    cached: Vec<Token>,
}

/// A sequence of a [`CandleLanguageModel`].
#[derive(Clone, Debug, Default)]
pub struct CandleSequence {
    tokens: Vec<Token>,
}

impl State for CandleSequence {
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

impl CandleLanguageModel {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// The file is damaged, its architecture is not one of [`ARCHITECTURES`], or it has tensors or settings that
    /// candle's model cannot honour: named in each case.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (vocab, max_positions) = check(&Weights::open(path)?)?;
        Ok(Self { path: path.to_owned(), network: Network::open(path)?, vocab, max_positions, cached: Vec::new() })
    }

    /// A sequence without tokens.
    pub fn sequence(&self) -> CandleSequence {
        CandleSequence::default()
    }

    /// The most tokens of a sequence.
    pub fn max_positions(&self) -> usize {
        self.max_positions
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

    /// Computes what the cache has not of `tokens`; `emit` gets the logits `[vocab]` after each token from position
    /// `wanted` on.
    fn compute(&mut self, tokens: &[Token], wanted: usize, mut emit: impl FnMut(usize, &[f32])) -> Result<()> {
        let cached = std::mem::take(&mut self.cached);
        let mut done = if cached.len() <= wanted && tokens.starts_with(&cached) { cached.len() } else { 0 };
        if done == 0 && !self.network.clear() {
            self.network = Network::open(&self.path)?;
        }
        // candle gives the logits after the last token of a call. Once a cache is filled, several tokens in one call
        // are not right in all of its models.
        while done < tokens.len() {
            let new = if done == 0 { &tokens[..=wanted] } else { &tokens[done..=done] };
            let logits = self.network.forward(new, done).map_err(failed)?;
            done += new.len();
            if done > wanted {
                emit(done - 1, &logits);
            }
        }
        self.cached = tokens.to_vec();
        Ok(())
    }
}

impl Model for CandleLanguageModel {
    type State = CandleSequence;

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, CandleSequence>], logits: &mut Logits) -> Result<()> {
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
            self.compute(&row.state.tokens, wanted, emit)?;
            first += count;
        }
        Ok(())
    }
}

/// candle's models.
enum Network {
    Gemma3(gemma3::ModelWeights),
    Glm4(glm4::ModelWeights),
    Lfm2(lfm2::ModelWeights),
    Llama(llama::ModelWeights),
    Phi2(phi2::ModelWeights),
    Phi3(phi3::ModelWeights),
    Qwen2(qwen2::ModelWeights),
    Qwen3(qwen3::ModelWeights),
}

impl Network {
    /// Reads a file that [`check`] has looked at.
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let mut reader = BufReader::new(file);
        Self::read(&mut reader).map_err(|error| {
            Error::bad_file(path.display().to_string(), format!("candle cannot read it: {}", root_cause(&error)))
        })
    }

    fn read(reader: &mut BufReader<File>) -> candle_core::Result<Self> {
        let mut content = Content::read(reader)?;
        let architecture = content.metadata.get("general.architecture").map(Value::to_string).transpose()?;
        let architecture = architecture.cloned().unwrap_or_default();
        // Tables and caches are as large as this says.
        if let Some(length) = content.metadata.get_mut(&format!("{architecture}.context_length")) {
            *length = Value::U32((length.to_u64()? as usize).min(MAX_POSITIONS) as u32);
        }
        // candle's Qwen3 computes positions in what this says, and else in float16.
        content.metadata.insert("general.dtype".to_owned(), Value::U32(0));
        let cpu = &Device::Cpu;
        Ok(match architecture.as_str() {
            "gemma3" => Self::Gemma3(gemma3::ModelWeights::from_gguf(content, reader, cpu)?),
            "glm4" => Self::Glm4(glm4::ModelWeights::from_gguf(content, reader, cpu, DType::F32)?),
            "lfm2" => Self::Lfm2(lfm2::ModelWeights::from_gguf(content, reader, cpu)?),
            "llama" => Self::Llama(llama::ModelWeights::from_gguf(content, reader, cpu)?),
            "phi2" => Self::Phi2(phi2::ModelWeights::from_gguf(content, reader, cpu)?),
            "phi3" => Self::Phi3(phi3::ModelWeights::from_gguf(false, content, reader, cpu)?),
            "qwen2" => Self::Qwen2(qwen2::ModelWeights::from_gguf(content, reader, cpu)?),
            "qwen3" => Self::Qwen3(qwen3::ModelWeights::from_gguf(content, reader, cpu)?),
            other => candle_core::bail!("architecture `{other}`"),
        })
    }

    /// Forgets all tokens; `false` if this model cannot.
    fn clear(&mut self) -> bool {
        match self {
            Self::Llama(model) => model.clear_kv_cache(),
            Self::Qwen2(model) => model.clear_kv_cache(),
            Self::Qwen3(model) => model.clear_kv_cache(),
            // These forget when a call begins at position 0.
            Self::Gemma3(_) | Self::Glm4(_) | Self::Phi2(_) | Self::Phi3(_) => {}
            // The inputs of its convolutions stay.
            Self::Lfm2(_) => return false,
        }
        true
    }

    /// Logits `[vocab]` after the last of `tokens`, which begin at `position`.
    fn forward(&mut self, tokens: &[Token], position: usize) -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match self {
            Self::Gemma3(model) => model.forward(&input, position),
            Self::Glm4(model) => model.forward(&input, position),
            Self::Lfm2(model) => model.forward(&input, position),
            Self::Llama(model) => model.forward(&input, position),
            Self::Phi2(model) => model.forward(&input, position),
            Self::Phi3(model) => model.forward(&input, position),
            Self::Qwen2(model) => model.forward(&input, position),
            Self::Qwen3(model) => model.forward(&input, position),
        }?;
        logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }
}

/// What candle reads of a layer, beside `attn_output.weight`, `attn_norm.weight`, `ffn_norm.weight`, `ffn_up.weight` and
/// `ffn_down.weight`, which all have.
fn layer_tensors(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "gemma3" => &[
            "attn_q.weight",
            "attn_k.weight",
            "attn_v.weight",
            "attn_q_norm.weight",
            "attn_k_norm.weight",
            "post_attention_norm.weight",
            "post_ffw_norm.weight",
            "ffn_gate.weight",
        ],
        "glm4" => &[
            "attn_q.weight",
            "attn_k.weight",
            "attn_v.weight",
            "attn_q.bias",
            "attn_k.bias",
            "attn_v.bias",
            "post_attention_norm.weight",
            "post_ffw_norm.weight",
        ],
        "lfm2" => &[
            "attn_q.weight",
            "attn_k.weight",
            "attn_v.weight",
            "attn_q_norm.weight",
            "attn_k_norm.weight",
            "ffn_gate.weight",
            "shortconv.conv.weight",
            "shortconv.in_proj.weight",
            "shortconv.out_proj.weight",
        ],
        "phi2" => {
            &["attn_qkv.weight", "attn_qkv.bias", "attn_output.bias", "attn_norm.bias", "ffn_up.bias", "ffn_down.bias"]
        }
        "phi3" => &["attn_qkv.weight"],
        "qwen2" => &[
            "attn_q.weight",
            "attn_k.weight",
            "attn_v.weight",
            "attn_q.bias",
            "attn_k.bias",
            "attn_v.bias",
            "ffn_gate.weight",
        ],
        "qwen3" => &[
            "attn_q.weight",
            "attn_k.weight",
            "attn_v.weight",
            "attn_q_norm.weight",
            "attn_k_norm.weight",
            "ffn_gate.weight",
        ],
        _ => &["attn_q.weight", "attn_k.weight", "attn_v.weight", "ffn_gate.weight"],
    }
}

/// Refuses what candle would compute differently, or would panic on. Returns the sizes of the vocabulary and of the
/// context.
fn check(weights: &Weights) -> Result<(usize, usize)> {
    let metadata = weights.gguf_metadata();
    let metadata = metadata.ok_or_else(|| Error::bad_file(weights.file(), "not a GGUF file"))?;
    let architecture: &str = metadata.expect("general.architecture")?;
    if !ARCHITECTURES.contains(&architecture) {
        let known = ARCHITECTURES.join(", ");
        let problem = format!("architecture `{architecture}` on the candle backend, which has {known}");
        return Err(Error::Unsupported(problem));
    }
    check_tensors(weights, architecture)?;
    let settings = Settings { metadata, architecture };
    let width = settings.positive("embedding_length")?;
    let layers = settings.positive("block_count")?;
    if layers > weights.iter().count() {
        return Err(metadata.bad(&settings.key("block_count"), format!("{layers} layers are more than tensors")));
    }
    let heads = settings.positive("attention.head_count")?;
    if !width.is_multiple_of(heads) && matches!(architecture, "llama" | "qwen2" | "phi2" | "phi3" | "lfm2") {
        return Err(metadata.bad(&settings.key("attention.head_count"), format!("{heads} do not divide {width}")));
    }
    let kv_heads = settings.kv_heads(layers)?;
    if let Some(kv_heads) = kv_heads.iter().find(|&&kv_heads| kv_heads > 0 && !heads.is_multiple_of(kv_heads)) {
        let problem = format!("{kv_heads} do not divide the {heads} heads");
        return Err(metadata.bad(&settings.key("attention.head_count_kv"), problem));
    }
    if architecture != "lfm2" && kv_heads.contains(&0) {
        return Err(metadata.bad(&settings.key("attention.head_count_kv"), "is 0"));
    }
    let head = settings.find("attention.key_length")?.unwrap_or(width / heads);
    if head == 0 || !head.is_multiple_of(2) || head > 1 << 12 {
        return Err(metadata.bad(&settings.key("attention.key_length"), format!("heads of {head}")));
    }
    match architecture {
        "llama" | "qwen2" | "phi2" | "phi3" | "lfm2" => settings.fixed("attention.key_length", width / heads)?,
        _ => {}
    }
    match architecture {
        "phi2" | "phi3" => {
            let rotated = settings.positive("rope.dimension_count")?;
            if rotated > head || !rotated.is_multiple_of(2) {
                let problem = format!("{rotated} of heads of {head}");
                return Err(metadata.bad(&settings.key("rope.dimension_count"), problem));
            }
        }
        "glm4" => settings.fixed("rope.dimension_count", head / 2)?,
        _ => settings.fixed("rope.dimension_count", head)?,
    }
    if matches!(architecture, "phi2" | "phi3") {
        settings.fixed_float("rope.freq_base", 10_000.0)?;
    }
    settings.fixed_float("rope.scaling.factor", 1.0)?;
    settings.check_scaling_type()?;
    if architecture == "lfm2" {
        let taps = settings.positive("shortconv.l_cache")?;
        if taps > 64 {
            return Err(metadata.bad(&settings.key("shortconv.l_cache"), format!("{taps} are too many")));
        }
    }
    // A window is honoured by Gemma 3 only; up to its length it makes no difference.
    let window = match architecture {
        "gemma3" => None,
        _ => settings.find("attention.sliding_window")?.filter(|&window| window > 0),
    };
    let context = settings.positive("context_length")?;
    let max_positions = context.min(MAX_POSITIONS).min(window.unwrap_or(usize::MAX));
    let embedding = weights.get("token_embd.weight").ok_or_else(|| weights.bad("token_embd.weight", "is missing"))?;
    let &[vocab, columns] = embedding.shape() else {
        return Err(weights.bad("token_embd.weight", format!("has shape {:?}", embedding.shape())));
    };
    if columns != width {
        return Err(weights.bad("token_embd.weight", format!("has {columns} columns instead of {width}")));
    }
    if weights.get("output.weight").is_some() {
        weights.expect("output.weight", &[vocab, width])?;
    }
    Ok((vocab, max_positions))
}

fn check_tensors(weights: &Weights, architecture: &str) -> Result<()> {
    const ALL: [&str; 5] =
        ["attn_output.weight", "attn_norm.weight", "ffn_norm.weight", "ffn_up.weight", "ffn_down.weight"];
    let known = layer_tensors(architecture);
    for (name, _) in weights.iter() {
        let read = match name.strip_prefix("blk.").and_then(|name| name.split_once('.')) {
            Some((_, name)) => ALL.contains(&name) || known.contains(&name),
            None => match name {
                "token_embd.weight" | "output_norm.weight" | "output.weight" => true,
                "token_embd_norm.weight" => architecture == "lfm2",
                "output_norm.bias" | "output.bias" => architecture == "phi2",
                _ => false,
            },
        };
        if !read {
            let problem = format!("tensor `{name}` of {}: candle's {architecture} does not read it", weights.file());
            return Err(Error::Unsupported(problem));
        }
    }
    Ok(())
}

/// The metadata of an architecture.
struct Settings<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Settings<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn find(&self, name: &str) -> Result<Option<usize>> {
        self.metadata.find(&self.key(name))
    }

    fn positive(&self, name: &str) -> Result<usize> {
        match self.metadata.expect::<u32>(&self.key(name))? {
            0 => Err(self.metadata.bad(&self.key(name), "is 0")),
            value => Ok(value as usize),
        }
    }

    /// For each layer, or once for all of them.
    fn kv_heads(&self, layers: usize) -> Result<Vec<usize>> {
        use babil_runtime::weights::gguf::Value;
        let key = self.key("attention.head_count_kv");
        match self.metadata.get(&key) {
            Some(Value::Array(array)) if array.len() == layers => {
                let numbers = array.numbers::<usize>().map(|numbers| numbers.collect::<Vec<_>>());
                let numbers = numbers.filter(|numbers| numbers.len() == layers);
                numbers.ok_or_else(|| self.metadata.bad(&key, "expected integers, not negative"))
            }
            Some(Value::Array(array)) => {
                Err(self.metadata.bad(&key, format!("{} values for {layers} layers", array.len())))
            }
            _ => Ok(vec![self.metadata.expect::<u32>(&key)? as usize]),
        }
    }

    /// What candle takes for granted.
    fn fixed(&self, name: &str, value: usize) -> Result<()> {
        match self.find(name)? {
            Some(other) if other != value => Err(self.unsupported(name, other, value)),
            _ => Ok(()),
        }
    }

    fn fixed_float(&self, name: &str, value: f32) -> Result<()> {
        match self.metadata.find::<f32>(&self.key(name))? {
            // Converters write 0 for what a model does not have.
            Some(other) if other != value && other != 0.0 => Err(self.unsupported(name, other, value)),
            _ => Ok(()),
        }
    }

    fn check_scaling_type(&self) -> Result<()> {
        match self.metadata.find::<&str>(&self.key("rope.scaling.type"))? {
            Some(kind) if kind != "none" => Err(self.unsupported("rope.scaling.type", kind, "none")),
            _ => Ok(()),
        }
    }

    fn unsupported(&self, name: &str, found: impl std::fmt::Display, value: impl std::fmt::Display) -> Error {
        let key = self.key(name);
        Error::Unsupported(format!("`{key}` = {found}: candle's {} has {value}", self.architecture))
    }
}

#[cfg(test)]
mod tests;
