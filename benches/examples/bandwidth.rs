//! How fast this machine reads its memory: the wall that generation runs into.
//!
//! `cargo run --release -p babil-benches --example bandwidth -- --threads 2`
//!
//! Sums up an array that no cache holds, as STREAM does, the threads taking parts of it in turn. The best of several
//! passes counts: other work can only slow them down. Prints a line of JSON.

use std::time::Instant;

use anyhow::{Result, ensure};
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Options {
    /// Threads, as far as there are cores for them; one for each fast core by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Size of the array in MiB; several times as much as the caches hold.
    #[arg(long, default_value_t = 512)]
    size: usize,
    /// Passes over the array.
    #[arg(long, default_value_t = 8)]
    passes: usize,
}

/// Words that a thread takes at once: 1 MiB.
const PART: usize = 1 << 17;

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.size > 0 && options.passes > 0, "--size and --passes must be at least 1");
    let pool = ThreadPool::for_machine(&Topology::detect(), options.threads, None);
    // Written, so that every page is there: `vec![0; n]` would map all of them to one page of zeros.
    let words: Vec<u64> = (0..options.size as u64 * PART as u64).collect();
    let parts: Vec<&[u64]> = words.chunks(PART).collect();
    let mut best = 0.0f64;
    for _ in 0..options.passes {
        let start = Instant::now();
        pool.all().run(parts.len(), &|part| {
            // As many sums as it takes to hide the latency of an addition.
            let mut sums = [0u64; 32];
            for words in parts[part].as_chunks::<32>().0 {
                sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            }
            std::hint::black_box(sums);
        });
        best = best.max(size_of_val(words.as_slice()) as f64 / start.elapsed().as_secs_f64());
    }
    println!("{}", json!({ "threads": pool.threads(), "bytes_per_second": best }));
    Ok(())
}
