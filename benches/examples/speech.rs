//! Speed and memory of a speech model on the native engine, for [`peers/speech.py`](../peers/speech.py) and by hand.
//!
//! `cargo run --release -p babil-benches --example speech -- MODEL --threads 2`
//!
//! A window's frames are encoded, all of them; then a prompt and a number of tokens are decoded greedily, the end of the
//! text never being chosen. Frames are read from a file or are random: speed does not depend on them. Before that the
//! spectrogram of a window of random sound is timed.
//!
//! Every repetition prints one line of JSON.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use babil_benches::{Turns, ensure_on_device};
use babil_models::bench::Random;
use babil_models::bench::process::{Memory, memory};
use babil_models::bench::speech::Greedy;
use babil_models::speech::{SpeechModel, SpeechOptions, Task};
use babil_models::{Device, DeviceOptions};
use babil_runtime::Token;
use babil_runtime::audio::{HOP, LogMel};
use babil_runtime::cpu_time;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{FrameEncoder, Logits};
use clap::Parser;
use serde::Serialize;

#[derive(Parser)]
#[command(about = "Measures a speech model on the native engine")]
struct Args {
    /// A file of whisper.cpp, or a folder of transformers
    model: PathBuf,
    /// Threads, as far as there are cores for them
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Encode on a device of ONNX Runtime: an NPU, or what `BABIL_NPU` names; it is an error if the CPU does
    #[arg(long)]
    npu: bool,
    /// A window's frames, `[features, frames]`, as little-endian float32
    #[arg(long, value_name = "FILE")]
    frames: Option<PathBuf>,
    /// Tokens to decode after the prompt
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Repetitions, after one that is not counted
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// In place of --rounds, one repetition for each line read from standard input
    #[arg(long)]
    on_request: bool,
}

/// Before the first repetition.
#[derive(Serialize)]
struct Ready {
    version: &'static str,
    isa: &'static str,
    load_seconds: f64,
    /// Of a window's spectrogram, on one thread.
    mel_seconds: f64,
    /// Before the model was opened.
    memory_at_start: Option<Memory>,
}

/// One repetition.
#[derive(Serialize)]
struct Report {
    /// Of the encoder, the decoder's keys and values of its output included.
    encode_seconds: f64,
    /// Of the prompt and the first few tokens.
    start_seconds: f64,
    /// How many those are.
    start_tokens: usize,
    /// Of the other tokens.
    decode_seconds: f64,
    cpu_seconds: Option<f64>,
    tokens: Vec<Token>,
    /// At the end of the repetition.
    memory: Option<Memory>,
}

/// Tokens that are not counted: with them comes what a decoder does once.
const START: usize = 8;

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.tokens > 0 && args.threads > 0, "--tokens and --threads must be at least 1");
    let memory_at_start = memory();
    let start = Instant::now();
    let device = DeviceOptions::from_env(if args.npu { Device::Npu } else { Device::Cpu }, false)?;
    let options = SpeechOptions { threads: Some(args.threads), device, ..SpeechOptions::default() };
    let model = SpeechModel::open(&args.model, &options)?;
    let mut session = model.session()?;
    let load_seconds = start.elapsed().as_secs_f64();
    let frames = frames(&model, args.frames.as_deref())?;
    let prompt = model.special().prompt(None, Task::Transcribe, false)?;
    let most = model.positions() - prompt.len();
    ensure!(START + args.tokens <= most, "--tokens can be {} at most", most - START);
    print(&Ready {
        version: env!("CARGO_PKG_VERSION"),
        isa: Kernels::from_env()?.isa.name(),
        load_seconds,
        mel_seconds: mel_seconds(&model)?,
        memory_at_start,
    })?;

    let mut repeat = |counted: bool| -> Result<()> {
        let (start, cpu) = (Instant::now(), cpu_time::of_process());
        let mut state = session.encode_frames(&frames)?;
        let encode_seconds = start.elapsed().as_secs_f64();
        let mut greedy = Greedy { session: &mut session, end: model.special().end, logits: Logits::default() };
        let start = Instant::now();
        let mut tokens = vec![greedy.step(&mut state, &prompt)?];
        greedy.extend(&mut state, &mut tokens, START)?;
        let start_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        greedy.extend(&mut state, &mut tokens, START + args.tokens)?;
        let decode_seconds = start.elapsed().as_secs_f64();
        let cpu_seconds = cpu_time::of_process().zip(cpu).map(|(end, start)| end - start);
        if args.npu {
            ensure_on_device(model.accelerator().as_ref())?;
        }
        if counted {
            let (start_tokens, memory) = (START, memory());
            print(&Report {
                encode_seconds,
                start_seconds,
                start_tokens,
                decode_seconds,
                cpu_seconds,
                tokens,
                memory,
            })?;
        }
        Ok(())
    };
    let turns = if args.on_request { Turns::OnRequest } else { Turns::Rounds(args.rounds) };
    turns.run(&mut repeat)
}

/// The frames of a whole window.
fn frames(model: &SpeechModel, path: Option<&std::path::Path>) -> Result<Vec<f32>> {
    let count = model.features() * model.window();
    let Some(path) = path else { return Ok(random().take(count).collect()) };
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let frames: Vec<_> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    ensure!(frames.len() == count, "{} has {} numbers in place of {count}", path.display(), frames.len());
    Ok(frames)
}

/// Numbers from -1 to 1.
fn random() -> impl Iterator<Item = f32> {
    let mut random = Random::default();
    std::iter::from_fn(move || Some(random.sample()))
}

/// How long the spectrogram of a window takes, at best.
fn mel_seconds(model: &SpeechModel) -> Result<f64> {
    let sound: Vec<f32> = random().take(HOP * model.window()).collect();
    let mut mel = LogMel::new(model.features())?;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        mel.compute(&sound, sound.len())?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn print(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
