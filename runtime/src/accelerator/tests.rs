//! An accelerator that computes what the CPU computes, to the bit, until it is told to fail.

mod fake;
mod models;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use self::fake::{Fake, Fault, warnings};
use self::models::{decoder, hearing, translator};
use super::{Choices, Cost, Offload, Placement, Report};
use crate::generate::{Context, StreamOptions, TokenStream};
use crate::model::{EncoderDecoder, FrameEncoder, Logits, Model, Row, Want};
use crate::plan::{DecoderPlan, EncoderDecoderPlan};
use crate::sampling::{Sampler, SamplingOptions};
use crate::session::{DecoderSession, EncoderDecoderSession, KvType};
use crate::threads::ThreadPool;
use crate::{Cancel, Error, Token};

fn pool() -> Arc<ThreadPool> {
    Arc::new(ThreadPool::new(2))
}

fn offload(fake: &Arc<Fake>) -> Arc<Offload> {
    Arc::new(Offload::new(fake.clone(), || "model".to_owned(), None))
}

fn tokens(count: usize) -> Vec<Token> {
    (0..count).map(|i| (i * 7 % models::VOCAB) as Token).collect()
}

/// Runs and CPU runs of all subgraphs.
fn counts(report: &Report) -> (usize, usize) {
    let sum = |of: fn(&super::SubgraphReport) -> usize| report.subgraphs.iter().map(of).sum();
    (sum(|graph| graph.runs), sum(|graph| graph.cpu_runs))
}

/// A translation's logits, of sources of these lengths: of a few tokens after them.
fn translate(plan: &Arc<EncoderDecoderPlan>, offload: Option<Arc<Offload>>, lengths: &[usize]) -> Vec<f32> {
    let mut session = EncoderDecoderSession::new(plan.clone(), pool(), KvType::F32).unwrap().with_offload(offload);
    let sources: Vec<_> = lengths.iter().map(|&length| tokens(length)).collect();
    let sources: Vec<&[Token]> = sources.iter().map(Vec::as_slice).collect();
    let mut states = session.encode(&sources).unwrap();
    let (mut logits, mut all) = (Logits::default(), Vec::new());
    for state in &mut states {
        session.step(&mut [Row { state, tokens: &[1, 2], want: Want::Last }], &mut logits).unwrap();
        all.extend_from_slice(logits.row(0));
    }
    all
}

/// The same of sound.
fn hear(plan: &Arc<EncoderDecoderPlan>, offload: Option<Arc<Offload>>, counts: &[usize]) -> Vec<f32> {
    let mut session = EncoderDecoderSession::new(plan.clone(), pool(), KvType::F32).unwrap().with_offload(offload);
    let (mut logits, mut all) = (Logits::default(), Vec::new());
    for &count in counts {
        let frames: Vec<f32> = (0..models::FEATURES * count).map(|i| ((i * 31 % 17) as f32 - 8.0) / 8.0).collect();
        let mut state = session.encode_frames(&frames).unwrap();
        session.step(&mut [Row { state: &mut state, tokens: &[1, 2], want: Want::Last }], &mut logits).unwrap();
        all.extend_from_slice(logits.row(0));
    }
    all
}

/// The tokens that follow a prompt, in a stream.
fn tell(plan: &Arc<DecoderPlan>, offload: Option<Arc<Offload>>, prompt: usize, chunk: usize) -> Vec<Token> {
    let mut session = DecoderSession::new(plan.clone(), pool(), KvType::F32).unwrap().with_offload(offload);
    let mut context = Context::new(session.sequence(), Vec::new());
    let mut sampler = Sampler::new(SamplingOptions::greedy(), models::VOCAB).unwrap();
    let options = StreamOptions { max_tokens: 8, chunk, ..StreamOptions::new(1000, Vec::new()) };
    let stream = TokenStream::new(&mut session, &mut context, &mut sampler, &tokens(prompt), options).unwrap();
    stream.map(|token| token.unwrap()).collect()
}

