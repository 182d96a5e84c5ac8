//! `babil bench` of the real binary, on tiny models. What is asserted is structure, counts and states, never a time.
#![cfg(unix)]

#[cfg(feature = "audio")]
#[path = "support/sound.rs"]
mod sound;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tiny::{Folder, assert_exit, babil, interrupt, json, model, stderr, stdout};

/// `bench` with `args`, on a machine whose `/sys` and `/proc` are below `root`.
fn bench_below(root: &str, args: &[&str]) -> Output {
    babil(&[&["bench"], args].concat()).env("BABIL_SYSFS_ROOT", root).env("COLUMNS", "100").output().unwrap()
}

/// `bench` with `args`, on a machine that tells nothing.
fn bench(args: &[&str]) -> Output {
    let empty = Folder::new();
    bench_below(empty.root(), args)
}

/// `bench` of the tiny llama without a meter, with `args`.
fn llama(args: &[&str]) -> Output {
    bench(&[&[model("llama").as_str(), "--energy", "off", "-t", "1"], args].concat())
}

/// The rows of a report on stdout.
#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    assert_exit(output, 0);
    json(output).as_array().unwrap().clone()
}

fn strings<'a>(rows: &'a [Value], field: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[field].as_str().unwrap()).collect()
}

/// Asserts that what `output` printed is a valid report.
#[track_caller]
fn assert_valid(output: &Output) {
    let folder = Folder::new();
    let report = folder.write("report.json", &output.stdout);
    let checked = bench(&["--validate", &report]);
    assert_exit(&checked, 0);
    assert!(stdout(&checked).contains(": valid, "), "{}", stdout(&checked));
}

#[test]
fn help_text() {
    let output = bench(&["--help"]);
    assert_exit(&output, 0);
    insta::assert_snapshot!("help_bench", stdout(&output));
}

#[test]
fn a_language_models_tests_are_all_combinations() {
    let output = llama(&["-p", "8,16", "-n", "4", "-d", "0,8", "-r", "2", "--json"]);
    let rows = rows(&output);
    let names = ["pp8", "pp16", "tg4", "pp8 @ d8", "pp16 @ d8", "tg4 @ d8"];
    assert_eq!(strings(&rows, "test"), names);
    for (row, (prompt, generate)) in rows.iter().zip([(8, 0), (16, 0), (0, 4)].into_iter().cycle()) {
        assert_eq!((row["n_prompt"].as_u64(), row["n_gen"].as_u64()), (Some(prompt), Some(generate)));
        assert_eq!(row["samples_ns"].as_array().unwrap().len(), 2);
        assert_eq!(row["samples_iterations"], serde_json::json!([1, 1]));
        assert_eq!(
            (&row["n_threads"], &row["schema_version"], &row["task"]),
            (&1.into(), &1.into(), &"language".into())
        );
        assert!(row["flags"].as_array().unwrap().contains(&"few_repetitions".into()), "{row}");
        assert_eq!((&row["energy"], &row["no_energy"]), (&Value::Null, &"--energy off".into()));
        assert_eq!(row["ttft_ms"].is_null(), prompt == 0);
        assert!(row["cpu_s_per_token"]["mean"].as_f64().unwrap() > 0.0);
        assert_eq!(row["model_sha256"].as_str().unwrap().len(), 64);
    }
    assert_valid(&output);
}

