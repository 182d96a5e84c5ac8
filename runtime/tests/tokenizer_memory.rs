//! A tokenizer says how much memory it holds: as much as it does.

#[path = "support/allocator.rs"]
mod allocator;

use std::path::Path;

use babil_runtime::text::Tokenizer;
use babil_runtime::weights::Weights;

#[test]
fn a_tokenizer_holds_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let open = || match name.rsplit_once('.').unwrap() {
            ("ids" | "texts", _) => None,
            (_, "gguf") => Some(Tokenizer::from_gguf(Weights::open(&path).unwrap().gguf_metadata().unwrap()).unwrap()),
            (_, "json") => Some(Tokenizer::from_json(&std::fs::read(&path).unwrap(), "tokenizer.json", 1000).unwrap()),
            _ => None,
        };
        // The first one also fills tables of the process.
        drop(open());
        let (tokenizer, held) = allocator::held_after(open);
        let Some(tokenizer) = tokenizer else { continue };
        assert_eq!(held, tokenizer.held_bytes(), "{name}");
        checked += 1;
    }
    assert!(checked > 20);
}
