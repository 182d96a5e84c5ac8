//! `babil transcribe` and `babil subtitle`: the real binary on the tiny random models of `models/parity/speech`, which
//! write nonsense, but always the same.
#![cfg(all(unix, feature = "audio"))]

#[path = "support/sound.rs"]
mod sound;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use babil_models::tasks::subtitles::{Format, Subtitles};
use sound::{RATE, recording, s16, sound_file, speech, speech_model, wav};
use tiny::{Folder, assert_exit, babil, fixture, json, run, run_with_stdin, stderr, stdout};

/// `transcribe FILE` with the model of English alone, and `more`.
fn transcribe(file: &str, more: &[&str]) -> Output {
    run(&[&["transcribe", file, "--model", &speech_model("en")], more].concat())
}

/// `subtitle FILM` with the model of English alone, and `more`.
fn subtitle(film: &str, more: &[&str]) -> Output {
    run(&[&["subtitle", film, "--model", &speech_model("en")], more].concat())
}

/// The cues of a file without anything wrong in it: in order, none before the end of the one before.
#[track_caller]
fn cues(file: &[u8], format: Format) -> Vec<String> {
    let (subtitles, warnings) = Subtitles::read(file, format);
    assert_eq!(warnings, [], "{}", String::from_utf8_lossy(file));
    assert_eq!(subtitles.format, format);
    assert!(subtitles.cues.windows(2).all(|pair| pair[0].end <= pair[1].start), "{}", String::from_utf8_lossy(file));
    subtitles.cues.iter().map(|cue| cue.text.shown()).collect()
}

/// The names in a folder, in order.
fn names(folder: &Folder) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.root()).unwrap().map(name).collect();
    names.sort();
    names
}

/// An exit code and stderr, with the places of files replaced.
fn message(output: &Output, folder: &Folder) -> String {
    let engine = sound_file("").canonicalize().unwrap();
    let text = stderr(output).replace(folder.root(), "[FOLDER]").replace(sound_file("").to_str().unwrap(), "[FILES]/");
    let text = text.replace(engine.to_str().unwrap(), "[FILES]");
    format!("exit {}\n{}", output.status.code().unwrap(), text.trim_end())
}

#[test]
fn help_texts() {
    for command in ["transcribe", "subtitle"] {
        let output = babil(&[command, "--help"]).env("COLUMNS", "100").output().unwrap();
        assert_exit(&output, 0);
        insta::assert_snapshot!(format!("help_{command}"), stdout(&output));
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(1));
    for args in [
        &["transcribe", &film, "--rate", "8000"][..],
        &["transcribe", &film, "--resume"],
        &["transcribe", "-", "--resume", "-o", "a.txt"],
        &["transcribe", &film, "--words"],
        &["transcribe", &film, "--max-lines", "0"],
        &["transcribe", &film, "-o", &film],
        &["transcribe", &film, "-o", folder.root()],
        &["subtitle", &film, "--via", "text"],
        &["subtitle", &film, "--keep", "Anna"],
        &["subtitle", &film, "--translator", "en-fr"],
        &["subtitle", &film, "--lang", "fr", "--via", "whisper"],
        &["subtitle", &film, "--lang", "en", "--via", "whisper", "--keep", "Anna"],
        &["subtitle", &film, "--output", "-", "--resume"],
        &["subtitle", &film, "--output", "-", "--json"],
    ] {
        let output = run(&[args, &["--model", &speech_model("tiny")]].concat());
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty());
    }
    assert_eq!(names(&folder), ["film.wav"]);
}

#[test]
fn without_a_model_the_one_to_pull_is_named() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(1));
    for command in ["transcribe", "subtitle"] {
        let mut command = babil(&[command, &film]);
        let output = command.env("HF_HOME", folder.root()).env_remove("HF_HUB_CACHE").output().unwrap();
        assert_exit(&output, 3);
        assert!(stderr(&output).contains("babil pull whisper-base"), "{}", stderr(&output));
    }
}

