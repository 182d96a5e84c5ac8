//! Speed of a language model: tokens per second of the prompt and of generation, at depths of the context.
//!
//! `cargo run --release -p babil-benches --example generation -- MODEL.gguf --prompt 512 --depth 0 --depth 4096`
//!
//! Tokens are random, because speed does not depend on them. Each number is the median of the rounds; a line of JSON
//! tells them all, with the processor time a token takes and the memory in use.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use babil_benches::{cpu_seconds, memory};
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_runtime::Token;
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use babil_runtime::weights::Weights;
use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Options {
    /// A GGUF file.
    model: PathBuf,
    /// Threads, as far as there are cores for them; one for each fast core by default.
    #[arg(long)]
    threads: Option<usize>,
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
    /// Also measure how fast the same threads read the file's tensors from memory.
    #[arg(long)]
    bandwidth: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let start = Instant::now();
    let most = options.prompt.iter().chain(&options.depth).max().copied().unwrap_or(0) + options.generate;
    let model_options = LanguageOptions {
        threads: options.threads,
        prompt_threads: options.prompt_threads,
        context: Some(most),
        ..LanguageOptions::default()
    };
    let model = LanguageModel::open(&options.model, &model_options)?;
    let mut session = model.session()?;
    let load_seconds = start.elapsed().as_secs_f64();
    let vocab = session.vocab();
    let mut seed = 1u64;
    let mut token = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) as usize % vocab) as Token
    };
    let mut logits = Logits::default();
    let mut state = session.sequence();
    session.step(&mut [Row { state: &mut state, tokens: &[token()], want: Want::Last }], &mut logits)?;
    let first_seconds = start.elapsed().as_secs_f64();

    let mut prompts = Vec::new();
    for &count in &options.prompt {
        let mut speeds = Vec::new();
        for _ in 0..options.rounds {
            let tokens: Vec<Token> = (0..count).map(|_| token()).collect();
            state.truncate(0);
            let start = Instant::now();
            for step in tokens.chunks(options.chunk) {
                session.step(&mut [Row { state: &mut state, tokens: step, want: Want::Last }], &mut logits)?;
            }
            speeds.push(count as f64 / start.elapsed().as_secs_f64());
        }
        prompts.push(json!({ "tokens": count, "tokens_per_second": median(speeds) }));
    }
    let weights = bytes_of_weights(&options)?;
    let mut depths = Vec::new();
    for &depth in &options.depth {
        let (mut speeds, mut cpu) = (Vec::new(), Vec::new());
        let tokens: Vec<Token> = (0..depth).map(|_| token()).collect();
        state.truncate(0);
        for step in tokens.chunks(options.chunk) {
            session.step(&mut [Row { state: &mut state, tokens: step, want: Want::Last }], &mut logits)?;
        }
        for _ in 0..options.rounds {
            state.truncate(depth);
            let (start, before) = (Instant::now(), cpu_seconds());
            for _ in 0..options.generate {
                session.step(&mut [Row { state: &mut state, tokens: &[token()], want: Want::Last }], &mut logits)?;
            }
            speeds.push(options.generate as f64 / start.elapsed().as_secs_f64());
            let used = cpu_seconds().zip(before).context("the system does not tell processor time")?;
            cpu.push((used.0 - used.1) / options.generate as f64);
        }
        depths.push(json!({
            "depth": depth, "tokens_per_second": median(speeds), "cpu_seconds_per_token": median(cpu),
            "bytes_per_token": weights + state.bytes(),
        }));
    }
    let bandwidth = options.bandwidth.then(|| bandwidth(&options)).transpose()?;
    let report = json!({
        "bytes_per_second": bandwidth,
        "load_seconds": load_seconds, "first_token_seconds": first_seconds, "prompts": prompts, "generation": depths,
        "memory": memory(),
    });
    println!("{report}");
    Ok(())
}

/// Bytes of weights that a token needs: all tensors, but for embeddings that are not the output matrix as well.
fn bytes_of_weights(options: &Options) -> Result<usize> {
    let weights = Weights::open(&options.model)?;
    let tied = weights.get("output.weight").is_none();
    let read = weights.iter().filter(|(name, _)| tied || *name != "token_embd.weight");
    Ok(read.map(|(_, tensor)| tensor.bytes().len()).sum())
}

/// Bytes per second of reading all tensors of the file, mapped and warm: the most that generation could read.
fn bandwidth(options: &Options) -> Result<f64> {
    /// Bytes that a thread takes at once.
    const PART: usize = 1 << 20;
    let weights = Weights::open(&options.model)?;
    let parts: Vec<&[u8]> = weights.iter().flat_map(|(_, tensor)| tensor.bytes().chunks(PART)).collect();
    let pool = ThreadPool::for_machine(&Topology::detect(), options.threads, None);
    let mut speeds = Vec::new();
    for _ in 0..=options.rounds {
        let start = Instant::now();
        pool.all().run(parts.len(), &|part| {
            let mut sums = [0u64; 32];
            for words in parts[part].as_chunks::<8>().0.as_chunks::<32>().0 {
                sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(u64::from_le_bytes(*word)));
            }
            std::hint::black_box(sums);
        });
        speeds.push(parts.iter().map(|part| part.len()).sum::<usize>() as f64 / start.elapsed().as_secs_f64());
    }
    // The first pass brings the file into memory.
    Ok(median(speeds.split_off(1)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
