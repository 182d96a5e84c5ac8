//! Speed and memory of a translation model on the native engine, for
//! [`peers/translation.py`](../peers/translation.py) and by hand.
//!
//! `cargo run --release -p babil-benches --example translation -- --text FILE --from en --to fr --beam 4`
//!
//! Sentences become tokens before the clock starts, and tokens become text after it has stopped: what is timed is the
//! encoder, the decoder and the search. Sentences are sorted by length and cut into batches; with several workers, each
//! takes the next batch when it is done with one, as the library's translator does.
//!
//! Every repetition prints one line of JSON.

use std::fs;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use babil_benches::Turns;
use babil_models::bench::process::{Memory, memory};
use babil_models::families::marian;
use babil_models::files::ModelFiles;
use babil_models::tasks::translate::LanguagePair;
use babil_models::tasks::translator::TranslatorSpec;
use babil_models::{Quant, packed_folder, plan, translator_spec};
use babil_runtime::Token;
use babil_runtime::cpu_time;
use babil_runtime::generate::generate;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::EncoderDecoder;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::spec::GenerationSpec;
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::{Encoding, TensorToWrite, write_safetensors};
use clap::{Parser, ValueEnum};
use serde::Serialize;

#[derive(Parser)]
#[command(about = "Measures a translation model on the native engine")]
struct Args {
    /// Folder of the model; the bundled one where it is not given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Sentences, one on each line; `FILE:2` reads the second column of a tab-separated file
    #[arg(long, value_name = "FILE", conflicts_with = "tokens", requires_all = ["from", "to"])]
    text: Option<String>,
    /// Sentences as token ids, end of sentence included, separated by spaces
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Language of --text
    #[arg(long)]
    from: Option<String>,
    /// Language to translate --text into
    #[arg(long)]
    to: Option<String>,
    /// Take only the first N sentences
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How float weights are quantised
    #[arg(long, value_enum, default_value_t = Type::Q7_128)]
    quant: Type,
    /// Sentences decoded together
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Beam width; 1 is greedy
    #[arg(long, default_value_t = 4)]
    beam: usize,
    /// Threads in all
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Batches decoded at the same time, each with its share of the threads; as many as there are threads and batches
    /// where it is not given
    #[arg(long)]
    workers: Option<usize>,
    /// Decode exactly N tokens for each sentence: the end of sentence is never chosen
    #[arg(long, value_name = "N")]
    force: Option<usize>,
    /// Repetitions, after one that is not counted; 0 translates nothing
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// In place of --rounds, one repetition for each line read from standard input
    #[arg(long)]
    on_request: bool,
    /// Write the sentences as token ids
    #[arg(long, value_name = "FILE")]
    write_tokens: Option<PathBuf>,
    /// Write the translations: text for --text, token ids for --tokens
    #[arg(long, value_name = "FILE")]
    write_output: Option<PathBuf>,
    /// Only write the model as a folder of float32 weights, for programs that do not read ours
    #[arg(long, value_name = "FOLDER")]
    write_float: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    F32,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q7_128")]
    Q7_128,
    #[value(name = "q4_0")]
    Q4_0,
}

impl From<Type> for Quant {
    fn from(value: Type) -> Self {
        match value {
            Type::F32 => Self::F32,
            Type::Q8_0 => Self::Q8_0,
            Type::Q7_128 => Self::Q7_128,
            Type::Q4_0 => Self::Q4_0,
        }
    }
}

/// Before the first repetition.
#[derive(Serialize)]
struct Ready {
    version: &'static str,
    isa: &'static str,
    threads: usize,
    workers: usize,
    load_seconds: f64,
    sentences: usize,
    source_tokens: usize,
    /// Before the model was opened.
    memory_at_start: Option<Memory>,
}

