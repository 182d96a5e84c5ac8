//! Arguments that commands for language models share, and what they become.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use babil_models::bench::process::memory;
use babil_models::catalogue::{self, Catalogue, Resolved};
use babil_models::language::{Answer, Described, LanguageModel, LanguageOptions, Request};
use babil_models::tasks::chat::Chat;
use babil_models::{Backend, families};
use babil_runtime::Error;
use babil_runtime::accelerator::Report;
use babil_runtime::energy::Pace;
use babil_runtime::generate::{Lookup, Overflow};
use babil_runtime::quant::{BlockType, quantize};
use babil_runtime::sampling::{GrammarText, Mirostat, SamplingOptions};
use babil_runtime::session::KvType;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::args::Context;
use crate::device::{self, DeviceArgs};
use crate::exit::UsageError;
use crate::interrupt::new_cancel;
use crate::output::human_bytes;
use crate::power::{Pacing, PowerArgs, Powered};

/// Which model, and how it is run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ModelArgs {
    /// What computes
    #[arg(long, value_enum, default_value_t)]
    backend: BackendArg,
    /// Threads to compute with, as far as there are cores for them [default: one per fast core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Threads for prompts [default: as many as for the rest]
    #[arg(long, visible_alias = "threads-batch", value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    prompt_threads: Option<u16>,
    /// Most tokens of a text, prompt included [default: what model and memory allow]
    #[arg(long, visible_alias = "context", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ctx: Option<u32>,
    /// How keys and values are stored [default: f16]
    #[arg(long, value_enum)]
    kv: Option<KvArg>,
    /// Quantise the float matrices of a model to this type when it is opened first, such as q8_0 or q4_k
    #[arg(long, value_name = "TYPE", value_parser = parse_type)]
    quant: Option<BlockType>,
    /// Refuse a model that needs more memory, such as `800M` or `2G`
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory_limit: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Download the model first if it is not here, as `babil pull`
    #[cfg(feature = "pull")]
    #[arg(long)]
    pull: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum BackendArg {
    /// The native engine
    #[default]
    Cpu,
    /// candle-transformers models
    Candle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvArg {
    /// float32
    F32,
    /// float16
    F16,
    /// 8 bits
    #[value(name = "q8_0")]
    Q8_0,
}

impl KvArg {
    /// As reports have it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) fn kv(self) -> KvType {
        match self {
            Self::F32 => KvType::F32,
            Self::F16 => KvType::F16,
            Self::Q8_0 => KvType::Q8_0,
        }
    }
}

