//! The chain against llama.cpp's samplers (`tests/sampling/vectors.json`), and what holds for any logits.

use proptest::prelude::*;
use serde::Deserialize;

use super::candidates::Candidate;
use super::*;

#[derive(Deserialize)]
struct Case {
    options: SamplingOptions,
    tokens: Vec<Token>,
    breakers: Vec<Vec<Token>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    logits: Vec<f32>,
    kept: Vec<(Token, f32)>,
    chosen: Option<Token>,
}

#[test]
fn what_is_left_and_how_probable_it_is_equals_llama_cpp() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/sampling/vectors.json")).unwrap();
    assert!(cases.len() > 90);
    for (i, case) in cases.into_iter().enumerate() {
        let mut sampler = Sampler::new(case.options, case.steps[0].logits.len()).unwrap().with_breakers(case.breakers);
        sampler.set_prompt(&case.tokens);
        for (n, mut step) in case.steps.into_iter().enumerate() {
            sampler.process(&mut step.logits).unwrap();
            sampler.filter(&step.logits);
            sampler.candidates.softmax();
            let mut kept = sampler.candidates.items.clone();
            kept.sort_by_key(|c| c.token);
            let tokens = |kept: &[Candidate]| kept.iter().map(|c| c.token).collect::<Vec<_>>();
            let expected: Vec<_> = step.kept.iter().map(|&(token, _)| token).collect();
            let context = || format!("case {i}, step {n}: {:?}", sampler.options);
            assert!(tokens(&kept) == expected, "{}: {:?}, not {expected:?}", context(), tokens(&kept));
            for (found, &(token, p)) in kept.iter().zip(&step.kept) {
                let found = found.probability;
                assert!((found - p).abs() <= 1e-6 + 3e-5 * p, "{}: token {token}: {found}, not {p}", context());
            }
            if let Some(chosen) = step.chosen {
                let index = sampler.candidates.items.iter().position(|c| c.token == chosen).unwrap();
                sampler.observe(index);
            }
        }
    }
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    // Few values, so that many are equal; a few that are no numbers.
    let value = prop_oneof![
        20 => (-40i8..40).prop_map(|v| f32::from(v) / 8.0),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
    ];
    prop::collection::vec(value, 1..700)
}

fn options() -> impl Strategy<Value = SamplingOptions> {
    let unit = || prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0];
    let mirostat = prop::option::weighted(0.2, (0.0f32..6.0, 0.0f32..1.0));
    (0.05f32..3.0, prop_oneof![Just(0usize), 1..600usize], unit(), unit(), unit(), unit(), mirostat, any::<u64>())
        .prop_map(|(temperature, top_k, top_p, min_p, typical_p, xtc, mirostat, seed)| SamplingOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            typical_p,
            xtc: Xtc { probability: xtc, threshold: 0.1 },
            penalties: Penalties { repetition: 1.1, frequency: 0.1, ..Penalties::default() },
            dry: Dry { multiplier: 0.5, ..Dry::default() },
            mirostat: mirostat.map(|(tau, eta)| Mirostat { tau, eta }),
            seed,
            ..SamplingOptions::default()
        })
}

/// The tokens that a new sampler chooses from the same logits again and again.
fn chosen(options: &SamplingOptions, logits: &[f32], count: usize) -> Result<Vec<Token>> {
    let mut sampler = Sampler::new(options.clone(), logits.len())?;
    let mut tokens = Vec::new();
    for _ in 0..count {
        let token = sampler.sample(&mut logits.to_vec())?;
        sampler.accept(token)?;
        tokens.push(token);
    }
    Ok(tokens)
}