/// One repetition.
#[derive(Serialize)]
struct Report {
    seconds: f64,
    cpu_seconds: Option<f64>,
    sentences_per_second: f64,
    /// Tokens of the best translations, end of sentence excluded.
    tokens: usize,
    /// At the end of the repetition.
    memory: Option<Memory>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.batch > 0 && args.beam > 0 && args.threads > 0, "--batch, --beam and --threads must be at least 1");
    let memory_at_start = memory();
    let files = args.model.clone().map_or_else(|| babil_models::bundled::EN_FR.clone(), ModelFiles::Folder);
    if let Some(folder) = &args.write_float {
        return write_float(&files, folder);
    }
    let start = Instant::now();
    let config: marian::Config = files.json("config.json")?.context("the model has no config.json")?;
    let plan = Arc::new(plan(&files, &config, args.quant.into(), Kernels::from_env()?, &packed_folder())?);
    let load_seconds = start.elapsed().as_secs_f64();

    let spec = args.text.is_some().then(|| translator_spec(&files, &config)).transpose()?;
    let mut sources = match (&args.text, &args.tokens, &spec) {
        (Some(text), _, Some(spec)) => read_text(text, spec, &args)?,
        (_, Some(path), _) => read_tokens(path)?,
        _ => bail!("nothing to translate: give --text or --tokens"),
    };
    sources.truncate(args.limit.unwrap_or(usize::MAX));
    ensure!(!sources.is_empty(), "there are no sentences");
    if let Some(path) = &args.write_tokens {
        write_tokens(path, sources.iter().map(Vec::as_slice))?;
    }
    let generation: marian::GenerationConfig = files.json("generation_config.json")?.unwrap_or_default();
    let mut generation = GenerationSpec { beam: args.beam, ..generation.spec(&config.generation)? };
    if let Some(count) = args.force {
        generation.suppressed.push(generation.eos);
        generation.forced_eos = false;
        generation.max_tokens = count;
    }

    // As the library does: one thread for each batch where there are several, all threads for a single one.
    let batches = sources.len().div_ceil(args.batch);
    let workers = args.workers.unwrap_or(args.threads.min(batches)).clamp(1, args.threads);
    let sessions = (0..workers).map(|_| {
        let pool = Arc::new(ThreadPool::new(args.threads / workers));
        EncoderDecoderSession::new(plan.clone(), pool, KvType::F32).expect("float32 suits every shape")
    });
    let mut sessions: Vec<_> = sessions.collect();
    print(&Ready {
        version: env!("CARGO_PKG_VERSION"),
        isa: plan.kernels().isa.name(),
        threads: args.threads / workers * workers,
        workers,
        load_seconds,
        sentences: sources.len(),
        source_tokens: sources.iter().map(Vec::len).sum(),
        memory_at_start,
    })?;

    let mut output = Vec::new();
    let mut repeat = |counted: bool| -> Result<()> {
        let (start, cpu) = (Instant::now(), cpu_time::of_process());
        output = translate(&mut sessions, &sources, &generation, args.batch)?;
        let seconds = start.elapsed().as_secs_f64();
        if counted {
            print(&Report {
                seconds,
                cpu_seconds: cpu_time::of_process().zip(cpu).map(|(end, start)| end - start),
                sentences_per_second: sources.len() as f64 / seconds,
                tokens: output.iter().map(Vec::len).sum(),
                memory: memory(),
            })?;
        }
        Ok(())
    };
    let turns = if args.on_request { Turns::OnRequest } else { Turns::Rounds(args.rounds) };
    turns.run(&mut repeat)?;

    match (&args.write_output, &spec) {
        (Some(path), Some(spec)) => {
            let lines: Vec<_> = output.iter().map(|tokens| spec.vocabulary.decode(tokens) + "\n").collect();
            fs::write(path, lines.concat()).with_context(|| format!("cannot write {}", path.display()))
        }
        (Some(path), None) => write_tokens(path, output.iter().map(Vec::as_slice)),
        (None, _) => Ok(()),
    }
}