/// A number of bytes with an optional unit, decimal or (`Ki`, `Mi`, `Gi`) binary.
fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 6] =
        [("KI", 1 << 10), ("MI", 1 << 20), ("GI", 1 << 30), ("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let unit = UNITS.iter().find_map(|(name, factor)| Some((upper.strip_suffix(name)?, *factor)));
    let (number, factor) = unit.unwrap_or((upper, 1));
    let number: f64 = number.trim().parse().map_err(|_| "not a number of bytes, such as 800M or 2G".to_owned())?;
    if !number.is_finite() || number < 0.0 {
        return Err("not a number of bytes, such as 800M or 2G".to_owned());
    }
    Ok((number * factor as f64) as u64)
}

/// A type that matrices can be quantised to row by row.
pub(crate) fn parse_type(name: &str) -> std::result::Result<BlockType, String> {
    let types =
        || BlockType::ALL.into_iter().filter(|&block| quantize::is_supported(block) && block.ggml_id().is_some());
    types().find(|block| block.name() == name).ok_or_else(|| {
        let names: Vec<_> = types().map(BlockType::name).collect();
        format!("the types are {}", names.join(", "))
    })
}

impl ModelArgs {
    /// # Errors
    /// Options that the backend does not have.
    fn options(&self) -> Result<LanguageOptions> {
        let native = [
            ("--prompt-threads", self.prompt_threads.is_some()),
            ("--kv", self.kv.is_some()),
            ("--quant", self.quant.is_some()),
            ("--memory-limit", self.memory_limit.is_some()),
        ];
        if matches!(self.backend, BackendArg::Candle)
            && let Some((option, _)) = native.iter().find(|(_, given)| *given)
        {
            return Err(UsageError::new(format!("{option} cannot be used with --backend candle")).into());
        }
        Ok(LanguageOptions {
            backend: match self.backend {
                BackendArg::Cpu => Backend::Cpu,
                BackendArg::Candle => Backend::Candle,
            },
            threads: self.threads.map(usize::from),
            prompt_threads: self.prompt_threads.map(usize::from),
            context: self.ctx.map(|ctx| ctx as usize),
            kv: self.kv.map(KvArg::kv),
            memory_limit: self.memory_limit,
            quant: self.quant,
            device: self.device.options()?,
            ..LanguageOptions::default()
        })
    }

    /// Opens the model called `name`, and says on stderr what the user did not ask for but gets.
    pub(crate) fn open(&self, name: &str, context: &Context) -> Result<Opened> {
        self.open_with(name, &PowerArgs::default(), context)
    }

    /// The same within what `power` allows. Threads that the user names are what they are.
    pub(crate) fn open_with(&self, name: &str, power: &PowerArgs, context: &Context) -> Result<Opened> {
        let mut options = self.options()?;
        let start = Instant::now();
        let path = self.path(name, context)?;
        let Powered { threads, prompt_threads, pacing } = power.resolve(Some(&path), context)?;
        options.threads = options.threads.or(threads);
        options.prompt_threads = options.prompt_threads.or(prompt_threads);
        let model = LanguageModel::open(&path, &options)?;
        let opened = Opened { model, load: start.elapsed(), file_bytes: file_bytes(&path), pacing };
        self.note_unasked(&opened.model, context);
        Ok(opened)
    }

    fn note_unasked(&self, model: &LanguageModel, context: &Context) {
        let (tokens, longest) = (model.context(), model.longest_context());
        if self.ctx.is_none() && tokens < longest && model.backend() == Backend::Cpu {
            context.output.note(format!(
                "a context of {tokens} tokens fits into memory well, of the {longest} that the model has: --ctx sets it"
            ));
        }
        if model.backend() == Backend::Candle && matches!(self.backend, BackendArg::Cpu) {
            let architecture = model.architecture();
            context.output.note(format!("`{architecture}` is not native: running on candle, which is slower"));
        }
    }

    /// The file or folder of the model called `name`, which is downloaded first where `--pull` asks for that.
    fn path(&self, name: &str, context: &Context) -> Result<PathBuf> {
        let path = model_path(name);
        #[cfg(feature = "pull")]
        if self.pull
            && let Err(error) = &path
            && let Some(catalogue::Error::NotPulled { name }) = error.downcast_ref()
        {
            crate::commands::pull::fetch(name, context)?;
            return model_path(name);
        }
        let _ = context;
        path
    }

    /// Looks at the model called `name` without loading it.
    pub(crate) fn describe(&self, name: &str, context: &Context) -> Result<Described> {
        let options = self.options()?;
        if options.backend == Backend::Candle {
            return Err(
                UsageError::new("what a model needs is known of the native engine, not of --backend candle").into()
            );
        }
        Ok(Described::open(&self.path(name, context)?, &options)?)
    }
}

/// The file or folder of the model called `name`.
pub(crate) fn model_path(name: &str) -> Result<PathBuf> {
    if Catalogue::get().find(name).is_none() && Path::new(name).exists() {
        return Ok(name.into());
    }
    match catalogue::resolve(name)? {
        Resolved::Gguf(file) => Ok(file),
        Resolved::Directory(folder) => Ok(folder),
        Resolved::Bundled => Err(UsageError::new(format!("`{name}` translates: use `babil translate`")).into()),
        Resolved::NotPulled { entry } => Err(catalogue::Error::NotPulled { name: entry.name }.into()),
    }
}

/// Goes on with the conversation in `path`, where the user asked for the system prompt `system` or none. A conversation
/// has the one that it began with: another one cannot be had.
pub(crate) fn restore_chat(chat: &mut Chat<'_>, path: &Path, system: Option<&str>) -> Result<()> {
    chat.restore(path)?;
    if system.is_none() || system == chat.system() {
        return Ok(());
    }
    let own = if chat.system().is_some() { "another system prompt" } else { "no system prompt" };
    Err(UsageError::new(format!(
        "the conversation in {} has {own}: go on without --system, or begin another one with another --session",
        path.display()
    ))
    .into())
}

fn file_bytes(path: &Path) -> u64 {
    families::weights_file(path).metadata().map_or(0, |file| file.len())
}

/// The text in `file`, or in stdin; `what` it is in messages.
pub(crate) fn read_text(file: Option<&Path>, what: &str) -> Result<String> {
    let bytes = match file {
        Some(file) => std::fs::read(file),
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        }
    };
    let place = file.map_or("stdin".into(), |file| file.display().to_string());
    let bytes = bytes.map_err(|error| Error::BadRequest(format!("cannot read {what} from {place}: {error}")))?;
    Ok(String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::BadRequest(format!("{what} in {place} is not UTF-8 at byte {at}"))
    })?)
}

