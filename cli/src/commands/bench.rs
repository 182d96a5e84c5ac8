//! `babil bench`: how fast a model is, and what it takes.
//!
//! ```text
//! BenchArgs --+--> run.rs: models x threads x types x tests --> rows --> table.rs, files.rs, plot.rs
//!             |      peer.rs: another program, in turns; sweep.rs: which setting needs least
//!             +--> compare.rs: two reports; validate.rs: a report; leaderboard.rs: a folder of them
//! ```
//!
//! What is measured, and how, is [`babil_models::bench`].

mod compare;
mod files;
#[cfg(feature = "plot")]
mod leaderboard;
mod lists;
mod open;
mod peer;
#[cfg(feature = "plot")]
mod plot;
mod run;
mod sweep;
mod table;
mod validate;

use std::path::PathBuf;

use anyhow::Result;
use babil_runtime::energy::{Choice, RATES};
use babil_runtime::quant::BlockType;
use clap::Args;

use self::lists::{List, Pair};
use self::peer::Peer;
use crate::args::Context;
use crate::device::DeviceArgs;
use crate::language::{KvArg, parse_type};

/// Measure how fast a model is, and how much energy it takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil bench model.gguf                                  as llama-bench: pp512 and tg128
  babil bench model.gguf -p 128,512 -n 64 -d 0,4096 -t 1-4
  babil bench model.gguf --json --save report.json        every field; also to a file
  babil bench en-fr                                       a translator: words per second
  babil bench whisper-base --sound talk.flac              speech: real-time factor
  babil bench model.gguf --energy model:6.5               joules from watts that you name: modelled
  babil bench model.gguf --energy csv:meter.csv           joules from the log of another meter
  babil bench model.gguf -d 0-4096*2 --plot speed.svg     a picture
  babil bench model.gguf --peer llama.cpp=llama-bench     beside llama.cpp, in turns
  babil bench model.gguf --sweep threads                  most tokens per joule; kept for --power
  babil bench --compare before.json after.json
  babil bench --validate report.json

Where there is a meter of energy, it is used: phases are made long enough for it, and the idle
power before and after is measured, which takes minutes. --energy off measures speed alone.")]
pub(crate) struct BenchArgs {
    /// Models: names of `babil list`, GGUF files, files of whisper.cpp, folders
    #[arg(value_name = "MODEL", required_unless_present_any = ["compare", "validate", "leaderboard", "schema"])]
    models: Vec<String>,
    #[command(flatten)]
    tests: TestArgs,
    #[command(flatten)]
    energy: EnergyArgs,
    #[command(flatten)]
    forms: FormArgs,
    /// Compare two reports
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], help_heading = "Reports",
        conflicts_with_all = ["models", "validate", "leaderboard"])]
    compare: Vec<PathBuf>,
    /// Check that reports are what their schema says
    #[arg(long, num_args = 1.., value_name = "REPORT", help_heading = "Reports",
        conflicts_with_all = ["models", "leaderboard"])]
    validate: Vec<PathBuf>,
    /// Make a page of all reports in a folder
    #[arg(long, num_args = 2, value_names = ["FOLDER", "PAGE"], help_heading = "Reports", conflicts_with = "models")]
    leaderboard: Vec<PathBuf>,
    /// Print the JSON Schema of reports
    #[arg(long, help_heading = "Reports", conflicts_with_all = ["models", "compare", "validate", "leaderboard"])]
    schema: bool,
}

/// What is measured.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tests (lists: 1,2,4 or 1-4 or 0-4096+1024 or 128-1024*2)")]
struct TestArgs {
    /// Tokens of a prompt; 0 is none [default: 512]
    #[arg(short = 'p', long, value_name = "LIST")]
    n_prompt: Vec<List>,
    /// Tokens to generate; 0 is none [default: 128]
    #[arg(short = 'n', long, value_name = "LIST")]
    n_gen: Vec<List>,
    /// A prompt and what is generated after it, timed as one (also `-pg`) [default: with a meter, the first of -p and
    /// -n]
    #[arg(long, value_name = "P,N")]
    pg: Vec<Pair>,
    /// Tokens of the context before each test [default: 0]
    #[arg(short = 'd', long, value_name = "LIST")]
    n_depth: Vec<List>,
    /// Threads to compute with [default: one per fast core]
    #[arg(short = 't', long, value_name = "LIST")]
    threads: Vec<List>,
    /// Tokens of a prompt that are computed together [default: 256, as `babil run`]
    #[arg(short = 'b', long, visible_aliases = ["ubatch-size", "n-batch"], value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch_size: Option<u32>,
    /// How keys and values are stored (also `-ctk`) [default: f16]
    #[arg(long, visible_alias = "cache-type-k", value_enum, value_name = "TYPES", value_delimiter = ',')]
    kv: Vec<KvArg>,
    /// Quantise the float matrices to these types when the model is opened
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = parse_type)]
    quant: Vec<BlockType>,
    /// Repetitions of each test
    #[arg(short = 'r', long, value_name = "N", default_value = "5",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repetitions: u32,
    /// No first run that is not counted
    #[arg(long)]
    no_warmup: bool,
    /// Also measure what the threads read of memory at best
    #[arg(long)]
    bandwidth: bool,
    /// Seconds to wait before each test
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    delay: f64,
    /// Translators: the language of the sentences [default: the model's first]
    #[arg(long, value_name = "LANGUAGE")]
    from: Option<String>,
    /// Translators: the language to translate into [default: the model's first]
    #[arg(long, value_name = "LANGUAGE")]
    to: Option<String>,
    /// Translators: a file with a sentence on each line [default: twelve sentences of our own]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Translators and speech: width of the beam [default: as `babil translate` and `transcribe`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    beam: Option<u16>,
    /// Speech: a recording to write down [default: a window of noise, and a fixed number of tokens]
    #[arg(long, value_name = "FILE")]
    sound: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// One long run of each test, for so many minutes: the first minute beside the last
    #[arg(long, value_name = "MINUTES", value_parser = minutes, conflicts_with_all = ["sweep", "peer"])]
    sustain: Option<f64>,
    /// Which setting gives the most tokens per joule: of `threads`, `cores` (where some are slow), `freq` (the highest,
    /// through cpufreq), or several of them
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',',
        conflicts_with_all = ["n_prompt", "pg", "csv", "md"])]
    sweep: Vec<sweep::Dimension>,
    /// Without a meter, let --sweep rank by processor time instead, which is no energy
    #[arg(long, requires = "sweep")]
    by_cpu: bool,
    /// Run llama-bench beside babil, in turns and under the same meter
    #[arg(long, value_name = "llama.cpp=PATH", conflicts_with = "sweep")]
    peer: Option<Peer>,
}

