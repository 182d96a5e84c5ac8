//! Whole spectrograms against transformers' (`make_mel.py`).

use babil_runtime::audio::LogMel;
use proptest::prelude::*;
use serde::Deserialize;

/// What transformers makes of one window.
#[derive(Deserialize)]
struct Case {
    mels: usize,
    window: usize,
    seed: u32,
    length: usize,
    log_mel: Vec<f32>,
}

/// The recipe of `make_mel.py`.
fn samples(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 16) as i32 - 32768;
        let level = if (1500..2600).contains(&i) { 0 } else { 1 + i / 700 % 7 };
        (noise * level as i32) as f32 / (1 << 20) as f32
    };
    (0..count).map(&mut next).collect()
}

fn worst(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn spectrograms_are_those_of_transformers() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("mel.json")).unwrap();
    assert_eq!(cases.len(), 6);
    let mut makers = [80, 128].map(|mels| LogMel::new(mels).unwrap());
    // Twice, because what is left of a window must not show in the next.
    for case in cases.iter().chain(&cases) {
        let maker = makers.iter_mut().find(|maker| maker.mels() == case.mels).unwrap();
        let log_mel = maker.compute(&samples(case.length, case.seed), case.window).unwrap();
        let error = worst(&log_mel, &case.log_mel);
        assert!(error < 3e-5, "{} mels, {} of {}: {error}", case.mels, case.length, case.window);
    }
}

/// The values that transformers' own tests publish for a recording, 30 s from its beginning: not in the repository.
#[test]
fn spectrograms_are_the_published_ones() {
    let Some(folder) = std::env::var_os("BABIL_WHISPER_DATA") else {
        println!("BABIL_WHISPER_DATA is not set: a folder with mr_quilter.npy and hf_mel_golden.json");
        return;
    };
    let read = |name| std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
    let npy = read("mr_quilter.npy");
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let clip: Vec<f32> = npy[header..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let golden: serde_json::Value = serde_json::from_slice(&read("hf_mel_golden.json")).unwrap();
    let theirs: Vec<f32> = serde_json::from_value(golden["input_features[0,0,:30]"].clone()).unwrap();
    let ours = LogMel::new(80).unwrap().compute(&clip, 30 * 16_000).unwrap();
    assert_eq!(ours.len(), 80 * 3000);
    assert!(worst(&ours[..30], &theirs) < 1e-4);
}

#[test]
fn windows_shorter_than_a_frame_and_impossible_bands_are_refused() {
    assert!(LogMel::new(0).is_err());
    assert!(LogMel::new(202).is_err());
    insta::assert_snapshot!(LogMel::new(80).unwrap().compute(&[], 399).unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Silence that is appended is silence that was there.
    #[test]
    fn padding_is_silence(length in 0usize..3000, more in 0usize..3000, window in 400usize..4000, seed: u32) {
        let mut maker = LogMel::new(80).unwrap();
        let mut sound = samples(length, seed);
        let short = maker.compute(&sound, window).unwrap();
        sound.resize(length + more, 0.0);
        prop_assert_eq!(short, maker.compute(&sound, window).unwrap());
    }
}
