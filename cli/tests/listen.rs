//! `babil listen -`: the real binary on the tiny random models of `models/parity/speech`, which write nonsense, but
//! always the same.
#![cfg(all(unix, feature = "audio"))]

#[path = "support/sound.rs"]
mod sound;
#[path = "support/tiny.rs"]
mod tiny;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Output, Stdio};

use serde_json::Value;
use sound::{s16, speech, speech_model};
use tiny::{assert_exit, babil, interrupt, run, run_with_stdin, stderr, stdout};

/// `COMMAND - --model MODEL` with `more`, of this sound.
fn hear(command: &str, model: &str, more: &[&str], sound: &[f32]) -> Output {
    run_with_stdin(&[&[command, "-", "--model", &speech_model(model)], more].concat(), &s16(sound))
}

/// The lines of JSON on stdout.
fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn help_text() {
    let output = babil(&["listen", "--help"]).env("COLUMNS", "100").output().unwrap();
    assert_exit(&output, 0);
    insta::assert_snapshot!(stdout(&output));
}

#[test]
fn finals_are_lines_as_a_file_has_them() {
    let sound = speech(4);
    let file = hear("transcribe", "tiny", &[], &sound);
    let live = hear("listen", "tiny", &[], &sound);
    assert_exit(&live, 0);
    assert_eq!((stdout(&live), stderr(&live)), (stdout(&file), ""));
    assert!(stdout(&live).lines().count() >= 4);
    // Other samples of the same sound.
    let stereo: Vec<f32> = sound.iter().flat_map(|&sample| [sample, sample]).collect();
    let bytes: Vec<u8> = stereo.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let args = ["listen", "-", "--model", &speech_model("tiny"), "--channels", "2", "--format", "f32"];
    let stereo = run_with_stdin(&args, &bytes);
    assert_exit(&stereo, 0);
    assert!(stdout(&stereo).lines().count() >= 4);
}

#[test]
fn json_has_partials_finals_and_statistics() {
    let sound = speech(3);
    let file = lines(&hear("transcribe", "en", &["--json"], &sound));
    let live = hear("listen", "en", &["--json", "--stats"], &sound);
    assert_exit(&live, 0);
    assert!(stderr(&live).contains("real-time factor"), "{}", stderr(&live));
    let live = lines(&live);
    let of_type = |name: &str| live.iter().filter(|line| line["type"] == name).collect::<Vec<_>>();
    let finals = of_type("final");
    let segments: Vec<Value> = finals.iter().flat_map(|of| of["segments"].as_array().unwrap().clone()).collect();
    assert_eq!(segments, file);
    // How many there is time for depends on the machine.
    for partial in of_type("partial") {
        assert!(finals.iter().any(|of| of["start"] == partial["start"]), "{partial}");
        assert!(partial["stable"].is_string() && partial["tail"].is_string() && partial["latency"].is_number());
    }
    let statistics = live.last().unwrap();
    assert_eq!(statistics["type"], "statistics");
    assert!((statistics["heard"].as_f64().unwrap() - sound.len() as f64 / 16_000.0).abs() < 1e-6);
    assert_eq!(statistics["finals"]["count"], finals.len());
    assert_eq!(statistics["partials"]["count"], of_type("partial").len());
    assert_eq!(statistics["lost"], 0.0);
    assert_eq!(live.len(), finals.len() + of_type("partial").len() + 1);
}

