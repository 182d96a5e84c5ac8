//! Streams over a fake model against generation token by token without any state.

use std::cell::RefCell;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::fake::{Fake, History};
use super::*;
use crate::sampling::{Dry, Penalties, Sampler, SamplingOptions};
use crate::text::{DecodeState, Detokenize};
use crate::{Result, Token};

const VOCAB: usize = 6;
const END: Token = 0;

/// What a stream should give: every token from the logits of the whole text so far.
fn naive(
    model: &Fake,
    sampling: &SamplingOptions,
    prompt: &[Token],
    options: &StreamOptions,
) -> (Vec<Token>, Vec<Token>, Finish) {
    let mut sampler = Sampler::new(sampling.clone(), model.vocab).unwrap();
    sampler.set_prompt(prompt);
    let (mut text, mut generated) = (prompt.to_vec(), Vec::new());
    loop {
        if generated.len() == options.max_tokens {
            return (generated, text, Finish::Length);
        }
        while text.len() > options.context {
            match options.overflow {
                Overflow::Error => return (generated, text, Finish::Context),
                Overflow::Shift { keep } => {
                    let newest = (text.len() - keep).div_ceil(2);
                    text = [&text[..keep], &text[text.len() - newest..]].concat();
                }
            }
        }
        let token = sampler.sample(&mut model.logits(&text)).unwrap();
        if options.end.contains(&token) {
            return (generated, text, Finish::EndOfText);
        }
        sampler.accept(token).unwrap();
        generated.push(token);
        text.push(token);
    }
}

fn sampling() -> impl Strategy<Value = SamplingOptions> {
    let greedy = Just(SamplingOptions::greedy());
    let sampled = (0.1f32..1.5, any::<u64>(), 1.0f32..1.2, 0.0f32..0.5).prop_map(
        |(temperature, seed, repetition, multiplier)| SamplingOptions {
            temperature,
            seed,
            penalties: Penalties { repetition, ..Penalties::default() },
            dry: Dry { multiplier, ..Dry::default() },
            ..SamplingOptions::default()
        },
    );
    prop_oneof![greedy, sampled]
}

fn options() -> impl Strategy<Value = StreamOptions> {
    let lookup = prop::option::of((1usize..3, 0usize..3, 1usize..6));
    (0usize..60, 8usize..40, prop::option::of(0usize..8), 1usize..9, lookup, any::<bool>()).prop_map(
        |(max_tokens, context, keep, chunk, lookup, ends)| StreamOptions {
            max_tokens,
            chunk,
            overflow: keep.map_or(Overflow::Error, |keep| Overflow::Shift { keep }),
            lookup: lookup.map(|(shortest, more, draft)| Lookup { shortest, longest: shortest + more, draft }),
            ..StreamOptions::new(context, if ends { vec![END] } else { vec![] })
        },
    )
}

