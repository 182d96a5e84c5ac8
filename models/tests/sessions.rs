//! Texts of every family on the tiny random models of `parity/lm`: stored and restored, side by side, turn by turn, with
//! drafts, with shifts, and within the memory that was promised. Each is compared with what a new generator makes of the
//! same tokens.

mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;

use babil_models::language::{Answer, CHUNK, LanguageModel, LanguageOptions, Request, TextGenerator};
use babil_runtime::generate::{Finish, Lookup, Overflow};
use babil_runtime::model::{Logits, Model, Row};
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::session::KvType;
use babil_runtime::{Error, Token};
use support::{MODELS, parity};

/// Those that forget: sliding windows, and the inputs of convolutions.
const FORGETFUL: [&str; 3] = ["gemma3", "phi3-long", "lfm2"];

fn file(name: &str) -> PathBuf {
    parity(name, "model.gguf")
}

fn options(context: usize, kv: KvType) -> LanguageOptions {
    LanguageOptions { threads: Some(1), context: Some(context), kv: Some(kv), ..LanguageOptions::default() }
}

fn open(name: &str, context: usize, kv: KvType) -> LanguageModel {
    LanguageModel::open(&file(name), &options(context, kv)).unwrap()
}

/// `count` tokens of the vocabulary, none of them a mark; the tenth of each seed is the same for all that begin alike.
fn tokens(count: usize, seed: u64) -> Vec<Token> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        3 + (state >> 33) as Token % 77
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn greedy(max_tokens: usize) -> Request {
    Request { sampling: SamplingOptions::greedy(), max_tokens, ignore_end: true, ..Request::default() }
}

fn sampled(max_tokens: usize, seed: u64) -> Request {
    let sampling = SamplingOptions { temperature: 1.5, top_k: 0, seed, ..SamplingOptions::default() };
    Request { sampling, ..greedy(max_tokens) }
}

/// The answer, and the whole text.
fn generate(generator: &mut dyn TextGenerator, prompt: &[Token], request: &Request) -> (Answer, Vec<Token>) {
    let answer = generator.generate(prompt, request, &mut |_| ControlFlow::Continue(())).unwrap();
    (answer, generator.tokens().to_vec())
}

/// As [`generate`] on a new generator.
fn anew(model: &LanguageModel, prompt: &[Token], request: &Request) -> Vec<Token> {
    generate(&mut *model.generator().unwrap(), prompt, request).1
}

#[test]
fn a_restored_session_goes_on_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session");
    for (name, kv) in MODELS.into_iter().flat_map(|name| [(name, KvType::F32), (name, KvType::F16)]) {
        let model = open(name, 256, kv);
        let mut first = model.generator().unwrap();
        let prompt = tokens(90, 1);
        let (_, half) = generate(&mut *first, &prompt, &greedy(20));
        first.save(&path, "notes").unwrap();

        // As another process would.
        let model = open(name, 256, kv);
        let mut second = model.generator().unwrap();
        assert_eq!(second.restore(&path).unwrap(), "notes");
        assert_eq!(second.tokens(), half, "{name}");
        let (answer, whole) = generate(&mut *second, &half, &greedy(20));
        // The last token was chosen, but not fed to the model yet.
        assert_eq!((answer.counts.prompt, answer.counts.reused), (110, 109), "{name}");
        assert_eq!(whole, anew(&model, &prompt, &greedy(40)), "{name}, {kv:?}");

        let mut third = model.generator().unwrap();
        third.restore(&path).unwrap();
        let with_more = [half.clone(), tokens(7, 2)].concat();
        let (answer, restored) = generate(&mut *third, &with_more, &sampled(20, 5));
        assert_eq!(answer.counts.reused, 109, "{name}");
        let (_, uninterrupted) = generate(&mut *first, &with_more, &sampled(20, 5));
        assert_eq!(restored, uninterrupted, "{name}, {kv:?}");
        assert_eq!(restored, anew(&model, &with_more, &sampled(20, 5)), "{name}, {kv:?}");
    }
}

