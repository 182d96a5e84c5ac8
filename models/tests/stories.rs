//! A real trained model, stories260K (karpathy/llama2.c): the reference's own 200 greedy tokens and their text, on every
//! instruction set, and what is left of them after quantising.
//!
//! Its files are not part of the repository: `BABIL_STORIES` names their folder. Without it, and without
//! `shared/data/stories260k` beside the repository, nothing is checked.

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use babil_models::families;
use babil_models::language::{
    Answer, Generator, LanguageModel, LanguageOptions, News, Request, TextGenerator, perplexity,
};
use babil_models::quantize::{Mix, Options, quantize_gguf};
use babil_runtime::Token;
use babil_runtime::kernels::Kernels;
use babil_runtime::plan::DecoderPlan;
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::session::{DecoderSession, KvType};
use babil_runtime::text::Marks;
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::Weights;

const FILE: &str = "stories260K.gguf";
/// The model's own limit.
const CONTEXT: usize = 2048;

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/stories260k");
    let folder = std::env::var_os("BABIL_STORIES").map_or(beside, PathBuf::from);
    if !folder.join(FILE).exists() {
        eprintln!("left out: {} is not there (BABIL_STORIES names its folder)", folder.join(FILE).display());
        return None;
    }
    Some(folder)
}

fn expected(folder: &Path) -> (Vec<Token>, String) {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tokens = serde_json::from_slice(&read("stories260K.greedy_tokens.json")).unwrap();
    let text = String::from_utf8(read("stories260K.expected_stdout.txt")).unwrap();
    (tokens, text.trim_end().to_owned())
}

fn options(packed_folder: &Path) -> LanguageOptions {
    LanguageOptions { threads: Some(1), packed_folder: packed_folder.to_owned(), ..LanguageOptions::default() }
}

/// What follows the mark of the beginning: the answer, the text in its pieces put together, and all tokens.
fn story(generator: &mut dyn TextGenerator, bos: Token, request: &Request) -> (Answer, String, Vec<Token>) {
    let mut streamed = String::new();
    let answer = generator.generate(&[bos], request, &mut |news| {
        if let News::Text(piece) = news {
            streamed += piece;
        }
        ControlFlow::Continue(())
    });
    (answer.unwrap(), streamed, generator.tokens()[1..].to_vec())
}

fn greedy(max_tokens: usize) -> Request {
    Request { sampling: SamplingOptions::greedy(), max_tokens, ..Request::default() }
}

#[test]
fn the_greedy_tokens_are_the_references_on_every_instruction_set() {
    let Some(folder) = folder() else { return };
    let (tokens, text) = expected(&folder);
    assert_eq!(tokens.len(), 200);
    let cache = tempfile::tempdir().unwrap();
    let model = LanguageModel::open(&folder.join(FILE), &options(cache.path())).unwrap();
    let bos = model.tokenizer().prompt("", Marks::AsText).unwrap()[0];
    assert_eq!(model.context(), CONTEXT);
    let (answer, streamed, found) = story(&mut *model.generator().unwrap(), bos, &greedy(200));
    assert_eq!((found, answer.text.as_str()), (tokens.clone(), streamed.as_str()));
    assert_eq!(streamed, text);

    let opened = families::open(&folder.join(FILE), None).unwrap();
    for kernels in Kernels::all() {
        for (kv, threads) in [(KvType::F32, 1), (KvType::F16, 2)] {
            let isa = kernels.isa;
            let spec = opened.language.spec.clone();
            let plan = DecoderPlan::new(spec, &opened.weights, &*opened.language.names, kernels).unwrap();
            let session = DecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(threads)), kv).unwrap();
            let state = session.sequence();
            let mut generator = Generator::new(session, state, model.tokenizer().clone(), CONTEXT);
            let (_, streamed, found) = story(&mut generator, bos, &greedy(200));
            assert_eq!(found, tokens, "{isa:?}, {kv:?}");
            assert_eq!(streamed, text, "{isa:?}, {kv:?}");
        }
    }
}