#[test]
fn what_is_no_sound_is_said() {
    let folder = Folder::new();
    let text = folder.write("text.mp3", "This is a text and nothing else.\n".repeat(100));
    let empty = folder.write("empty.wav", "");
    let silent = sound_file("silent.mp4");
    let missing = folder.path("missing.mkv");
    let mut found = String::new();
    for file in [&text, &empty, silent.to_str().unwrap(), &missing, folder.root()] {
        for command in ["transcribe", "subtitle"] {
            // Without ffmpeg, whatever this machine has.
            let output = babil(&[command, file, "--model", &speech_model("tiny")]).env("PATH", "").output().unwrap();
            assert!(output.stdout.is_empty());
            let said = message(&output, &folder);
            assert!(said.starts_with("exit 5\n"), "{said}");
            if command == "transcribe" {
                found += &(said + "\n");
            }
        }
    }
    insta::assert_snapshot!(found);
    assert_eq!(names(&folder), ["empty.wav", "text.mp3"]);
}

#[test]
fn damaged_sound_is_written_down_as_far_as_it_goes() {
    let folder = Folder::new();
    let whole = recording(4);
    folder.write("cut.wav", &whole[..whole.len() * 2 / 3]);
    let output = transcribe(&folder.path("cut.wav"), &["--json"]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("cut.wav: the sound ends after"), "{}", stderr(&output));
    let expected = transcribe(&folder.write("whole.wav", &whole), &["--json"]);
    let lines = |output: &Output| stdout(output).lines().map(str::to_owned).collect::<Vec<_>>();
    let (cut, all) = (lines(&output), lines(&expected));
    assert!(!cut.is_empty() && cut.len() < all.len());
    // What is before the cut is not changed by it.
    assert_eq!(cut[0], all[0]);
}

#[test]
fn any_rate_and_number_of_channels_is_heard() {
    let folder = Folder::new();
    let sound = speech(2);
    let one = transcribe(&folder.write("one.wav", wav(&s16(&sound), RATE, 1)), &["--json"]);
    // Eight channels at 192 kHz: each sample twelve times, in each channel.
    let frames: Vec<u8> = s16(&sound).chunks_exact(2).flat_map(|sample| sample.repeat(12 * 8)).collect();
    let eight = transcribe(&folder.write("eight.wav", wav(&frames, 192_000, 8)), &["--json"]);
    for output in [&one, &eight] {
        assert_exit(output, 0);
        assert_eq!(stderr(output), "");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn sound_tracks_are_chosen() {
    let film = sound_file("languages.mkv");
    for (track, code) in [("0", 0), ("1", 0), ("fre", 0), ("9", 5), ("xyz", 5)] {
        assert_exit(&transcribe(film.to_str().unwrap(), &["--track", track]), code);
    }
    let output = run_with_stdin(&["transcribe", "-", "--track", "0", "--model", &speech_model("en")], &[]);
    assert_exit(&output, 2);
}

#[test]
fn raw_samples_say_what_they_are() {
    let sound = speech(2);
    let samples = s16(&sound);
    let as_read = |sample: &[u8]| f32::from(i16::from_le_bytes([sample[0], sample[1]])) / 32_768.0;
    let floats: Vec<u8> = samples.chunks_exact(2).flat_map(|sample| as_read(sample).to_le_bytes().repeat(2)).collect();
    let base = ["transcribe", "-", "--json", "--model", &speech_model("en")];
    let plain = run_with_stdin(&base, &samples);
    assert_exit(&plain, 0);
    assert!(!plain.stdout.is_empty());
    let more = ["--rate", "16000", "--channels", "2", "--format", "f32"];
    let other = run_with_stdin(&[&base[..], &more].concat(), &floats);
    assert_exit(&other, 0);
    assert_eq!(stdout(&plain), stdout(&other));
    assert_exit(&run_with_stdin(&[&base[..], &["--rate", "0"]].concat(), &samples), 5);
}

#[test]
fn what_is_no_speech_model_is_refused() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(1));
    let model = fixture("llama");
    let gguf = model.join("model.gguf");
    for (model, code) in [
        (folder.root(), 4),
        (model.to_str().unwrap(), 4),
        (gguf.to_str().unwrap(), 4),
        (&film, 4),
        ("en-fr", 2),
        ("no-such-model", 3),
    ] {
        for command in ["transcribe", "subtitle"] {
            let output = run(&[command, &film, "--model", model]);
            assert_exit(&output, code);
            assert!(stderr(&output).contains(model), "{}", stderr(&output));
            assert!(output.stdout.is_empty());
        }
    }
    assert_eq!(names(&folder), ["film.wav"]);
}

