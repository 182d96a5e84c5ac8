//! The `run`, `embed`, `perplexity`, `tokenize` and `plan` commands of the real binary, on tiny random models.
#![cfg(unix)]

#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use babil_models::language::{LanguageModel, LanguageOptions};
use babil_models::power::{Point, PowerProfile, Setting, Subject};
use babil_runtime::energy::{Class, Platform, Thermal};
use babil_runtime::model::{Logits, Model, Row, Want};
use babil_runtime::text::Marks;
use babil_runtime::weights::gguf::Value;
use tiny::*;

const NO_TEMPLATE: &str = "the model has no chat template: it continues the prompt as plain text\n";

/// `run MODEL` with `more`, always taking the most probable token.
fn greedy<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", model, "--temperature", "0", "--ignore-eos"], more].concat()
}

#[test]
fn help_texts() {
    for command in ["run", "chat", "embed", "perplexity", "tokenize", "plan"] {
        let output = babil(&[command, "--help"]).env("COLUMNS", "100").output().unwrap();
        assert_exit(&output, 0);
        insta::assert_snapshot!(format!("help_{command}"), stdout(&output));
    }
}

#[test]
fn a_prompt_comes_from_arguments_a_file_or_stdin() {
    let (folder, model) = (Folder::new(), model("llama"));
    let reference = run(&greedy(&model, &["-n", "30", "once upon a time"]));
    assert_exit(&reference, 0);
    assert_eq!(stderr(&reference), NO_TEMPLATE);
    assert!(stdout(&reference).len() > 30 && stdout(&reference).ends_with('\n'));
    let file = folder.write("prompt.txt", "once upon a time\n");
    for output in [
        run(&greedy(&model, &["-n", "30", "once", "upon", "a", "time"])),
        run(&greedy(&model, &["-n", "30", "--file", &file])),
        run_with_stdin(&greedy(&model, &["-n", "30"]), b"once upon a time\r\n"),
        run(&greedy(&model, &["-n", "30", "--seed", "7", "once upon a time"])),
    ] {
        assert_exit(&output, 0);
        assert_eq!(stdout(&output), stdout(&reference));
    }
    let raw = run(&greedy(&model, &["-n", "30", "--raw", "once upon a time"]));
    assert_eq!((stdout(&raw), stderr(&raw)), (stdout(&reference), ""));
    let quiet = run(&greedy(&model, &["-n", "30", "--quiet", "once upon a time"]));
    assert_eq!((stdout(&quiet), stderr(&quiet)), (stdout(&reference), ""));
    // An empty prompt is the mark of the beginning.
    let empty = run(&greedy(&model, &["-n", "5", "--json", ""]));
    assert_eq!(json(&empty)["statistics"]["prompt_tokens"], 1);
}

#[test]
fn a_chat_template_makes_the_prompt() {
    let folder = Folder::new();
    let with = folder.with_template("llama", TEMPLATE);
    let output = run(&greedy(&with, &["-n", "20", "--system", "be kind", "who are you"]));
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
    // What the template writes, continued by the same model without one. A user cannot write marks, so the tokens of the
    // parts are compared, by their number.
    let written = "<s>system be kind</s><s>user who are you</s><s>assistant ";
    let tokens = json(&run(&["tokenize", &with, "--marks", "--bos", written, "--json"]));
    let answer = json(&run(&greedy(&with, &["-n", "20", "--system", "be kind", "who are you", "--json"])));
    assert_eq!(answer["statistics"]["prompt_tokens"], tokens.as_array().unwrap().len());
    assert_eq!(answer["text"], stdout(&output).strip_suffix('\n').unwrap());
    let raw = run(&greedy(&with, &["-n", "20", "--raw", "who are you"]));
    let plain = run(&greedy(&model("llama"), &["-n", "20", "who are you"]));
    assert_eq!((stdout(&raw), stderr(&raw)), (stdout(&plain), ""));
    assert_ne!(stdout(&raw), stdout(&output));
}

#[test]
fn options_of_a_chat_need_a_template() {
    let output = run(&["run", &model("llama"), "--system", "be kind", "hello"]);
    assert_exit(&output, 2);
    let folder = Folder::new();
    let output = run(&["run", &folder.with_template("llama", TEMPLATE), "--think", "hello"]);
    assert_exit(&output, 4);
    assert!(stderr(&output).contains("knows nothing of thinking"), "{}", stderr(&output));
}