/// As a folder in the form of Hugging Face, and as the GGUF file that is made of it.
#[test]
fn a_folder_and_the_file_made_of_it_tell_the_same_story() {
    let Some(folder) = folder() else { return };
    let (tokens, text) = expected(&folder);
    let scratch = tempfile::tempdir().unwrap();
    let hub = scratch.path().join("hub");
    std::fs::create_dir(&hub).unwrap();
    support::write_llama(&folder.join(FILE), &hub);
    let convert = |mix: &str| {
        let path = scratch.path().join(mix);
        let how = Options { mix: Mix::named(mix).unwrap(), force: false, threads: 1 };
        quantize_gguf(&hub, &path, &how, &mut |_| ControlFlow::Continue(())).unwrap();
        path
    };
    let (float, eight_bits) = (convert("f32"), convert("q8_0"));
    for (path, same) in [(hub.clone(), 200), (float.clone(), 200), (eight_bits, 50)] {
        let model = LanguageModel::open(&path, &options(scratch.path())).unwrap();
        let bos = model.tokenizer().prompt("", Marks::AsText).unwrap()[0];
        let (_, streamed, found) = story(&mut *model.generator().unwrap(), bos, &greedy(200));
        assert_eq!(found[..same], tokens[..same], "{}", path.display());
        if same == 200 {
            assert_eq!(streamed, text);
        }
        let ids = model.tokenizer().encode(&text, Marks::AsText).unwrap();
        let original = families::tokenizer(&folder, &Weights::open(folder.join(FILE)).unwrap()).unwrap();
        assert_eq!(ids, original.encode(&text, Marks::AsText).unwrap());
    }
    // The tensors are those that the folder came from, bit for bit.
    let [made, original] = [float, folder.join(FILE)].map(|path| Weights::open(path).unwrap());
    for (name, tensor) in original.iter() {
        assert_eq!(made.get(name).map(|made| made.bytes()), Some(tensor.bytes()), "{name}");
    }
    assert_eq!(made.iter().count(), original.iter().count());
}

#[test]
fn eight_bits_tell_the_same_story() {
    let Some(folder) = folder() else { return };
    let (tokens, _) = expected(&folder);
    let cache = tempfile::tempdir().unwrap();
    let quantised = cache.path().join("q8_0.gguf");
    let mix = Mix::named("q8_0").unwrap();
    let how = Options { mix, force: false, threads: 1 };
    quantize_gguf(&folder.join(FILE), &quantised, &how, &mut |_| ControlFlow::Continue(())).unwrap();
    let float = LanguageModel::open(&folder.join(FILE), &options(cache.path())).unwrap();
    // From a file of blocks, and from floats that are quantised when they are opened.
    let while_loading =
        LanguageOptions { quant: babil_runtime::quant::BlockType::from_name("q8_0"), ..options(cache.path()) };
    let models = [
        LanguageModel::open(&quantised, &options(cache.path())).unwrap(),
        LanguageModel::open(&folder.join(FILE), &while_loading).unwrap(),
    ];
    let bos = float.tokenizer().special().bos.unwrap();

    // A few KB of the kind of text that the model knows.
    let stories = (0..4).map(|seed| {
        let request = Request { sampling: SamplingOptions { seed, ..SamplingOptions::default() }, ..greedy(400) };
        story(&mut *float.generator().unwrap(), bos, &request).1
    });
    let text = stories.collect::<Vec<_>>().join("\n");
    let measure =
        |model: &LanguageModel| perplexity(model, &text, 256, |_, _, _| ControlFlow::Continue(())).unwrap().perplexity;
    let reference = measure(&float);
    assert!((1.0..10.0).contains(&reference), "a perplexity of {reference}");
    for model in models {
        let (_, _, found) = story(&mut *model.generator().unwrap(), bos, &greedy(200));
        assert_eq!(found[..50], tokens[..50]);
        let quantised = measure(&model);
        assert!((quantised / reference - 1.0).abs() < 0.005, "{quantised} instead of {reference}");
        // Another model altogether would be exactly as good only by chance; the same one would not have been quantised.
        assert_ne!(quantised, reference);
    }
}
