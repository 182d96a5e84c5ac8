//! What fuzzing calls with any bytes: each reader of files, and what is done with what it has read. Nothing may panic,
//! and nothing may take memory that the size of the file does not explain. `fuzz.rs` and the programs of `fuzz/` both
//! call these.
#![allow(dead_code, reason = "the programs of `fuzz/` call one each")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use babil_models::families::{self, whisper};
use babil_models::language::{LanguageModel, LanguageOptions, Request, TextGenerator};
use babil_models::tasks::chat::{Chat, Think};
use babil_models::tasks::subtitles::{Format, Layout, Subtitles, Timed, layout::lay_out};
use babil_runtime::generate::Lookup;
use babil_runtime::kernels::Kernels;
use babil_runtime::plan::EncoderDecoderPlan;
use babil_runtime::sampling::{Dry, Penalties, SamplingOptions};
use babil_runtime::session::KvType;
use babil_runtime::text::{ChatTemplate, Detokenize, Marks, Message, RenderOptions, Tokenizer};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{Array, Value};
use babil_runtime::{Result, Token};
use sha2::{Digest, Sha256};

/// Tokens of a text of the model that sessions and models are tried with.
const CONTEXT: usize = 64;

/// Every element of an array, and of those inside.
fn walk(array: Array<'_>) {
    assert_eq!(array.iter().count(), array.len());
    for value in array.iter() {
        if let Value::Array(inner) = value {
            walk(inner);
        }
    }
}

/// A GGUF or safetensors file: everything in it is looked at.
pub(crate) fn weights(data: &[u8]) {
    let Ok(weights) = Weights::from_vec(data.to_vec(), "file") else { return };
    for (_, tensor) in weights.iter() {
        assert_eq!(tensor.encoding().byte_len(tensor.shape()), Some(tensor.bytes().len()));
        let _ = (tensor.as_f32(), tensor.as_blocks(), tensor.as_packed());
    }
    let Some(metadata) = weights.gguf_metadata() else { return };
    for (key, value) in metadata.iter() {
        let _ = (value.to_string(), metadata.find::<u32>(key), metadata.find::<&str>(key));
        if let Value::Array(array) = value {
            walk(array);
        }
    }
    let _ = families::decoder_from_gguf(&weights, CONTEXT);
}

/// The vocabulary of a GGUF file, or a `tokenizer.json`, and texts through it.
pub(crate) fn tokenizer(data: &[u8]) {
    let tokenizer = if data.starts_with(b"GGUF") {
        let Ok(weights) = Weights::from_vec(data.to_vec(), "file") else { return };
        Tokenizer::from_gguf(weights.gguf_metadata().expect("a GGUF file"))
    } else {
        Tokenizer::from_json(data, "tokenizer.json", usize::MAX)
    };
    let Ok(mut tokenizer) = tokenizer else { return };
    tokenizer.set_ends(Some(Token::MAX), &[0, Token::MAX], Some(Token::MAX));
    let texts =
        ["", " a", "The  river's 12345\r\n\t", "<|im_end|><s>▁</s> <tool>\u{301}中😀\0", "aaaaaaaaaaaaaaaaaaaa"];
    for text in texts {
        for marks in [Marks::AsText, Marks::Parse] {
            let ids = tokenizer.encode(text, marks).expect("a short text");
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
            let _ = (tokenizer.decode(&ids), tokenizer.prompt(text, marks));
        }
    }
    let all: Vec<_> = (0..=tokenizer.len() as Token).collect();
    let _ = tokenizer.decode(&all);
}

/// A chat template, and conversations through it.
pub(crate) fn template(data: &[u8]) {
    let Ok(source) = str::from_utf8(data) else { return };
    let Ok(template) = ChatTemplate::new(source, "file") else { return };
    let mut messages = vec![Message::new("user", "who are you {{ 1 }}")];
    let mut options = RenderOptions {
        add_generation_prompt: true,
        bos_token: Some("<s>".to_owned()),
        now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_752_062_400)),
        ..RenderOptions::default()
    };
    let _ = template.render(&messages, &options);
    let mut answer = Message::new("assistant", "<think>é</think> I am\n");
    answer.reasoning_content = Some("well".to_owned());
    let call = serde_json::json!({"type": "function", "function": {"name": "f", "arguments": {"x": [1, 2.5, null]}}});
    answer.tool_calls = Some(vec![call]);
    messages = vec![Message::new("system", "be kind"), messages.remove(0), answer, Message::new("tool", "")];
    options.tools = Some(vec![serde_json::json!({"type": "function", "function": {"name": "f", "parameters": {}}})]);
    options.enable_thinking = Some(false);
    let _ = template.render(&messages, &options);
}

/// A file of subtitles, read as either format and written as both; what was written is read without complaint. And the
/// texts laid out again.
pub(crate) fn subtitles(data: &[u8]) {
    for named in [Format::Srt, Format::WebVtt] {
        let (mut read, _) = Subtitles::read(data, named);
        for format in [Format::Srt, Format::WebVtt] {
            read.format = format;
            let written = read.write();
            let (again, _) = Subtitles::read(written.as_bytes(), format);
            assert_eq!(again.cues.len(), read.cues.len(), "{written}");
        }
        let mut texts: Vec<_> =
            read.cues.iter().map(|cue| Timed::new(cue.text.shown(), cue.start, cue.end.max(cue.start))).collect();
        texts.sort_by_key(|text| text.start);
        lay_out(&texts, &Layout::default());
    }
}

