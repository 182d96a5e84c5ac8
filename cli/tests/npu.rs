//! `--device`: the real binary, without ONNX Runtime, with its own provider for CPUs, and with OpenVINO's plugin.
//!
//! `BABIL_ONNXRUNTIME` names the library, `BABIL_ONNXRUNTIME_PLUGINS` the plugin (`just npu`); what needs them is left out
//! where they are not.
#![cfg(all(unix, feature = "npu", feature = "audio", feature = "bundled"))]

#[path = "support/sound.rs"]
mod sound;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tiny::{Folder, assert_exit, babil, json, model, stderr, stdout};

/// A run with a cache of its own.
fn run(args: &[&str], folder: &Folder, environment: &[(&str, &str)]) -> Output {
    let mut command = babil(args);
    command.env("BABIL_CACHE", folder.root()).env_remove("BABIL_NPU").env_remove("BABIL_NPU_PRECISION");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn is_set(variable: &str) -> bool {
    let set = std::env::var_os(variable).is_some();
    if !set {
        eprintln!("left out: {variable} is not set (`just npu`)");
    }
    set
}

const CPU: (&str, &str) = ("BABIL_NPU", "CPUExecutionProvider");
const OPENVINO: (&str, &str) = ("BABIL_NPU", "OpenVINOExecutionProvider/cpu");

fn recipe(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/recipes/speech-en-tiny");
    folder.join(file).to_str().unwrap().to_owned()
}

/// The speech of the small model that understands some.
fn transcribe(folder: &Folder, more: &[&str], environment: &[(&str, &str)]) -> Output {
    let (sound, model) = (recipe("fixture/short.flac"), recipe("model"));
    run(&[&["transcribe", &sound, "--model", &model], more].concat(), folder, environment)
}

#[test]
fn without_a_library_all_else_works_and_it_is_said_what_to_install() {
    let folder = Folder::new();
    let nothing = [("BABIL_ONNXRUNTIME", "/nowhere/libonnxruntime.so")];
    let told = transcribe(&folder, &[], &nothing);
    assert_exit(&told, 0);
    let auto = transcribe(&folder, &["--device", "auto"], &nothing);
    assert_exit(&auto, 0);
    assert_eq!((stdout(&auto), stderr(&auto)), (stdout(&told), stderr(&told)));
    let sentence = "Where is the station?";
    let translated = run(&["translate", "--to", "fr", sentence, "--device", "auto"], &folder, &nothing);
    assert_eq!(stdout(&translated), "Où est la gare ?\n");
    for args in [
        &["translate", "--to", "fr", sentence, "--device", "npu"][..],
        &["run", &model("llama"), "abc", "--device", "npu"],
        &["doctor", "--devices"],
    ] {
        let refused = run(args, &folder, &nothing);
        assert_exit(&refused, 1);
        assert!(stderr(&refused).contains("no ONNX Runtime library") && stderr(&refused).contains("pip install"));
        assert_eq!(stdout(&refused), "");
    }
    let refused = transcribe(&folder, &["--device", "npu"], &nothing);
    assert_exit(&refused, 1);
    let refused = run(&["translate", "a", "--device", "npu"], &folder, &[("BABIL_NPU_PRECISION", "f8"), nothing[0]]);
    assert_exit(&refused, 5);
}

#[test]
fn the_binary_does_not_need_the_library_to_start() {
    let bytes = fs::read(env!("CARGO_BIN_EXE_babil")).unwrap();
    // The names of the libraries that the system loads stand in the file as they are; this one only within a longer text.
    let needed = [&b"\0libonnxruntime.so\0"[..], b"\0libonnxruntime.so.1\0", b"\0onnxruntime.dll\0"];
    assert!(needed.iter().all(|name| !bytes.windows(name.len()).any(|window| window == *name)));
}

#[test]
fn devices_are_listed() {
    if !is_set("BABIL_ONNXRUNTIME") {
        return;
    }
    let folder = Folder::new();
    let listed = json(&run(&["doctor", "--devices", "--json"], &folder, &[]));
    let devices = listed["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["provider"] == "CPUExecutionProvider" && device["problem"].is_null()));
    let table = run(&["doctor", "--devices"], &folder, &[]);
    assert!(stdout(&table).contains("CPUExecutionProvider: cpu of "));
    let refused = run(&["translate", "--to", "fr", "a", "--device", "npu"], &folder, &[("BABIL_NPU", "QNN/npu")]);
    assert_exit(&refused, 1);
    assert!(stderr(&refused).contains("no device `QNN/npu` can be used"), "{}", stderr(&refused));
}

#[test]
fn the_device_that_ran_is_said() {
    if !is_set("BABIL_ONNXRUNTIME") {
        return;
    }
    let folder = Folder::new();
    let expected = transcribe(&folder, &[], &[]);
    let heard = transcribe(&folder, &["--device", "npu"], &[CPU]);
    assert_exit(&heard, 0);
    assert_eq!(stdout(&heard), stdout(&expected));
    assert!(stderr(&heard).contains("computed on CPUExecutionProvider"), "{}", stderr(&heard));
    let prompt = "abc ".repeat(80);
    let args = ["run", &model("llama"), &prompt, "-n", "3", "--temperature", "0", "--device", "npu", "--json"];
    let answer = json(&run(&args, &folder, &[CPU]));
    let statistics = &answer["statistics"];
    assert!(statistics["accelerator_used"].as_str().unwrap().contains("CPUExecutionProvider"), "{answer}");
    assert_eq!((&statistics["fallback_ops"], &statistics["failure"]), (&0.into(), &Value::Null), "{answer}");
}

#[test]
fn reports_say_what_ran_where() {
    if !is_set("BABIL_ONNXRUNTIME") {
        return;
    }
    let folder = Folder::new();
    let model = model("llama");
    let args = ["bench", &model, "-p", "128", "-n", "2", "-r", "1", "--energy", "off", "--json", "--device", "npu"];
    let rows = json(&run(&args, &folder, &[CPU]));
    let of = |row: usize| (rows[row]["accelerator_used"].is_string(), rows[row]["fallback_ops"].as_u64());
    assert_eq!((of(0), of(1)), ((true, Some(0)), (false, Some(0))), "a prompt, and text that is generated: {rows}");
    let rows = json(&run(&args[..args.len() - 2], &folder, &[CPU]));
    assert_eq!((&rows[0]["accelerator_used"], &rows[0]["fallback_ops"]), (&Value::Null, &Value::Null));

    let args = ["translate", "--to", "fr", "Where is the station?", "--json", "--device", "npu"];
    let said = run(&args, &folder, &[CPU]);
    let summary: Value = serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap();
    assert!(summary["accelerator_used"].as_str().unwrap().contains("CPUExecutionProvider"), "{summary}");
    // A prompt that is too short for any device.
    let told = run(&["run", &model, "abc abc abc", "-n", "1", "--device", "npu", "--stats"], &folder, &[CPU]);
    assert!(stderr(&told).contains("nothing ran on the device: a prompt is too short"), "{}", stderr(&told));
}

/// `auto` remembers what it found, and nothing is ever wrong because of it.
#[test]
fn auto_finds_out_once() {
    if !is_set("BABIL_ONNXRUNTIME") {
        return;
    }
    let folder = Folder::new();
    let expected = transcribe(&folder, &[], &[]);
    let first = transcribe(&folder, &["--device", "auto"], &[CPU]);
    assert_eq!(stdout(&first), stdout(&expected));
    let choices = PathBuf::from(folder.root()).join("accelerated/choices.json");
    let found = fs::read_to_string(&choices).unwrap();
    let second = transcribe(&folder, &["--device", "auto"], &[CPU]);
    assert_eq!(stdout(&second), stdout(&expected));
    assert_eq!(fs::read_to_string(&choices).unwrap(), found, "the answer is remembered");
}

/// The folders of compiled subgraphs.
fn compiled(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(PathBuf::from(folder.root()).join("accelerated")).unwrap();
    // Beside the answers that are remembered.
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = paths.filter(|path| path.extension().is_none_or(|end| end != "json")).collect();
    folders.sort();
    folders
}

/// A device with a compiler: the first start compiles, the next one loads, and what is damaged is made again.
#[test]
fn what_was_compiled_is_loaded_in_a_new_process() {
    if !is_set("BABIL_ONNXRUNTIME") || !is_set("BABIL_ONNXRUNTIME_PLUGINS") {
        return;
    }
    let folder = Folder::new();
    let expected = transcribe(&folder, &[], &[]);
    for precision in ["f32", "f16", "int8"] {
        let start = || {
            let heard = transcribe(&folder, &["--device", "npu"], &[OPENVINO, ("BABIL_NPU_PRECISION", precision)]);
            assert_exit(&heard, 0);
            assert_eq!(stdout(&heard), stdout(&expected), "{precision}");
            let said = stderr(&heard).to_owned();
            assert!(said.contains("computed on OpenVINOExecutionProvider") && said.contains(" on cpu ("), "{said}");
            assert!(!said.contains("its provider left to the CPU") && !said.contains("given up"), "{said}");
            (said.matches("compiled now").count(), said.matches("compiled before").count())
        };
        let before = if precision == "f32" { 0 } else { compiled(&folder).len() };
        let (made, found) = start();
        assert!(made > 0 && found == 0);
        let entries = compiled(&folder);
        assert_eq!(entries.len(), before + made, "{entries:?}");
        assert_eq!(start(), (0, made), "the second start compiles nothing");
        if precision == "f32" {
            for file in fs::read_dir(&entries[0]).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_none_or(|extension| extension != "json") {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                }
            }
            assert_eq!(start(), (1, made - 1), "half a file is made again");
            assert_eq!(compiled(&folder), entries);
            assert_eq!(start(), (0, made));
            // Names that are taken, as good as a disk that is full: what is compiled is used, and not kept.
            for entry in &entries {
                fs::remove_dir_all(entry).unwrap();
                fs::write(entry, "").unwrap();
            }
            assert_eq!((start(), start()), ((made, 0), (made, 0)));
            entries.iter().for_each(|entry| fs::remove_file(entry).unwrap());
            assert_eq!(start(), (made, 0));
        }
    }
    // No place for what is compiled at all.
    let folder = Folder::new();
    fs::write(PathBuf::from(folder.root()).join("accelerated"), "").unwrap();
    for precision in ["f32", "int8"] {
        let heard = transcribe(&folder, &["--device", "npu"], &[OPENVINO, ("BABIL_NPU_PRECISION", precision)]);
        assert_eq!(stdout(&heard), stdout(&expected), "{precision}");
        assert!(stderr(&heard).contains("computed on OpenVINO"), "{precision}: {}", stderr(&heard));
    }
}

/// Prompts and sentences on a device with a compiler.
#[test]
fn prompts_and_sentences_run_on_a_device_with_a_compiler() {
    if !is_set("BABIL_ONNXRUNTIME") || !is_set("BABIL_ONNXRUNTIME_PLUGINS") {
        return;
    }
    let folder = Folder::new();
    let sentence = "The children are playing in the garden behind the old house.";
    let args = ["translate", "--to", "fr", sentence];
    let expected = run(&args, &folder, &[]);
    let translated = run(&[&args[..], &["--device", "npu", "--stats"]].concat(), &folder, &[OPENVINO]);
    assert_exit(&translated, 0);
    assert_eq!(stdout(&translated), stdout(&expected));
    assert!(stderr(&translated).contains("encoder of 32 positions: once on the device"), "{}", stderr(&translated));
    let prompt = "abc ".repeat(100);
    let model = model("qwen3");
    let args = ["run", &model, &prompt, "-n", "5", "--temperature", "0"];
    let expected = run(&args, &folder, &[]);
    let told = run(&[&args[..], &["--device", "npu", "--stats"]].concat(), &folder, &[OPENVINO]);
    assert_exit(&told, 0);
    assert_eq!(stdout(&told), stdout(&expected));
    assert!(stderr(&told).contains("computed on OpenVINOExecutionProvider"), "{}", stderr(&told));
}