#[test]
fn results_have_several_forms() {
    let args = ["-p", "8", "-n", "4", "-r", "1"];
    let with = |form: &str| llama(&[&args[..], &[form]].concat());
    let lines = with("--jsonl");
    assert_eq!(stdout(&lines).lines().count(), 2);
    assert_valid(&lines);
    let csv = with("--csv");
    let header = stdout(&csv).lines().next().unwrap();
    assert!(header.starts_with("build_commit,build_number,cpu_info,gpu_info,backends,model_filename,"), "{header}");
    let columns = header.split(',').count();
    for line in stdout(&csv).lines().skip(1) {
        assert_eq!(line.matches("\",\"").count() + 1, columns, "{line}");
    }
    let md = with("--md");
    let lines: Vec<_> = stdout(&md).lines().take(4).collect();
    assert!(lines.iter().all(|line| line.starts_with("| ") && line.ends_with(" |")), "{}", stdout(&md));
    let table = llama(&args);
    let text = stdout(&table);
    for part in ["tokens/s", "CPU ms/token", "pp8", "tg4", "few_repetitions: fewer than five repetitions"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // As llama-bench is called.
    let theirs = llama(&["-p", "0", "-n", "0", "-pg", "8,4", "-ctk", "f32", "-ub", "16", "-r", "1", "-o", "json"]);
    let rows = rows(&theirs);
    assert_eq!((strings(&rows, "test"), strings(&rows, "type_k")), (vec!["pp8+tg4"], vec!["f32"]));
    assert_eq!(rows[0]["n_ubatch"], 16);
}

#[test]
fn threads_and_types_are_lists() {
    let output = llama(&["-p", "4", "-n", "0", "--kv", "f16,f32", "--quant", "q8_0,q4_0", "-r", "1", "--json"]);
    let rows = rows(&output);
    assert_eq!(strings(&rows, "type_v"), ["f16", "f16", "f32", "f32"]);
    assert!(rows[0]["model_type"].as_str().unwrap().ends_with(" as q8_0"), "{}", rows[0]["model_type"]);
    // More threads than can run are not pretended.
    let output =
        bench(&[&model("llama"), "--energy", "off", "-t", "1,1000", "-p", "4", "-n", "0", "-r", "1", "--json"]);
    assert!(stderr(&output).contains("1000 threads:"), "{}", stderr(&output));
}

#[test]
fn without_a_meter_the_truth_is_told() {
    let output = bench(&[&model("llama"), "-p", "4", "-n", "0", "-r", "1", "-t", "1", "--json"]);
    let rows = rows(&output);
    assert!(stderr(&output).starts_with("no energy meter found: looked at"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--energy model:WATTS"), "{}", stderr(&output));
    assert!(rows[0]["no_energy"].as_str().unwrap().starts_with("no energy meter found"), "{}", rows[0]["no_energy"]);
    // No idle windows, and no long phases.
    assert_eq!((&rows[0]["idle_cpu_ticks"], &rows[0]["samples_iterations"]), (&Value::Null, &serde_json::json!([1])));
    // A meter that was asked for is wanted.
    let output = bench(&[&model("llama"), "--energy", "rapl"]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("no energy meter found: looked at"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

/// A package whose counter goes up by 20 W, until this is dropped.
struct Package {
    folder: Folder,
    stop: mpsc::Sender<()>,
}

impl Package {
    fn start() -> Self {
        let folder = Folder::new();
        let zone = folder.path("sys/class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).unwrap();
        // Where the processor's time is, for logs.
        std::os::unix::fs::symlink("/proc", folder.path("proc")).unwrap();
        fs::write(format!("{zone}/name"), "package-0\n").unwrap();
        fs::write(format!("{zone}/max_energy_range_uj"), "262143328850\n").unwrap();
        let counter = format!("{zone}/energy_uj");
        // A reader must never find an empty file.
        let write = move |start: Instant| {
            fs::write(format!("{zone}/new"), format!("{}\n", 1_000_000 + 20 * start.elapsed().as_micros())).unwrap();
            fs::rename(format!("{zone}/new"), &counter).unwrap();
        };
        let start = Instant::now();
        write(start);
        let (stop, stopped) = mpsc::channel::<()>();
        thread::spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(2)) {
                write(start);
            }
        });
        Self { folder, stop }
    }

    fn bench(&self, args: &[&str]) -> Output {
        bench_below(self.folder.root(), args)
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // The folder goes away afterwards.
        let _ = self.stop.send(());
    }
}

#[test]
fn a_meter_is_used_where_there_is_one() {
    let package = Package::start();
    let (samples, plot) = (package.folder.path("samples.csv"), package.folder.path("power.svg"));
    let short = ["-t", "1", "-p", "8", "-n", "4", "-r", "2", "--phase", "0.5", "--idle", "0.5", "--hz", "50"];
    let model = model("llama");
    let mut args = [&[model.as_str(), "--samples", &samples, "--json"], &short[..]].concat();
    if cfg!(feature = "plot") {
        args.extend(["--plot", &plot]);
    }
    let output = package.bench(&args);
    let rows = rows(&output);
    assert!(stderr(&output).starts_with("energy: rapl"), "{}", stderr(&output));
    // Prefill, decode, and both as one.
    assert_eq!(strings(&rows, "test"), ["pp8", "tg4", "pp8+tg4"]);
    for row in &rows {
        let energy = &row["energy"];
        assert_eq!(
            (&energy["class"], &energy["measured"], &row["no_energy"]),
            (&"C".into(), &true.into(), &Value::Null)
        );
        let iterations: Vec<u64> = serde_json::from_value(row["samples_iterations"].clone()).unwrap();
        assert!(iterations.len() == 2 && iterations.iter().all(|count| *count > 1), "{row}");
        let tokens =
            (row["n_prompt"].as_u64().unwrap() + row["n_gen"].as_u64().unwrap()) * iterations.iter().sum::<u64>();
        assert_eq!(energy["tokens"], tokens);
        let (joules, per_token) = (energy["gross_j"].as_f64().unwrap(), energy["j_per_token"].as_f64().unwrap());
        assert!(joules > 0.0 && (per_token * tokens as f64 - joules).abs() < 1e-6 * joules, "{energy}");
        let [low, high] = [0, 1].map(|end| energy["j_per_token_ci95"][end].as_f64().unwrap());
        assert!(low < per_token && per_token < high, "{energy}");
        for watts in ["avg_w", "idle_w_pre", "idle_w_post"] {
            assert!(energy[watts].as_f64().unwrap() > 0.0, "{watts}: {energy}");
        }
        assert!(energy["net_j"].as_f64().unwrap() < joules, "{energy}");
        for flag in ["short_phase", "few_samples", "few_repetitions"] {
            assert!(row["flags"].as_array().unwrap().contains(&flag.into()), "{flag}: {row}");
        }
    }
    // The idle window between two tests is that of both.
    assert_eq!(rows[0]["energy"]["idle_w_post"], rows[1]["energy"]["idle_w_pre"]);
    assert_valid(&output);
    assert!(!package.folder.read("samples.csv").is_empty());
    if cfg!(feature = "plot") {
        let svg = String::from_utf8(package.folder.read("power.svg")).unwrap();
        for part in ["Power by rapl", "watts", "idle", "tokens per joule"] {
            assert!(svg.contains(part), "{part}");
        }
    }
    let table = package.bench(&[&[model.as_str()], &short[..]].concat());
    let text = stdout(&table);
    assert!(text.contains("J/token ") && text.contains("energy: measured by rapl"), "{text}");
    assert!(!text.contains("modelled"), "{text}");
}

#[test]
fn a_sweep_keeps_what_was_measured() {
    let package = Package::start();
    let cache = package.folder.path("cache");
    let model = model("llama");
    let args = ["bench", &model, "--sweep", "threads", "-n", "4", "-r", "1", "--phase", "1", "--idle", "0"];
    let sweep =
        || babil(&args).env("BABIL_SYSFS_ROOT", package.folder.root()).env("BABIL_CACHE", &cache).output().unwrap();
    // On a machine that is very busy the counter of this test may stand still for as long as a phase.
    let found = |output: &Output| !stderr(output).contains("no profile for --power");
    let output = (0..5).map(|_| sweep()).find(found).expect("a counter that moves");
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("most tokens per joule: "), "{}", stdout(&output));
    let kept = stderr(&output).lines().find_map(|line| line.strip_prefix("profile for --power -> ")).unwrap();
    let profile: Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert!(kept.starts_with(&cache) && profile["eco"]["threads"].as_u64().unwrap() > 0, "{kept}");
    // And used.
    let run = ["run", &model, "--power", "eco", "--temperature", "0", "-n", "3", "--stats", "once"];
    let power = |cache: &str| {
        let run =
            babil(&run).env("BABIL_SYSFS_ROOT", package.folder.root()).env("BABIL_CACHE", cache).output().unwrap();
        assert_exit(&run, 0);
        stderr(&run).contains("are a guess") || stderr(&run).contains("is a guess")
    };
    assert!(!power(&cache) && power(&package.folder.path("empty")));
    // What was assumed is ranked as such, and is no profile.
    let args = [model.as_str(), "--sweep", "threads", "-t", "1", "-n", "4", "-r", "1", "--phase", "1", "--idle", "0"];
    let named = || bench(&[&args[..], &["--energy", "model:5"]].concat());
    let output = (0..5).map(|_| named()).find(|output| stdout(output).contains("modelled")).expect("samples");
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("tokens/J (modelled)"), "{}", stdout(&output));
    assert!(stderr(&output).contains("no profile for --power"), "{}", stderr(&output));
}

#[test]
fn watts_that_were_named_are_never_measured() {
    let args = ["--energy", "model:6.5", "-t", "1", "-p", "8", "-n", "0", "-r", "2", "--phase", "1", "--idle", "1"];
    let with = |more: &[&str]| bench(&[&[model("llama").as_str()], &args[..], more].concat());
    let output = with(&["--json"]);
    let row = &rows(&output)[0];
    let energy = &row["energy"];
    assert_eq!((&energy["class"], &energy["measured"]), (&"E".into(), &false.into()));
    assert!((energy["avg_w"].as_f64().unwrap() - 6.5).abs() < 1e-6, "{energy}");
    // An assumption has no uncertainty.
    assert_eq!((&energy["j_per_token_ci95"], &energy["rel_uncertainty"]), (&Value::Null, &Value::Null));
    assert!(row["flags"].as_array().unwrap().contains(&"modelled".into()), "{row}");
    assert_valid(&output);
    let table = with(&[]);
    assert!(stderr(&table).contains("modelled, not measured"), "{}", stderr(&table));
    let text = stdout(&table).replace("not measured", "").replace("assumed, ", "");
    assert!(text.contains("J/token (modelled)") && !text.contains("measured"), "{text}");
}

#[test]
fn the_log_of_another_meter_is_read_in_the_end() {
    let package = Package::start();
    let log = |name: &str, times: &mut dyn Iterator<Item = u32>| {
        let lines: String = times.map(|time| format!("{},5.0\n", f64::from(time) / 10.0)).collect();
        package.folder.write(name, format!("time,power\n{lines}"))
    };
    let whole = log("whole.csv", &mut (0..6000));
    let gap = log("gap.csv", &mut (0..3).chain(60..6000));
    let with = |energy: &str| {
        let args =
            ["-t", "1", "-p", "8", "-n", "0", "-r", "2", "--phase", "1", "--idle", "0", "--json", "--energy", energy];
        package.bench(&[&[model("llama").as_str()], &args[..]].concat())
    };
    let output = with(&format!("csv:{whole}@0"));
    let energy = &rows(&output)[0]["energy"];
    assert_eq!((&energy["class"], &energy["measured"]), (&"B".into(), &true.into()));
    assert!((energy["avg_w"].as_f64().unwrap() - 5.0).abs() < 1e-6, "{energy}");
    assert_valid(&output);
    // The speeds are worth having where the log is not.
    for (energy, problem) in [
        (format!("csv:{gap}@0"), "gap.csv: line 5: a gap of"),
        (format!("csv:{whole}@599"), "whole.csv: the log has"),
        (format!("csv:{}@0", package.folder.path("none.csv")), "none.csv"),
        (format!("csv:{}@0", package.folder.write("odd.csv", "time,colour\n0,red\n1,blue\n")), "odd.csv"),
    ] {
        let output = with(&energy);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
        let report = json(&output);
        assert!(report[0]["no_energy"].as_str().unwrap().contains(problem), "{report}");
        assert_eq!(report[0]["energy"], Value::Null);
    }
}

#[test]
fn a_counter_that_may_not_be_read_says_how_to_be_allowed() {
    let folder = Folder::new();
    let zone = folder.path("sys/class/powercap/intel-rapl:0");
    fs::create_dir_all(&zone).unwrap();
    fs::write(format!("{zone}/name"), "package-0\n").unwrap();
    fs::write(format!("{zone}/max_energy_range_uj"), "262143328850\n").unwrap();
    fs::write(format!("{zone}/energy_uj"), "5\n").unwrap();
    fs::set_permissions(format!("{zone}/energy_uj"), fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read(format!("{zone}/energy_uj")).is_ok() {
        // Whoever runs the tests may read everything.
        fs::remove_file(format!("{zone}/energy_uj")).unwrap();
    }
    let output = bench_below(folder.root(), &[&model("llama"), "-t", "1", "-p", "4", "-n", "0", "-r", "1"]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("energy_uj"), "{}", stderr(&output));
    let output = bench_below(folder.root(), &[&model("llama"), "--energy", "rapl"]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("energy_uj"), "{}", stderr(&output));
}

#[test]
fn an_idle_window_tells_what_the_program_used() {
    let output = llama(&["-p", "8", "-n", "0", "-r", "1", "--idle", "0.5", "--json"]);
    // A sleep that ends is all there is: less than two hundredths of a second.
    let ticks = rows(&output)[0]["idle_cpu_ticks"].as_u64();
    assert!(cfg!(not(target_os = "linux")) || ticks.is_some_and(|ticks| ticks < 2), "{ticks:?}");
}

/// Ten seconds before and ten after, with the model loaded and no meter. The least of a few runs: what is counted in
/// hundredths of a second may be one more than it was.
#[cfg(target_os = "linux")]
#[test]
fn a_loaded_model_uses_no_processor() {
    let ticks = (0..3).map(|_| {
        let output = llama(&["-p", "8", "-n", "0", "-r", "1", "--idle", "10", "--json"]);
        rows(&output)[0]["idle_cpu_ticks"].as_u64().unwrap()
    });
    assert!(ticks.into_iter().any(|ticks| ticks == 0));
}

#[cfg(feature = "bundled")]
#[test]
fn a_translator_has_words_per_second() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "Où est la gare ?\n\nIl pleut.\n");
    let args = ["en-fr", "--energy", "off", "-t", "1", "-r", "1", "--beam", "1", "--no-warmup", "--json"];
    let output = bench(&[&args[..], &["--from", "fr", "--text", &text]].concat());
    let row = &rows(&output)[0];
    assert_eq!(
        (&row["task"], &row["test"], &row["words"]),
        (&"translation".into(), &"fr -> en 2 sentences".into(), &7.into())
    );
    assert!(row["words_per_s"].as_f64().unwrap() > 0.0 && row["n_gen"].as_u64().unwrap() > 3);
    assert_eq!((&row["rtf"], &row["words_per_j"]), (&Value::Null, &Value::Null));
    assert_valid(&output);
    let empty = folder.write("empty.txt", "\n");
    assert_exit(&bench(&[&args[..], &["--text", &empty]].concat()), 5);
    assert_exit(&bench(&[&args[..], &["--text", "no-such-file"]].concat()), 5);
    assert_exit(&bench(&[&args[..], &["--to", "de"]].concat()), 5);
    // What means nothing for a translator is not ignored.
    let output = bench(&[&args[..], &["-d", "8"]].concat());
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("-d is for language models"), "{}", stderr(&output));
}

