//! Speed of the matrix products of every instruction set that this CPU can run, on one thread and on all.
//!
//! `cargo run --release -p babil-benches --example kernels [ISA]`
//!
//! One multiplication and one addition count as two operations. Weights and activations are random; a shape is
//! (rows of the weights, columns), M the number of tokens. Each number is the best of several runs: other work on the
//! machine can only make them slower.

use babil_runtime::kernels::{ActivationsView, GemmPacked, Kernels};
use babil_runtime::quant::{BlockType, PackedView, pack};
use babil_runtime::threads::{ColumnsMut, ThreadPool};
use std::time::{Duration, Instant};

/// A small translator's square-ish layers, its vocabulary, a language model's feed-forward layer and a large vocabulary.
const SHAPES: [(usize, usize); 5] = [(1024, 256), (256, 1024), (8000, 256), (2048, 512), (58112, 512)];
const TOKENS: [usize; 4] = [1, 4, 16, 64];

fn main() {
    let only = std::env::args().nth(1);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let pool = ThreadPool::new(threads);
    println!("GOPS; the last column group with {threads} threads");
    print!("{:8} {:5} {:>12}", "isa", "type", "rows x cols");
    for m in TOKENS {
        print!(" {:>7}", format!("M={m}"));
    }
    for m in TOKENS {
        print!(" {:>7}", format!("M={m}"));
    }
    println!();
    for (rows, cols) in SHAPES {
        let weights = values(rows * cols, 1);
        let float_bytes: Vec<u8> = weights.iter().flat_map(|v| v.to_le_bytes()).collect();
        for block in [BlockType::Q8_0, BlockType::Q7_128, BlockType::Q4_0, BlockType::Q4K, BlockType::Q6K] {
            let bytes = pack(block, &weights, rows, cols);
            let mut aligned = vec![0; bytes.len() + 64];
            let start = aligned.as_ptr().align_offset(64);
            let aligned = &mut aligned[start..][..bytes.len()];
            aligned.copy_from_slice(&bytes);
            let w = PackedView::new(block, rows, cols, aligned).expect("packed by `pack`");
            for kernels in Kernels::all() {
                if only.as_ref().is_some_and(|only| only != kernels.isa.name()) {
                    continue;
                }
                let gemm = kernels.gemm(block);
                print!("{:8} {:5} {:>12}", kernels.isa, block.name(), format!("{rows}x{cols}"));
                for pool in [None, Some(&pool)] {
                    for m in TOKENS {
                        print!(" {:7.1}", gops(gemm, kernels, w, m, pool));
                    }
                }
                println!();
            }
        }
        for kernels in Kernels::all() {
            if only.as_ref().is_some_and(|only| only != kernels.isa.name()) || rows > 10_000 {
                continue;
            }
            print!("{:8} f32   {:>12}", kernels.isa, format!("{rows}x{cols}"));
            for m in TOKENS {
                let x = values(m * cols, 2);
                let mut out = vec![0.0; m * rows];
                let time = best(|| {
                    (kernels.gemm_f32)(&float_bytes, cols, &x, None, &mut ColumnsMut::whole(&mut out, rows));
                });
                print!(" {:7.1}", operations(rows, cols, m) / time.as_nanos() as f64);
            }
            println!();
        }
    }
}

/// Operations per nanosecond of one product, on one thread or on those of `pool`.
fn gops(gemm: GemmPacked, kernels: Kernels, w: PackedView<'_>, m: usize, pool: Option<&ThreadPool>) -> f64 {
    let (grain, x) = (w.block.activations(), values(m * w.cols, 2));
    let (mut quants, mut scales) = (vec![0; x.len()], vec![0.0; x.len() / grain.columns()]);
    let mut sums = vec![0; x.len() / grain.sum_columns()];
    kernels.quantize(grain)(&x, &mut quants, &mut scales, &mut sums);
    let x = ActivationsView { grain, rows: m, cols: w.cols, quants: &quants, scales: &scales, sums: &sums };
    let mut out = vec![0.0; m * w.rows];
    let time = best(|| match pool {
        Some(pool) => pool.all().columns([(&mut out, w.rows)], 32, &|_, mut out| gemm(w, x, None, &mut out)),
        None => gemm(w, x, None, &mut ColumnsMut::whole(&mut out, w.rows)),
    });
    operations(w.rows, w.cols, m) / time.as_nanos() as f64
}

fn operations(rows: usize, cols: usize, m: usize) -> f64 {
    2.0 * rows as f64 * cols as f64 * m as f64
}

/// The shortest of the runs that fit into a fifth of a second.
fn best(mut f: impl FnMut()) -> Duration {
    f();
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < Duration::from_millis(200) {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed());
    }
    best
}

/// Reproducible values in -1..1 (a linear congruential generator).
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}
