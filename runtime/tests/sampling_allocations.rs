//! Choosing a token allocates nothing once a sampler's buffers have grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use babil_runtime::Token;
use babil_runtime::sampling::{Dry, Mirostat, Penalties, Sampler, SamplingOptions, Xtc};

/// The system's allocator, counting this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn choosing_a_token_allocates_nothing() {
    const VOCAB: usize = 5000;
    let everything = SamplingOptions {
        logit_bias: vec![(3, 1.0)],
        penalties: Penalties { repetition: 1.1, frequency: 0.1, ..Penalties::default() },
        dry: Dry { multiplier: 0.5, ..Dry::default() },
        top_k: 0,
        typical_p: 0.95,
        xtc: Xtc { probability: 0.5, threshold: 0.01 },
        ..SamplingOptions::default()
    };
    let mirostat = SamplingOptions { mirostat: Some(Mirostat::default()), ..everything.clone() };
    for options in [SamplingOptions::greedy(), SamplingOptions::default(), everything, mirostat] {
        let mut sampler = Sampler::new(options.clone(), VOCAB).unwrap();
        sampler.set_prompt(&(0..100).map(|i| i % 7).collect::<Vec<Token>>());
        let mut logits = vec![0f32; VOCAB];
        let mut choose = |step: u32| {
            for (logit, i) in logits.iter_mut().zip(0u32..) {
                *logit = ((i + step).wrapping_mul(2_654_435_761) >> 20) as f32 / 256.0;
            }
            let token = sampler.sample(&mut logits).unwrap();
            sampler.accept(token).unwrap();
        };
        (0..10).for_each(&mut choose);
        let before = ALLOCATIONS.get();
        (10..40).for_each(&mut choose);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{options:?}");
    }
}