proptest! {
    /// Drafts, chunks, shifts and states that cannot go back change nothing but the number of steps.
    #[test]
    fn a_stream_gives_the_tokens_of_the_definition(
        seed: u64,
        memory in 1usize..4,
        reach in prop::sample::select(vec![1usize, 4, 0]),
        sampling in sampling(),
        options in options(),
        prompt in prop::collection::vec(1..VOCAB as Token, 1..50),
        before in prop::collection::vec(1..VOCAB as Token, 0..8),
    ) {
        prop_assume!(prompt.len() <= options.context || options.overflow != Overflow::Error);
        let mut model = Fake::new(seed, VOCAB).with_memory(memory);
        let (expected, text, finish) = naive(&model, &sampling, &prompt, &options);
        let mut sampler = Sampler::new(sampling, VOCAB).unwrap();
        // Something of the prompt, and something else, was seen before.
        let common = prompt[..prompt.len().min(options.context) / 2].to_vec();
        let seen = [common.clone(), before].concat();
        let mut context = Context::new(History::new(seen.clone()).with_reach(reach), seen);
        let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &prompt, options.clone()).unwrap();
        let found: Vec<Token> = stream.by_ref().map(Result::unwrap).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(stream.finish(), Some(finish));
        let counts = stream.counts();
        prop_assert_eq!((counts.prompt, counts.generated), (prompt.len(), expected.len()));
        prop_assert!(counts.accepted <= counts.drafted && counts.reused < prompt.len());
        prop_assert!(reach != 1 || counts.reused >= common.len().min(prompt.len() - 1));
        drop(stream);
        prop_assert_eq!(context.tokens(), &text);
        prop_assert!(text.starts_with(&context.state().tokens));
        prop_assert!(model.longest <= options.context);
    }

    /// A stream that is dropped anywhere leaves a context that goes on as if it had been made from the text.
    #[test]
    fn a_context_outlives_a_stream_that_was_left(seed: u64, taken in 0usize..30, reach in 0usize..4) {
        let mut model = Fake::new(seed, VOCAB).with_memory(1);
        let lookup = Some(Lookup { longest: 2, shortest: 1, draft: 5 });
        let options = StreamOptions { lookup, ..StreamOptions::new(200, vec![]) };
        let mut sampler = Sampler::new(SamplingOptions::greedy(), VOCAB).unwrap();
        let mut context = Context::new(History::new(vec![]).with_reach(reach), vec![]);
        let stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1, 2, 3], options.clone()).unwrap();
        prop_assert_eq!(stream.take(taken).count(), taken);
        prop_assert!(context.tokens().starts_with(&context.state().tokens));
        let next = [context.tokens(), &[4, 5]].concat();
        let stream = TokenStream::new(&mut model, &mut context, &mut sampler, &next, options.clone()).unwrap();
        let found: Vec<Token> = stream.take(20).map(Result::unwrap).collect();
        let (expected, ..) =
            naive(&model, &SamplingOptions::greedy(), &next, &StreamOptions { max_tokens: 20, ..options });
        prop_assert_eq!(found, expected);
    }

    /// Text comes in whole characters and ends before the stop string, wherever tokens begin and end.
    #[test]
    fn text_is_that_of_the_whole_up_to_a_stop_string(
        seed: u64,
        stops in prop::collection::vec("[aé😀]{1,3}", 0..3),
        max_tokens in 0usize..80,
    ) {
        let mut model = Fake::new(seed, Bytes::TOKENS.len());
        let options = StreamOptions { max_tokens, ..StreamOptions::new(200, vec![]) };
        let sampling = SamplingOptions { seed, ..SamplingOptions::default() };
        let (tokens, ..) = naive(&model, &sampling, &[1], &options);
        let mut whole = String::new();
        let mut matcher = StopStrings::new(stops.clone()).unwrap();
        let stopped = matcher.push(&Bytes::default().decode(&tokens), &mut whole);
        if !stopped {
            matcher.finish(&mut whole);
        }
        let mut sampler = Sampler::new(sampling, model.vocab).unwrap();
        let mut context = Context::new(History::new(vec![]), vec![]);
        let stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1], options).unwrap();
        let vocabulary = Bytes::default();
        let mut text = TextStream::new(stream, &vocabulary, StopStrings::new(stops).unwrap());
        let pieces: Vec<String> = text.by_ref().map(Result::unwrap).collect();
        prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        prop_assert_eq!(pieces.concat(), whole);
        prop_assert_eq!(text.finish(), Some(if stopped { Finish::StopString } else { Finish::Length }));
    }
}

/// A vocabulary whose tokens are parts of characters.
#[derive(Default)]
struct Bytes(RefCell<Vec<u8>>);

impl Bytes {
    const TOKENS: [&[u8]; 8] = [b"a", b"aa", b"\xc3", b"\xa9", "é".as_bytes(), b"\xf0\x9f", b"\x98\x80", b"a\xc3"];
}

impl Detokenize for Bytes {
    fn push(&self, _: &mut DecodeState, id: Token, out: &mut String) {
        let mut bytes = self.0.borrow_mut();
        bytes.extend_from_slice(Self::TOKENS[id as usize]);
        while let Err(error) = std::str::from_utf8(&bytes) {
            let Some(bad) = error.error_len() else { break };
            let valid: Vec<u8> = bytes.drain(..error.valid_up_to() + bad).collect();
            out.push_str(&String::from_utf8_lossy(&valid));
        }
        let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        out.push_str(&String::from_utf8_lossy(&bytes.drain(..whole).collect::<Vec<u8>>()));
    }
    fn finish(&self, _: &mut DecodeState, out: &mut String) {
        out.push_str(&String::from_utf8_lossy(&std::mem::take(&mut *self.0.borrow_mut())));
    }
}