#[cfg(feature = "audio")]
#[test]
fn a_speech_model_has_a_real_time_factor() {
    let folder = Folder::new();
    let model = sound::speech_model("en");
    let args = [model.as_str(), "--energy", "off", "-t", "1", "-r", "1", "--no-warmup", "--json"];
    let output = bench(&args);
    let row = &rows(&output)[0];
    assert!(row["test"].as_str().unwrap().starts_with("window+tg"), "{row}");
    assert!(row["rtf"].as_f64().unwrap() > 0.0 && row["audio_s"].as_f64().unwrap() > 0.0);
    assert_eq!((&row["task"], &row["words"]), (&"speech".into(), &Value::Null));
    assert_valid(&output);
    let film = folder.write("film.wav", sound::recording(1));
    let output = bench(&[&args[..], &["--sound", &film, "--beam", "1"]].concat());
    assert_eq!(rows(&output)[0]["test"], "transcribe film.wav");
    let text = folder.write("text.wav", "no sound");
    assert_exit(&bench(&[&args[..], &["--sound", &text]].concat()), 5);
}

#[test]
fn reports_are_saved_compared_and_checked() {
    let folder = Folder::new();
    let [first, second] = ["first.json", "second.json"].map(|name| folder.path(name));
    for path in [&first, &second] {
        let output = llama(&["-p", "8", "-n", "4", "-r", "3", "--save", path]);
        assert_exit(&output, 0);
        // The table has the medians.
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let median = report[0]["median_ts"].as_f64().unwrap();
        let line = stdout(&output).lines().find(|line| line.contains(" pp8 ")).unwrap();
        let shown: f64 = line.split('±').next().unwrap().split_whitespace().last().unwrap().parse().unwrap();
        assert!((shown / median - 1.0).abs() < 2e-3, "{line}: {median}");
    }
    let exists = llama(&["-p", "8", "-n", "4", "-r", "3", "--save", &first]);
    assert_exit(&exists, 2);
    assert!(stderr(&exists).contains("--force"), "{}", stderr(&exists));

    let output = bench(&["--compare", &first, &second]);
    assert_exit(&output, 0);
    let text = stdout(&output);
    assert!(text.lines().next().unwrap().contains("second / first"), "{text}");
    assert!(text.contains("pp8") && text.contains("tg4") && text.contains("Welch"), "{text}");
    let compared = json(&bench(&["--compare", &first, &second, "--json"]));
    assert_eq!(compared["compared"].as_array().unwrap().len(), 2);
    assert_eq!(compared["compared"][0]["speed"]["ci95"].as_array().unwrap().len(), 2);
    assert_eq!(compared["compared"][0]["energy"], "unknown");
    // A report beside itself is within noise.
    let same = json(&bench(&["--compare", &first, &first, "--json"]));
    assert_eq!(
        (&same["compared"][0]["speed"]["ratio"], &same["compared"][0]["speed_within_noise"]),
        (&1.0.into(), &true.into())
    );

    let text = String::from_utf8(folder.read("first.json")).unwrap();
    let newer = folder.write("newer.json", text.replace("\"schema_version\":1", "\"schema_version\":9"));
    let wrong = folder.write("wrong.json", text.replace("\"n_gen\":4", "\"n_gen\":\"four\""));
    let other = folder.write("other.json", text.replace("\"n_threads\":1", "\"n_threads\":7"));
    let output = bench(&["--compare", &first, &newer]);
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("newer.json: row 1: is of schema version 9"), "{}", stderr(&output));
    let output = bench(&["--compare", &first, &other]);
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("have no test in common"), "{}", stderr(&output));
    assert_exit(&bench(&["--compare", &first, "no-such-file"]), 5);

    let output = bench(&["--validate", &first, &wrong, &newer]);
    assert_exit(&output, 5);
    let text = stdout(&output).replace(folder.root(), "[FOLDER]");
    assert!(text.starts_with("[FOLDER]/first.json: valid, 2 tests\n"), "{text}");
    assert!(text.contains("[FOLDER]/wrong.json: /1/n_gen: \"four\""), "{text}");
    assert!(text.contains("newer.json: row 1: is of schema version 9"), "{text}");
    assert!(stderr(&output).contains("2 of 3 reports are not valid"), "{}", stderr(&output));
    let result: Value = serde_json::from_slice(&bench(&["--validate", &wrong, "--json"]).stdout).unwrap();
    assert_eq!((&result[0]["valid"], result[0]["problems"].as_array().unwrap().len()), (&false.into(), 1));
    assert_exit(&bench(&["--validate", &folder.write("empty.json", "[]")]), 5);
    let schema: Value = serde_json::from_str(stdout(&bench(&["--schema"]))).unwrap();
    assert_eq!(schema["type"], "array");
}

