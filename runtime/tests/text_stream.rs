//! The text of a stream of tokens, whatever tokens a model comes up with: pieces are whole characters, and together they
//! are the text of all bytes, up to a stop string. The vocabularies are those of `tests/tokenizer`, with tokens for bytes.

use std::path::Path;

use babil_runtime::generate::{Context, Finish, StopStrings, StreamOptions, TextStream, TokenStream};
use babil_runtime::model::{Logits, Model, Row, State};
use babil_runtime::sampling::{Sampler, SamplingOptions};
use babil_runtime::text::{Marks, PieceKind, Tokenizer};
use babil_runtime::weights::Weights;
use babil_runtime::{Result, Token};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// A model that says what it is told to, token by token.
struct Parrot {
    vocab: usize,
    script: Vec<Token>,
}

/// How many tokens it has seen.
#[derive(Clone)]
struct Seen(usize);

impl State for Seen {
    fn fork(&self) -> Self {
        self.clone()
    }

    fn position(&self) -> usize {
        self.0
    }

    fn truncate(&mut self, position: usize) -> usize {
        self.0 = self.0.min(position);
        self.0
    }
}

impl Model for Parrot {
    type State = Seen;

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, Seen>], logits: &mut Logits) -> Result<()> {
        let [row] = rows else { panic!("one text") };
        row.state.0 += row.tokens.len();
        let next = self.script.get(row.state.0 - 1).copied().unwrap_or(0);
        let logits = logits.reset(1, self.vocab);
        logits.fill(0.0);
        logits[next as usize] = 1.0;
        Ok(())
    }
}

/// All bytes that are text, and each that belongs to no character replaced.
fn naive(tokenizer: &Tokenizer, tokens: &[Token]) -> String {
    let visible = |&&id: &&Token| {
        matches!(tokenizer.kind(id), Some(PieceKind::Normal | PieceKind::Byte | PieceKind::UserDefined))
    };
    let bytes = |id: &Token| tokenizer.token_bytes(*id).unwrap().to_vec();
    let bytes: Vec<u8> = tokens.iter().filter(visible).flat_map(bytes).collect();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Pieces of the text of `script`, and why it ended.
fn stream(tokenizer: &Tokenizer, script: &[Token], stops: &[String]) -> (Vec<String>, Option<Finish>) {
    let mut model = Parrot { vocab: tokenizer.len(), script: script.to_vec() };
    let mut context = Context::new(Seen(0), Vec::new());
    let mut sampler = Sampler::new(SamplingOptions::greedy(), model.vocab).unwrap();
    let options = StreamOptions { max_tokens: script.len(), ..StreamOptions::new(1000, Vec::new()) };
    let tokens = TokenStream::new(&mut model, &mut context, &mut sampler, &[0], options).unwrap();
    let mut text = TextStream::new(tokens, tokenizer, StopStrings::new(stops.to_vec()).unwrap());
    let pieces = text.by_ref().map(Result::unwrap).collect();
    (pieces, text.finish())
}

/// Tokens of emoji, of letters that are written with several code points, of ASCII, and any others.
fn script(tokenizer: &Tokenizer) -> impl Strategy<Value = Vec<Token>> + use<> {
    let texts = ["😀", "👩‍👩‍👧", "é", "e\u{301}", "中文", "नमस्ते", "a", " ", "\n", "</s>"];
    let whole: Vec<Vec<Token>> = texts.iter().map(|text| tokenizer.encode(text, Marks::AsText).unwrap()).collect();
    let cut = (prop::sample::select(whole.clone()), 0usize..6).prop_map(|(ids, n)| ids[..ids.len().min(n)].to_vec());
    let any = (0..tokenizer.len() as Token).prop_map(|id| vec![id]);
    let part = prop_oneof![2 => prop::sample::select(whole), 1 => cut, 2 => any];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

#[test]
fn characters_come_whole_whatever_a_model_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer");
    for name in ["llama", "gemma4", "gpt-2", "qwen2"] {
        let weights = Weights::open(folder.join(format!("{name}.gguf"))).unwrap();
        let tokenizer = Tokenizer::from_gguf(weights.gguf_metadata().unwrap()).unwrap();
        let emoji = tokenizer.encode("😀👍", Marks::AsText).unwrap();
        assert!(emoji.len() >= 4, "{name}: its tokens for emoji are parts of characters");
        let (pieces, _) = stream(&tokenizer, &emoji, &[]);
        assert_eq!(pieces.concat().trim_start(), "😀👍", "{name}");

        let stops = prop::collection::vec(prop::sample::select(vec!["😀", "a", "文न", "👩", "\u{fffd}"]), 0..3);
        let cases = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
        let checked = TestRunner::new(cases).run(&(script(&tokenizer), stops), |(script, stops)| {
            let stops: Vec<_> = stops.into_iter().map(str::to_owned).collect();
            let (pieces, finish) = stream(&tokenizer, &script, &stops);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            let streamed = pieces.concat();
            let whole = naive(&tokenizer, &script);
            let text = |full: &str| {
                // The stop string that is the first to be complete counts, and the longest of those.
                let end = |stop: &String| full.find(stop.as_str()).map(|at| (at + stop.len(), at));
                stops.iter().filter_map(end).min().map_or(full.to_owned(), |(_, at)| full[..at].to_owned())
            };
            // At the beginning, at most a space is missing.
            let expected = [text(&whole), text(whole.strip_prefix(' ').unwrap_or(&whole))];
            prop_assert!(expected.contains(&streamed), "{:?} instead of {:?}", streamed, expected);
            let stopped = stops.iter().any(|stop| whole.contains(stop.as_str()));
            prop_assert_eq!(finish == Some(Finish::StopString), stopped);
            Ok(())
        });
        if let Err(problem) = checked {
            panic!("{name}: {problem}");
        }
    }
}
