//! Choosing a token allocates nothing once a sampler's buffers have grown.

#[path = "support/allocator.rs"]
mod allocator;

use allocator::allocations;
use babil_runtime::Token;
use babil_runtime::sampling::{Dry, Mirostat, Penalties, Sampler, SamplingOptions, Xtc};

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
        let before = allocations();
        (10..40).for_each(&mut choose);
        assert_eq!(allocations() - before, 0, "{options:?}");
    }
}
