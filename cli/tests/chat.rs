//! `babil chat`, line by line from stdin, on tiny random models.
#![cfg(unix)]

#[path = "support/tiny.rs"]
mod tiny;

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::Value;
use tiny::*;

/// `chat MODEL` with `more`, always taking the most probable token, eight of them.
fn chat(model: &str, more: &[&str], lines: &str) -> std::process::Output {
    let fixed = ["chat", model, "--temperature", "0", "--ignore-eos", "-n", "8"];
    run_with_stdin(&[&fixed, more].concat(), lines.as_bytes())
}

/// The answers, and how many tokens each prompt had.
fn answers(model: &str, more: &[&str], lines: &str) -> Vec<(String, u64)> {
    let output = chat(model, &[&["--json"], more].concat(), lines);
    assert_exit(&output, 0);
    let answer = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = value["text"].as_str().unwrap().to_owned();
        (text, value["statistics"]["prompt_tokens"].as_u64().unwrap())
    };
    stdout(&output).lines().map(answer).collect()
}

#[test]
fn turns_follow_each_other() {
    let folder = Folder::new();
    let model = folder.with_template("gemma3", TEMPLATE);
    let output = chat(&model, &[], "who are you\nand me\n");
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
    let found = answers(&model, &[], "who are you\n\n  \nand me\n");
    let lines: String = found.iter().map(|(text, _)| format!("{text}\n")).collect();
    assert_eq!(stdout(&output), lines);
    // The second prompt holds the first question and its answer.
    assert!(found.len() == 2 && found[1].1 > found[0].1 + 8, "{found:?}");
    // As `run` answers the first one.
    let run = run(&["run", &model, "--temperature", "0", "--ignore-eos", "-n", "8", "who are you"]);
    assert_eq!(stdout(&run).strip_suffix('\n').unwrap(), found[0].0);
    // A line that is continued.
    let split = answers(&model, &[], "who are \\\nyou\n");
    assert_eq!(split.len(), 1);
}

#[test]
fn commands_change_the_conversation() {
    let folder = Folder::new();
    let model = folder.with_template("llama", TEMPLATE);
    let first = &answers(&model, &[], "who are you\n")[0];
    let two = answers(&model, &[], "who are you\nand me\n");
    assert_eq!(two[0], *first);

    let cleared = answers(&model, &[], "hello there\n/clear\nwho are you\n");
    assert_eq!(cleared[1], *first);
    let undone = answers(&model, &[], "who are you\nhello there\n/undo\nand me\n");
    assert_eq!((&undone[0], &undone[2]), (first, &two[1]));
    let again = answers(&model, &[], "who are you\nand me\n/retry\n");
    assert_eq!(again[2], two[1]);

    let with_system = answers(&model, &["--system", "be kind"], "who are you\n");
    assert_ne!(with_system[0].1, first.1);
    let set = answers(
        &model,
        &[],
        "hello there\n/system be kind\nwho are you\n/clear\nwho are you\n/undo\n/undo\nwho are you\n",
    );
    assert_eq!([&set[1], &set[2], &set[3]], [&with_system[0]; 3], "/clear and /undo keep the system prompt");

    let output = chat(&model, &[], "/help\n/undo\n/retry\n/stats\n/save\n/dance\nhello\n/stats\n/exit\nnever\n");
    assert_exit(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 1);
    let (notes, statistics) = stderr(&output).trim_end().rsplit_once('\n').unwrap();
    assert!(statistics.contains("| 8 tokens"), "{statistics}");
    insta::assert_snapshot!(notes);
}

