//! Files of every kind against the sound that they were made from (`make_files.sh`), and what is wrong with files.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use babil_runtime::Error;
use babil_runtime::audio::{Audio, AudioOptions, Pcm, SampleFormat, TrackChoice};
use proptest::prelude::*;

const RATE: f64 = 16_000.0;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio/files").join(name)
}

/// Without ffmpeg, wherever the tests run.
fn options() -> AudioOptions {
    AudioOptions { ffmpeg: "there-is-no-such-ffmpeg".into(), ..AudioOptions::default() }
}

/// All of a sound, and its warnings.
fn all(mut audio: Audio) -> Result<(Vec<f32>, Vec<String>), Error> {
    let mut sound = Vec::new();
    for block in &mut audio {
        let block = block?;
        assert!(!block.is_empty());
        sound.extend(block);
    }
    assert!(audio.next().is_none());
    Ok((sound, audio.warnings().to_vec()))
}

fn decode(name: &str) -> Vec<f32> {
    let (sound, warnings) = all(Audio::open(path(name), &options()).unwrap()).unwrap();
    assert!(warnings.is_empty(), "{name}: {warnings:?}");
    sound
}

/// The sweep of `make_files.sh`.
fn sweep(t: f64) -> f64 {
    if t < 0.0 { 0.0 } else { 0.5 * (t / 0.1).min(1.0) * (TAU * (200.0 * t + 1000.0 * t * t)).sin() }
}

/// How much louder `level` times the sweep is than its difference from `sound`, in decibels, where the sweep begins at sample `at`;
/// from there to `seconds` later.
fn fidelity(sound: &[f32], level: f64, at: f64, seconds: f64) -> f64 {
    let (mut power, mut noise) = (0.0, 0.0);
    for i in 0..((at + seconds * RATE) as usize) {
        let wanted = level * sweep((i as f64 - at) / RATE);
        power += wanted * wanted;
        noise += (f64::from(sound.get(i).copied().unwrap_or(0.0)) - wanted).powi(2);
    }
    10.0 * (power / noise).log10()
}

/// Where the sweep begins in `sound`, to a quarter of a sample.
fn beginning(sound: &[f32], level: f64, around: std::ops::Range<i32>) -> f64 {
    let places = (around.start * 4..around.end * 4).map(|quarter| f64::from(quarter) / 4.0);
    let score = |at: f64| {
        let samples = sound.iter().enumerate().skip(at.max(0.0) as usize).take(20_000);
        samples.map(|(i, &sample)| f64::from(sample) * level * sweep((i as f64 - at) / RATE)).sum::<f64>()
    };
    places.max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap()
}

