//! How fast this machine reads its memory: the wall that generation runs into.

use std::time::Instant;

use babil_runtime::threads::ThreadPool;

/// Words that a thread takes at once: 1 MiB.
const PART: usize = 1 << 17;

/// Bytes per second that the threads of `pool` read of an array of `mebibytes` MiB (at least one; several times as much
/// as the caches hold), as STREAM sums up one, the threads taking parts of it in turn. The best of `passes` counts, at
/// least one: other work can only slow them down.
pub fn read_bandwidth(pool: &ThreadPool, mebibytes: usize, passes: usize) -> f64 {
    // Written, so that every page is there: `vec![0; n]` would map all of them to one page of zeros.
    let words: Vec<u64> = (0..(mebibytes.max(1) * PART) as u64).collect();
    let parts: Vec<&[u64]> = words.chunks(PART).collect();
    let mut best = 0.0f64;
    for _ in 0..passes.max(1) {
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
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert!(read_bandwidth(&ThreadPool::new(2), 0, 0) > 0.0);
    }
}