#[test]
fn what_works_gives_what_the_cpu_gives() {
    let (translator, hearing, decoder) = (translator(), hearing(), decoder());
    let fake = Fake::new(Fault::None);
    let (lengths, frames) = ([3, 31, 32, 33, 200, 64], [1, 9, 10, 11, 39, 40]);
    let used = offload(&fake);
    assert_eq!(translate(&translator, Some(used.clone()), &lengths), translate(&translator, None, &lengths));
    assert_eq!(counts(&used.report()), (lengths.len(), 0));
    let names: Vec<_> = used.report().subgraphs.into_iter().map(|graph| graph.name).collect();
    assert_eq!(names, [32, 64, 256].map(|length| format!("encoder of {length} positions")));
    assert_eq!(fake.alive.load(SeqCst), 3);
    drop(used);

    let used = offload(&fake);
    assert_eq!(hear(&hearing, Some(used.clone()), &frames), hear(&hearing, None, &frames));
    assert_eq!((counts(&used.report()), used.report().subgraphs.len()), ((frames.len(), 0), 3));
    drop(used);

    for (prompt, chunk, runs) in [(700, 256, 3), (63, 256, 0), (64, 256, 1), (65, 256, 1), (385, 256, 2), (300, 300, 2)]
    {
        let used = offload(&fake);
        assert_eq!(tell(&decoder, Some(used.clone()), prompt, chunk), tell(&decoder, None, prompt, chunk));
        let report = used.report();
        assert_eq!(counts(&report), (runs, 0), "{prompt} tokens in chunks of {chunk}");
        assert_eq!(report.accelerator_used.is_some(), runs > 0);
    }
    assert_eq!(fake.alive.load(SeqCst), 0, "what was compiled goes with what used it");
}

/// Each way to fail, at the first use, later, and in the middle of a stream.
#[test]
fn what_fails_gives_what_the_cpu_gives_and_one_warning() {
    let (translator, hearing, decoder) = (translator(), hearing(), decoder());
    let lengths = [3, 40, 5, 41];
    let faults =
        [Fault::Compile, Fault::Run(0), Fault::Run(1), Fault::Run(3), Fault::Shape, Fault::NotFinite, Fault::Hangs];
    type Case<'a> = (&'a str, &'a dyn Fn(Option<Arc<Offload>>) -> Vec<f32>);
    let told = |offload| tell(&decoder, offload, 900, 256).into_iter().map(|token| token as f32).collect();
    let cases: [Case<'_>; 3] = [
        ("translation", &|offload| translate(&translator, offload, &lengths)),
        ("speech", &|offload| hear(&hearing, offload, &[5, 12, 33, 6])),
        ("prompt", &told),
    ];
    for (name, run) in cases {
        let expected = run(None);
        for fault in faults {
            let fake = Fake::new(fault);
            let used = Offload::new(fake.clone(), || "model".to_owned(), None);
            let used =
                Arc::new(if fault == Fault::Hangs { used.with_patience(Duration::from_millis(30)) } else { used });
            let (found, warned) = warnings(|| [run(Some(used.clone())), run(Some(used.clone()))]);
            assert_eq!(found, [expected.clone(), expected.clone()], "{name}, {fault:?}");
            assert_eq!(warned, 1, "{name}, {fault:?}: told once");
            assert_eq!(fake.alive.load(SeqCst), 0, "{name}, {fault:?}: nothing compiled is kept");
            let compiled = fake.compiled.load(SeqCst);
            run(Some(used.clone()));
            assert_eq!(fake.compiled.load(SeqCst), compiled, "{name}, {fault:?}: it is not asked again");
            let report = used.report();
            assert!(report.failure.is_some(), "{name}, {fault:?}");
            assert_eq!(report.accelerator_used.is_some(), matches!(fault, Fault::Run(1 | 3)), "{name}, {fault:?}");
        }
    }
}

#[test]
fn a_device_that_works_is_not_warned_about() {
    let decoder = decoder();
    let used = offload(&Fake::new(Fault::None));
    let (_, warned) = warnings(|| tell(&decoder, Some(used.clone()), 300, 256));
    assert_eq!((warned, used.report().failure), (0, None));
}