#[test]
fn sessions_of_other_models_and_damaged_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let llama = open("llama", 256, KvType::F16);
    let mut generator = llama.generator().unwrap();
    let (_, text) = generate(&mut *generator, &tokens(20, 1), &greedy(5));
    generator.save(&path("session"), "").unwrap();
    let refused = |model: &LanguageModel, file: &str| {
        let error = model.generator().unwrap().restore(&path(file)).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "FOLDER")
    };

    // The same description, but one weight is another: as in a model that was trained on.
    let mut bytes = std::fs::read(file("llama")).unwrap();
    let end = bytes.len();
    bytes[end - 4000..].iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(path("trained-on.gguf"), bytes).unwrap();
    let trained_on = LanguageModel::open(&path("trained-on.gguf"), &options(256, KvType::F16)).unwrap();
    let mut messages = vec![
        refused(&open("qwen3", 256, KvType::F16), "session"),
        refused(&trained_on, "session"),
        refused(&open("llama", 256, KvType::F32), "session"),
        refused(&llama, "missing"),
    ];

    // Its positions are turned otherwise in texts of more than 8 tokens.
    let mut short = open("phi3-long", 8, KvType::F16).generator().unwrap();
    generate(&mut *short, &tokens(4, 1), &greedy(2));
    short.save(&path("of-short-texts"), "").unwrap();
    messages.push(refused(&open("phi3-long", 256, KvType::F16), "of-short-texts"));
    assert_eq!(open("phi3-long", 7, KvType::F16).generator().unwrap().restore(&path("of-short-texts")).unwrap(), "");

    let whole = std::fs::read(path("session")).unwrap();
    for end in [0, 10, 20, 100, 400, whole.len() - 1] {
        std::fs::write(path("short"), &whole[..end]).unwrap();
        refused(&llama, "short");
    }
    messages.push(refused(&llama, "short"));
    for at in [whole.len() - 1, whole.len() - 200] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(path("damaged"), damaged).unwrap();
        messages.push(refused(&llama, "damaged"));
    }
    std::fs::write(path("other"), "something else").unwrap();
    messages.push(refused(&llama, "other"));
    insta::assert_snapshot!(messages.join("\n"));

    // What was refused changes nothing, and a file that cannot be written leaves the old one.
    assert!(generator.restore(&path("damaged")).is_err());
    assert_eq!(generator.tokens(), text);
    assert!(matches!(generator.save(&path("no/such/folder"), ""), Err(Error::Io { .. })));
    assert!(generator.save(folder.path(), "").is_err());
    assert_eq!(std::fs::read(path("session")).unwrap(), whole);
}