/// A llama-bench that says what the real one says.
fn fake_llama_bench(folder: &Folder) -> String {
    let said: Value = serde_json::from_str(include_str!("../../models/tests/bench/llama-bench.json")).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> \"$0.args\"\ncase \"$*\" in\n\
         *'-p 0 -n'*) kind=generation; row='{}' ;;\n*) kind=prompt; row='{}' ;;\nesac\n\
         echo \"llama-bench: benchmark 1/1: warmup $kind run\" >&2\n\
         echo \"llama-bench: benchmark 1/1: $kind run 1/1\" >&2\necho \"$row\" >&2\n",
        said[1], said[0]
    );
    executable(folder, "llama-bench", &script)
}

fn executable(folder: &Folder, name: &str, script: &str) -> String {
    let path = folder.write(name, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_peer_runs_in_turns() {
    let folder = Folder::new();
    let peer = format!("llama.cpp={}", fake_llama_bench(&folder));
    let output = llama(&["-p", "16", "-n", "4", "-r", "2", "--peer", &peer, "--json"]);
    let rows = rows(&output);
    assert_eq!(strings(&rows, "test"), ["pp16", "pp16", "tg4", "tg4"]);
    assert_eq!(strings(&rows, "engine")[1], "llama.cpp 0.3.36");
    let peers: Vec<_> = rows.iter().map(|row| row["peer"].as_bool().unwrap()).collect();
    assert_eq!(peers, [false, true, false, true]);
    for row in &rows {
        assert_eq!(row["samples_ns"].as_array().unwrap().len(), 2);
    }
    // What it says of itself is kept.
    assert_eq!(
        (&rows[1]["n_batch"], &rows[1]["type_k"], &rows[1]["backend"]),
        (&2048.into(), &"f16".into(), &"llama.cpp".into())
    );
    assert_valid(&output);
    // It reads prompts in the same batches.
    let asked = String::from_utf8(folder.read("llama-bench.args")).unwrap();
    assert!(asked.lines().count() == 4 && asked.lines().all(|line| line.contains("-b 256 -ub 256")), "{asked}");
    let table = llama(&["-p", "16", "-n", "0", "-r", "1", "--peer", &peer]);
    assert!(stdout(&table).contains("llama.cpp 0.3.36 (peer)"), "{}", stdout(&table));

    for script in ["#!/bin/sh\necho 'no such option: -ctk' >&2\nexit 1\n", "#!/bin/sh\nexit 0\n"] {
        let other = executable(&folder, "other", script);
        let output = llama(&["-p", "16", "-r", "1", "--peer", &format!("llama.cpp={other}")]);
        assert_exit(&output, 5);
        assert!(stderr(&output).contains("it is to be llama-bench"), "{}", stderr(&output));
    }
    let output = llama(&["-p", "16", "-r", "1", "--peer", "llama.cpp=no-such-program"]);
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("cannot run no-such-program"), "{}", stderr(&output));
    assert_exit(&llama(&["--peer", "ollama=x"]), 2);
}

/// The report of a run whose readings cannot be kept in the end, because their folder has gone.
#[test]
fn readings_that_cannot_be_kept_do_not_cost_the_report() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("kept")).unwrap();
    let said: Value = serde_json::from_str(include_str!("../../models/tests/bench/llama-bench.json")).unwrap();
    let script = format!(
        "#!/bin/sh\nrm -rf '{}'\necho 'prompt run 1/1' >&2\nsleep 0.5\necho '{}' >&2\n",
        folder.path("kept"),
        said[0]
    );
    let peer = format!("llama.cpp={}", executable(&folder, "llama-bench", &script));
    let args =
        ["--energy", "model:5", "-t", "1", "-p", "8", "-n", "0", "-r", "1", "--phase", "0.5", "--idle", "0", "--json"];
    let (model, samples) = (model("llama"), folder.path("kept/samples.csv"));
    let output = bench(&[&[model.as_str(), "--samples", &samples, "--peer", &peer], &args[..]].concat());
    assert!(!output.status.success() && stderr(&output).contains("samples.csv"), "{}", stderr(&output));
    assert_eq!(json(&output).as_array().unwrap().len(), 2);
}