#[test]
fn a_seed_makes_an_answer_again() {
    let model = model("qwen3");
    let run = |seed: &str| stdout(&run(&["run", &model, "-t", "2", "-n", "60", "--seed", seed, "a"])).to_owned();
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
    let json = json(&tiny::run(&["run", &model, "-t", "2", "-n", "60", "--json", "a"]));
    let again = run(&json["seed"].to_string());
    assert_eq!(again.strip_suffix('\n').unwrap(), json["text"], "the seed that was drawn is said");
}

#[test]
fn json_tells_how_it_ended_and_what_was_done() {
    let model = model("llama");
    let output = run(&greedy(&model, &["-n", "25", "--json", "once"]));
    assert_exit(&output, 0);
    let report = json(&output);
    assert_eq!((&report["finish"], &report["model"]), (&"length".into(), &model.as_str().into()));
    let numbers = &report["statistics"];
    assert_eq!((&numbers["generated_tokens"], &numbers["prompt_reused"]), (&25.into(), &0.into()));
    assert_eq!((&numbers["prompt_tokens"], &numbers["context"]), (&6.into(), &4096.into()));
    for rate in ["load", "prompt_rate", "generation_rate", "first_text", "gigabytes_per_second"] {
        assert!(numbers[rate].as_f64().unwrap() > 0.0, "{rate}");
    }
    let whole = report["text"].as_str().unwrap();

    // A stop string, also one that begins in one token and ends in another, is not part of the text.
    let stop = &whole[whole.char_indices().nth(7).unwrap().0..whole.char_indices().nth(10).unwrap().0];
    let report = json(&run(&greedy(&model, &["-n", "25", "--json", "--stop", stop, "--stop", "~", "once"])));
    assert_eq!(report["finish"], "stop_string");
    assert_eq!(report["text"], whole[..whole.find(stop).unwrap()]);
    let shown = run(&greedy(&model, &["-n", "25", "--stop", stop, "once"]));
    assert_eq!(stdout(&shown).trim_end_matches('\n'), &whole[..whole.find(stop).unwrap()]);

    let stats = run(&greedy(&model, &["-n", "25", "--stats", "once"]));
    let lines: Vec<_> = stderr(&stats).lines().collect();
    assert!(lines.len() == 2 && lines[1].contains("prompt 6 tokens") && lines[1].contains("| 25 tokens"), "{lines:?}");
}

#[test]
fn a_full_context_is_an_end_an_error_or_a_shift() {
    let model = model("llama");
    let output = run(&greedy(&model, &["--ctx", "40", "--json", "once upon a time"]));
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("the context of 40 tokens is full"), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["finish"], "context");
    // The last token of the text need not be fed.
    let numbers = &report["statistics"];
    let all = numbers["prompt_tokens"].as_u64().unwrap() + numbers["generated_tokens"].as_u64().unwrap();
    assert_eq!(all, 41);

    let output = run(&greedy(&model, &["--ctx", "8", "once upon a time there was"]));
    assert_exit(&output, 5);
    assert!(output.stdout.is_empty());
    for shift in ["--shift", "--shift=4"] {
        let report = json(&run(&greedy(&model, &["--ctx", "40", "-n", "200", shift, "--json", "once upon a time"])));
        assert_eq!((&report["finish"], &report["statistics"]["generated_tokens"]), (&"length".into(), &200.into()));
    }
}

#[test]
fn threads_and_instruction_sets_change_no_letter() {
    for name in ["gemma3", "lfm2", "bitnet"] {
        let model = model(name);
        let reference = run(&greedy(&model, &["-n", "60", "--threads", "1", "how are you"]));
        assert_exit(&reference, 0);
        for threads in [["2", "2"], ["4", "4"], ["1", "2"], ["2", "1"]] {
            let [decode, prompt] = threads;
            let options = ["-n", "60", "--threads", decode, "--prompt-threads", prompt, "how are you"];
            let output = run(&greedy(&model, &options));
            assert_eq!(stdout(&output), stdout(&reference), "{name}, {threads:?} threads");
        }
        let arguments = greedy(&model, &["-n", "60", "how are you"]);
        let output = babil(&arguments).env("BABIL_ISA", "scalar").output().unwrap();
        assert_eq!(stdout(&output), stdout(&reference), "{name}, scalar");
        let output = run(&greedy(&model, &["-n", "60", "--lookup", "how are you"]));
        assert_eq!(stdout(&output), stdout(&reference), "{name}, with drafts");
    }
}