/// A file; the level of the sweep in it; its seconds; the sample where it begins, and how faithful it is at least: a little less than
/// ffmpeg's own decoding.
#[test]
fn every_format_gives_the_sound_that_went_in() {
    // What AAC's encoder puts before the sound is not told by these containers: 1024 samples.
    let cases = [
        ("s16.wav", 0.75, 0.1, 0.0, 60.0),
        ("mulaw.wav", 1.0, 1.5, 0.0, 35.0),
        ("adpcm.wav", 0.75, 0.6, 0.0, 35.0),
        ("mono.flac", 1.0, 0.3, 0.0, 80.0),
        ("alac.m4a", 0.75, 0.1, 0.0, 80.0),
        ("stereo.mp3", 0.75, 1.5, 0.0, 25.0),
        ("vorbis.ogg", 0.75, 1.5, 0.0, 23.0),
        ("opus.ogg", 0.75, 1.5, 0.0, 7.5),
        ("opus.webm", 0.75, 1.5, 0.0, 7.5),
        ("surround.opus", 1.0, 0.5, 0.0, 25.0),
        ("silk.opus", 1.0, 1.5, 0.0, 15.0),
        ("aac.m4a", 0.75, 1.5, 371.5, 8.0),
        ("aac.adts.aac", 0.75, 1.5, 341.3, 8.0),
        // It begins 0.4 s after the picture.
        ("late.mkv", 0.75, 1.5, 6400.0, 8.0),
    ];
    let mut wrong = Vec::new();
    for (name, level, seconds, start, least) in cases {
        let sound = decode(name);
        let at = beginning(&sound, level, start as i32 - 8..start as i32 + 8);
        let found = fidelity(&sound, level, at, seconds - 0.02);
        let length = sound.len() as f64 / RATE;
        println!("{name}: {length:.4} s, from {at} on, {found:.1} dB");
        if found < least || (at - start).abs() > 6.0 || (length - seconds - start / RATE).abs() > 0.06 {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A WAV file of 16-bit samples.
fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.wrapping_mul(u32::from(channels) * 2).to_le_bytes());
    file.extend(channels.wrapping_mul(2).to_le_bytes());
    file.extend(b"\x10\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// A file of these bytes that lasts as long as what is returned.
fn file(bytes: &[u8], extension: &str) -> tempfile::TempPath {
    let suffix = format!(".{extension}");
    let mut file = tempfile::Builder::new().suffix(&suffix).tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    file.into_temp_path()
}

#[test]
fn eight_channels_at_192_khz() {
    let sweep = |i: usize| (30_000.0 * sweep(i as f64 / 192_000.0)) as i16;
    let samples: Vec<i16> = (0..96_000).flat_map(|i| [sweep(i); 8]).collect();
    let path = file(&wav(192_000, 8, &samples), "wav");
    let (sound, warnings) = all(Audio::open(&path, &options()).unwrap()).unwrap();
    assert_eq!((sound.len(), warnings.len()), (8000, 0));
    assert!(fidelity(&sound, 30_000.0 / 32_768.0, 0.0, 0.49) > 60.0);
}

#[test]
fn loud_sound_stays_within_full_scale() {
    // A filter swings over where a square wave jumps.
    let square: Vec<i16> = (0..8000).map(|i| if i / 20 % 2 == 0 { i16::MAX } else { -i16::MAX }).collect();
    let file = file(&wav(8000, 1, &square), "wav");
    let (sound, _) = all(Audio::open(&file, &options()).unwrap()).unwrap();
    assert!(sound.iter().all(|sample| sample.abs() <= 1.0));
    assert!(sound.iter().any(|sample| sample.abs() == 1.0));
}

#[test]
fn channels_are_averaged() {
    let path = file(&wav(16_000, 3, &[3000, 6000, 9000, -300, 0, 300]), "wav");
    let (sound, _) = all(Audio::open(&path, &options()).unwrap()).unwrap();
    assert!((sound[0] - 6000.0 / 32_768.0).abs() < 1e-6 && sound[1].abs() < 1e-6 && sound.len() == 2, "{sound:?}");
}

#[test]
fn tracks_are_chosen() {
    let open = |track| Audio::open(path("languages.mkv"), &AudioOptions { track, ..options() });
    let french = |track| {
        let (sound, _) = all(open(track).unwrap()).unwrap();
        fidelity(&sound, 1.0, 0.0, 1.4) > 10.0
    };
    assert!(!french(TrackChoice::First));
    assert!(french(TrackChoice::Index(1)));
    assert!(french(TrackChoice::Language("fre".to_owned())));
    let refused = |track| short(open(track).err().unwrap());
    insta::assert_snapshot!("no_such_track", refused(TrackChoice::Index(2)));
    insta::assert_snapshot!("no_such_language", refused(TrackChoice::Language("deu".to_owned())));
}

/// An error's message, without the folder of its file.
fn short(error: Error) -> String {
    let folder = format!("{}/", path("").display()).replace("//", "/");
    error.to_string().replace(&folder, "")
}

#[test]
fn what_is_no_sound_is_refused() {
    let refused = |name: &str| short(Audio::open(path(name), &options()).err().unwrap());
    assert!(matches!(Audio::open(path("silent.mp4"), &options()), Err(Error::NoSound { .. })));
    insta::assert_snapshot!("film_without_sound", refused("silent.mp4"));
    insta::assert_snapshot!("ac3_without_ffmpeg", refused("ac3.mkv"));
    insta::assert_snapshot!("wma_without_ffmpeg", refused("wma.asf"));
    assert!(matches!(Audio::open(path("nothing.wav"), &options()), Err(Error::Io { .. })));
    assert!(matches!(Audio::open(path(""), &options()), Err(Error::BadFile { .. })));
    let bytes = |bytes: &[u8], extension| Audio::open(file(bytes, extension), &options()).err().unwrap();
    assert!(matches!(bytes(b"", "wav"), Error::BadFile { .. }));
    assert!(matches!(bytes(&wav(16_000, 1, &[]), "wav"), Error::NoSound { .. }));
    assert!(matches!(bytes(&wav(16_000, 30_000, &[0; 30_000]), "wav"), Error::UndecodableSound { .. }));
    assert!(matches!(bytes(b"Not a word of this was ever said.", "txt"), Error::UndecodableSound { .. }));
}

#[test]
fn a_truncated_file_gives_what_is_there_and_says_so() {
    let bytes = std::fs::read(path("s16.wav")).unwrap();
    let path = file(&bytes[..bytes.len() / 2], "wav");
    let (sound, warnings) = all(Audio::open(&path, &options()).unwrap()).unwrap();
    assert!((700..=800).contains(&sound.len()), "{}", sound.len());
    insta::assert_debug_snapshot!(warnings);
}

#[test]
fn duration_is_that_of_the_file() {
    for (name, seconds) in
        [("s16.wav", 0.1), ("stereo.mp3", 1.5), ("opus.ogg", 1.5), ("aac.m4a", 1.5), ("opus.webm", 1.5)]
    {
        let duration = Audio::open(path(name), &options()).unwrap().duration().map(|it| it.as_secs_f64());
        println!("{name}: {duration:?}");
        assert!(duration.is_none_or(|duration| (duration - seconds).abs() < 0.06), "{name}: {duration:?}");
    }
}

#[test]
fn samples_come_without_a_container() {
    let samples: Vec<u8> = (0..1000i16).flat_map(|i| [i * 8, -i * 8].map(i16::to_le_bytes).concat()).collect();
    let pcm = Pcm { format: SampleFormat::S16, rate: 16_000, channels: 2 };
    let (sound, warnings) = all(Audio::pcm("a stream", std::io::Cursor::new(samples.clone()), pcm).unwrap()).unwrap();
    assert!(sound.len() == 1000 && warnings.is_empty() && sound.iter().all(|&sample| sample == 0.0));
    let cut = std::io::Cursor::new(samples[..4001 - 4].to_vec());
    let (sound, warnings) = all(Audio::pcm("a stream", cut, pcm).unwrap()).unwrap();
    assert_eq!((sound.len(), warnings), (999, vec!["the last sample is cut off".to_owned()]));
    let floats = [f32::NAN, f32::INFINITY, 0.5, 3.0].map(f32::to_le_bytes).concat();
    let mono = Pcm { format: SampleFormat::F32, rate: 16_000, channels: 1 };
    let (sound, _) = all(Audio::pcm("a stream", std::io::Cursor::new(floats), mono).unwrap()).unwrap();
    assert_eq!(sound, [0.0, 0.0, 0.5, 1.0]);
    assert!(Audio::pcm("a stream", std::io::empty(), Pcm { channels: 0, ..mono }).is_err());
    assert!(Audio::pcm("a stream", std::io::empty(), Pcm { rate: 0, ..mono }).is_err());
}

/// A program in place of ffmpeg.
#[cfg(unix)]
fn fake_ffmpeg(script: &str) -> tempfile::TempPath {
    use std::os::unix::fs::PermissionsExt;
    let path = file(format!("#!/bin/sh\n{script}\n").as_bytes(), "sh");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn ffmpeg_decodes_what_is_not_decoded_here() {
    let open = |script: &str, name: &str| {
        let ffmpeg = fake_ffmpeg(script);
        Audio::open(path(name), &AudioOptions { ffmpeg: ffmpeg.to_path_buf(), ..options() }).and_then(all)
    };
    // A second of zeros, if it is called as it should be.
    let good = r#"case "$*" in *"-protocol_whitelist file -i file:/"*"ac3.mkv -map 0:a:0 -ac 1 -ar 16000 -f f32le pipe:1") \
        head -c 64000 /dev/zero;; *) echo "bad arguments: $*" >&2; exit 1;; esac"#;
    let (sound, warnings) = open(good, "ac3.mkv").unwrap();
    assert_eq!((sound.len(), warnings.len()), (16_000, 0));
    let (sound, warnings) = open("head -c 6400 /dev/zero; echo ouch >&2; exit 1", "ac3.mkv").unwrap();
    assert_eq!((sound.len(), warnings), (1600, vec!["ffmpeg: ouch".to_owned()]));
    let error = open("echo 'Invalid data found' >&2; exit 1", "wma.asf").unwrap_err();
    insta::assert_snapshot!("ffmpeg_cannot_either", short(error));
    let error = open("echo \"Stream map '0:a:0' matches no streams.\" >&2; exit 1", "wma.asf").unwrap_err();
    assert!(matches!(error, Error::NoSound { .. }));
    // One that never ends is ended.
    let ffmpeg = fake_ffmpeg("exec cat /dev/zero");
    drop(Audio::open(path("ac3.mkv"), &AudioOptions { ffmpeg: ffmpeg.to_path_buf(), ..options() }).unwrap());
}

/// All of a file, whatever it is; what matters is that it ends.
fn exhaust(bytes: &[u8], extension: &str) -> Option<(usize, usize)> {
    let path = file(bytes, extension);
    let mut audio = Audio::open(&path, &options()).ok()?;
    let samples = audio.by_ref().map_while(Result::ok).map(|block| block.len()).sum();
    Some((samples, audio.warnings().len()))
}

const NAMES: [&str; 15] = [
    "s16.wav",
    "mulaw.wav",
    "adpcm.wav",
    "mono.flac",
    "alac.m4a",
    "stereo.mp3",
    "vorbis.ogg",
    "opus.ogg",
    "opus.webm",
    "surround.opus",
    "silk.opus",
    "aac.m4a",
    "aac.adts.aac",
    "late.mkv",
    "languages.mkv",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Any beginning of a file ends, with no more sound than the whole.
    #[test]
    fn any_beginning_of_a_file_is_read(which in 0..NAMES.len(), cut in 0.0f64..1.0) {
        let bytes = std::fs::read(path(NAMES[which])).unwrap();
        let extension = NAMES[which].rsplit('.').next().unwrap();
        let whole = exhaust(&bytes, extension).unwrap();
        if let Some((samples, _)) = exhaust(&bytes[..(cut * bytes.len() as f64) as usize], extension) {
            prop_assert!(samples <= whole.0 + 1600);
        }
    }

    /// So does a damaged one.
    #[test]
    fn damaged_files_are_read(
        which in 0..NAMES.len(),
        damage in prop::collection::vec((0.0f64..1.0, any::<u8>(), any::<bool>()), 1..12),
    ) {
        let mut bytes = std::fs::read(path(NAMES[which])).unwrap();
        for (at, value, header) in damage {
            let range = if header { bytes.len().min(600) } else { bytes.len() };
            bytes[(at * range as f64) as usize] = value;
        }
        let extension = NAMES[which].rsplit('.').next().unwrap();
        if let Some((samples, _)) = exhaust(&bytes, extension) {
            // Ten minutes of silence, the bytes as samples at the lowest rate, and some.
            prop_assert!(samples < 16_000 * 1200 + bytes.len() * 16);
        }
    }
}