#[test]
fn languages_that_a_model_does_not_know_are_refused() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(1));
    let mut found = String::new();
    for (model, more) in [("tiny", &["--from", "klingon"][..]), ("en", &["--from", "french"]), ("en", &["--english"])] {
        let output = run(&[&["transcribe", &film, "--model", &speech_model(model)], more].concat());
        found += &(message(&output, &folder) + "\n");
    }
    for (model, more) in [
        ("en", &["--from", "fr"][..]),
        ("en", &["--lang", "xx"]),
        ("en", &["--lang", "de", "--translator", "en-fr"]),
        ("tiny", &["--from", "de", "--lang", "fr"]),
    ] {
        let mut command = babil(&[&["subtitle", &film, "--model", &speech_model(model)], more].concat());
        let output = command.env("HF_HOME", folder.path("home")).env_remove("HF_HUB_CACHE").output().unwrap();
        found += &(message(&output, &folder) + "\n");
    }
    insta::assert_snapshot!(found);
    assert_eq!(names(&folder), ["film.wav"]);
}

#[test]
fn a_full_disk_is_said() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(2));
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    for (args, to_stdout) in [
        (&["transcribe", &film][..], true),
        (&["transcribe", &film, "--to", "vtt"], true),
        (&["transcribe", &film, "--json"], true),
        (&["transcribe", &film, "-o", "/dev/full"], false),
        (&["subtitle", &film, "-o", "/dev/full"], false),
        (&["subtitle", &film, "-o", "-", "--to", "vtt"], true),
    ] {
        let mut command = babil(&[args, &["--model", &speech_model("en")]].concat());
        if to_stdout {
            command.stdout(full());
        }
        let output = command.output().unwrap();
        assert_exit(&output, 7);
        let place = if to_stdout { "stdout" } else { "/dev/full" };
        assert!(stderr(&output).contains(&format!("cannot write {place}")), "{}", stderr(&output));
    }
    assert_eq!(names(&folder), ["film.wav"]);
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(20));
    for more in [&["--to", "srt"][..], &[], &["--json"]] {
        let mut command = babil(&[&["transcribe", &film, "--model", &speech_model("en")], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_exit(&output, 0);
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn forms_say_the_same() {
    let folder = Folder::new();
    let film = folder.write("talk.wav", recording(9));
    let text = transcribe(&film, &[]);
    assert_exit(&text, 0);
    let objects = transcribe(&film, &["--json"]);
    let said: Vec<serde_json::Value> =
        stdout(&objects).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.len() > 3, "{}", stdout(&objects));
    let lines: Vec<&str> = said.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    assert_eq!(stdout(&text).lines().collect::<Vec<_>>(), lines);
    let times: Vec<f64> =
        said.iter().flat_map(|segment| ["start", "end"].map(|key| segment[key].as_f64().unwrap())).collect();
    assert!(times.is_sorted(), "{times:?}");
    let words = transcribe(&film, &["--json", "--words"]);
    for (line, plain) in stdout(&words).lines().zip(&said) {
        let segment: serde_json::Value = serde_json::from_str(line).unwrap();
        let words: String = segment["words"].as_array().unwrap().iter().map(|w| w["text"].as_str().unwrap()).collect();
        assert_eq!((segment["text"].as_str(), words.trim()), (plain["text"].as_str(), plain["text"].as_str().unwrap()));
    }
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let expected = letters(&lines.concat());
    for (name, format) in [("srt", Format::Srt), ("vtt", Format::WebVtt)] {
        let output = transcribe(&film, &["--to", name]);
        let shown = cues(&output.stdout, format);
        assert_eq!(letters(&shown.concat()), expected);
        // The name of the output says the format, too.
        let path = folder.path(&format!("talk.{name}"));
        assert_exit(&transcribe(&film, &["-o", &path]), 0);
        assert_eq!(folder.read(&format!("talk.{name}")), output.stdout);
    }
    let narrow = transcribe(&film, &["--to", "srt", "--max-chars", "20", "--max-lines", "1"]);
    let shown = cues(&narrow.stdout, Format::Srt);
    assert!(shown.iter().all(|text| text.lines().count() == 1 && text.chars().count() <= 20), "{shown:?}");
    assert_eq!(letters(&shown.concat()), expected);
}

#[test]
fn subtitles_appear_beside_the_film_and_overwrite_nothing() {
    let folder = Folder::new();
    let film = folder.write("a film.x.wav", recording(4));
    let output = subtitle(&film, &[]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "");
    assert_eq!(names(&folder), ["a film.x.en.srt", "a film.x.wav"]);
    let first = folder.read("a film.x.en.srt");
    assert!(!cues(&first, Format::Srt).is_empty());

    folder.write("a film.x.en.srt", "precious");
    let output = subtitle(&film, &[]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("a film.x.en.srt exists already; --force overwrites it"), "{}", stderr(&output));
    assert_eq!(folder.read("a film.x.en.srt"), b"precious");
    assert_exit(&subtitle(&film, &["--force"]), 0);
    assert_eq!(folder.read("a film.x.en.srt"), first);

    let output = subtitle(&film, &["--to", "vtt", "--json"]);
    let summary = json(&output);
    assert_eq!(summary["cues"], cues(&folder.read("a film.x.en.vtt"), Format::WebVtt).len());
    assert_eq!((&summary["spoken"], &summary["language"], &summary["via"]), (&"en".into(), &"en".into(), &().into()));
    let seconds = summary["seconds"].as_f64().unwrap();
    let expected = speech(4).len() as f64 / f64::from(RATE);
    assert!((seconds - expected).abs() < 0.1, "{seconds}");
    let shown = subtitle(&film, &["-o", "-"]);
    assert_eq!(shown.stdout, first);
}

#[cfg(feature = "bundled")]
#[test]
fn subtitles_are_translated_by_what_is_there() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(12));
    let output = subtitle(&film, &["--lang", "french", "--json"]);
    assert_exit(&output, 0);
    let summary = json(&output);
    let french = folder.read("film.fr.srt");
    assert_eq!(summary["cues"], cues(&french, Format::Srt).len());
    assert_eq!((&summary["via"], &summary["translator"]), (&"text".into(), &"en-fr".into()));
    assert_eq!((&summary["spoken"], &summary["language"]), (&"en".into(), &"fr".into()));
    assert!(summary["translated_sentences"].as_u64().unwrap() > 0);
    assert_ne!(french, subtitle(&film, &["-o", "-"]).stdout);

    // From French into English both ways are there: the translator is taken, unless the other one is asked for.
    let multilingual = |more: &[&str]| {
        let model = speech_model("tiny");
        let args = [&["subtitle", &film, "--model", &model, "--lang", "en", "--force", "--json"], more].concat();
        let mut command = babil(&args);
        let output = command.env("HF_HOME", folder.path("home")).env_remove("HF_HUB_CACHE").output().unwrap();
        assert_exit(&output, 0);
        (json(&output)["via"].clone(), folder.read("film.en.srt"))
    };
    let (via, text) = multilingual(&["--from", "fr"]);
    assert_eq!(via, "text");
    let (via, whisper) = multilingual(&["--from", "fr", "--via", "whisper"]);
    assert_eq!(via, "whisper");
    assert_ne!(text, whisper);
    // From German none is there.
    assert_eq!(multilingual(&["--from", "de"]).0, "whisper");
    assert_eq!(multilingual(&["--from", "en"]).0, serde_json::Value::Null);
}

