//! Every reader of files, on damaged variants of good ones and on hostile ones: an error or something that works, but no
//! panic, and no memory that the size of the file does not explain.
//!
//! The variants are the same in every run. `BABIL_FUZZ_SECONDS` goes on for so long with each reader (`just fuzz`), from
//! where `BABIL_FUZZ_SEED` says; `BABIL_FUZZ_ONLY` names one of them. `BABIL_FUZZ_SEEDS` is where to put the good ones.
//! What fails is kept in `target/tmp/fuzz`. The programs of `fuzz/` look for more of the same, guided by coverage
//! (`just fuzz-coverage`).

#[path = "../../runtime/tests/support/allocator.rs"]
mod allocator;
#[path = "../../runtime/tests/gguf/builder.rs"]
mod builder;
#[path = "../../runtime/tests/gguf/hostile.rs"]
mod hostile;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/targets.rs"]
mod targets;

use std::fs::File;
use std::io::{Seek, Write};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Mutator;

/// A reader.
struct Target {
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    /// Variants in a short run.
    variants: u64,
    /// Bytes of memory for each byte of a file, and for any file.
    memory: (usize, usize),
}

const TARGETS: &[Target] = &[
    Target { name: "gguf", run: targets::weights, seeds: ggufs, variants: 20_000, memory: (32, 256 << 10) },
    Target {
        name: "safetensors",
        run: targets::weights,
        seeds: safetensors,
        variants: 20_000,
        memory: (64, 256 << 10),
    },
    Target { name: "tokenizer", run: targets::tokenizer, seeds: tokenizers, variants: 5000, memory: (64, 256 << 10) },
    // Fuel bounds the work of a template, not its length.
    Target { name: "template", run: targets::template, seeds: templates, variants: 3000, memory: (0, 256 << 20) },
    Target { name: "session", run: targets::session, seeds: sessions, variants: 2000, memory: (8, 1 << 20) },
    Target { name: "model", run: targets::model, seeds: models, variants: 500, memory: (8, 4 << 20) },
    Target { name: "subtitles", run: targets::subtitles, seeds: subtitles, variants: 5000, memory: (256, 256 << 10) },
    Target { name: "whisper", run: targets::whisper, seeds: whispers, variants: 1000, memory: (8, 1 << 20) },
    // Decoders have tables, and a container's clock may ask for silence.
    #[cfg(feature = "audio")]
    Target { name: "sound", run: targets::sound, seeds: sounds, variants: 400, memory: (8, 8 << 20) },
];

/// Files of a folder of the repository whose names end in one of `ends`.
fn files(folder: &str, ends: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| ends.iter().any(|end| path.to_str().is_some_and(|path| path.ends_with(end))));
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn ggufs() -> Vec<Vec<u8>> {
    let made = hostile::hostile().into_iter().map(|(_, bytes)| bytes).chain([builder::sample().bytes()]);
    let written = files("runtime/tests/gguf", &[".gguf"]).into_iter();
    made.chain(written).chain(files("runtime/tests/tokenizer", &["llama.gguf", "qwen2.gguf"])).collect()
}

fn safetensors() -> Vec<Vec<u8>> {
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![1; data][..]].concat()
    };
    let floats = r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"ids":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#;
    let packed = r#"{"__metadata__":{"babil.packed":"{\"m\":{\"type\":\"q8_0\",\"shape\":[1,32]}}","format":"pt"},"m":{"dtype":"U8","shape":[34],"data_offsets":[0,34]}}"#;
    let mut seeds = vec![file(floats, 40), file(packed, 34), file("{}", 0)];
    seeds.extend(files("models/parity/lm/llama", &["expected.safetensors"]));
    seeds
}

fn tokenizers() -> Vec<Vec<u8>> {
    let ids = |file: &Vec<u8>| file.starts_with(b"GGUF") || file.windows(7).any(|window| window == b"\"model\"");
    files("runtime/tests/tokenizer", &[".gguf", ".json"]).into_iter().filter(ids).collect()
}

fn templates() -> Vec<Vec<u8>> {
    [files("runtime/tests/templates", &[".jinja"]), files("runtime/tests/templates/language", &[".jinja"])].concat()
}

