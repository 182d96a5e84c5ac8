//! What a language model really allocates for a text that fills its context, against what was promised before it was
//! loaded.

#[path = "../../runtime/tests/support/allocator.rs"]
mod allocator;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use babil_models::language::{LanguageModel, LanguageOptions, Request};
use babil_runtime::Token;
use babil_runtime::generate::{Finish, Lookup};
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::session::KvType;
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{TensorHeader, Writer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name).join("model.gguf")
}

/// The llama fixture with the rows of its vocabulary again and again, `times` as many.
fn wide(times: usize) -> Vec<u8> {
    let weights = Weights::open(fixture("llama")).unwrap();
    let metadata: Vec<_> = weights.gguf_metadata().unwrap().iter().collect();
    let (mut headers, mut all) = (Vec::new(), Vec::new());
    for (name, tensor) in weights.iter() {
        let (mut shape, mut bytes) = (tensor.shape().to_vec(), tensor.bytes().to_vec());
        if ["token_embd.weight", "output.weight"].contains(&name) {
            shape[0] *= times;
            bytes = bytes.repeat(times);
        }
        headers.push(TensorHeader { name: name.to_owned(), encoding: tensor.encoding(), shape });
        all.push(bytes);
    }
    let mut writer = Writer::new(Vec::new(), &metadata, &headers, 32).unwrap();
    all.iter().for_each(|bytes| writer.write(bytes).unwrap());
    writer.finish().unwrap()
}

/// One test, because memory is the process's.
#[test]
fn a_text_allocates_no_more_than_the_plan_says() {
    const CONTEXT: usize = 1000;
    // Lists of tokens, the text, a table of pages: nothing that grows with the model.
    const SMALL: usize = (64 << 10) + 32 * CONTEXT;
    // Names and places of tensors, descriptions of layers.
    const TABLES: usize = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let wide_file = folder.path().join("wide.gguf");
    std::fs::write(&wide_file, wide(200)).unwrap();
    let models = [("llama", KvType::F32), ("gemma3", KvType::F16), ("lfm2", KvType::F16), ("bitnet", KvType::F32)];
    let models = models.map(|(name, kv)| (fixture(name), kv, None));
    let drafts = Lookup { longest: 1, shortest: 1, ..Lookup::default() };
    for (path, kv, lookup) in models.into_iter().chain([(wide_file, KvType::F16, Some(drafts))]) {
        let name = path.display();
        let options =
            LanguageOptions { threads: Some(1), context: Some(CONTEXT), kv: Some(kv), ..LanguageOptions::default() };
        // Whatever a process needs once.
        drop(LanguageModel::open(&path, &options).unwrap());
        let nothing = allocator::held();
        let model = LanguageModel::open(&path, &options).unwrap();
        let memory = *model.memory().unwrap();
        let (opened, promised) = (allocator::held() - nothing, memory.small_tensors + memory.tokenizer);
        assert!(opened <= promised as usize + TABLES, "{name}: {opened} bytes taken, {promised} promised");
        assert!(memory.tokenizer > 0 && opened as u64 >= memory.tokenizer, "{name}: {memory:?}");
        let prompt: Vec<Token> = (0..CONTEXT as Token - 50).map(|i| 3 + i * 7 % 77).collect();
        let request = Request { sampling: SamplingOptions::greedy(), ignore_end: true, lookup, ..Request::default() };

        let (answer, taken) = allocator::peak_of(|| {
            let mut generator = model.generator().unwrap();
            generator.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).unwrap()
        });
        assert_eq!(answer.finish, Finish::Context);
        let promised = (memory.cache + memory.scratch + memory.logits) as usize;
        assert!(taken <= promised + SMALL, "{name}: {taken} bytes taken, {promised} promised");
        assert!(2 * taken > promised, "{name}: {taken} bytes taken, {promised} promised");
        if lookup.is_some() {
            let without = promised - memory.logits as usize * drafts.draft / (1 + drafts.draft);
            assert!(answer.counts.drafted > 0 && taken > without + SMALL, "{name}: drafts show in what is taken");
        }
    }
}
