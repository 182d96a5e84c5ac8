//! What a language model really allocates for a text that fills its context, against what was promised before it was
//! loaded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use babil_models::language::{LanguageModel, LanguageOptions, Request};
use babil_runtime::Token;
use babil_runtime::generate::Finish;
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::session::KvType;

/// The system's allocator, which counts.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; the pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, because the counters are the process's.
#[test]
fn a_text_allocates_no_more_than_the_plan_says() {
    const CONTEXT: usize = 1000;
    // Lists of tokens, the text, a table of pages: nothing that grows with the model.
    const SMALL: usize = (64 << 10) + 32 * CONTEXT;
    for (name, kv) in [("llama", KvType::F32), ("gemma3", KvType::F16), ("lfm2", KvType::F16), ("bitnet", KvType::F32)]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name).join("model.gguf");
        let options =
            LanguageOptions { threads: Some(1), context: Some(CONTEXT), kv: Some(kv), ..LanguageOptions::default() };
        let model = LanguageModel::open(&path, &options).unwrap();
        let memory = *model.memory().unwrap();
        let prompt: Vec<Token> = (0..CONTEXT as Token - 50).map(|i| 3 + i * 7 % 77).collect();
        let request = Request { sampling: SamplingOptions::greedy(), ignore_end: true, ..Request::default() };

        let before = HELD.load(Relaxed);
        PEAK.store(before, Relaxed);
        let mut generator = model.generator().unwrap();
        let answer = generator.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).unwrap();
        let taken = PEAK.load(Relaxed) - before;
        assert_eq!(answer.finish, Finish::Context);
        let promised = (memory.cache + memory.scratch + memory.logits) as usize;
        assert!(taken <= promised + SMALL, "{name}: {taken} bytes taken, {promised} promised");
        assert!(2 * taken > promised, "{name}: {taken} bytes taken, {promised} promised");
    }
}