fn greedy() -> Sampler {
    Sampler::new(SamplingOptions::greedy(), VOCAB).unwrap()
}

/// Texts that repeat themselves are generated in fewer steps.
#[test]
fn drafts_save_steps() {
    let mut steps = [0, 0];
    for (steps, lookup) in steps.iter_mut().zip([None, Some(Lookup::default())]) {
        let mut model = Fake::new(3, VOCAB).with_memory(1);
        let mut context = Context::new(History::new(vec![]), vec![]);
        let mut sampler = greedy();
        let options = StreamOptions { lookup, max_tokens: 100, ..StreamOptions::new(200, vec![]) };
        let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1], options).unwrap();
        assert_eq!(stream.by_ref().count(), 100);
        let counts = stream.counts();
        drop(stream);
        *steps = model.steps;
        assert_eq!(counts.generated, model.steps + counts.accepted);
    }
    assert!(steps[0] == 100 && steps[1] < 40, "{steps:?} steps");
}

#[test]
fn a_prompt_is_computed_in_chunks_with_its_progress() {
    let mut model = Fake::new(1, VOCAB);
    let (mut context, mut sampler) = (Context::new(History::new(vec![]), vec![]), greedy());
    let options = StreamOptions { chunk: 4, max_tokens: 1, ..StreamOptions::new(20, vec![]) };
    let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1; 10], options).unwrap();
    let mut progress = Vec::new();
    stream
        .prefill(|p| {
            progress.push((p.done, p.total));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(progress, [(4, 10), (8, 10), (10, 10)]);
    stream.prefill(|_| panic!("it is computed already")).unwrap();
    assert_eq!(stream.by_ref().count(), 1);
    drop(stream);
    assert_eq!(model.steps, 3);
}

#[test]
fn cancelling_ends_a_stream_between_chunks_and_between_tokens() {
    let mut model = Fake::new(1, VOCAB);
    let (mut context, mut sampler) = (Context::new(History::new(vec![]), vec![]), greedy());
    let options = StreamOptions { chunk: 4, ..StreamOptions::new(50, vec![]) };
    let cancel = options.cancel.clone();
    let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1; 10], options).unwrap();
    stream
        .prefill(|_| {
            cancel.cancel();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((stream.finish(), stream.next().is_none()), (Some(Finish::Cancelled), true));
    drop(stream);
    assert_eq!((model.steps, context.state().tokens.len()), (1, 4));

    let options = StreamOptions::new(50, vec![]);
    let cancel = options.cancel.clone();
    let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1; 10], options).unwrap();
    assert!(stream.by_ref().take(3).all(|token| token.is_ok()));
    cancel.cancel();
    assert!(stream.next().is_none());
    assert_eq!((stream.finish(), stream.counts().reused), (Some(Finish::Cancelled), 4));
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let refused = |prompt: &[Token], options: StreamOptions| {
        let (mut model, mut context) = (Fake::new(1, VOCAB), Context::new(History::new(vec![]), vec![]));
        TokenStream::new(&mut model, &mut context, &mut greedy(), prompt, options).err().unwrap().to_string()
    };
    let options = || StreamOptions::new(8, vec![]);
    let messages = [
        refused(&[], options()),
        refused(&[1; 9], options()),
        refused(&[1], StreamOptions { chunk: 0, ..options() }),
        refused(&[1], StreamOptions { overflow: Overflow::Shift { keep: 8 }, ..options() }),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    a prompt without tokens
    the prompt has 9 tokens, but the context only 8
    prompt chunks of no tokens
    8 tokens to keep in a context of 8: it must be larger
    ");
}

/// A model's error is passed on, and then there is nothing more.
#[test]
fn an_error_ends_a_stream() {
    let mut model = Fake::new(1, VOCAB);
    let mut context = Context::new(History::new(vec![]), vec![]);
    let forbidden = (0..VOCAB as Token).map(|token| (token, f32::NEG_INFINITY)).collect();
    let options = SamplingOptions { logit_bias: forbidden, ..SamplingOptions::default() };
    let mut sampler = Sampler::new(options, VOCAB).unwrap();
    let options = StreamOptions::new(8, vec![]);
    let mut stream = TokenStream::new(&mut model, &mut context, &mut sampler, &[1], options).unwrap();
    assert!(stream.next().unwrap().is_err());
    assert!(stream.next().is_none() && stream.finish().is_none());
}