#[test]
fn keys_and_values_are_stored_as_asked() {
    let folder = Folder::new();
    // The same matrices as heads that are whole blocks.
    let heads = [("head_count", 2), ("head_count_kv", 1), ("key_length", 32), ("value_length", 32)];
    let heads = heads.map(|(key, value)| (format!("llama.attention.{key}"), Value::U32(value)));
    let mut metadata: Vec<_> = heads.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    metadata.push(("llama.rope.dimension_count", Value::U32(32)));
    let model = folder.variant("llama", "wide.gguf", &metadata, |tensors| {
        tensors.retain(|(name, ..)| !name.starts_with("rope_freqs"));
    });
    let text = |kv: &str| {
        let output = run(&greedy(&model, &["-n", "12", "--kv", kv, "once upon a time"]));
        assert_exit(&output, 0);
        stdout(&output).to_owned()
    };
    let exact = text("f32");
    assert_eq!(exact, text("f32"));
    assert!(exact.trim_end().chars().count() >= 12);
    // The first token comes before anything rounded has been added up much.
    for kv in ["f16", "q8_0"] {
        assert_eq!(text(kv).chars().next(), exact.chars().next(), "{kv}");
    }
    let bytes = |kv: &str| json(&run(&["plan", &model, "--kv", kv, "--json"]))["memory"]["cache"].as_u64().unwrap();
    let f32 = bytes("f32");
    assert_eq!((2 * bytes("f16"), 32 * bytes("q8_0")), (f32, 9 * f32));
}

#[test]
fn output_obeys_a_schema_a_pattern_or_a_grammar() {
    let folder = Folder::new();
    let model = folder.with_symbols();
    let schema = r#"{"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "maximum": 99},
        "kind": {"enum": ["tree", "house"]}}, "required": ["size", "kind"], "additionalProperties": false}"#;
    let file = folder.write("schema.json", schema);
    for (schema, seed) in [(schema, "1"), (file.as_str(), "2"), (file.as_str(), "3")] {
        let sampled = ["--temperature", "1", "--seed", seed, "--json", "--ignore-eos"];
        let output = run(&[&["run", &model, "--json-schema", schema, "-n", "200"], &sampled[..], &["once"]].concat());
        assert_exit(&output, 0);
        let text = json(&output)["text"].as_str().unwrap().to_owned();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!((1..=99).contains(&value["size"].as_u64().unwrap()), "{text}");
        assert!(["tree", "house"].contains(&value["kind"].as_str().unwrap()), "{text}");
        assert_eq!(value.as_object().unwrap().len(), 2, "{text}");
    }
    let output = run(&["run", &model, "--regex", "[0-9]{3}-(red|blue)", "-n", "50", "once"]);
    assert_exit(&output, 0);
    let (number, colour) = stdout(&output).trim_end().split_once('-').unwrap();
    assert!(number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()) && ["red", "blue"].contains(&colour));
    let grammar = folder.write("grammar.lark", "start: (\"ab\" | \"cd\") \"e\"\n");
    let output = run(&["run", &model, "--grammar", &grammar, "-n", "50", "once"]);
    assert!(["abe\n", "cde\n"].contains(&stdout(&output)), "{}", stdout(&output));
}

#[test]
fn a_session_goes_on_without_computing_it_again() {
    let folder = Folder::new();
    let (model, session) = (model("gemma3"), folder.path("session"));
    let whole = json(&run(&greedy(&model, &["-n", "30", "--json", "once upon a time"])));
    let first = json(&run(&greedy(&model, &["-n", "12", "--session", &session, "--json", "once upon a time"])));
    let prompt = first["statistics"]["prompt_tokens"].as_u64().unwrap();
    let second = run(&greedy(&model, &["-n", "18", "--session", &session, "--json", ""]));
    assert_exit(&second, 0);
    let second = json(&second);
    // All but the last token, which was chosen but not fed.
    assert_eq!(second["statistics"]["prompt_tokens"], prompt + 12);
    assert_eq!(second["statistics"]["prompt_reused"], prompt + 11);
    let both = format!("{}{}", first["text"].as_str().unwrap(), second["text"].as_str().unwrap());
    assert_eq!(whole["text"], both);
    let third = json(&run(&greedy(&model, &["-n", "3", "--session", &session, "--json", "and then"])));
    assert_eq!(third["statistics"]["prompt_reused"], prompt + 29);

    // A conversation.
    let folder = Folder::new();
    let (model, session) = (folder.with_template("lfm2", TEMPLATE), folder.path("session"));
    let first = json(&run(&greedy(&model, &["-n", "9", "--session", &session, "--json", "who are you"])));
    let second = json(&run(&greedy(&model, &["-n", "9", "--session", &session, "--json", "and me"])));
    let seen = first["statistics"]["prompt_tokens"].as_u64().unwrap() + 8;
    let reused = second["statistics"]["prompt_reused"].as_u64().unwrap();
    // An answer of random tokens need not be what its text would be tokenized as.
    assert!(reused <= seen && reused + 20 > seen, "{reused} of {seen}");
}