proptest! {
    #[test]
    fn a_choice_is_possible_and_repeats_with_its_seed(logits in logits(), options in options()) {
        match chosen(&options, &logits, 4) {
            Ok(tokens) => {
                prop_assert!(tokens.iter().all(|&token| logits[token as usize].is_finite()));
                prop_assert_eq!(tokens, chosen(&options, &logits, 4).unwrap());
            }
            Err(_) => prop_assert!(logits.iter().all(|v| !v.is_finite())),
        }
    }

    #[test]
    fn without_randomness_the_first_of_the_most_probable_is_chosen(logits in logits(), options in options()) {
        let options = SamplingOptions {
            temperature: 0.0,
            penalties: Penalties::default(),
            dry: Dry::default(),
            ..options
        };
        let finite = logits.iter().copied().zip(0..).filter(|(v, _)| v.is_finite());
        let best = finite.reduce(|best, other| if other.0 > best.0 { other } else { best });
        prop_assert_eq!(chosen(&options, &logits, 1).ok().map(|tokens| tokens[0]), best.map(|(_, token)| token));
    }

    /// However a vocabulary is cut into blocks, the filters keep what a full sort keeps.
    #[test]
    fn partial_sorting_keeps_what_full_sorting_keeps(logits in logits(), k in 1usize..700, p in 0.0f32..1.0) {
        let mut all: Vec<(f32, Token)> = logits.iter().copied().zip(0..).filter(|(v, _)| v.is_finite()).collect();
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        let mut candidates = Candidates::new();
        candidates.fill(&logits, k);
        let top_k: Vec<_> = candidates.items.iter().map(|c| c.token).collect();
        let expected: Vec<_> = all.iter().take(k).map(|&(_, token)| token).collect();
        prop_assert_eq!(top_k, expected);

        candidates.fill(&logits, 0);
        candidates.top_p(p);
        let top_p: Vec<_> = candidates.items.iter().map(|c| c.token).collect();
        let total: f64 = all.iter().map(|&(v, _)| f64::from(v).exp()).sum();
        let (mut mass, mut count) = (0.0, 0);
        while count < all.len() && (mass < f64::from(p) - 1e-6 || count == 0) {
            mass += f64::from(all[count].0).exp() / total;
            count += 1;
        }
        // Rounding may move the border by one of the equal ones.
        prop_assert!(top_p.len().abs_diff(count) <= 1, "{} candidates, not {count}", top_p.len());
        let expected: Vec<_> = all.iter().take(top_p.len()).map(|&(_, token)| token).collect();
        prop_assert_eq!(top_p, expected);
    }
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = [0.0f32, 1.0, f32::NEG_INFINITY, 2.0, -1.0];
    let options =
        SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 5, ..SamplingOptions::default() };
    let draws = 40_000;
    let mut counts = [0f64; 5];
    for token in chosen(&options, &logits, draws).unwrap() {
        counts[token as usize] += 1.0;
    }
    let total: f64 = logits.iter().map(|&v| f64::from(v).exp()).sum();
    for (count, logit) in counts.into_iter().zip(logits) {
        let expected = draws as f64 * f64::from(logit).exp() / total;
        assert!((count - expected).abs() <= 4.0 * expected.sqrt(), "{count} draws, not about {expected}");
    }
}

#[test]
fn bias_adds_and_forbids() {
    let logits = [3.0f32, 2.0, 1.0];
    let biased = |logit_bias| chosen(&SamplingOptions { logit_bias, ..SamplingOptions::greedy() }, &logits, 1);
    assert_eq!(biased(vec![(2, 2.5)]).unwrap(), [2]);
    assert_eq!(biased(vec![(0, f32::NEG_INFINITY)]).unwrap(), [1]);
    let nothing = biased((0..3).map(|token| (token, f32::NEG_INFINITY)).collect()).unwrap_err();
    insta::assert_snapshot!(nothing, @"no token has a probability: logits are not finite, or everything allowed is forbidden too");
}

/// Decided once and for all: another number here means that the same seed gives another text.
#[test]
fn the_same_tokens_on_every_platform() {
    let logits: Vec<f32> = (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 512.0).collect();
    let everything = SamplingOptions {
        temperature: 1.1,
        top_k: 0,
        typical_p: 0.9,
        top_p: 0.99,
        min_p: 0.001,
        xtc: Xtc { probability: 0.5, threshold: 0.003 },
        penalties: Penalties { repetition: 1.1, ..Penalties::default() },
        seed: 42,
        ..SamplingOptions::default()
    };
    let mirostat = SamplingOptions { mirostat: Some(Mirostat::default()), seed: 1 << 40, ..SamplingOptions::default() };
    let default = SamplingOptions::default();
    insta::assert_debug_snapshot!([everything, mirostat, default].map(|o| chosen(&o, &logits, 12).unwrap()));
}