#[test]
#[cfg(feature = "bundled")]
fn sentences_are_translated_when_they_are_complete() {
    let sound = speech(3);
    let live = hear("listen", "en", &["--translate", "french", "--json"], &sound);
    assert_exit(&live, 0);
    let all = lines(&live);
    let of = |kind: &str, key: &str| -> String {
        let lines = all.iter().filter(|line| line["type"] == kind);
        lines.map(|line| line[key].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let finals = all.iter().filter(|line| line["type"] == "final");
    let segments = finals.flat_map(|of| of["segments"].as_array().unwrap());
    let said: Vec<&str> = segments.map(|segment| segment["text"].as_str().unwrap()).collect();
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(bare(&of("translation", "source")), bare(&said.concat()));
    let plain = hear("listen", "en", &["--translate", "fr"], &sound);
    assert_exit(&plain, 0);
    assert_eq!(bare(stdout(&plain)), bare(&of("translation", "text")));
    // Words that nothing can be done about are named at the end.
    let word = said.concat().split(|c: char| !c.is_alphanumeric()).find(|word| word.len() > 3).unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let glossary = folder.path().join("terms.txt");
    std::fs::write(&glossary, format!("{word} = zwölfundzwanzig\n")).unwrap();
    let terms = hear("listen", "en", &["--translate", "fr", "--glossary", glossary.to_str().unwrap()], &sound);
    assert_exit(&terms, 0);
    let (text, notes) = (stdout(&terms), stderr(&terms));
    assert!(text.contains("zwölfundzwanzig") || notes.contains("no `zwölfundzwanzig` in"), "{text}{notes}");
    // What is not here is said at once.
    let missing = hear("listen", "en", &["--translate", "de"], &[]);
    assert_exit(&missing, 3);
    assert!(stderr(&missing).contains("babil pull"), "{}", stderr(&missing));
}

#[test]
fn the_speech_model_writes_english_where_no_translator_is_named() {
    let sound = speech(2);
    for way in [&["--via", "whisper"][..], &[]] {
        // In a language that nothing here translates, or one that nobody knows yet.
        for from in [&["--from", "fi"][..], &[]] {
            let live = hear("listen", "tiny", &[&["--translate", "en"], way, from].concat(), &sound);
            assert_exit(&live, 0);
            let says_so = stderr(&live).contains("the speech model writes English itself");
            assert_eq!(says_so, way.is_empty() && !from.is_empty(), "{}", stderr(&live));
            assert!(!stdout(&live).is_empty());
        }
    }
}

#[test]
fn ways_to_another_language_that_contradict_each_other_are_refused() {
    let ways: [&[&str]; 4] = [
        &["--via", "text"],
        &["--keep", "Anna"],
        &["--translate", "fr", "--via", "whisper"],
        &["--translate", "en", "--via", "whisper", "--keep", "Anna"],
    ];
    for way in ways {
        let output = hear("listen", "en", way, &[]);
        assert_exit(&output, 2);
        assert!(stderr(&output).contains("--translate") || stderr(&output).contains("--via text"), "{way:?}");
    }
}

#[test]
fn nothing_to_hear_is_no_error() {
    for sound in [vec![], vec![0.0; 16_000]] {
        let output = hear("listen", "en", &[], &sound);
        assert_exit(&output, 0);
        assert_eq!((stdout(&output), stderr(&output)), ("", ""));
    }
    // Half a sample.
    let output = run_with_stdin(&["listen", "-", "--model", &speech_model("en")], b"a");
    assert_exit(&output, 0);
    assert_eq!((stdout(&output), stderr(&output)), ("", "stdin: the last sample is cut off\n"));
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let mut command = babil(&["listen", "-", "--model", &speech_model("en")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // Much more than pipe and queue hold: it must end by itself.
    let sound = s16(&speech(4));
    while stdin.write_all(&sound).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn an_interruption_finishes_what_was_heard() {
    let mut command = babil(&["listen", "-", "--json", "--model", &speech_model("en")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&s16(&speech(2))).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("\"final\"") {
        assert_ne!(out.read_line(&mut text).unwrap(), 0, "{text}");
    }
    // More sound could come.
    interrupt(&child);
    out.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statistics = lines.last().unwrap();
    assert_eq!(statistics["type"], "statistics");
    let finals = lines.iter().filter(|line| line["type"] == "final").count();
    assert_eq!(statistics["finals"]["count"], finals);
    drop(stdin);
}

#[test]
fn what_cannot_be_listened_to_is_said() {
    let file = run(&["listen", "talk.mp3"]);
    assert_exit(&file, 2);
    assert_eq!(stderr(&file), "babil: INPUT is `-` or nothing: `babil transcribe talk.mp3` reads a file\n");
    let rate = run(&["listen", "--rate", "8000"]);
    assert_exit(&rate, 2);
    assert_eq!(stderr(&rate), "babil: --rate, --channels and --format are for raw PCM on stdin: say `-`\n");
    let odd = run_with_stdin(&["listen", "-", "--rate", "7", "--model", &speech_model("en")], b"");
    assert!(!odd.status.success() && stderr(&odd).contains("7 samples per second"), "{}", stderr(&odd));
}

#[test]
#[cfg(not(feature = "mic"))]
fn without_microphones_there_is_another_way() {
    let output = run(&["listen", "--model", &speech_model("en")]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("| babil listen -") && stderr(&output).contains("--features mic"));
}