#[test]
fn texts_of_one_model_do_not_know_of_each_other() {
    for name in MODELS {
        let model = open(name, 256, KvType::F16);
        let mut generators: Vec<_> = (0..3).map(|_| model.generator().unwrap()).collect();
        let mut texts: Vec<_> = (0..3).map(|seed| tokens(30 + seed as usize, seed)).collect();
        // Turn by turn, and at the same time.
        for turn in 0..3 {
            let expected: Vec<_> = texts.iter().map(|text| anew(&model, text, &sampled(10, turn))).collect();
            texts = std::thread::scope(|scope| {
                let workers: Vec<_> = generators
                    .iter_mut()
                    .zip(texts)
                    .map(|(generator, text)| {
                        scope.spawn(move || generate(&mut **generator, &text, &sampled(10, turn)).1)
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            assert_eq!(texts, expected, "{name}");
        }
    }
}

#[test]
fn what_a_prompt_has_in_common_with_the_text_is_not_computed_again() {
    for name in MODELS {
        let model = open(name, 512, KvType::F16);
        let mut generator = model.generator().unwrap();
        let mut text = tokens(150, 1);
        for turn in 0..3 {
            let (answer, after) = generate(&mut *generator, &text, &sampled(12, turn));
            assert_eq!(after, anew(&model, &text, &sampled(12, turn)), "{name}, turn {turn}");
            let new = if turn == 0 { 150 } else { 10 };
            assert_eq!(answer.counts.prompt - answer.counts.reused, new, "{name}, turn {turn}");
            // The last token of an answer has not been fed: nine more make ten.
            text = [after, tokens(9, turn)].concat();
        }
        // Other words near the end, and far from it.
        for (back, forgotten) in [(5, false), (100, true)] {
            let before = generator.tokens().to_vec();
            let common = before.len() - back;
            let changed: Vec<_> = before[common..].iter().map(|token| 3 + (token + 5) % 77).collect();
            let prompt = [&before[..common], &changed].concat();
            let (answer, after) = generate(&mut *generator, &prompt, &greedy(8));
            let expected = if forgotten && FORGETFUL.contains(&name) { 0 } else { common };
            assert_eq!(answer.counts.reused, expected, "{name}: {back} tokens back");
            assert_eq!(after, anew(&model, &prompt, &greedy(8)), "{name}: {back} tokens back");
        }
    }
}

#[test]
fn drafts_change_no_token() {
    let mut accepted = 0;
    for name in MODELS {
        let model = open(name, 512, KvType::F16);
        let phrase = tokens(12, 3);
        let prompt = phrase.repeat(5);
        // A narrow choice repeats what was there, a wide one throws drafts away.
        let narrow = SamplingOptions { top_k: 2, seed: 4, ..SamplingOptions::default() };
        for request in [greedy(60), sampled(60, 9), Request { sampling: narrow, ..greedy(60) }] {
            let expected = anew(&model, &prompt, &request);
            for lookup in [Lookup::default(), Lookup { longest: 1, shortest: 1, draft: 40 }] {
                let request = Request { lookup: Some(lookup), ..request.clone() };
                let mut generator = model.generator().unwrap();
                let (answer, found) = generate(&mut *generator, &prompt, &request);
                assert_eq!(found, expected, "{name}, {lookup:?}");
                assert!(answer.counts.accepted <= answer.counts.drafted);
                accepted += answer.counts.accepted;
                // Nothing of a draft is left behind.
                let more = [found, tokens(5, 8)].concat();
                assert_eq!(generate(&mut *generator, &more, &greedy(5)).1, anew(&model, &more, &greedy(5)), "{name}");
            }
        }
    }
    assert!(accepted > 100, "{accepted} drafted tokens were right: the test shows little");
}

#[test]
fn a_shift_keeps_the_beginning_and_goes_on_as_if_nothing_else_had_been() {
    const CONTEXT: usize = 48;
    const KEEP: usize = 11;
    for name in MODELS {
        let model = open(name, CONTEXT, KvType::F16);
        let prompt = tokens(30, 1);
        let request = Request { overflow: Overflow::Shift { keep: KEEP }, ..greedy(60) };
        let (answer, text) = generate(&mut *model.generator().unwrap(), &prompt, &request);
        assert_eq!((answer.finish, answer.counts.generated), (Finish::Length, 60), "{name}");
        assert!(text.starts_with(&prompt[..KEEP]) && text.len() <= CONTEXT + 1, "{name}");

        let mut expected = prompt.clone();
        for _ in 0..60 {
            if expected.len() > CONTEXT {
                expected.drain(KEEP..KEEP + (expected.len() - KEEP) / 2);
            }
            expected = anew(&model, &expected, &greedy(1));
        }
        assert_eq!(text, expected, "{name}");
        let (answer, text) = generate(&mut *model.generator().unwrap(), &prompt, &greedy(60));
        assert_eq!((answer.finish, text.len()), (Finish::Context, CONTEXT + 1), "{name}: without a shift");
    }
}

#[test]
fn a_text_takes_no_more_memory_than_was_promised() {
    for (name, kv) in MODELS.into_iter().flat_map(|name| [(name, KvType::F32), (name, KvType::F16)]) {
        let model = open(name, 2 * CHUNK + 40, kv);
        let promised = model.memory().unwrap().cache as usize;
        let mut session = model.session().unwrap();
        let (mut state, mut logits) = (session.sequence(), Logits::default());
        let text = tokens(model.context(), 1);
        let pieces = text[..2 * CHUNK].chunks(CHUNK).chain(text[2 * CHUNK..].chunks(1));
        let mut largest = 0;
        for piece in pieces {
            session.step(&mut [Row::new(&mut state, piece)], &mut logits).unwrap();
            largest = largest.max(state.bytes());
        }
        assert!(largest <= promised, "{name}, {kv:?}: {largest} of {promised} bytes");
        // The promise is no idle one.
        assert!(2 * largest > promised, "{name}, {kv:?}: {largest} of {promised} bytes");
    }
}

#[test]
fn cancelling_keeps_what_came_and_the_next_request_goes_on() {
    let model = open("gemma3", 512, KvType::F16);
    let prompt = tokens(300, 1);
    let mut generator = model.generator().unwrap();
    let mut pieces = 0;
    let request = greedy(50);
    let answer = generator.generate(&prompt, &request, &mut |news| match news {
        babil_models::language::News::Text(_) if pieces == 5 => ControlFlow::Break(()),
        babil_models::language::News::Text(_) => {
            pieces += 1;
            ControlFlow::Continue(())
        }
        babil_models::language::News::Prompt(_) => ControlFlow::Continue(()),
    });
    let answer = answer.unwrap();
    assert_eq!(answer.finish, Finish::Cancelled);
    assert!(answer.counts.generated >= 6 && answer.counts.generated < 50);
    let so_far = generator.tokens().to_vec();
    assert_eq!(so_far.len(), 300 + answer.counts.generated);
    // The same request serves again.
    let (_, whole) = generate(&mut *generator, &so_far, &request);
    assert_eq!(whole, anew(&model, &so_far, &request));

    // In the middle of a prompt: what was computed of it counts.
    let other = tokens(400, 2);
    let answer = generator.generate(&other, &request, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((answer.finish, answer.counts.generated), (Finish::Cancelled, 0));
    let (answer, whole) = generate(&mut *generator, &other, &request);
    assert_eq!(answer.counts.reused, CHUNK);
    assert_eq!(whole, anew(&model, &other, &request));
}
