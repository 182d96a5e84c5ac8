//! Speed of a language model: tokens per second of the prompt and of generation, at depths of the context.
//!
//! `cargo run --release -p babil-benches --example generation -- MODEL.gguf --prompt 512 --depth 0 --depth 4096`
//!
//! Tokens are random, because speed does not depend on them. Each number is the median of the rounds; a line of JSON
//! tells them all, with the processor time a token takes and the memory in use.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use babil_benches::ensure_on_device;
use babil_models::bench::Random;
use babil_models::bench::process::memory;
use babil_models::bench::statistics::median;
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_models::{Device, DeviceOptions};
use babil_runtime::Token;
use babil_runtime::cpu_time;
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::weights::Weights;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use serde_json::json;

#[derive(Parser)]
struct Options {
    /// A GGUF file.
    model: PathBuf,
    /// What computes.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    /// Threads, as far as there are cores for them; one for each fast core by default. candle takes them from
    /// `RAYON_NUM_THREADS` instead.
    #[arg(long)]
    threads: Option<usize>,
    /// Compute prompts on a device of ONNX Runtime: an NPU, or what `BABIL_NPU` names. Each prompt runs once before it is
    /// timed, and it is an error if the CPU computes any.
    #[arg(long)]
    npu: bool,
    /// Threads for prompts; as many as for the rest by default.
    #[arg(long)]
    prompt_threads: Option<usize>,
    /// Tokens of a prompt to measure; any number of times.
    #[arg(long)]
    prompt: Vec<usize>,
    /// Tokens before those that are generated; any number of times.
    #[arg(long)]
    depth: Vec<usize>,
    /// Tokens to generate at each depth.
    #[arg(long, default_value_t = 32)]
    generate: usize,
    /// Tokens of a step of the prompt.
    #[arg(long, default_value_t = 512)]
    chunk: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Cpu,
    #[cfg(feature = "candle")]
    Candle,
}

/// A prompt of `tokens`, or tokens generated after as many.
#[derive(Serialize)]
struct Speed {
    tokens: usize,
    tokens_per_second: f64,
    cpu_seconds_per_token: f64,
    /// What the sequence keeps of its tokens, where the backend tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_bytes: Option<usize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let start = Instant::now();
    match options.backend {
        Backend::Cpu => {
            let most = options.prompt.iter().chain(&options.depth).max().copied().unwrap_or(0) + options.generate;
            let model_options = LanguageOptions {
                threads: options.threads,
                prompt_threads: options.prompt_threads,
                context: Some(most),
                device: DeviceOptions::from_env(if options.npu { Device::Npu } else { Device::Cpu }, false)?,
                ..LanguageOptions::default()
            };
            let model = LanguageModel::open(&options.model, &model_options)?;
            let session = model.session()?;
            let state = session.sequence();
            measure(session, state, |state| Some(state.bytes()), start, &options)?;
            if options.npu { ensure_on_device(model.accelerator().as_ref()) } else { Ok(()) }
        }
        #[cfg(feature = "candle")]
        Backend::Candle => {
            let model = babil_models::candle::CandleLanguageModel::open(&options.model)?;
            let state = model.sequence();
            measure(model, state, |_| None, start, &options)
        }
    }
}

/// Runs `model` with the empty sequence `state`, and prints what it has measured; `start` is when opening it began.
fn measure<M: Model>(
    mut model: M,
    mut state: M::State,
    state_bytes: impl Fn(&M::State) -> Option<usize>,
    start: Instant,
    options: &Options,
) -> Result<()> {
    let load_seconds = start.elapsed().as_secs_f64();
    let vocab = model.vocab();
    let mut random = Random::default();
    let mut tokens = |count: usize| -> Vec<Token> { (0..count).map(|_| random.below(vocab) as Token).collect() };
    let mut logits = Logits::default();
    let mut step = |state: &mut M::State, tokens: &[Token]| {
        model.step(&mut [Row { state, tokens, want: Want::Last }], &mut logits)
    };
    step(&mut state, &tokens(1))?;
    let first_token_seconds = start.elapsed().as_secs_f64();

    if options.npu {
        // A device compiles what it is given for the first time.
        for &count in &options.prompt {
            state.truncate(0);
            tokens(count).chunks(options.chunk).try_for_each(|tokens| step(&mut state, tokens))?;
        }
    }
    let mut prompts = Vec::new();
    for &count in &options.prompt {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let tokens = tokens(count);
            state.truncate(0);
            let clock = Clock::start()?;
            tokens.chunks(options.chunk).try_for_each(|tokens| step(&mut state, tokens))?;
            rounds.push(clock.seconds()?);
        }
        prompts.push(speed(count, count, &rounds, None));
    }
    let mut generation = Vec::new();
    for &depth in &options.depth {
        let mut rounds = Vec::new();
        state.truncate(0);
        tokens(depth).chunks(options.chunk).try_for_each(|tokens| step(&mut state, tokens))?;
        for _ in 0..options.rounds {
            state.truncate(depth);
            let tokens = tokens(options.generate);
            let clock = Clock::start()?;
            tokens.chunks(1).try_for_each(|token| step(&mut state, token))?;
            rounds.push(clock.seconds()?);
        }
        generation.push(speed(depth, options.generate, &rounds, state_bytes(&state)));
    }
    let report = json!({
        "load_seconds": load_seconds, "first_token_seconds": first_token_seconds,
        "prompts": prompts, "generation": generation,
        "weight_bytes": bytes_of_weights(options)?, "memory": memory(),
    });
    println!("{report}");
    Ok(())
}

/// Wall-clock and processor time since a moment.
struct Clock {
    start: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Result<Self> {
        Ok(Self { cpu: Self::cpu()?, start: Instant::now() })
    }

    /// Seconds, and seconds of all threads.
    fn seconds(self) -> Result<(f64, f64)> {
        Ok((self.start.elapsed().as_secs_f64(), Self::cpu()? - self.cpu))
    }

    fn cpu() -> Result<f64> {
        cpu_time::of_process().context("the system does not tell processor time")
    }
}

/// What `rounds` of seconds and processor seconds for `count` tokens come to.
fn speed(tokens: usize, count: usize, rounds: &[(f64, f64)], state_bytes: Option<usize>) -> Speed {
    let middle =
        |of: &dyn Fn(&(f64, f64)) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    Speed {
        tokens,
        tokens_per_second: middle(&|round| count as f64 / round.0),
        cpu_seconds_per_token: middle(&|round| round.1 / count as f64),
        state_bytes,
    }
}

/// Bytes of weights that a token needs: all tensors, but for embeddings that are not the output matrix as well.
fn bytes_of_weights(options: &Options) -> Result<usize> {
    let weights = Weights::open(&options.model)?;
    let tied = weights.get("output.weight").is_none();
    let read = weights.iter().filter(|(name, _)| tied || *name != "token_embd.weight");
    Ok(read.map(|(_, tensor)| tensor.bytes().len()).sum())
}
