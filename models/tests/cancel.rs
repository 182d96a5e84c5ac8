//! After a cancellation at most one layer of one chunk still runs, whatever is computed, and states are as before the pass.
//! Layers are counted: a [`Cancel`] that cancels after so many questions ends a pass of as many layers.

use std::path::Path;
use std::sync::Arc;

use babil_models::families::marian::{Config, Names};
use babil_models::files::ModelFiles;
use babil_models::language::{LanguageModel, LanguageOptions};
use babil_runtime::model::{EncoderDecoder, Logits, Model, Row, State};
use babil_runtime::plan::EncoderDecoderPlan;
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::threads::ThreadPool;
use babil_runtime::{Cancel, Error, Result, Token};

/// How many layers `pass` has: how often it asks. It is tried with every smaller number first.
fn layers(mut pass: impl FnMut(Cancel) -> Result<()>) -> usize {
    let cancelled = |questions: &usize| match pass(Cancel::after(*questions)) {
        Err(Error::Cancelled) => true,
        result => {
            result.unwrap();
            false
        }
    };
    (0..).take_while(cancelled).count()
}

/// Prompts and single tokens, over keys that are forgotten and states that cannot go back far.
#[test]
fn a_language_model_stops_between_layers() {
    for name in ["llama", "gemma3", "lfm2"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name).join("model.gguf");
        let options = LanguageOptions { threads: Some(1), context: Some(200), ..LanguageOptions::default() };
        let model = LanguageModel::open(&path, &options).unwrap();
        let mut session = model.session().unwrap();
        let expected = session.plan().spec().stack.layers.len();
        let prompt: Vec<Token> = (0..90).map(|i| 3 + i % 5).collect();
        let (mut state, mut whole) = (session.sequence(), session.sequence());
        let (mut logits, mut undisturbed) = (Logits::default(), Logits::default());
        for tokens in [&prompt[..], &[4], &prompt, &[5]] {
            let before = state.position();
            let count = layers(|cancel| {
                assert_eq!(state.position(), before, "{name}");
                session.set_cancel(&cancel);
                session.step(&mut [Row::new(&mut state, tokens)], &mut logits)
            });
            assert_eq!(count, expected, "{name}, {} tokens", tokens.len());
            session.set_cancel(&Cancel::default());
            session.step(&mut [Row::new(&mut whole, tokens)], &mut undisturbed).unwrap();
            assert_eq!(state.position(), before + tokens.len());
            assert_eq!(logits.row(0), undisturbed.row(0), "{name}, {} tokens", tokens.len());
        }
    }
}

fn translator() -> EncoderDecoderSession {
    let files = ModelFiles::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/pre-norm"));
    let config: Config = files.json("config.json").unwrap().unwrap();
    let names = Names { shared: config.share_encoder_decoder_embeddings };
    let kernels = babil_runtime::kernels::Kernels::detect();
    let plan = EncoderDecoderPlan::new(config.spec().unwrap(), &files.weights().unwrap(), &names, kernels).unwrap();
    EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(1)), KvType::F32).unwrap()
}

#[test]
fn a_translator_stops_between_layers() {
    let mut session = translator();
    let spec = session.plan().spec().clone();
    let mut encoded = Vec::new();
    let count = layers(|cancel| {
        session.set_cancel(&cancel);
        encoded = session.encode(&[&[5, 6, 7]])?;
        Ok(())
    });
    assert_eq!(count, spec.encoder.layers.len());
    let mut logits = Logits::default();
    let count = layers(|cancel| {
        assert_eq!(encoded[0].position(), 0);
        session.set_cancel(&cancel);
        session.step(&mut [Row::new(&mut encoded[0], &[3])], &mut logits)
    });
    assert_eq!(count, spec.decoder.stack.layers.len());
}

#[cfg(feature = "audio")]
#[test]
fn an_encoder_of_sound_stops_between_layers() {
    use babil_models::speech::{SpeechModel, SpeechOptions};
    use babil_runtime::model::FrameEncoder;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/speech/tiny");
    let model = SpeechModel::open(&path, &SpeechOptions::default()).unwrap();
    let mut session = model.session().unwrap();
    let frames = vec![0.5; model.features() * model.window()];
    let count = layers(|cancel| {
        session.set_cancel(&cancel);
        session.encode_frames(&frames).map(drop)
    });
    assert_eq!(count, session.plan().spec().encoder.layers.len());
}