/// A model of whisper.cpp: its header, its vocabulary, and its weights as a plan.
pub(crate) fn whisper(data: &[u8]) {
    let Ok(weights) = Weights::from_vec(data.to_vec(), "file") else { return };
    let Some(header) = weights.whisper_header() else { return };
    let _ = Tokenizer::from_ranks(&header.tokens, "file");
    let config = whisper::Config::from_header(header);
    #[cfg(feature = "audio")]
    let _ = babil_models::speech::SpecialTokens::of_vocabulary(config.vocab_size);
    let Ok(spec) = config.spec() else { return };
    let _ = EncoderDecoderPlan::new(spec, &weights, &whisper::Names::OpenAi, Kernels::detect());
}

/// Samples of a sound that are looked at: more than ten minutes, which a clock may ask for in silence.
#[cfg(feature = "audio")]
const SAMPLES: usize = 16_000 * 700;

/// A file of sound, whatever its container, through the search for voices.
#[cfg(feature = "audio")]
pub(crate) fn sound(data: &[u8]) {
    use babil_runtime::audio::{Audio, AudioOptions, Segmenter};
    let options = AudioOptions { ffmpeg: "there-is-no-such-ffmpeg".into(), ..AudioOptions::default() };
    let Ok(audio) = Audio::open(written("sound", data), &options) else { return };
    let mut segmenter = Segmenter::new(Default::default()).expect("the default is good");
    let (mut samples, mut end) = (0, 0);
    for block in audio.map_while(Result::ok) {
        assert!(block.iter().all(|sample| (-1.0..=1.0).contains(sample)));
        samples += block.len();
        for segment in segmenter.push(&block) {
            assert!(segment.start >= end && segment.end > segment.start && segment.end <= samples as u64);
            end = segment.end;
        }
        if samples > SAMPLES {
            break;
        }
    }
}

/// A place for the files of this process.
fn file(name: &str) -> PathBuf {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));
    FOLDER.path().join(name)
}

/// A new file with `data`.
fn written(name: &str, data: &[u8]) -> PathBuf {
    let path = file(name);
    // Writing over a file is slow.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, data).expect("room for a file");
    path
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/lm").join(name).join("model.gguf")
}

fn open(path: &Path) -> Result<LanguageModel> {
    let options = LanguageOptions {
        threads: Some(1),
        context: Some(CONTEXT),
        kv: Some(KvType::F16),
        packed_folder: file("packed"),
        ..LanguageOptions::default()
    };
    LanguageModel::open(path, &options)
}

/// Generates two tokens with everything on that looks at the text so far.
fn go_on(generator: &mut dyn TextGenerator, prompt: &[Token]) {
    let sampling = SamplingOptions {
        penalties: Penalties { repetition: 1.1, frequency: 0.1, ..Penalties::default() },
        dry: Dry { multiplier: 0.5, ..Dry::default() },
        seed: 1,
        ..SamplingOptions::default()
    };
    let request = Request { sampling, max_tokens: 2, lookup: Some(Lookup::default()), ..Request::default() };
    let _ = generator.generate(prompt, &request, &mut |_| ControlFlow::Continue(()));
}

/// A whole model, which generates.
pub(crate) fn model(data: &[u8]) {
    let Ok(model) = open(&written("model.gguf", data)) else { return };
    let Ok(mut generator) = model.generator() else { return };
    let prompt = model.tokenizer().prompt("once upon a time", Marks::AsText).unwrap_or_default();
    go_on(&mut *generator, &prompt);
    if let Ok(mut chat) = Chat::new(&model, None, Think::Default) {
        let request = Request { max_tokens: 2, ..Request::default() };
        let _ = chat.say("who are you", &request, &mut |_| ControlFlow::Continue(()));
    }
}

/// The model that sessions are of: gemma3 has layers with windows and such without.
static MODEL: LazyLock<LanguageModel> = LazyLock::new(|| open(&fixture("gemma3")).expect("a model"));

/// A session of it, with `notes`.
pub(crate) fn stored_session(notes: &str) -> Vec<u8> {
    let mut generator = MODEL.generator().expect("a session");
    let prompt = MODEL.tokenizer().prompt("once upon a time", Marks::AsText).expect("a short text");
    go_on(&mut *generator, &prompt);
    generator.save(&file("whole"), notes).expect("room for a session");
    std::fs::read(file("whole")).expect("what was written")
}

/// A stored session. Its sum is made right first: without it, nothing behind it would ever be read.
pub(crate) fn session(data: &[u8]) {
    let path = written("session", with_right_sum(data).as_deref().unwrap_or(data));
    let mut generator = MODEL.generator().expect("a session");
    if generator.restore(&path).is_err() {
        return;
    }
    let more = [generator.tokens(), &[5, 6]].concat();
    go_on(&mut *generator, &more);
}

/// The file with the SHA-256 of what comes after its header, if it has a header.
fn with_right_sum(data: &[u8]) -> Option<Vec<u8>> {
    let start = data.iter().position(|&byte| byte == b'\n')? + 1;
    let (length, rest) = data[start..].split_first_chunk::<8>()?;
    let (header, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    let mut header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let sum: String = Sha256::digest(rest).iter().map(|byte| format!("{byte:02x}")).collect();
    *header.get_mut("check")? = sum.into();
    let header = serde_json::to_vec(&header).ok()?;
    Some([&data[..start], &(header.len() as u64).to_le_bytes(), &header, rest].concat())
}