#[test]
fn a_conversation_is_saved_and_goes_on() {
    let folder = Folder::new();
    let model = folder.with_template("lfm2", TEMPLATE);
    let whole = answers(&model, &["--system", "be kind"], "who are you\nand me\nhello\n");
    let session = folder.path("talk");
    let first = answers(&model, &["--system", "be kind", "--session", &session], "who are you\nand me\n");
    assert_eq!(first, whole[..2]);
    let second = answers(&model, &["--session", &session], "hello\n");
    assert_eq!(second, whole[2..]);

    // The same system prompt is no other one; what cannot be had is refused, and the file stays as it is.
    let with_system = |system: &str| chat(&model, &["--system", system, "--session", &session], "/exit\n");
    assert_exit(&with_system("be kind"), 0);
    let (before, refused) = (folder.read("talk"), with_system("be brief"));
    assert_exit(&refused, 2);
    insta::assert_snapshot!(stderr(&refused).replace(folder.root(), "FOLDER"));
    assert_eq!(folder.read("talk"), before);
    let refused = run(&["run", &model, "--system", "be brief", "--session", &session, "hello"]);
    assert_exit(&refused, 2);
    assert_eq!(folder.read("talk"), before);

    let copy = folder.path("copy");
    let saved = chat(&model, &[], &format!("who are you\n/save {copy}\n/load {copy}x\n"));
    assert_exit(&saved, 0);
    let notes = stderr(&saved).replace(folder.root(), "FOLDER");
    let missing = "babil: cannot read the session FOLDER/copyx: No such file or directory (os error 2)\n";
    assert_eq!(notes, format!("saved\n{missing}"));
    let loaded = answers(&model, &[], &format!("/load {copy}\nand me\n"));
    assert_eq!(loaded, answers(&model, &[], "who are you\nand me\n")[1..]);
}

#[test]
fn a_shift_keeps_the_system_prompt_and_without_it_a_long_conversation_is_an_error() {
    let folder = Folder::new();
    let model = folder.with_template("llama", TEMPLATE);
    let lines = "who are you\n".repeat(6);
    let context = ["--ctx", "80", "--system", "be kind"];
    let shifted = answers(&model, &[&context[..], &["--shift"]].concat(), &lines);
    assert_eq!(shifted.len(), 6);
    assert!(shifted[5].1 > 80, "the conversation does not fit any more");
    let session = folder.path("talk");
    let output = chat(&model, &[&context[..], &["--session", &session]].concat(), &lines);
    assert_exit(&output, 5);
    let message = "tokens, but the context only 80\n";
    assert!(stderr(&output).ends_with(message), "{}", stderr(&output));
    // What fitted was answered and saved.
    let answered = stdout(&output).lines().count();
    assert!((1..6).contains(&answered));
    let resumed = chat(&model, &["--session", &session], "/exit\n");
    let messages = format!("{} messages of {session}\n", 1 + 2 * answered);
    assert_eq!(stderr(&resumed), messages);
}

#[test]
fn ctrl_c_ends_a_conversation_from_stdin_and_saves_it() {
    let folder = Folder::new();
    let model = folder.with_template("llama", TEMPLATE);
    let session = folder.path("talk");
    let arguments = ["chat", &model, "--ignore-eos", "--ctx", "64", "--shift", "--session", &session];
    let mut command = babil(&arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"who are you\nand me\n").unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut text = vec![0; 20];
    pipe.read_exact(&mut text).unwrap();
    interrupt(&child);
    pipe.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert!(text.len() > 20);
    let resumed = chat(&model, &["--session", &session], "/exit\n");
    assert_eq!(stderr(&resumed), format!("2 messages of {session}\n"));
}

#[test]
fn what_cannot_be_a_chat_is_refused() {
    let folder = Folder::new();
    let mut messages = String::new();
    let mut check = |code: i32, output: std::process::Output| {
        assert_exit(&output, code);
        messages += &stderr(&output).replace(folder.root(), "FOLDER").replace(fixture("").to_str().unwrap(), "");
    };
    check(4, chat(&model("llama"), &[], "hello\n"));
    check(4, chat(&folder.with_template("llama", "{{"), &[], "hello\n"));
    check(5, chat(&folder.with_template("llama", "{{ raise_exception('no') }}"), &[], "hello\n"));
    check(5, chat(&folder.with_template("llama", TEMPLATE), &["--top-p", "2"], "hello\n"));
    check(4, chat(&folder.with_template("llama", TEMPLATE), &["--think"], "hello\n"));
    let model = folder.with_template("llama", TEMPLATE);
    check(5, run_with_stdin(&["chat", &model], b"hello \xff\n"));
    insta::assert_snapshot!(messages);
}