#[test]
fn what_does_not_run_on_the_device_is_refused_unless_it_is_allowed() {
    let check = |ops, fallback_ops, allow| Placement { ops, fallback_ops, loaded: false }.check(allow).is_ok();
    assert_eq!([false, true].map(|allow| check(3, 0, allow)), [true, true]);
    assert_eq!([false, true].map(|allow| check(1, 2, allow)), [false, true]);
    assert_eq!([false, true].map(|allow| check(0, 2, allow)), [false, false], "nothing runs there");
    assert_eq!([false, true].map(|allow| check(0, 0, allow)), [false, false], "nobody knows");

    let translator = translator();
    let expected = translate(&translator, None, &[5]);
    for allowed in [true, false] {
        let used = offload(&Fake::new(Fault::Fallback(allowed)));
        let (found, warned) = warnings(|| translate(&translator, Some(used.clone()), &[5]));
        let report = used.report();
        assert_eq!((found, warned), (expected.clone(), usize::from(!allowed)));
        assert_eq!((report.fallback_ops, counts(&report)), if allowed { (2, (1, 0)) } else { (0, (0, 1)) });
        let failure = report.failure.unwrap_or_default();
        assert_eq!(failure.contains("2 of 3 operations would run on the CPU: --npu-fallback"), !allowed, "{failure}");
    }
}

/// `auto`: the first use is a test; what it finds holds from then on, in other processes too.
#[test]
fn a_test_decides_and_its_answer_is_remembered() {
    let (translator, hearing, decoder) = (translator(), hearing(), decoder());
    let expected = (translate(&translator, None, &[5]), hear(&hearing, None, &[7]), tell(&decoder, None, 100, 256));
    let measured = |device: Cost, cpu: Cost| device.wall > Duration::ZERO && cpu.wall > Duration::ZERO;
    type Judge = fn(Cost, Cost) -> bool;
    let judges: [(Judge, bool); 2] = [(measured, true), (|_, _| false, false)];
    for (judge, better) in judges {
        let folder = tempfile::tempdir().unwrap();
        let start = |fake: &Arc<Fake>| {
            let choices = Choices::in_folder(folder.path()).with_judge(judge);
            Arc::new(Offload::new(fake.clone(), || "model".to_owned(), Some(choices)))
        };
        let fake = Fake::new(Fault::None);
        let used = start(&fake);
        for _ in 0..3 {
            assert_eq!(translate(&translator, Some(used.clone()), &[5]), expected.0);
            assert_eq!(tell(&decoder, Some(used.clone()), 100, 256), expected.2);
        }
        let heard = start(&fake);
        assert_eq!(hear(&hearing, Some(heard.clone()), &[7]), expected.1);
        assert_eq!(hear(&hearing, Some(heard.clone()), &[7]), expected.1);
        let on_device = if better { 2 } else { 0 };
        assert_eq!(counts(&used.report()), (2 * on_device, 2 * (3 - on_device)));
        assert_eq!(counts(&heard.report()), (on_device / 2, 2 - on_device / 2));
        // Each of the three is tested by two runs.
        assert_eq!(fake.runs.load(SeqCst), 3 * 2 + 2 * on_device + on_device / 2);

        // Another start: no test, and nothing is compiled where the CPU is better.
        let fake = Fake::new(Fault::None);
        let again = start(&fake);
        assert_eq!(tell(&decoder, Some(again.clone()), 100, 256), expected.2);
        assert_eq!(counts(&again.report()), if better { (1, 0) } else { (0, 1) });
        assert_eq!(fake.compiled.load(SeqCst), usize::from(better));
    }
}

/// `auto` with a device that cannot do it: nobody has asked for it, so nobody is warned, and it is not tried again.
#[test]
fn what_fails_in_a_test_is_for_the_cpu_from_then_on() {
    let translator = translator();
    let expected = translate(&translator, None, &[5]);
    for fault in [Fault::Compile, Fault::Run(0), Fault::Run(1), Fault::Shape, Fault::NotFinite] {
        let folder = tempfile::tempdir().unwrap();
        for first in [true, false] {
            let fake = Fake::new(fault);
            let choices = Choices::in_folder(folder.path()).with_judge(|_, _| true);
            let used = Arc::new(Offload::new(fake.clone(), || "model".to_owned(), Some(choices)));
            let (found, warned) =
                warnings(|| [5, 5].map(|length| translate(&translator, Some(used.clone()), &[length])));
            assert_eq!((found, warned), ([expected.clone(), expected.clone()], 0), "{fault:?}");
            assert_eq!((counts(&used.report()), used.report().failure), ((0, 2), None), "{fault:?}");
            assert_eq!(fake.compiled.load(SeqCst), usize::from(first), "{fault:?}");
            assert_eq!(fake.alive.load(SeqCst), 0, "{fault:?}");
        }
    }
}