#[test]
fn a_long_run_has_two_ends() {
    let output = llama(&["-p", "0", "-n", "4", "--sustain", "0.005", "--json"]);
    let row = &rows(&output)[0];
    assert!(row["samples_ns"].as_array().unwrap().len() >= 2, "{row}");
    for end in ["first", "last"] {
        assert!(row["sustain"][end]["ts"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_valid(&output);
    let table = llama(&["-p", "0", "-n", "4", "--sustain", "0.005"]);
    assert!(stdout(&table).contains("% of the first"), "{}", stdout(&table));
    assert_exit(&llama(&["--sustain", "0"]), 2);
}

#[test]
fn a_sweep_needs_a_meter_or_says_what_it_ranks() {
    let output = bench(&[&model("llama"), "--sweep", "threads", "-n", "4", "-r", "1"]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("there is no meter of energy; --by-cpu"), "{}", stderr(&output));
    let output = llama(&["--sweep", "threads", "-t", "1", "-n", "4", "-r", "1", "--by-cpu"]);
    assert_exit(&output, 0);
    let text = stdout(&output);
    assert!(
        text.contains("tokens/CPU s") && text.contains("energy was not measured") && !text.contains("joule"),
        "{text}"
    );
    assert!(stderr(&output).contains("no profile for --power"), "{}", stderr(&output));
    // There is no cpufreq below an empty root.
    let output = llama(&["--sweep", "freq", "--by-cpu"]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("--sweep freq: "), "{}", stderr(&output));
    // What it would ignore is refused.
    for more in
        [&["-p", "8"][..], &["--pg", "8,4"], &["--csv"], &["--md"], &["-n", "4,8"], &["-n", "0"], &["-d", "0,8"]]
    {
        assert_exit(&llama(&[&["--sweep", "threads", "--by-cpu"], more].concat()), 2);
    }
    for more in [&["--kv", "f16,f32"][..], &["--quant", "q8_0,q4_0"], &["-t", "1,2"]] {
        assert_exit(&bench(&[&[model("llama").as_str(), "--sweep", "freq", "--by-cpu"], more].concat()), 2);
    }
    // Each number of threads once, and no profile of what --power does not do.
    let args = [model("llama"), "--energy".into(), "off".into(), "--by-cpu".into(), "--sweep".into(), "threads".into()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = bench(&[&args[..], &["-t", "1000,2000", "-n", "4", "-r", "1", "--quant", "q8_0", "--json"]].concat());
    assert_eq!(rows(&output).len(), 1);
    assert!(stderr(&output).contains("without --kv and --quant"), "{}", stderr(&output));
}

#[cfg(feature = "bundled")]
#[test]
fn a_translator_can_be_swept() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "Il pleut.\n");
    let args = ["en-fr", "--energy", "off", "--from", "fr", "--text", &text, "--beam", "1", "-t", "1", "-r", "1"];
    let output = bench(&[&args[..], &["--sweep", "threads", "--by-cpu"]].concat());
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("most tokens per CPU second: 1 thread;"), "{}", stdout(&output));
    assert!(stderr(&output).contains("this one is built in"), "{}", stderr(&output));
}

#[cfg(feature = "audio")]
#[test]
fn a_speech_model_can_be_swept() {
    let model = sound::speech_model("en");
    let args = [model.as_str(), "--energy", "off", "-t", "1", "-r", "1", "--sweep", "threads", "--by-cpu"];
    let output = bench(&args);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("most tokens per CPU second: 1 thread;"), "{}", stdout(&output));
}