#[test]
fn a_film_in_which_nobody_speaks_has_no_subtitles() {
    let folder = Folder::new();
    let film = folder.write("film.wav", wav(&s16(&[0.0; 48_000]), RATE, 1));
    let output = run(&["subtitle", &film, "--model", &speech_model("tiny")]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("nobody speaks"), "{}", stderr(&output));
    assert_eq!(names(&folder), ["film.wav"]);
    let output = transcribe(&film, &[]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "");
}

/// Waits until a file has so many lines, or the command is over.
fn wait_for_lines(path: &str, lines: usize, child: &mut Child) {
    while child.try_wait().unwrap().is_none() {
        let text = fs::read(path).unwrap_or_default();
        if text.iter().filter(|byte| **byte == b'\n').count() >= lines {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Runs `args`, which write `path`, and ends them with `signal` when something of it is there.
fn interrupted(args: &[&str], path: &str, name: &str) -> Output {
    let mut child = babil(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_lines(&format!("{path}.part.jsonl"), 12, &mut child);
    signal(&child, name);
    child.wait_with_output().unwrap()
}

#[test]
fn what_was_interrupted_goes_on_to_the_same_file() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(60));
    let model = speech_model("en");
    for (command, more) in [
        ("transcribe", &["--to", "srt"][..]),
        ("transcribe", &["--json", "--words"]),
        ("transcribe", &["--to", "text"]),
        #[cfg(feature = "bundled")]
        ("subtitle", &["--lang", "fr"]),
    ] {
        let base = [command, &film, "--model", &model, "--threads", "1", "--beam", "1"];
        let whole = folder.path("whole");
        assert_exit(&run(&[&base[..], more, &["-o", &whole, "--force"]].concat()), 0);
        let whole = folder.read("whole");

        let path = folder.path("out");
        let args = [&base[..], more, &["-o", &path]].concat();
        let output = interrupted(&args, &path, "-INT");
        assert_exit(&output, 130);
        assert!(stderr(&output).contains("out.part; --resume goes on from there"), "{}", stderr(&output));
        assert!(!Path::new(&path).exists());
        let part = folder.read("out.part");
        assert!(!part.is_empty() && part.len() < whole.len(), "{} of {} bytes", part.len(), whole.len());
        if command == "subtitle" || more == ["--to", "srt"] {
            assert!(!cues(&part, Format::Srt).is_empty());
        }
        // Not begun again by accident, and not continued with something else.
        assert_exit(&run(&args), 2);
        let output = run(&[&args[..], &["--resume", "--exact"]].concat());
        assert_exit(&output, 2);
        assert!(stderr(&output).contains("out.part was written with another --exact"), "{}", stderr(&output));
        assert_eq!(folder.read("out.part"), part);

        let resume = [&args[..], &["--resume"]].concat();
        let output = interrupted(&resume, &path, "-KILL");
        assert_eq!(output.status.signal(), Some(9), "{}", stderr(&output));
        assert_exit(&run(&resume), 0);
        assert!(folder.read("out") == whole, "{}", String::from_utf8_lossy(&folder.read("out")));
        fs::remove_file(&path).unwrap();
        assert_eq!(names(&folder), ["film.wav", "whole"]);
    }
}

#[test]
fn a_film_that_changed_is_not_gone_on_with() {
    let folder = Folder::new();
    let film = folder.write("film.wav", recording(60));
    let model = speech_model("en");
    let args = ["subtitle", &film, "--model", &model, "--threads", "1", "--beam", "1"];
    assert_exit(&interrupted(&args, &folder.path("film.en.srt"), "-INT"), 130);
    folder.write("film.wav", recording(3));
    let output = run(&[&args[..], &["--resume"]].concat());
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("film.en.srt.part was written with another film"), "{}", stderr(&output));
    assert_exit(&run(&[&args[..], &["--force"]].concat()), 0);
    assert_eq!(names(&folder), ["film.en.srt", "film.wav"]);
}

#[test]
fn real_recordings_go_through_all_of_it() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/audio");
    let clips = std::env::var_os("BABIL_AUDIO").map_or(beside, PathBuf::from);
    if !clips.exists() {
        eprintln!("left out: {} is not there (BABIL_AUDIO names its folder)", clips.display());
        return;
    }
    let folder = Folder::new();
    let mut heard = 0;
    for entry in fs::read_dir(clips).unwrap() {
        let clip = entry.unwrap().path();
        if clip.extension().is_none_or(|extension| extension == "txt") {
            continue;
        }
        let clip = clip.to_str().unwrap();
        let text = transcribe(clip, &["--json", "--beam", "1"]);
        assert_exit(&text, 0);
        assert!(!text.stdout.is_empty(), "{clip}");
        let path = folder.path(&format!("{heard}.vtt"));
        let output = subtitle(clip, &["--output", &path]);
        assert_exit(&output, 0);
        cues(&fs::read(&path).unwrap(), Format::WebVtt);
        heard += 1;
    }
    assert!(heard > 0);
}