/// What energy is measured with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Energy")]
struct EnergyArgs {
    /// Meter: auto, off, rapl, pmic, hwmon, battery, nvml, model:WATTS (of the device), model:WATTS/cpu (of a busy
    /// CPU), csv:FILE
    #[arg(long, value_name = "METER", default_value = "auto")]
    energy: Choice,
    /// Readings per second [default: as the meter advises]
    #[arg(long, value_name = "HZ", value_parser = hertz)]
    hz: Option<f64>,
    /// Idle windows before and after each test, with the model loaded [default: with a meter 30, or as --phase if that
    /// is more; else 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle: Option<f64>,
    /// Least duration of a repetition [default: with a meter 10, or 50 readings if they take longer; else 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    phase: Option<f64>,
    /// Keep the readings in this CSV file
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

/// How results are shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct FormArgs {
    /// Print a line of JSON for each test
    #[arg(long, group = "form")]
    jsonl: bool,
    /// Print CSV, llama-bench's columns first
    #[arg(long, group = "form")]
    csv: bool,
    /// Print a Markdown table
    #[arg(long, group = "form")]
    md: bool,
    /// Write the report to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Draw to this file, .svg or .png: speed (and tokens per joule) against depth or threads; with a meter also power
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

fn number(text: &str, most: f64, what: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number of {what}, from 0 to {most}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 86_400.0, "seconds")
}

fn hertz(text: &str) -> Result<f64, String> {
    let (least, most) = (RATES.start(), RATES.end());
    let hertz = text.parse::<f64>().ok().filter(|hertz| RATES.contains(hertz));
    hertz.ok_or_else(|| format!("`{text}` is no number of readings per second, from {least} to {most}"))
}

fn minutes(text: &str) -> Result<f64, String> {
    number(text, 10_080.0, "minutes").and_then(|minutes| match minutes {
        0.0 => Err("a run of 0 minutes".to_owned()),
        minutes => Ok(minutes),
    })
}

/// Arguments as llama-bench spells them, as ours: `-pg 512,128`, `-ctk q8_0`, `-ub 512`, `-o json`.
pub(crate) fn llama_bench_spelling(args: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut args: Vec<_> = args.collect();
    if args.get(1).is_none_or(|command| command != "bench") {
        return args;
    }
    let mut at = 2;
    while at < args.len() {
        let ours = match args[at].to_str() {
            Some("--") => break,
            Some("-pg") => Some("--pg"),
            Some("-ctk") => Some("--kv"),
            Some("-ub") => Some("--batch-size"),
            Some("-o" | "--output") => match args.get(at + 1).and_then(|form| form.to_str()) {
                Some(form @ ("json" | "jsonl" | "csv" | "md")) => {
                    args[at] = format!("--{form}").into();
                    args.remove(at + 1);
                    None
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(ours) = ours {
            args[at] = ours.into();
        }
        at += 1;
    }
    args
}

pub(crate) fn run(args: BenchArgs, context: &Context) -> Result<()> {
    if args.schema {
        return context.output.text(babil_models::bench::report::SCHEMA);
    }
    if let [first, second] = &args.compare[..] {
        return compare::run(first, second, context);
    }
    if !args.validate.is_empty() {
        return validate::run(&args.validate, context);
    }
    if let [folder, page] = &args.leaderboard[..] {
        #[cfg(feature = "plot")]
        return leaderboard::run(folder, page, args.forms.force, context);
        #[cfg(not(feature = "plot"))]
        return Err(files::no_plots(&format!("--leaderboard {} {}", folder.display(), page.display())));
    }
    run::run(&args, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_benchs_spelling_is_understood() {
        let ours = |text: &str| {
            let args = llama_bench_spelling(text.split(' ').map(Into::into));
            args.iter().map(|arg| arg.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            ours("babil bench m.gguf -pg 512,128 -ctk q8_0 -ub 64 -o jsonl"),
            "babil bench m.gguf --pg 512,128 --kv q8_0 --batch-size 64 --jsonl"
        );
        assert_eq!(ours("babil bench m.gguf -o sql"), "babil bench m.gguf -o sql");
        assert_eq!(ours("babil bench -- -pg"), "babil bench -- -pg");
        assert_eq!(ours("babil translate -o json"), "babil translate -o json");
        assert_eq!(ours("babil"), "babil");
    }
}