#[cfg(feature = "plot")]
#[test]
fn plots_are_pictures() {
    let folder = Folder::new();
    let (curves, bars) = (folder.path("curves.svg"), folder.path("bars.png"));
    assert_exit(&llama(&["-p", "8", "-n", "4", "-d", "0,8", "-r", "2", "--plot", &curves]), 0);
    let svg = String::from_utf8(folder.read("curves.svg")).unwrap();
    for part in ["<svg", "tokens per second", "depth", "tg4", "pp8"] {
        assert!(svg.contains(part), "{part}");
    }
    // Curves of different keys and values are different curves.
    let kinds = folder.path("kinds.svg");
    let args = ["-p", "0", "-n", "4", "-d", "0,8", "--kv", "f16,f32", "-r", "2", "--plot", &kinds];
    assert_exit(&llama(&args), 0);
    let svg = String::from_utf8(folder.read("kinds.svg")).unwrap();
    assert!(svg.contains("kv f16") && svg.contains("kv f32"), "{svg}");
    assert_exit(&llama(&["-p", "8", "-n", "4", "-r", "2", "--plot", &bars]), 0);
    assert!(folder.read("bars.png").starts_with(b"\x89PNG\r\n\x1a\n"));
    // Found out before anything is measured.
    for (path, code) in [("plot.gif", 2), ("no-folder/plot.svg", 7), ("curves.svg", 2)] {
        let output = llama(&["-p", "1000000", "--plot", &folder.path(path)]);
        assert_exit(&output, code);
        assert!(stderr(&output).contains(path), "{}", stderr(&output));
    }
    let names = fs::read_dir(folder.root()).unwrap().count();
    assert_eq!(names, 3, "nothing is left of what failed");
}