/// A model and how it was opened.
pub(crate) struct Opened {
    pub(crate) model: LanguageModel,
    load: Duration,
    file_bytes: u64,
    /// Rests between tokens.
    pub(crate) pacing: Pacing,
}

impl Opened {
    /// What `--stats` and `--json` say of an answer.
    pub(crate) fn statistics(&self, answer: &Answer) -> Statistics {
        let Answer { counts, times, .. } = answer;
        let rate =
            |tokens: usize, time: Duration| (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64());
        let computed = counts.prompt - counts.reused;
        // The first token comes from the prompt's last step.
        let generation = rate(counts.generated.saturating_sub(1), times.generation);
        Statistics {
            load: self.load.as_secs_f64(),
            prompt_tokens: counts.prompt,
            prompt_reused: counts.reused,
            prompt_rate: rate(computed, times.prompt),
            generated_tokens: counts.generated,
            generation_rate: generation,
            first_text: times.first_text.map(|time| time.as_secs_f64()),
            drafted: counts.drafted,
            accepted: counts.accepted,
            gigabytes_per_second: generation.map(|rate| rate * self.file_bytes as f64 / 1e9),
            anonymous_memory: memory().map(|memory| memory.anonymous),
            context: self.model.context(),
            pace: self.pacing.pace(),
            accelerator: self.model.accelerator(),
        }
    }
}

/// Numbers about an answer.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Statistics {
    /// Seconds.
    load: f64,
    prompt_tokens: usize,
    /// Of which the session remembered so many.
    prompt_reused: usize,
    /// Tokens per second.
    prompt_rate: Option<f64>,
    generated_tokens: usize,
    /// Tokens per second.
    generation_rate: Option<f64>,
    /// Seconds from the request to the first text.
    first_text: Option<f64>,
    drafted: usize,
    accepted: usize,
    /// The file's size times the rate: what reading every weight for every token comes to.
    gigabytes_per_second: Option<f64>,
    anonymous_memory: Option<u64>,
    context: usize,
    /// Rests, where `--power` or `--max-temp` may ask for some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pace: Option<Pace>,
    /// What ran where, unless everything is for the CPU.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    accelerator: Option<Report>,
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1} tokens/s"));
        write!(f, "load {:.2} s | prompt {} tokens", self.load, self.prompt_tokens)?;
        if self.prompt_reused > 0 {
            write!(f, " ({} remembered)", self.prompt_reused)?;
        }
        write!(f, ", {} | {} tokens, {}", rate(self.prompt_rate), self.generated_tokens, rate(self.generation_rate))?;
        if let Some(bandwidth) = self.gigabytes_per_second {
            write!(f, ", {bandwidth:.1} GB/s")?;
        }
        if self.drafted > 0 {
            write!(f, " | drafts {} of {}", self.accepted, self.drafted)?;
        }
        if let Some(first) = self.first_text {
            write!(f, " | first text after {first:.2} s")?;
        }
        if let Some(memory) = self.anonymous_memory {
            write!(f, " | {} of memory", human_bytes(memory))?;
        }
        if let Some(pace) = &self.pace {
            write!(f, " | {:.1} s of rests", pace.rested_s)?;
        }
        self.accelerator.iter().flat_map(device::lines).try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// How text is generated.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Generation options")]