#[test]
fn a_disk_that_is_full_when_a_session_is_saved_keeps_the_answer_and_the_old_session() {
    let folder = Folder::new();
    let (model, session) = (model("llama"), folder.path("session"));
    assert_exit(&run(&greedy(&model, &["-n", "3", "--session", &session, "once"])), 0);
    let before = folder.read("session");
    // A limit on the size of files is the full disk that needs no privileges.
    let arguments = greedy(&model, &["-n", "60", "--session", &session, "--quiet", "upon a time"]);
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_babil")])
        .args(&arguments)
        .output()
        .unwrap();
    assert_exit(&output, 7);
    assert!(output.stdout.len() > 60);
    let message = stderr(&output).replace(folder.root(), "FOLDER");
    assert_eq!(message, "babil: cannot write the session FOLDER/session: File too large (os error 27)\n");
    assert_eq!(folder.read("session"), before);
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 1, "nothing half written is left");
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let model = model("llama");
    // Without an end: only the closed pipe ends it.
    let mut command = babil(&greedy(&model, &["--ctx", "64", "--shift", "--quiet", "once"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 20];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap(); // as `| head -c 20` would
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn ctrl_c_ends_an_answer_and_keeps_what_came() {
    let (model, folder) = (model("llama"), Folder::new());
    let session = folder.path("session");
    let mut command = babil(&greedy(&model, &["--ctx", "64", "--shift", "--quiet", "--session", &session, "once"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut text = vec![0; 20];
    pipe.read_exact(&mut text).unwrap();
    interrupt(&child);
    pipe.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert_eq!(stderr(&output), "babil: cancelled\n");
    assert!(text.len() > 20 && text.ends_with(b"\n"));
    let on = run(&greedy(&model, &["--ctx", "65", "-n", "1", "--session", &session, "--json", ""]));
    let of = |key: &str| json(&on)["statistics"][key].as_u64().unwrap();
    // All of it, unless the interruption came when the context had been shifted and not yet been read again.
    let (tokens, reused) = (of("prompt_tokens"), of("prompt_reused"));
    assert!(tokens > 5 && (reused + 1 == tokens || reused == 1), "{reused} of {tokens}");
}

#[test]
fn ctrl_c_is_told_in_json_too() {
    let model = model("llama");
    // Nothing is printed before the end, so the log says when the work has begun.
    let mut command = babil(&greedy(&model, &["--ctx", "64", "--shift", "--json", "once"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    assert_eq!(line, NO_TEMPLATE);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert_eq!(json(&output)["finish"], "cancelled");
    line.clear();
    notes.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"error\":\"cancelled\",\"exit_code\":130}\n");
}

#[test]
fn a_plan_adds_up_and_a_limit_refuses() {
    let model = model("llama");
    let plan = |more: &[&str]| json(&run(&[&["plan", &model, "--json"], more].concat()));
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    for more in [&["--ctx", "100"][..], &["--ctx", "4096"], &["--kv", "f32"], &[]] {
        let plan = plan(more);
        let memory = &plan["memory"];
        let part = |name: &str| number(&memory[name]);
        let parts = part("small_tensors") + part("tokenizer") + part("cache") + part("scratch") + part("logits");
        assert_eq!(number(&plan["anonymous"]), parts);
        assert_eq!(number(&plan["total"]), parts + part("weights"));
    }
    let (short, long) = (plan(&["--ctx", "128"]), plan(&["--ctx", "4096"]));
    assert_eq!(32 * number(&short["memory"]["cache"]), number(&long["memory"]["cache"]));
    // Three layers, two heads of 16 keys and values each, two bytes, in pages of 64 positions.
    assert_eq!(number(&short["memory"]["cache"]), 128 * 3 * 2 * 2 * 16 * 2);
    assert_eq!(long["memory"]["weights"], short["memory"]["weights"]);

    let text = run(&["plan", &model, "--ctx", "128"]);
    assert_exit(&text, 0);
    let lines: Vec<_> = stdout(&text).lines().collect();
    assert!(lines[2].starts_with("tokenizer"), "{lines:?}");
    assert!(lines[3].starts_with("keys and values") && lines[3].ends_with("128 tokens of context"), "{lines:?}");

    // Exactly what is needed is enough; a byte less is not.
    let total = number(&short["total"]);
    let run_with =
        |limit: u64| run(&greedy(&model, &["-n", "1", "--ctx", "128", "--memory-limit", &limit.to_string(), "a"]));
    assert_exit(&run_with(total), 0);
    let refused = run_with(total - 1);
    assert_exit(&refused, 5);
    assert!(refused.stdout.is_empty());
    insta::assert_snapshot!(stderr(&refused).replace(&model, "MODEL"));

    // Without --ctx the context is what fits, and that is said.
    let limit = number(&short["memory"]["weights"]) + 1_200_000;
    let output = run(&greedy(&model, &["-n", "1", "--memory-limit", &limit.to_string(), "--json", "a"]));
    assert_exit(&output, 0);
    let context = number(&json(&output)["statistics"]["context"]);
    assert!((512..4096).contains(&context), "{context}");
    assert!(stderr(&output).contains(&format!("a context of {context} tokens")), "{}", stderr(&output));
}

#[cfg(feature = "candle")]
#[test]
fn what_candle_does_not_have_is_refused() {
    let (native, folder) = (model("llama"), Folder::new());
    // Runs on candle without being asked, because nothing else has it.
    let metadata = [("general.architecture", Value::Str(b"glm4"))];
    let other = folder.variant("llama", "glm4.gguf", &metadata, |_| ());
    let mut messages = String::new();
    for option in [["--prompt-threads", "2"], ["--kv", "f16"], ["--quant", "q8_0"], ["--memory-limit", "8G"]] {
        for (code, arguments) in [
            (2, [&["run", &native, "a", "--backend", "candle"], &option[..]].concat()),
            (2, [&["plan", &native, "--backend", "candle"], &option[..]].concat()),
            (5, [&["run", &other, "a"], &option[..]].concat()),
        ] {
            let output = run(&arguments);
            assert_exit(&output, code);
            assert!(output.stdout.is_empty());
            messages += stderr(&output);
        }
    }
    let output = run(&["plan", &native, "--backend", "candle"]);
    assert_exit(&output, 2);
    messages += stderr(&output);
    insta::assert_snapshot!(messages);
}

#[test]
fn float_weights_are_quantised_while_loading() {
    let (model, cache) = (model("gemma3"), Folder::new());
    let run = |more: &[&str]| {
        let arguments =
            greedy(&model, &[&["-n", "8", "once"], more].concat()).iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        babil(&arguments).env("BABIL_CACHE", cache.root()).output().unwrap()
    };
    assert_exit(&run(&[]), 0);
    assert_eq!(fs::read_dir(cache.root()).unwrap().count(), 0, "floats are used where they lie");
    assert_exit(&run(&["--quant", "q8_0"]), 0);
    assert_eq!(fs::read_dir(cache.path("packed")).unwrap().count(), 1);
    assert_exit(&run(&["--quant", "i2_s"]), 2);
    let weights = |more: &[&str]| {
        json(&tiny::run(&[&["plan", &model, "--json"], more].concat()))["memory"]["weights"].as_u64().unwrap()
    };
    assert!(weights(&["--quant", "q8_0"]) < weights(&[]));
}

/// A profile whose settings are told apart by what they rest.
fn profile(model: &str) -> PowerProfile {
    let point = |rest, tokens_per_s, tokens_per_j| Point {
        setting: Setting { threads: 1, rest, ..Setting::default() },
        freq_khz: None,
        tokens_per_s,
        tokens_per_j: Some(tokens_per_j),
    };
    let subject = Subject {
        model: model.into(),
        model_sha256: None,
        model_type: "llama".into(),
        cpu: Platform::read("/".as_ref()).cpu,
        source: "rapl:package".into(),
        class: Class::C,
    };
    PowerProfile::of(subject, vec![point(0.0, 10.0, 1.0), point(2.0, 8.0, 1.5), point(3.0, 2.0, 2.0)]).unwrap()
}

#[test]
fn power_is_what_was_measured_of_the_model() {
    let (model, cache) = (model("llama"), Folder::new());
    let run = |power: &[&str]| {
        let arguments = greedy(&model, &[&["-n", "20", "--json", "once"], power].concat())
            .iter()
            .map(|argument| argument.to_string())
            .collect::<Vec<_>>();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        babil(&arguments).env("BABIL_CACHE", cache.root()).output().unwrap()
    };
    let plain = run(&[]);
    assert_exit(&plain, 0);
    assert!(json(&plain)["statistics"].get("pace").is_none());
    let unknown = run(&["--power", "fast"]);
    assert_exit(&unknown, 0);
    assert!(stderr(&unknown).contains("nothing was measured of this model"), "{}", stderr(&unknown));

    let path = profile(&model).save(cache.path("power").as_ref()).unwrap();
    for (power, rests) in [("fast", false), ("balanced", true), ("eco", true)] {
        let output = run(&["--power", power]);
        assert_exit(&output, 0);
        assert_eq!(json(&output)["text"], json(&plain)["text"], "{power}");
        assert!(!stderr(&output).contains("nothing was measured"), "{}", stderr(&output));
        assert_eq!(json(&output)["statistics"].get("pace").is_some(), rests, "{power}");
        if rests {
            assert!(json(&output)["statistics"]["pace"]["rested_s"].as_f64().unwrap() > 0.0, "{power}");
            assert!(stderr(&output).contains("rested for"), "{}", stderr(&output));
        }
    }
    fs::write(path, "{}").unwrap();
    let damaged = run(&["--power", "eco"]);
    assert_exit(&damaged, 4);
    assert!(stderr(&damaged).contains("delete it, and run `babil bench --sweep`"), "{}", stderr(&damaged));
    // Without --power nobody looks at it.
    assert_exit(&run(&[]), 0);
}

#[test]
fn a_limit_of_temperature_makes_sense() {
    let model = model("llama");
    let output = run(&greedy(&model, &["-n", "3", "--max-temp", "1000", "once"]));
    assert_exit(&output, 5);
    assert!(stderr(&output).contains("20 to 120 make sense"), "{}", stderr(&output));
    let output = run(&greedy(&model, &["-n", "3", "--max-temp", "119", "--json", "once"]));
    match Thermal::read("/".as_ref()).cpu_c {
        None => assert!(stderr(&output).contains("there is no sensor in /sys/class/thermal"), "{}", stderr(&output)),
        Some(_) => assert!(json(&output)["statistics"]["pace"]["hottest_c"].is_number()),
    }
}

#[test]
fn a_text_is_shown_as_tokens() {
    let model = model("llama");
    let opened = LanguageModel::open(model.as_ref(), &LanguageOptions::default()).unwrap();
    let text = "The trees, and <s> häuser";
    for (flags, expected) in [
        (&[][..], opened.tokenizer().encode(text, Marks::AsText).unwrap()),
        (&["--marks"], opened.tokenizer().encode(text, Marks::Parse).unwrap()),
        (&["--bos"], opened.tokenizer().prompt(text, Marks::AsText).unwrap()),
    ] {
        let output = run(&[&["tokenize", &model, text, "--json"], flags].concat());
        let ids = json(&output);
        let ids: Vec<_> = ids.as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap() as u32).collect();
        assert_eq!(ids, expected, "{flags:?}");
        let shown = run_with_stdin(&[&["tokenize", &model], flags].concat(), text.as_bytes());
        let shown: Vec<u32> =
            stdout(&shown).lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
        assert_eq!(shown, expected, "{flags:?}");
    }
}

#[test]
fn perplexity_is_that_of_its_definition() {
    const CHUNK: usize = 48;
    let (folder, path) = (Folder::new(), model("granite"));
    let text = "the quick brown fox jumps over the lazy dog and runs away into the Forest ".repeat(6);
    let file = folder.write("text.txt", &text);
    let model = LanguageModel::open(path.as_ref(), &LanguageOptions::default()).unwrap();
    let tokens = model.tokenizer().prompt(&text, Marks::AsText).unwrap();
    let bos = model.tokenizer().special().bos.unwrap();
    assert_eq!(tokens[0], bos);
    let (mut sum, mut count) = (0.0, 0);
    for chunk in tokens.chunks_exact(CHUNK) {
        let chunk = [&[bos], &chunk[1..]].concat();
        let mut session = model.session().unwrap();
        let (mut state, mut logits) = (session.sequence(), Logits::default());
        session.step(&mut [Row { state: &mut state, tokens: &chunk, want: Want::All }], &mut logits).unwrap();
        for at in CHUNK / 2..CHUNK - 1 {
            let row: Vec<f64> = logits.row(at).iter().map(|&logit| f64::from(logit)).collect();
            let total: f64 = row.iter().map(|logit| logit.exp()).sum();
            sum += total.ln() - row[chunk[at + 1] as usize];
            count += 1;
        }
    }
    let report = json(&run(&["perplexity", &path, &file, "--chunk", "48", "--json"]));
    assert_eq!((&report["tokens"], &report["chunks"]), (&count.into(), &(tokens.len() / CHUNK).into()));
    let (found, expected) = (report["perplexity"].as_f64().unwrap(), (sum / f64::from(count)).exp());
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} instead of {expected}");
    let shown = run(&["perplexity", &path, &file, "--chunk", "48"]);
    assert!(stdout(&shown).starts_with(&format!("{found:.4} +/- ")), "{}", stdout(&shown));
    assert_exit(&run(&["perplexity", &path, &file, "--chunk", "400"]), 5);
    assert_exit(&run(&["perplexity", &path, &folder.path("missing")]), 5);
}

#[test]
fn embeddings_have_length_one_and_equal_texts_equal_ones() {
    let model = model("smollm3");
    let texts = ["where is the station", "where are the trains", "where is the station"];
    let output = run(&[&["embed", &model, "--json"], &texts[..]].concat());
    assert_exit(&output, 0);
    let vectors: Vec<Vec<f64>> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["embedding"].clone())
        .map(|vector| serde_json::from_value(vector).unwrap())
        .collect();
    assert_eq!((vectors.len(), vectors[0].len()), (3, 32));
    for vector in &vectors {
        let length: f64 = vector.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
    let lines = run_with_stdin(&["embed", &model], texts.join("\n").as_bytes());
    let parse = |line: &str| line.split(' ').map(|v| v.parse().unwrap()).collect::<Vec<f64>>();
    let plain: Vec<_> = stdout(&lines).lines().map(parse).collect();
    for (plain, vector) in plain.iter().zip(&vectors) {
        assert!(plain.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-6));
    }
    assert_eq!(plain.len(), 3);
    assert_exit(&run(&["embed", &model, "--ctx", "4", "a long text"]), 5);
}

#[test]
fn bad_input_is_named() {
    let folder = Folder::new();
    let good = model("llama");
    let whole = fs::read(&good).unwrap();
    let mut messages = String::new();
    let mut check = |name: &str, code: i32, output: std::process::Output| {
        assert_exit(&output, code);
        assert!(output.stdout.is_empty(), "{name}: {}", stdout(&output));
        let message = stderr(&output).replace(NO_TEMPLATE, "");
        let message = message.replace(folder.root(), "FOLDER").replace(&good, "MODEL");
        messages += &format!("{name} ({code}): {message}");
    };
    let hello = |model: &str| run(&["run", model, "hello"]);
    let keep = |_: &mut Vec<Tensor>| ();

    check("not a model", 4, hello(&folder.write("page.gguf", "<html>no</html>")));
    check("an empty file", 4, hello(&folder.write("empty.gguf", "")));
    check("a truncated header", 4, hello(&folder.write("short.gguf", &whole[..500])));
    check("truncated tensors", 4, hello(&folder.write("cut.gguf", &whole[..whole.len() - 5000])));
    let unknown = [("general.architecture", Value::Str(b"abacus"))];
    check("an unknown architecture", 4, hello(&folder.variant("llama", "unknown.gguf", &unknown, keep)));
    let missing = folder.variant("llama", "missing.gguf", &[], |tensors| {
        tensors.retain(|(name, ..)| name != "blk.1.ffn_up.weight");
    });
    check("a missing tensor", 4, hello(&missing));
    let other = folder.variant("llama", "shape.gguf", &[], |tensors| {
        let (_, shape, _) = tensors.iter_mut().find(|(name, ..)| name == "blk.1.ffn_up.weight").unwrap();
        shape.reverse();
    });
    check("a tensor of another shape", 4, hello(&other));
    fs::create_dir(folder.path("empty")).unwrap();
    check("a folder without config.json", 4, hello(&folder.path("empty")));

    let template = |text: &str| run(&["run", &folder.with_template("llama", text), "hello"]);
    check("a template that is none", 4, template("{% for m in messages %}\n{{ m.content }"));
    check("a template that refuses", 5, template("{{ raise_exception('no questions, please') }}"));
    check(
        "a template without end",
        4,
        template("{% for i in range(100000) %}{% for j in range(100000) %}a{% endfor %}{% endfor %}"),
    );
    // The model itself is sound.
    let raw = run(&greedy(&folder.with_template("llama", "{{"), &["--raw", "-n", "3", "hello"]));
    assert_exit(&raw, 0);

    let option = |options: &[&str]| run(&[&["run", &good], options, &["hello"]].concat());
    check("a long prompt", 5, run(&["run", &good, "--ctx", "8", "once upon a time there was"]));
    check("a longer context than the model's", 5, option(&["--ctx", "5000"]));
    check("a temperature below 0", 5, option(&["--temperature", "-1"]));
    check("no temperature", 5, option(&["--temperature", "nan"]));
    check("a top-p above 1", 5, option(&["--top-p", "2"]));
    check("a bias for no token", 5, option(&["--logit-bias", "80=1"]));
    check("an infinite bias", 5, option(&["--logit-bias", "7=inf"]));
    check("an empty stop string", 5, option(&["--stop", ""]));
    check("8 bits for odd heads", 5, option(&["--kv", "q8_0"]));
    check("JSON that ends early", 5, option(&["--json-schema", "{\"type\": "]));
    check("a schema of nothing", 5, option(&["--json-schema", "{\"type\": 7}"]));
    check("a missing schema", 5, option(&["--json-schema", &folder.path("missing.json")]));
    check("a bad expression", 5, option(&["--regex", "(a"]));
    check("a missing prompt", 5, run(&["run", &good, "--file", &folder.path("missing.txt")]));
    check("bad bytes", 5, run_with_stdin(&["run", &good], b"hello \xff"));
    check("bad bytes to embed", 5, run_with_stdin(&["embed", &good], b"hello \xff"));
    check("bad bytes to tokenize", 5, run_with_stdin(&["tokenize", &good], b"hello \xff"));

    let session = |file: &str| run(&["run", &good, "--session", file, "hello"]);
    let of_another = folder.path("of-another");
    assert_exit(&run(&greedy(&model("qwen3"), &["-n", "3", "--session", &of_another, "hello"])), 0);
    check("a session of another model", 4, session(&of_another));
    let own = folder.path("own");
    assert_exit(&run(&greedy(&good, &["-n", "3", "--session", &own, "hello"])), 0);
    let mut bytes = folder.read("own");
    *bytes.last_mut().unwrap() ^= 1;
    check("a damaged session", 4, session(&folder.write("damaged", bytes)));
    check(
        "a session of text in a chat",
        4,
        run(&["run", &folder.with_template("llama", TEMPLATE), "--session", &own, "hello"]),
    );
    check("no session", 4, session(&folder.write("text", "hello")));
    check("a folder as session", 4, session(folder.root()));
    check("a session that nobody can write", 7, {
        let mut output = run(&greedy(&good, &["-n", "3", "--session", &folder.path("no/such/session"), "hello"]));
        // The answer comes first.
        assert!(!std::mem::take(&mut output.stdout).is_empty());
        output
    });
    insta::assert_snapshot!(messages);
}

#[test]
fn wrong_usage_has_its_own_code() {
    let model = model("llama");
    for more in [
        &["--shift", "--shift=many", "a"][..],
        &["--memory-limit", "much", "a"],
        &["--logit-bias", "7", "a"],
        &["--regex", "a", "--json-schema", "{}", "a"],
        &["--file", "a", "a"],
        &["--raw", "--system", "a", "a"],
        &["--ctx", "0", "a"],
        &["--kv", "q4_0", "a"],
    ] {
        let output = run(&[&["run", &model], more].concat());
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty());
    }
}