/// The best translation of each of `sources`.
fn translate(
    sessions: &mut [EncoderDecoderSession],
    sources: &[Vec<Token>],
    spec: &GenerationSpec,
    batch: usize,
) -> Result<Vec<Vec<Token>>> {
    let mut order: Vec<_> = (0..sources.len()).collect();
    order.sort_by_key(|&sentence| std::cmp::Reverse(sources[sentence].len()));
    let batches: Vec<_> = order.chunks(batch).collect();
    let next = AtomicUsize::new(0);
    let output = Mutex::new(vec![Vec::new(); sources.len()]);
    let work = |session: &mut EncoderDecoderSession| -> Result<()> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tokens: Vec<_> = batch.iter().map(|&sentence| sources[sentence].as_slice()).collect();
            let states = session.encode(&tokens)?;
            let generated = generate(session, states, spec, |_| ControlFlow::Continue(()))?;
            let mut output = output.lock().expect("no panic while writing");
            for (&sentence, mut hypotheses) in batch.iter().zip(generated) {
                if !hypotheses.is_empty() {
                    output[sentence] = hypotheses.swap_remove(0).tokens;
                }
            }
        }
        Ok(())
    };
    if let [session] = sessions {
        work(session)?;
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(|| work(session))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no worker panics"))
        })?;
    }
    Ok(output.into_inner().expect("no panic while writing"))
}

/// The sentences of a file, as the library's translator gives them to the model: prefix, text, end of sentence.
fn read_text(argument: &str, spec: &TranslatorSpec, args: &Args) -> Result<Vec<Vec<Token>>> {
    let (path, column) = match argument.rsplit_once(':').map(|(path, column)| (path, column.parse::<usize>())) {
        Some((path, Ok(column @ 1..))) => (path, Some(column)),
        _ => (argument, None),
    };
    let pair = LanguagePair::new(args.from.clone().unwrap_or_default(), args.to.clone().unwrap_or_default());
    let direction = spec.directions.iter().find(|direction| direction.pair == pair);
    let direction = direction.with_context(|| format!("this model does not translate {pair}"))?;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let tokens = |(number, line): (usize, &str)| -> Result<Vec<Token>> {
        let sentence = match column {
            None => line,
            Some(column) => line
                .split('\t')
                .nth(column - 1)
                .ok_or_else(|| anyhow!("line {} of {path} has no column {column}", number + 1))?,
        };
        let mut tokens: Vec<_> = direction.prefix.into_iter().collect();
        let text = spec.vocabulary.encode(sentence)?;
        tokens.extend(&text[..text.len().min(spec.max_source_tokens)]);
        tokens.push(spec.generation.eos);
        Ok(tokens)
    };
    text.lines().enumerate().map(tokens).collect()
}

fn read_tokens(path: &Path) -> Result<Vec<Vec<Token>>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let tokens = |line: &str| line.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<Token>, _>>();
    text.lines().map(tokens).collect::<std::result::Result<_, _>>().context("not a token id")
}

fn write_tokens<'a>(path: &Path, sentences: impl Iterator<Item = &'a [Token]>) -> Result<()> {
    let line = |tokens: &[Token]| tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n";
    let lines: String = sentences.map(line).collect();
    fs::write(path, lines).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the model's weights as float32, with the names of Hugging Face, and its JSON files.
fn write_float(files: &ModelFiles, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let weights = files.weights()?;
    let tensors: Vec<_> = weights
        .iter()
        .map(|(name, tensor)| TensorToWrite {
            name: name.to_owned(),
            encoding: Encoding::F32,
            shape: tensor.shape().to_vec(),
            content: Box::new(|out| tensor.to_f32().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))),
        })
        .collect();
    let mut out = BufWriter::new(fs::File::create(folder.join("model.safetensors"))?);
    write_safetensors(&mut out, &tensors, &Default::default())?;
    out.flush()?;
    for name in ["config.json", "generation_config.json", "vocab.json"] {
        if let Some(bytes) = files.read(name)? {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

fn print(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