pub(crate) struct GenerationArgs {
    /// Most tokens to generate
    #[arg(short = 'n', long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Randomness; 0 always takes the most probable token
    #[arg(short, long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Only the K most probable tokens; 0 is off
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Only the most probable tokens that together make up P; 1 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Only tokens at least P times as probable as the best; 0 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Only tokens about as surprising as expected, up to P; 1 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical_p: Option<f32>,
    /// Divide the logits of tokens that occurred; 1 is off
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Subtract from the logits of tokens that occurred, once for each time
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Subtract from the logits of tokens that occurred
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Tokens that these penalties look back
    #[arg(long, value_name = "N")]
    repeat_window: Option<usize>,
    /// Penalty for going on with a repetition (DRY); 0 is off
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    dry: Option<f32>,
    /// Keep the surprise of tokens near TAU bits (mirostat 2.0), instead of top-k, top-p, min-p and typical-p
    #[arg(long, value_name = "TAU", allow_negative_numbers = true)]
    mirostat: Option<f32>,
    /// How fast mirostat learns
    #[arg(long, value_name = "ETA", requires = "mirostat", allow_negative_numbers = true)]
    mirostat_eta: Option<f32>,
    /// Add to the logit of a token, as ID=VALUE; `-inf` forbids it; may be repeated
    #[arg(long, value_name = "ID=VALUE", value_parser = parse_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Where random numbers begin [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Text that ends the generation; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Generate on where the model would end
    #[arg(long)]
    ignore_eos: bool,
    /// When the context is full, forget the older half of what comes after the system prompt, or after the first N tokens,
    /// and go on
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true)]
    shift: Option<Option<usize>>,
    /// Draft tokens from the text so far: the same result, faster where a text repeats itself
    #[arg(long)]
    lookup: bool,
    /// The result must satisfy this JSON schema (a file, or the schema itself)
    #[arg(long, value_name = "FILE|JSON", group = "constraint")]
    json_schema: Option<String>,
    /// The whole result must match this regular expression
    #[arg(long, value_name = "REGEX", group = "constraint")]
    regex: Option<String>,
    /// The result must follow this grammar (a file in llguidance's Lark)
    #[arg(long, value_name = "FILE", group = "constraint")]
    grammar: Option<PathBuf>,
}

fn parse_bias(text: &str) -> std::result::Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, value)| Some((id.parse().ok()?, value.parse().ok()?)));
    parsed.ok_or_else(|| "not ID=VALUE, such as 13=-5 or 13=-inf".to_owned())
}

impl GenerationArgs {
    pub(crate) fn request(&self) -> Result<Request> {
        let mut sampling = SamplingOptions::default();
        fn set<T: Copy>(value: Option<T>, field: &mut T) {
            *field = value.unwrap_or(*field);
        }
        set(self.temperature, &mut sampling.temperature);
        set(self.top_k, &mut sampling.top_k);
        set(self.top_p, &mut sampling.top_p);
        set(self.min_p, &mut sampling.min_p);
        set(self.typical_p, &mut sampling.typical_p);
        set(self.repeat_penalty, &mut sampling.penalties.repetition);
        set(self.frequency_penalty, &mut sampling.penalties.frequency);
        set(self.presence_penalty, &mut sampling.penalties.presence);
        set(self.repeat_window, &mut sampling.penalties.window);
        set(self.dry, &mut sampling.dry.multiplier);
        if let Some(tau) = self.mirostat {
            let eta = self.mirostat_eta.unwrap_or(0.1);
            sampling.mirostat = Some(Mirostat { tau, eta });
        }
        sampling.logit_bias = self.logit_bias.clone();
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        sampling.seed = self.seed.unwrap_or_else(clock);
        let grammar = match (&self.json_schema, &self.regex, &self.grammar) {
            (Some(schema), ..) if schema.trim_start().starts_with('{') => Some(GrammarText::JsonSchema(schema.clone())),
            (Some(file), ..) => Some(GrammarText::JsonSchema(read_text(Some(file.as_ref()), "the JSON schema")?)),
            (_, Some(regex), _) => Some(GrammarText::Regex(regex.clone())),
            (_, _, Some(file)) => Some(GrammarText::Lark(read_text(Some(file), "the grammar")?)),
            _ => None,
        };
        Ok(Request {
            sampling,
            max_tokens: self.max_tokens.map_or(usize::MAX, |max| max as usize),
            stop: self.stop.clone(),
            overflow: self.shift.map_or(Overflow::Error, |keep| Overflow::Shift { keep: keep.unwrap_or(0) }),
            lookup: self.lookup.then(Lookup::default),
            ignore_end: self.ignore_eos,
            grammar,
            cancel: new_cancel(),
        })
    }
}

/// An answer as `--json` prints it.
pub(crate) fn answer_json(opened: &Opened, text: &str, thought: Option<&str>, answer: &Answer, seed: u64) -> Value {
    json!({
        "model": opened.model.path(),
        "text": text,
        "thought": thought,
        "finish": answer.finish,
        "seed": seed,
        "statistics": opened.statistics(answer),
    })
}
