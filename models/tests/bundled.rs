//! The translator that ships in the repository, through the library's public interface.
#![cfg(feature = "bundled")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use babil_models::families::marian::{Config, Names};
use babil_models::tasks::translate::{LanguagePair, Progress, SentenceTranslator, TranslateOptions};
use babil_models::{OpenOptions, Quant, bundled, open_translator, packed_folder, plan};
use babil_runtime::kernels::Kernels;
use babil_runtime::plan::{EncoderDecoderPlan, parameters};
use babil_runtime::session::{EncoderDecoderSession, KvType};
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::{Encoding, TensorToWrite, Weights, write_safetensors};
use babil_runtime::{Error, Token};

/// Sentences for which only the machinery matters, whatever becomes of them.
const SENTENCES: [&str; 12] = [
    "Where is the station?",
    "",
    "I have never seen such a beautiful sunset.",
    "Tom doesn't want to go to school today.",
    "😀 héhé \u{0} <unk> </s>",
    "She said that she would come back before dinner, but nobody believed her.",
    "No.",
    "How much does this cost?",
    "The children are playing in the garden behind the old house.",
    "   ",
    "Could you please tell me what time the last train to the airport leaves?",
    "Thank you very much!",
];

fn open(threads: usize) -> Box<dyn SentenceTranslator> {
    open_translator(&OpenOptions { threads: Some(threads), ..OpenOptions::default() }).unwrap()
}

fn en_fr() -> LanguagePair {
    LanguagePair::new("en", "fr")
}

fn beam(beam: usize) -> TranslateOptions {
    TranslateOptions { beam: Some(beam), alternatives: beam, ..TranslateOptions::default() }
}

#[test]
fn it_translates_both_ways() {
    let translator = open(1);
    let translate = |text: &str, pair: LanguagePair| {
        let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
        translator
            .translate(&[text], &pair, &TranslateOptions::default(), quiet)
            .unwrap()
            .remove(0)
            .hypotheses
            .remove(0)
    };
    assert_eq!(translate("Where is the station?", en_fr()).text, "Où est la gare ?");
    let english = translate("Où est la gare ?", LanguagePair::new("fr", "en")).text;
    assert!(["Where is the station?", "Where's the station?"].contains(&english.as_str()), "{english}");
}

#[test]
fn threads_and_batches_change_nothing_and_reported_text_is_the_result() {
    for width in [1, 4] {
        let mut expected = None;
        for threads in [1, 2, 4] {
            let translator = open(threads);
            let mut reported = vec![String::new(); SENTENCES.len()];
            let result = translator.translate(&SENTENCES, &en_fr(), &beam(width), &mut |news| {
                reported[news.sentence].push_str(news.text);
                ControlFlow::Continue(())
            });
            let batch: Vec<_> = result.unwrap().into_iter().map(|translation| translation.hypotheses).collect();
            for (hypotheses, reported) in batch.iter().zip(&reported) {
                assert_eq!(hypotheses[0].text, *reported);
            }
            let alone: Vec<_> = SENTENCES
                .iter()
                .map(|sentence| {
                    let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
                    translator.translate(&[sentence], &en_fr(), &beam(width), quiet).unwrap().remove(0).hypotheses
                })
                .collect();
            assert_eq!(batch, alone, "{threads} threads, beam {width}: a batch and each sentence alone");
            assert_eq!(*expected.get_or_insert_with(|| batch.clone()), batch, "{threads} threads, beam {width}");
        }
    }
}

