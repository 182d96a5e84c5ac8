//! What a translator and a speech model allocate while they run, against what was promised from their configuration.
#![cfg(feature = "audio")]

#[path = "../../runtime/tests/support/allocator.rs"]
mod allocator;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use babil_models::files::ModelFiles;
use babil_models::speech::{self, SAMPLE_RATE, SpeechModel, SpeechOptions};
use babil_models::tasks::transcribe::{Limits, TranscribeOptions, Transcription, transcribe};
use babil_models::tasks::translate::TranslateOptions;
use babil_models::{OpenOptions, open_files, working_memory};
use babil_runtime::audio::{Audio, AudioOptions};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A sentence of as many tokens as the model takes.
fn translation(packed: &Path) -> (usize, u64) {
    let files = ModelFiles::Folder(root("bundled/en-fr"));
    let options = OpenOptions { threads: Some(1), packed_folder: Some(packed.to_owned()), ..OpenOptions::default() };
    let translator = open_files(&files, &options).unwrap();
    let pair = translator.pairs().iter().find(|pair| pair.from == "en").unwrap();
    let mut sentence = String::new();
    while translator.count_tokens(&sentence, pair) + 20 < translator.max_source_tokens() {
        sentence += "The children are playing in the garden, and ";
    }
    let ((), taken) = allocator::peak_of(|| {
        let options = TranslateOptions::default();
        let translations =
            translator.translate(&[&sentence], pair, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let (tokens, most) = (translations[0].source_tokens, translator.max_source_tokens());
        assert!(tokens + 40 > most, "{tokens} tokens of {most}");
    });
    (taken, working_memory(&files).unwrap())
}

/// More than a window of sound.
fn transcript(packed: &Path, model: &str) -> (usize, u64) {
    let folder = root(model);
    let options =
        SpeechOptions { threads: Some(1), packed_folder: Some(packed.to_owned()), ..SpeechOptions::default() };
    let model = SpeechModel::open(&folder, &options).unwrap();
    let recording = root("recipes/speech-en-tiny/fixture/short.flac");
    let sound: Vec<Vec<f32>> = Audio::open(recording, &AudioOptions::default()).unwrap().map(Result::unwrap).collect();
    let sound = sound.concat();
    let sound = &sound[..35 * SAMPLE_RATE];
    // A random model is never sure of anything: its texts are taken as they are.
    let limits = Limits { compression: f32::INFINITY, log_prob: f32::NEG_INFINITY, no_speech: 1.0 };
    let options = TranscribeOptions { limits, language: Some("en".to_owned()), ..TranscribeOptions::default() };
    let ((), taken) = allocator::peak_of(|| {
        let mut transcription = Transcription::new(&model, options).unwrap();
        let blocks = sound.chunks(10_000).map(|block| Ok(block.to_vec()));
        transcribe(blocks, &mut transcription, &mut |_| ControlFlow::Continue(())).unwrap();
    });
    let config = ModelFiles::Folder(folder).json("config.json").unwrap().unwrap();
    (taken, speech::working_memory(&config).unwrap())
}

/// One test, because memory is the process's.
#[test]
fn what_runs_allocates_no_more_than_was_promised() {
    // Text and lists of tokens, and of a transcript the sound of a window with its spectrogram: nothing that grows with the
    // model.
    const TEXT: usize = 256 << 10;
    const SOUND: usize = 8 << 20;
    // What was promised has room for texts of the most tokens in every hypothesis; these are shorter.
    const SHORTER: usize = 8;
    let packed = tempfile::tempdir().unwrap();
    let (taken, promised) = translation(packed.path());
    println!("translator: {taken} taken, {promised} promised");
    assert!(taken <= promised as usize + TEXT, "{taken} bytes taken, {promised} promised");
    assert!(SHORTER * taken > promised as usize, "{taken} bytes taken, {promised} promised");
    for model in ["recipes/speech-en-tiny/model", "parity/speech/distil"] {
        let (taken, promised) = transcript(packed.path(), model);
        println!("{model}: {taken} taken, {promised} promised");
        assert!(taken <= promised as usize + SOUND, "{model}: {taken} bytes taken, {promised} promised");
        assert!(SHORTER * taken > promised as usize, "{model}: {taken} bytes taken, {promised} promised");
    }
}
