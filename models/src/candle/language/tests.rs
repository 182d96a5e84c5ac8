use std::path::PathBuf;

use babil_runtime::model::Want;

use super::*;

/// The folder of stories260K (a llama of 260,000 parameters) and of what its author's program makes of it.
fn stories() -> Option<PathBuf> {
    let folder = std::env::var_os("BABIL_STORIES260K").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: BABIL_STORIES260K names no folder with stories260K.gguf and its expected tokens");
    }
    folder
}

fn largest(logits: &[f32]) -> Token {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as Token
}

fn step(
    model: &mut CandleLanguageModel,
    state: &mut CandleSequence,
    tokens: &[Token],
    want: Want,
) -> Result<Vec<Vec<f32>>> {
    let mut logits = Logits::default();
    model.step(&mut [Row { state, tokens, want }], &mut logits)?;
    Ok((0..want.rows(tokens.len())).map(|row| logits.row(row).to_vec()).collect())
}

#[test]
fn greedy_tokens_of_stories260k_are_its_authors() {
    let Some(folder) = stories() else { return };
    let expected = std::fs::read(folder.join("stories260K.greedy_tokens.json")).unwrap();
    let expected: Vec<Token> = serde_json::from_slice(&expected).unwrap();
    let mut model = CandleLanguageModel::open(folder.join("stories260K.gguf")).unwrap();
    let mut state = model.sequence();
    let mut tokens = vec![1];
    for &token in &expected {
        let logits = step(&mut model, &mut state, &tokens[tokens.len() - 1..], Want::Last).unwrap();
        tokens.push(largest(&logits[0]));
        assert_eq!(tokens.last(), Some(&token), "token {}", tokens.len() - 2);
    }
}

/// However tokens arrive, and whatever ran in between.
#[test]
fn logits_do_not_depend_on_the_calls() {
    let Some(folder) = stories() else { return };
    let mut model = CandleLanguageModel::open(folder.join("stories260K.gguf")).unwrap();
    let tokens: Vec<Token> = vec![1, 403, 407, 261, 378, 432, 383];
    let mut state = model.sequence();
    let all = step(&mut model, &mut state, &tokens, Want::All).unwrap();
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    // One prefill, and with parts of which nothing is wanted.
    let mut state = model.sequence();
    assert!(close(&step(&mut model, &mut state, &tokens, Want::Last).unwrap()[0], &all[6]));
    let mut state = model.sequence();
    assert!(step(&mut model, &mut state, &tokens[..4], Want::Nothing).unwrap().is_empty());
    let last = step(&mut model, &mut state, &tokens[4..], Want::All).unwrap();
    assert!(last.iter().zip(&all[4..]).all(|(a, b)| close(a, b)) && last.len() == 3);
    // A fork goes another way, the original and a truncated copy go on.
    let (mut fork, mut cut) = (state.fork(), state.fork());
    step(&mut model, &mut fork, &[5, 6], Want::Last).unwrap();
    assert_eq!((cut.truncate(5), fork.position(), cut.position()), (5, 9, 5));
    let again = step(&mut model, &mut cut, &tokens[5..], Want::All).unwrap();
    assert!(again.iter().zip(&all[5..]).all(|(a, b)| close(a, b)));
    // Two rows of a call.
    let (mut a, mut b) = (model.sequence(), model.sequence());
    let mut logits = Logits::default();
    let rows = &mut [
        Row { state: &mut a, tokens: &tokens[..2], want: Want::All },
        Row { state: &mut b, tokens: &tokens[..3], want: Want::Last },
    ];
    model.step(rows, &mut logits).unwrap();
    assert!(close(logits.row(0), &all[0]) && close(logits.row(1), &all[1]) && close(logits.row(2), &all[2]));
}

#[test]
fn requests_that_do_not_fit_are_errors() {
    let Some(folder) = stories() else { return };
    let mut model = CandleLanguageModel::open(folder.join("stories260K.gguf")).unwrap();
    let mut state = model.sequence();
    for tokens in [&[][..], &[512], &[1; 2049]] {
        let error = step(&mut model, &mut state, tokens, Want::Last).unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)), "{error}");
        assert_eq!(state.position(), 0);
    }
}

/// Damaged files are errors, or models that run: never a panic.
#[test]
fn damaged_files_do_not_panic() {
    let Some(folder) = stories() else { return };
    let good = std::fs::read(folder.join("stories260K.gguf")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let find = |key: &str| good.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len() + 4;
    let keys = [
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.block_count",
        "llama.rope.dimension_count",
        "llama.attention.layer_norm_rms_epsilon",
    ];
    let mut opened = 0;
    for key in keys {
        for value in [0, 1, 2, 3, 5, 7, 63, 65, 1 << 20, u32::MAX] {
            let mut bytes = good.clone();
            bytes[find(key)..][..4].copy_from_slice(&u32::to_le_bytes(value));
            std::fs::write(file.path(), &bytes).unwrap();
            let Ok(mut model) = CandleLanguageModel::open(file.path()) else { continue };
            opened += 1;
            let mut state = model.sequence();
            // Errors are fine.
            let _ = step(&mut model, &mut state, &[1, 2, 3], Want::All);
        }
    }
    assert!(opened > 0);
    for length in [0, 4, 24, 100, 1000, 20_000, good.len() - 1] {
        std::fs::write(file.path(), &good[..length]).unwrap();
        assert!(CandleLanguageModel::open(file.path()).is_err(), "{length} bytes");
    }
}
