//! A forward pass allocates nothing once its buffers have grown, but for a page of the cache now and then. With one
//! thread: when another first helps, and its own buffers grow, is chance.

#[path = "../../runtime/tests/support/allocator.rs"]
mod allocator;

use std::path::Path;

use babil_models::language::{LanguageModel, LanguageOptions};
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::session::KvType;

/// Positions of a page of the cache, and those of a prompt that fills most of one.
const PAGE: usize = 64;
const PROMPT: usize = 40;

/// One test, because the count is the process's.
#[test]
fn a_step_allocates_nothing_but_pages() {
    for (name, kv) in [("llama", KvType::F16), ("gemma3", KvType::F16), ("lfm2", KvType::F32), ("phi3", KvType::F16)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name).join("model.gguf");
        let options =
            LanguageOptions { threads: Some(1), context: Some(200), kv: Some(kv), ..LanguageOptions::default() };
        let model = LanguageModel::open(&path, &options).unwrap();
        let mut session = model.session().unwrap();
        let mut logits = Logits::default();
        let mut state = session.sequence();
        let mut step = |state: &mut _, tokens: &[u32]| {
            session.step(&mut [Row { state, tokens, want: Want::Last }], &mut logits).unwrap();
        };
        // Twice as many positions as are looked at, so that every buffer has grown.
        step(&mut state, &[3; PROMPT]);
        (PROMPT..2 * PAGE).for_each(|i| step(&mut state, &[i as u32 % 7]));
        state.truncate(0);
        step(&mut state, &[3; PROMPT]);
        for position in PROMPT..2 * PAGE {
            let ((), bytes) = allocator::peak_of(|| step(&mut state, &[position as u32 % 7]));
            let new_page = position.is_multiple_of(PAGE);
            assert_eq!(bytes > 0, new_page, "{name}, position {position}: {bytes} bytes");
        }
    }
}