/// What the device has done stays: the CPU does what is left.
#[test]
fn the_cpu_computes_the_rest_only() {
    let (translator, decoder) = (translator(), decoder());
    // 300 tokens are longer than what is compiled.
    let lengths = [3, 300, 40, 5];
    let used = offload(&Fake::new(Fault::None));
    assert_eq!(translate(&translator, Some(used.clone()), &lengths), translate(&translator, None, &lengths));
    assert_eq!((counts(&used.report()), used.report().too_long), ((3, 0), 1));
    // The device is lost before the last source, and before the third chunk of a step.
    let used = offload(&Fake::new(Fault::Run(2)));
    assert_eq!(translate(&translator, Some(used.clone()), &lengths), translate(&translator, None, &lengths));
    assert_eq!(counts(&used.report()), (2, 1));
    let used = offload(&Fake::new(Fault::Run(2)));
    assert_eq!(tell(&decoder, Some(used.clone()), 900, 900), tell(&decoder, None, 900, 900));
    assert_eq!(counts(&used.report()), (2, 1));
}

#[test]
fn what_is_not_asked_for_is_counted() {
    let decoder = decoder();
    for (prompt, too_short) in [(63, 1), (300, 1), (1, 0), (256, 0)] {
        let used = offload(&Fake::new(Fault::None));
        tell(&decoder, Some(used.clone()), prompt, 256);
        let report = used.report();
        assert_eq!((report.too_short, report.too_long), (too_short, 0), "{prompt} tokens");
    }
}

#[test]
fn reports_tell_what_came_after_another() {
    let decoder = decoder();
    let used = offload(&Fake::new(Fault::None));
    tell(&decoder, Some(used.clone()), 300, 256);
    let before = used.report();
    let nothing = used.report().since(&before);
    assert_eq!(nothing, Report::default());
    tell(&decoder, Some(used.clone()), 128, 256);
    let report = used.report().since(&before);
    assert_eq!((counts(&report), report.too_short, report.accelerator_used.is_some()), ((1, 0), 0, true));
    assert_eq!(report.subgraphs[0].name, "prompt of 128 tokens after 0");
}

#[test]
fn a_run_can_be_cancelled() {
    let decoder = decoder();
    let fake = Fake::new(Fault::Hangs);
    let used = offload(&fake);
    let mut session = DecoderSession::new(decoder, pool(), KvType::F32).unwrap().with_offload(Some(used.clone()));
    let mut state = session.sequence();
    session.set_cancel(&Cancel::after(3));
    let (step, warned) = warnings(|| {
        session.step(&mut [Row { state: &mut state, tokens: &tokens(100), want: Want::Last }], &mut Logits::default())
    });
    assert!(matches!(step, Err(Error::Cancelled)));
    assert_eq!((warned, used.report().failure, fake.runs.load(SeqCst)), (0, None, 1), "that is not the device's fault");
}

#[test]
fn a_prompt_can_be_cancelled_between_chunks() {
    let decoder = decoder();
    let fake = Fake::new(Fault::None);
    let mut session = DecoderSession::new(decoder, pool(), KvType::F32).unwrap().with_offload(Some(offload(&fake)));
    let mut state = session.sequence();
    let mut logits = Logits::default();
    session.set_cancel(&Cancel::after(2));
    let tokens = tokens(900);
    let step = session.step(&mut [Row { state: &mut state, tokens: &tokens, want: Want::Last }], &mut logits);
    assert!(matches!(step, Err(Error::Cancelled)));
    assert_eq!(fake.runs.load(SeqCst), 2);
    assert_eq!(crate::model::State::position(&state), 0, "the sequence is as it was");
}
