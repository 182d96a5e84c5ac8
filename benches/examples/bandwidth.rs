//! How fast this machine reads its memory: the wall that generation runs into.
//!
//! `cargo run --release -p babil-benches --example bandwidth -- --threads 2`
//!
//! Sums up an array that no cache holds, as STREAM does, the threads taking parts of it in turn. The best of several
//! passes counts: other work can only slow them down. Prints a line of JSON.

use anyhow::{Result, ensure};
use babil_models::bench::bandwidth::read_bandwidth;
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

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.size > 0 && options.passes > 0, "--size and --passes must be at least 1");
    let pool = ThreadPool::for_machine(&Topology::detect(), options.threads, None);
    let best = read_bandwidth(&pool, options.size, options.passes);
    println!("{}", json!({ "threads": pool.threads(), "bytes_per_second": best }));
    Ok(())
}