#[cfg(feature = "plot")]
#[test]
fn a_leaderboard_is_one_page() {
    let folder = Folder::new();
    let boards = folder.path("boards");
    fs::create_dir_all(format!("{boards}/pi")).unwrap();
    let report = llama(&["-p", "8", "-n", "4", "-r", "2", "--json"]);
    let text = stdout(&report).replace("\"board\":null", "\"board\":\"Board <One>\"");
    fs::write(format!("{boards}/pi/one.json"), text).unwrap();
    fs::write(format!("{boards}/broken.json"), "[{\"avg_ts\": 1}]").unwrap();
    let page = folder.path("page.html");
    let output = bench(&["--leaderboard", &boards, &page]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("left out: broken.json"), "{}", stderr(&output));
    assert!(stderr(&output).contains("2 tests, 1 reports left out"), "{}", stderr(&output));
    let html = String::from_utf8(folder.read("page.html")).unwrap();
    assert_eq!((html.matches("<h2>").count(), html.matches("<svg").count()), (2, 2));
    assert!(html.contains("Board &lt;One&gt;") && !html.contains("<One>"));
    assert!(html.contains("broken.json</code>: row 1: has no schema_version"));
    // Nothing is fetched, and nothing runs.
    for part in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!html.contains(part), "{part}");
    }
    assert_exit(&bench(&["--leaderboard", &boards, &page]), 2);
    assert_exit(&bench(&["--leaderboard", &folder.path("nowhere"), &page]), 5);
}

