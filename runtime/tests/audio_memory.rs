//! Sound files on damaged variants and long ones: they end in samples or an error, never in a panic, and take memory that does not
//! depend on what they claim to be, nor on how long they are. A process of its own, because what is counted is its memory.
//!
//! The variants are the same in every run; `BABIL_FUZZ_SECONDS` goes on for so long, from where `BABIL_FUZZ_SEED` says.
#![cfg(feature = "audio")]

#[path = "support/allocator.rs"]
mod allocator;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use babil_runtime::audio::{Audio, AudioOptions, Segmenter};

/// Memory for any file: its own bytes, and what decoders have at most.
const MOST: usize = 64 << 20;

/// All of a file: its samples, whether it could be opened or not.
fn samples(path: &Path) -> usize {
    let options = AudioOptions { ffmpeg: "there-is-no-such-ffmpeg".into(), ..AudioOptions::default() };
    let Ok(audio) = Audio::open(path, &options) else { return 0 };
    audio.map_while(Result::ok).map(|block| block.len()).sum()
}

/// A number below `limit`, the next of a sequence.
fn next(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as usize) % limit.max(1)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn damaged_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/files");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let files: Vec<(String, Vec<u8>)> = names
        .iter()
        .map(|name| (name.extension().unwrap().to_str().unwrap().to_owned(), std::fs::read(name).unwrap()))
        .collect();
    let (seconds, first) = (number("BABIL_FUZZ_SECONDS"), number("BABIL_FUZZ_SEED").unwrap_or(0));
    let started = Instant::now();
    let target = tempfile::tempdir().unwrap();
    for seed in first.. {
        let over = seconds.map_or(seed >= first + 400, |seconds| started.elapsed() > Duration::from_secs(seconds));
        if over {
            break;
        }
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (extension, bytes) = &files[next(&mut state, files.len())];
        let mut bytes = bytes.clone();
        for _ in 0..next(&mut state, 10) {
            // Half of the damage where the headers are.
            let range = if next(&mut state, 2) == 0 { bytes.len().min(800) } else { bytes.len() };
            let at = next(&mut state, range);
            match next(&mut state, 4) {
                0 => bytes[at] ^= 1 << next(&mut state, 8),
                1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][next(&mut state, 5)],
                2 => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill([0, 0xFF][next(&mut state, 2)]);
                }
                _ => bytes[at] = next(&mut state, 256) as u8,
            }
        }
        if next(&mut state, 3) == 0 {
            bytes.truncate(next(&mut state, bytes.len()));
        }
        let path = target.path().join(format!("{seed}.{extension}"));
        std::fs::write(&path, &bytes).unwrap();
        let (length, taken) = allocator::peak_of(|| samples(&path));
        assert!(taken < MOST + bytes.len(), "seed {seed}, {extension}: {taken} bytes for {} of a file", bytes.len());
        // Ten minutes of silence that a clock may ask for, and more sound than these bytes can hold.
        assert!(length < 16_000 * 1200, "seed {seed}, {extension}: {length} samples");
        std::fs::remove_file(&path).unwrap();
    }
}

/// Three minutes of noise at 44.1 kHz, in stereo: thirty megabytes.
fn long_files() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("long.wav");
    let (rate, seconds) = (44_100u32, 180u32);
    let size = rate * seconds * 4;
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    file.write_all(b"RIFF").unwrap();
    file.write_all(&(size + 36).to_le_bytes()).unwrap();
    file.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x02\0").unwrap();
    file.write_all(&rate.to_le_bytes()).unwrap();
    file.write_all(&(rate * 4).to_le_bytes()).unwrap();
    file.write_all(b"\x04\0\x10\0data").unwrap();
    file.write_all(&size.to_le_bytes()).unwrap();
    let (mut state, mut second) = (1, Vec::new());
    second.extend((0..rate).flat_map(|_| [next(&mut state, 256) as u8, 0, next(&mut state, 256) as u8, 0]));
    for _ in 0..seconds {
        file.write_all(&second).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let ((length, _), taken) = allocator::peak_of(|| {
        let mut segmenter = Segmenter::new(Default::default()).unwrap();
        let audio = Audio::open(&path, &AudioOptions::default()).unwrap();
        audio
            .map(Result::unwrap)
            .fold((0, 0), |(length, found), block| (length + block.len(), found + segmenter.push(&block).len()))
    });
    assert_eq!(length, 16_000 * seconds as usize);
    assert!(taken < 4 << 20, "{taken} bytes");
}

#[test]
fn memory_depends_on_nothing_that_a_file_says() {
    // A backtrace, of a decoder that panics and is caught, takes more memory than anything else here.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    damaged_files();
    long_files();
}