fn sessions() -> Vec<Vec<u8>> {
    vec![targets::stored_session(""), targets::stored_session(r#"[{"role":"user","content":"who are you"}]"#)]
}

fn models() -> Vec<Vec<u8>> {
    ["llama", "gemma3", "lfm2", "phi3-long", "bitnet"]
        .iter()
        .flat_map(|name| files(&format!("models/parity/lm/{name}"), &["model.gguf"]))
        .collect()
}

fn subtitles() -> Vec<Vec<u8>> {
    let srt = "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500 X1:40 X2:600 Y1:20 Y2:50\r\n\
               {\\an8}<i>Where is</i> the\r\nstation?\r\n\r\n\
               2\r\n00:00:02,600 --> 00:00:04,000\r\n\
               - It is ... <font color=\"#ff0000\">here</font>.\r\n- ANNA: Oh!\r\n\r\n";
    let vtt = "WEBVTT Kind: captions\n\nSTYLE\n::cue(b) {}\n\nNOTE of nobody\n\n\
               intro\n00:01.000 --> 00:02.500 line:0 align:start\n\
               <v Anna>Where <00:01.500><c.loud>is</c> the &amp; <ruby>駅<rt>eki</rt></ruby>\n\n\
               01:00:00.000 --> 01:00:01.000\n♪ la la ♪\n";
    let utf16 = srt.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin = srt.chars().skip(1).map(|c| if c == 'W' { 0xD9 } else { c as u8 }).collect();
    vec![srt.into(), vtt.into(), utf16, latin]
}

fn whispers() -> Vec<Vec<u8>> {
    files("models/parity/speech/tiny", &[".bin"])
}

#[cfg(feature = "audio")]
fn sounds() -> Vec<Vec<u8>> {
    files("runtime/tests/audio/files", &[""])
}

/// The folder of what fails.
fn findings() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs `target` on `data`; says what is wrong with it.
fn attempt(target: &Target, data: &[u8]) -> Option<String> {
    let (outcome, taken) = allocator::peak_of(|| catch_unwind(|| (target.run)(data)));
    let (each, any) = target.memory;
    let most = each * data.len() + any;
    match outcome {
        Err(_) => Some("panics".to_owned()),
        Ok(()) if taken > most => Some(format!("takes {taken} bytes for a file of {}", data.len())),
        Ok(()) => None,
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: a number")))
}

/// What is wrong with `target`, input by input.
fn fuzz(target: &Target) -> Vec<String> {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{}", target.name);
    let (first, seconds) = (number("BABIL_FUZZ_SEED").unwrap_or(0), number("BABIL_FUZZ_SECONDS"));
    let (start, mut slowest, mut problems) = (Instant::now(), Duration::ZERO, Vec::new());
    if let Some(folder) = std::env::var_os("BABIL_FUZZ_SEEDS") {
        let folder = Path::new(&folder).join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        seeds.iter().zip(0..).for_each(|(seed, i)| std::fs::write(folder.join(format!("seed-{i}")), seed).unwrap());
    }
    // Whatever a process needs once.
    attempt(target, &seeds[0]);
    let mut tried = 0;
    let goes_on = |tried: u64| match seconds {
        Some(seconds) => start.elapsed().as_secs() < seconds,
        None => tried < target.variants,
    };
    let path = findings().join(format!("{}-{}.trying", target.name, std::process::id()));
    let mut trying = File::create(&path).unwrap();
    while goes_on(tried) && problems.len() < 10 {
        let number = first + tried;
        let data = match seeds.get(tried as usize) {
            Some(seed) => seed.clone(),
            None => Mutator::new(number).variant(&seeds),
        };
        // Stays where the process does not survive it. (A file that is created again and again is slow.)
        trying.rewind().unwrap();
        trying.write_all(&data).unwrap();
        trying.set_len(data.len() as u64).unwrap();
        let began = Instant::now();
        if let Some(problem) = attempt(target, &data) {
            let kept = findings().join(format!("{}-{number}", target.name));
            std::fs::write(&kept, &data).unwrap();
            problems.push(format!("{} {problem}: {}", target.name, kept.display()));
        }
        slowest = slowest.max(began.elapsed());
        tried += 1;
    }
    std::fs::remove_file(&path).unwrap();
    eprintln!("{}: {tried} inputs, the slowest took {slowest:.2?}, {} are wrong", target.name, problems.len());
    problems
}

/// One test, because memory is the process's.
#[test]
fn no_file_makes_a_reader_panic_or_take_memory() {
    // A backtrace, of a decoder that panics and is caught, takes more memory than anything else here.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let only = std::env::var("BABIL_FUZZ_ONLY").ok();
    let chosen = TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name));
    let problems: Vec<_> = chosen.flat_map(fuzz).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