#[test]
fn an_interrupt_keeps_what_is_complete() {
    // How long a repetition takes is not known; a run that was ended before the first is tried again.
    for seconds in [1, 4, 16, 64] {
        let empty = Folder::new();
        let args =
            ["bench", &model("llama"), "--energy", "off", "-t", "1", "-p", "8", "-n", "4", "-r", "10000", "--json"];
        let mut command = babil(&[&args[..], &["--phase", "0.05"]].concat());
        command.env("BABIL_SYSFS_ROOT", empty.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_secs(seconds));
        interrupt(&child);
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
        if out.is_empty() {
            continue;
        }
        let rows: Value = serde_json::from_str(&out).unwrap();
        assert!(rows[0]["flags"].as_array().unwrap().contains(&"interrupted".into()), "{out}");
        assert!(!rows[0]["samples_ns"].as_array().unwrap().is_empty());
        assert!(err.contains("interrupted: 0 tests are complete"), "{err}");
        return;
    }
    panic!("no repetition in a minute");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = Folder::new();
    assert_exit(&bench(&[]), 2);
    assert_exit(&bench(&["no-such-model"]), 3);
    assert_exit(&bench(&[&folder.write("text.gguf", "text")]), 4);
    for args in [
        &["-p", "0", "-n", "0"][..],
        &["-p", "1-"],
        &["-p", "4-1"],
        &["--pg", "8"],
        &["-r", "0"],
        &["--energy", "watts:5"],
        &["--json", "--csv", "--md"],
        &["--idle", "-1"],
        &["--hz", "1e-30"],
        &["--hz", "0"],
        &["--hz", "nan"],
    ] {
        assert_exit(&llama(args), 2);
    }
    // More than the model's context.
    assert_exit(&llama(&["-p", "1000000"]), 5);
}