/// The small model that understands espeak-ng, and its recording with the truth beside it.
fn recipe(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/recipes/speech-en-tiny");
    folder.join(name).to_str().unwrap().to_owned()
}

/// What is said in its recording: when, in seconds, and the words.
fn truth() -> Vec<(f64, f64, String)> {
    let truth: serde_json::Value = serde_json::from_slice(&fs::read(recipe("fixture/short.json")).unwrap()).unwrap();
    let time = |cue: &serde_json::Value, key: &str| cue[key].as_f64().unwrap();
    let cues = truth["cues"].as_array().unwrap().iter();
    cues.map(|cue| (time(cue, "start"), time(cue, "end"), cue["text"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn what_is_said_is_written_when_it_is_said() {
    let folder = Folder::new();
    let film = folder.path("short.flac");
    fs::copy(recipe("fixture/short.flac"), &film).unwrap();
    assert_exit(&run(&["subtitle", &film, "--model", &recipe("model")]), 0);
    let file = folder.read("short.en.srt");
    cues(&file, Format::Srt);
    let (subtitles, _) = Subtitles::read(&file, Format::Srt);
    let (truth, mut right) = (truth(), 0);
    for (start, _, text) in &truth {
        let same = subtitles.cues.iter().find(|cue| cue.text.shown().replace('\n', " ") == *text);
        if let Some(cue) = same {
            assert!((cue.start.as_secs_f64() - start).abs() < 0.3, "{text}: {:?} instead of {start}", cue.start);
            right += 1;
        }
    }
    assert!(2 * right > truth.len(), "{right} of {} sentences: {}", truth.len(), String::from_utf8_lossy(&file));
}

#[cfg(feature = "bundled")]
#[test]
fn english_sound_becomes_french_subtitles() {
    let folder = Folder::new();
    let film = folder.path("short.flac");
    fs::copy(recipe("fixture/short.flac"), &film).unwrap();
    let output = run(&["subtitle", &film, "--model", &recipe("model"), "--lang", "fr", "--keep", "Tokyo"]);
    assert_exit(&output, 0);
    assert_eq!(names(&folder), ["short.flac", "short.fr.srt"]);
    let file = folder.read("short.fr.srt");
    assert!(cues(&file, Format::Srt).len() > 5);
    let (subtitles, _) = Subtitles::read(&file, Format::Srt);
    // I'm going to Tokyo on Monday.
    let monday = subtitles.cues.iter().find(|cue| cue.text.shown().contains("lundi")).expect("a Monday");
    assert!(monday.text.shown().contains("Tokyo"), "{}", monday.text.shown());
    let start = truth().iter().find(|(_, _, text)| text.contains("Monday")).unwrap().0;
    assert!((monday.start.as_secs_f64() - start).abs() < 0.3, "{:?} instead of {start}", monday.start);
}
