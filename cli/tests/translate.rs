//! The `translate`, `doctor`, `completions` and `man` commands of the real binary.
//!
//! What the command does around its translator is tested with a fake one beside its source.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn babil(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_babil"));
    command.args(args).stdin(Stdio::null()).env_remove("BABIL_LOG");
    command
}

fn run(args: &[&str]) -> Output {
    babil(args).output().unwrap()
}

fn run_with_stdin(args: &[&str], stdin: &'static [u8]) -> Output {
    let mut command = babil(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // The command may end before it has read everything.
    let writer = thread::spawn(move || drop(pipe.write_all(stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
}

fn to_french<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["translate", "--from", "en", "--to", "fr"].iter().chain(more).copied().collect()
}

#[test]
fn help_texts() {
    for command in ["translate", "doctor", "quantize", "completions", "man"] {
        let output = babil(&[command, "--help"]).env("COLUMNS", "100").output().unwrap();
        assert_exit(&output, 0);
        insta::assert_snapshot!(format!("help_{command}"), stdout(&output));
    }
}

#[test]
fn wrong_usage_has_its_own_code() {
    for args in [
        &["translate", "--beam", "0", "text"][..],
        &["translate", "--to"],
        &["translate", "--backend", "abacus", "text"],
        &["translate", "--to", "fr", "--alternatives", "2", "text"],
        &["translate", "--to", "fr", "--file", "a", "text"],
        &["completions", "cobol"],
    ] {
        let output = run(args);
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn empty_text_is_an_empty_translation() {
    let output = run(&to_french(&[""]));
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "");
    let output = run(&to_french(&[]));
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_model_that_is_not_there_is_said_so() {
    for model in ["no/such/folder/model", "no-such-model", "./missing"] {
        let output = run(&to_french(&["--model", model, "Hello"]));
        assert_exit(&output, 3);
        assert!(stderr(&output).contains(model), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn missing_input_and_taken_output_are_found_before_the_model_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_exit(&run(&to_french(&["-f", &path("missing.txt")])), 5);
    fs::write(path("a.txt"), "Hello.\n").unwrap();
    fs::write(path("a.fr.txt"), "precious").unwrap();
    assert_exit(&run(&to_french(&[&path("a.txt"), "-o", &path("a.fr.txt")])), 2);
    assert_exit(&run(&to_french(&[&path("a.txt"), "-o", folder.path().to_str().unwrap()])), 2);
    assert_eq!(fs::read_to_string(path("a.fr.txt")).unwrap(), "precious");
}

#[test]
fn unknown_languages_list_what_there_is() {
    let output = run(&["translate", "--to", "elvish", "Hello"]);
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("en -> fr"), "{}", stderr(&output));
}

#[test]
fn lines_stay_lines_in_order() {
    let output = run_with_stdin(&to_french(&[]), b"Hello.\n\n  - Good morning.\n\t42\nThank you.\n");
    assert_exit(&output, 0);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((lines[1], lines[3]), ("", "\t42"));
    assert!(lines[2].starts_with("  - "), "{lines:?}");
    // Batches do not change what comes out.
    let alone = run_with_stdin(&to_french(&[]), b"Thank you.\n");
    assert_eq!(stdout(&alone).trim_end(), lines[4]);
}

#[test]
fn bad_bytes_are_named_by_their_offset() {
    let output = run_with_stdin(&to_french(&[]), b"Hello.\nGood \xff morning.\n");
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("byte 0xFF at byte 12"), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2);
}

#[test]
fn json_lines_are_objects() {
    let output = run(&to_french(&["--json", "--alternatives", "2", "Hello. How are you?"]));
    assert_exit(&output, 0);
    let objects: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = objects.iter().map(|object| object["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["sentence", "sentence", "summary"]);
    assert_eq!(objects[0]["alternatives"].as_array().unwrap().len(), 1);
    assert!(objects[0]["score"].as_f64().unwrap() <= 0.0);
    assert_eq!(objects[2]["sentences"], 2);
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let mut command = babil(&to_french(&[]));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let writer = thread::spawn(move || drop(pipe.write_all("Good morning.\n".repeat(20_000).as_bytes())));
    let mut start = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap(); // as `| head -1` would
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let output = babil(&to_french(&["Hello."])).stdout(File::create("/dev/full").unwrap()).output().unwrap();
    assert_exit(&output, 7);
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    assert_exit(&run(&to_french(&["Hello.", "-o", "/dev/full"])), 7);
}

#[test]
fn files_get_names_with_their_language() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.txt"), "Hello.\n").unwrap();
    fs::write(path("b.txt"), "Thank you.\n").unwrap();
    assert_exit(&run(&to_french(&[&path("a.txt"), &path("b.txt")])), 0);
    assert_ne!(fs::read_to_string(path("a.fr.txt")).unwrap(), "");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    assert_exit(&run(&to_french(&[&path("a.txt"), "-o", &path("no/such/folder.txt")])), 7);
}

#[test]
fn ctrl_c_keeps_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("a.txt"), "Good morning, my friend.\n".repeat(100_000)).unwrap();
    let mut child =
        babil(&to_french(&[&path("a.txt"), "-o", &path("out.txt")])).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(path("out.txt.part")).map_or(0, |part| part.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert!(stderr(&output).contains("what was translated is in"), "{}", stderr(&output));
    assert!(fs::read_to_string(path("out.txt.part")).unwrap().ends_with('\n'));
    assert!(!Path::new(&path("out.txt")).exists());
}

#[test]
fn doctor_reports() {
    let home = tempfile::tempdir().unwrap();
    let output = babil(&["doctor", "--json"]).env_remove("HF_HUB_CACHE").env("HF_HOME", home.path()).output().unwrap();
    assert_exit(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["cache"]["path"], home.path().join("hub").to_str().unwrap());
    assert_eq!(report["cache"]["writable"], true);
    let [threads, most] = ["threads", "most_threads"].map(|key| report[key].as_u64().unwrap());
    assert!(0 < threads && threads <= most && most <= report["cpus"]["usable"].as_u64().unwrap());
    let table = run(&["doctor", "--offline"]);
    assert!(stdout(&table).lines().any(|line| line == "offline         yes"), "{}", stdout(&table));
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_exit(&output, 0);
        assert!(stdout(&output).contains("translate"));
    }
    assert!(stdout(&run(&["man"])).contains(".TH babil"));
    let folder = tempfile::tempdir().unwrap();
    assert_exit(&run(&["man", "--dir", folder.path().to_str().unwrap()]), 0);
    for page in ["babil.1", "babil-translate.1", "babil-doctor.1"] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}

/// A copy of the bundled model's folder.
fn model_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/bundled/en-fr");
    for file in ["config.json", "generation_config.json", "vocab.json", "source.spm", "model.safetensors"] {
        fs::copy(bundled.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn a_folder_is_a_model_on_any_instruction_set_and_number_of_threads() {
    let folder = model_folder();
    let text = "Where is the station? I have lost my keys.";
    let expected = run(&to_french(&[text]));
    assert_exit(&expected, 0);
    let model = folder.path().to_str().unwrap();
    for isa in ["scalar", if cfg!(target_arch = "x86_64") { "avx2" } else { "neon" }] {
        for threads in ["1", "2", "4"] {
            let arguments = to_french(&["--model", model, "--threads", threads, text]);
            let output = babil(&arguments).env("BABIL_ISA", isa).output().unwrap();
            assert_exit(&output, 0);
            assert_eq!(stdout(&output), stdout(&expected), "{isa}, {threads} threads");
        }
    }
    let output = babil(&to_french(&[text])).env("BABIL_ISA", "mmx").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("mmx"), "{}", stderr(&output));
}

#[test]
fn damaged_models_are_refused_with_the_place_of_the_damage() {
    type Damage = fn(&Path);
    fn configure(folder: &Path, file: &str, key: &str, value: serde_json::Value) {
        let config = fs::read_to_string(folder.join(file)).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config[key] = value;
        fs::write(folder.join(file), config.to_string()).unwrap();
    }
    let damages: [(&str, Damage); 15] = [
        ("truncated weights", |folder| {
            let file = fs::OpenOptions::new().write(true).open(folder.join("model.safetensors")).unwrap();
            file.set_len(5_000_000).unwrap();
        }),
        ("weights that are something else", |folder| fs::write(folder.join("model.safetensors"), "<html>").unwrap()),
        ("no weights", |folder| fs::remove_file(folder.join("model.safetensors")).unwrap()),
        ("no configuration", |folder| fs::remove_file(folder.join("config.json")).unwrap()),
        ("another width", |folder| configure(folder, "config.json", "d_model", 512.into())),
        ("absurd width", |folder| configure(folder, "config.json", "d_model", (1u64 << 63).into())),
        ("absurd positions", |folder| {
            configure(folder, "config.json", "max_position_embeddings", 1_000_000_000_000_000_000u64.into());
        }),
        ("absurd layers", |folder| configure(folder, "config.json", "encoder_layers", 1_000_000_000u64.into())),
        ("no room", |folder| configure(folder, "config.json", "max_position_embeddings", 2.into())),
        ("foreign tokens", |folder| {
            configure(folder, "generation_config.json", "bad_words_ids", serde_json::json!([[3], [8000]]));
        }),
        ("absurd beam", |folder| configure(folder, "generation_config.json", "num_beams", (1u64 << 60).into())),
        ("another architecture", |folder| {
            fs::write(folder.join("config.json"), r#"{"model_type": "t5"}"#).unwrap();
        }),
        ("no vocabulary", |folder| fs::remove_file(folder.join("vocab.json")).unwrap()),
        ("a vocabulary that is too large", |folder| {
            fs::write(folder.join("vocab.json"), r#"{"</s>": 0, "<unk>": 1, "a": 8000}"#).unwrap();
        }),
        ("damaged pieces", |folder| {
            let pieces = fs::read(folder.join("source.spm")).unwrap();
            fs::write(folder.join("source.spm"), &pieces[..100_000]).unwrap();
        }),
    ];
    let mut messages = String::new();
    for (name, damage) in damages {
        let folder = model_folder();
        damage(folder.path());
        let output = run(&to_french(&["--model", folder.path().to_str().unwrap(), "Hello"]));
        assert_exit(&output, 4);
        assert!(output.stdout.is_empty());
        let message = stderr(&output).replace(folder.path().to_str().unwrap(), "MODEL");
        messages += &format!("{name}: {message}");
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn quantising_needs_float_weights_to_change_anything_and_never_overwrites() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/relu");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out");
    let arguments = ["quantize", fixture.to_str().unwrap(), to.to_str().unwrap(), "--json"];
    let output = run(&arguments);
    assert_exit(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = fs::metadata(to.join("model.safetensors")).unwrap().len();
    assert_eq!(report["bytes"], size);
    assert!(size < fs::metadata(fixture.join("model.safetensors")).unwrap().len() / 3);
    assert_exit(&run(&arguments), 5);
    assert_eq!(fs::metadata(to.join("model.safetensors")).unwrap().len(), size);
}

/// Weights that give no probabilities are an error, never an empty translation.
#[test]
fn weights_without_meaning_are_an_error() {
    let folder = model_folder();
    let weights = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xFF);
    fs::write(&weights, bytes).unwrap();
    let output = run(&to_french(&["--model", folder.path().to_str().unwrap(), "Hello"]));
    assert_exit(&output, 4);
    assert!(stderr(&output).contains("damaged"), "{}", stderr(&output));
}

/// A language token in the text does not change the language.
#[test]
fn text_cannot_ask_for_another_language() {
    let expected = run(&to_french(&["Good morning."]));
    let output = run(&to_french(&[">>eng<< Good morning."]));
    assert_eq!(stdout(&output), stdout(&expected));
}

#[test]
fn folders_and_misspelt_names_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&to_french(&[folder.path().to_str().unwrap()]));
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("is a folder"), "{}", stderr(&output));
    let output = run(&to_french(&["nosuch.txt"]));
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("there is no file nosuch.txt"), "{}", stderr(&output));
}

#[test]
fn subtitles_of_the_bundled_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let film = "1\n00:00:01,000 --> 00:00:02,000\n<i>I don't know</i>\n\n2\n00:00:02,100 --> 00:00:04,000\n<i>where my keys \
                are.</i>\n\n3\n00:00:0x,000 --> 00:00:06,000\nLost.\n\n4\n00:00:07,000 --> 00:00:09,000\n- Thank \
                you.\n\n- ♪ Good night ♪\n";
    fs::write(path("film.srt"), film).unwrap();
    let output = run(&to_french(&[&path("film.srt")]));
    assert_exit(&output, 0);
    insta::assert_snapshot!(stdout(&output));
    let messages = stderr(&output).replace(&path("film.srt"), "film.srt");
    insta::assert_snapshot!(messages, @r"
    translating the file film.srt (--text would translate its name)
    film.srt: line 10: cannot read the times in `00:00:0x,000 --> 00:00:06,000`: the cue was left out
    film.srt: line 16: a blank line inside a cue was removed
    ");

    // Windows-1252, to a file beside it.
    fs::write(path("vieux.srt"), b"1\n00:00:01,000 --> 00:00:02,000\nO\xf9 est la gare ?\n").unwrap();
    let output = run(&["translate", "--to", "en", &path("vieux.srt"), "-o", &path("vieux.en.srt")]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("vieux.srt: line 3: not UTF-8 (byte 0xF9)"), "{}", stderr(&output));
    assert!(fs::read_to_string(path("vieux.en.srt")).unwrap().contains("station"));
}

#[test]
fn terms_of_a_glossary_arrive_or_are_reported() {
    let output = run(&to_french(&["--keep", "Proog", "Proog is sleeping on the sofa."]));
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("Proog"), "{}", stdout(&output));
    // A term that no French sentence has, in a place where no name can stand.
    let plain = run(&to_french(&["What time is it?"]));
    let folder = tempfile::tempdir().unwrap();
    let glossary = folder.path().join("terms.txt");
    fs::write(&glossary, "what time is it = xqzwkv\n").unwrap();
    let output = run(&to_french(&["--glossary", glossary.to_str().unwrap(), "What time is it?"]));
    assert_exit(&output, 0);
    let reported = stderr(&output).contains("no `xqzwkv` in the translation of: What time is it?");
    assert!(reported == (stdout(&output) == stdout(&plain)), "{}{}", stdout(&output), stderr(&output));
    assert!(reported != stdout(&output).to_lowercase().contains("xqzwkv"));
}