#[test]
fn cancelling_ends_the_work_after_at_most_one_more_token() {
    for threads in [1, 2] {
        let translator = open(threads);
        let mut calls = 0;
        let result = translator.translate(&SENTENCES, &en_fr(), &TranslateOptions::default(), &mut |_| {
            calls += 1;
            if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!(calls, 3, "nothing is reported after cancelling");
        let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
        assert!(translator.translate(&["Hello."], &en_fr(), &TranslateOptions::default(), quiet).is_ok());
    }
}

#[test]
fn requests_that_do_not_fit_are_refused_with_words() {
    let translator = open(1);
    let error = |text: &str, pair, options: &TranslateOptions| {
        let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
        translator.translate(&[text], &pair, options, quiet).unwrap_err().to_string()
    };
    let usual = TranslateOptions::default();
    let errors = [
        error("Hallo.", LanguagePair::new("de", "fr"), &usual),
        error(&"word ".repeat(1000), en_fr(), &usual),
        error("Hello.", en_fr(), &TranslateOptions { beam: Some(2), alternatives: 3, ..usual.clone() }),
        error("Hello.", en_fr(), &TranslateOptions { beam: Some(0), alternatives: 0, ..usual.clone() }),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

/// The same vocabulary as `tokenizer.json`, run by the tokenizers crate: the same tokens in plain sentences, so the same
/// translations.
#[cfg(feature = "tokenizers")]
#[test]
fn a_folder_with_tokenizer_json_translates_alike() {
    use babil_runtime::text::SentencePiece;
    use serde_json::json;
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::write(folder.path().join(name), bundled::EN_FR.expect(name).unwrap()).unwrap();
    }
    let pieces = SentencePiece::from_bytes(&bundled::EN_FR.expect("source.spm").unwrap(), "source.spm").unwrap();
    let piece = |id| json!([pieces.piece(id).unwrap(), pieces.score(id).unwrap()]);
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    let special = |id: Token| {
        json!({"id": id, "content": pieces.piece(id).unwrap(), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "post_processor": null,
        "added_tokens": [special(0), special(3)],
        "normalizer": {"type": "NFKC"}, "pre_tokenizer": metaspace, "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 1, "vocab": (0..pieces.len() as Token).map(piece).collect::<Vec<_>>()},
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let model = Some(folder.path().to_str().unwrap().to_owned());
    let json = open_translator(&OpenOptions { model, threads: Some(1), ..OpenOptions::default() }).unwrap();
    let plain: Vec<_> =
        SENTENCES.into_iter().filter(|sentence| sentence.is_ascii() && !sentence.contains('<')).collect();
    let translate = |translator: &dyn SentenceTranslator| {
        let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
        let translations = translator.translate(&plain, &en_fr(), &TranslateOptions::default(), quiet).unwrap();
        translations.into_iter().map(|translation| translation.hypotheses).collect::<Vec<_>>()
    };
    assert_eq!(translate(&*json), translate(&*open(1)));
}

/// The quantised path against the float32 path on the same, dequantised weights: what is left is the quantisation of
/// activations. And the same bits on every instruction set of this machine.
#[test]
fn int8_arithmetic_is_close_to_float32_and_the_same_on_every_instruction_set() {
    let files = &bundled::EN_FR;
    let config: Config = files.json("config.json").unwrap().unwrap();
    let names = Names { shared: config.share_encoder_decoder_embeddings };
    let packed = files.weights().unwrap();
    let float: Vec<_> = parameters(&config.spec().unwrap(), &packed, &names)
        .into_iter()
        .map(|(name, _)| {
            let tensor = packed.get(&name).unwrap().clone();
            TensorToWrite {
                name,
                encoding: Encoding::F32,
                shape: tensor.shape().to_vec(),
                content: Box::new(move |out| tensor.to_f32().iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))),
            }
        })
        .collect();
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, &float, &BTreeMap::new()).unwrap();
    let float = Weights::from_vec(bytes, "dequantised").unwrap();

    let source: Vec<Token> = (0..40).map(|i| 4 + i * 97 % 7000).chain([0]).collect();
    let output = |plan: EncoderDecoderPlan| {
        let mut session =
            EncoderDecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(1)), KvType::F32).unwrap();
        session.encoder_output(&[&source]).unwrap()
    };
    let spec = config.spec().unwrap();
    let reference = output(EncoderDecoderPlan::new(spec, &float, &names, Kernels::detect()).unwrap());
    let mut first: Option<Vec<f32>> = None;
    for kernels in Kernels::all() {
        let isa = kernels.isa;
        let found = output(plan(files, &config, Quant::Q7_128, kernels, &packed_folder()).unwrap());
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>();
        let error = square(&mut found.iter().zip(&reference).map(|(a, b)| a - b));
        let error = (error / square(&mut reference.iter().copied())).sqrt();
        assert!(error < 0.03, "relative error {error} on {isa}");
        assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "{isa}");
    }
}
