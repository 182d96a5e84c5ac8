//! The whole command, over a translator that writes in capitals.

use std::fs;
use std::sync::{Arc, Mutex};

use babil_models::tasks::testing::Shouter;
use clap::Parser;
use serde_json::Value;

use super::*;
use crate::args::{Cli, Command};
use crate::exit::Exit;

/// A stdout that tests can look at, and that breaks after `room` bytes.
#[derive(Clone)]
struct Stdout {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
    error: io::ErrorKind,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.bytes.lock().unwrap();
        if written.len() >= self.room {
            return Err(self.error.into());
        }
        let length = bytes.len().min(self.room - written.len());
        written.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stdout {
    fn new() -> Self {
        Self { bytes: Arc::default(), room: usize::MAX, error: io::ErrorKind::Other }
    }
}

struct Outcome {
    stdout: String,
    exit: Exit,
    message: String,
}

struct Test {
    stdout: Stdout,
    terminal: bool,
    translator: fn() -> Shouter,
}

impl Default for Test {
    fn default() -> Self {
        Self { stdout: Stdout::new(), terminal: false, translator: Shouter::default }
    }
}

impl Test {
    fn run(&self, args: &[&str], stdin: impl Read + Send + 'static) -> Outcome {
        let cli = Cli::try_parse_from(["babil", "translate", "--quiet"].iter().chain(args)).unwrap();
        let context = cli.global.resolve();
        let Command::Translate(args) = cli.command else { unreachable!("the arguments are those of translate") };
        let streams = Streams {
            stdin: Some(Box::new(stdin)),
            stdout: Box::new(self.stdout.clone()),
            stdin_is_terminal: false,
            stdout_is_terminal: self.terminal,
        };
        let result = translate(&args, &context, streams, &|_| Ok(Box::new((self.translator)())));
        let stdout = String::from_utf8(self.stdout.bytes.lock().unwrap().clone()).unwrap();
        match result {
            Ok(()) => Outcome { stdout, exit: Exit::Success, message: String::new() },
            Err(error) => Outcome { stdout, exit: Exit::of(&error), message: format!("{error:#}") },
        }
    }
}

fn babil(args: &[&str], stdin: &'static str) -> Outcome {
    Test::default().run(args, stdin.as_bytes())
}

#[track_caller]
fn assert_output(args: &[&str], stdin: &'static str, expected: &str) {
    let outcome = babil(args, stdin);
    assert_eq!((outcome.stdout.as_str(), outcome.exit), (expected, Exit::Success), "{}", outcome.message);
}

#[track_caller]
fn assert_failure(args: &[&str], exit: Exit) -> String {
    let outcome = babil(args, "");
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("", exit), "{}", outcome.message);
    outcome.message
}

#[test]
fn text_comes_from_arguments_or_stdin() {
    assert_output(&["--to", "fr", "Where is it?"], "", "WHERE IS IT?\n");
    assert_output(&["--to", "french", "Where", "is", "it?"], "", "WHERE IS IT?\n");
    assert_output(&["--to", "fr"], "one\n\n  two\r\nthree", "ONE\n\n  TWO\r\nTHREE");
    assert_output(&["--to", "fr", "-"], "one\n", "ONE\n");
    assert_output(&["--to", "fr", "-f", "-"], "one\n", "ONE\n");
}

#[test]
fn nothing_becomes_nothing() {
    assert_output(&["--to", "fr"], "", "");
    assert_output(&["--to", "fr", ""], "", "");
}

#[test]
fn many_lines_keep_their_order() {
    let lines: String = (0..3000).map(|i| format!("{}line {i}\n", "word ".repeat(i * 7 % 11))).collect();
    let expected = lines.to_uppercase();
    let outcome = Test::default().run(&["--to", "fr"], io::Cursor::new(lines));
    assert!(outcome.stdout == expected);
}

#[test]
fn a_terminal_gets_whole_lines() {
    let test = Test { terminal: true, ..Test::default() };
    assert_eq!(test.run(&["--to", "fr"], &b"one. Two"[..]).stdout, "ONE. TWO\n");
}

#[test]
fn the_source_language_is_guessed_among_the_possible_ones() {
    let outcome = babil(&["--to", "en", "--json", "Où se trouve la gare, s'il vous plaît ?"], "");
    let first: Value = serde_json::from_str(outcome.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["from"], "fr");
}

#[test]
fn impossible_requests_are_explained() {
    let message = assert_failure(&["--from", "fr", "--to", "pt", "Bonjour"], Exit::BadInput);
    assert!(message.contains("does not translate from French into Portuguese"), "{message}");
    assert!(message.contains("de -> en, en -> fr, fr -> en"), "{message}");
    let message = assert_failure(&["--to", "fr", "--alternatives", "2", "Hello"], Exit::Usage);
    assert!(message.contains("--json"), "{message}");
    assert_failure(&["--to", "fr", "--json", "--beam", "2", "--alternatives", "3", "Hello"], Exit::Usage);
}

#[test]
fn bad_bytes_are_named_and_what_came_before_is_written() {
    let outcome = Test::default().run(&["--to", "fr"], &b"one\ntwo\nth\xffree\n"[..]);
    assert_eq!(outcome.stdout, "ONE\nTWO\nTH\n");
    assert_eq!(outcome.exit, Exit::BadInput);
    assert_eq!(outcome.message, "stdin: the input is not UTF-8 text: invalid byte 0xFF at byte 10");
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let lines = "some words\n".repeat(10_000);
    let with = |error| Test { stdout: Stdout { room: 100, error, ..Stdout::new() }, ..Test::default() };
    let test = with(io::ErrorKind::BrokenPipe);
    assert_eq!(test.run(&["--to", "fr"], io::Cursor::new(lines.clone())).exit, Exit::Success);
    let outcome = with(io::ErrorKind::StorageFull).run(&["--to", "fr"], io::Cursor::new(lines));
    assert_eq!(outcome.exit, Exit::Disk);
    assert!(outcome.message.starts_with("cannot write stdout: "), "{}", outcome.message);
}

#[test]
fn json_has_an_object_for_each_sentence_and_a_summary() {
    let outcome =
        babil(&["--to", "fr", "--from", "en", "--json", "--alternatives", "2"], "Where is it? Here.\n\n- And there!\n");
    let redacted: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            for key in ["seconds", "tokens_per_second", "load_seconds"] {
                if let Some(number) = object.get_mut(key) {
                    assert!(number.is_number() || number.is_null());
                    *number = "[time]".into();
                }
            }
            value
        })
        .collect();
    insta::assert_json_snapshot!(redacted);
}

#[test]
fn one_file_goes_to_stdout_or_where_output_says() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("notes.txt");
    fs::write(&source, "one\ntwo\n").unwrap();
    let source = source.to_str().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    assert_output(&["--to", "fr", source], "", "ONE\nTWO\n");
    assert_output(&["--to", "fr", "--file", source], "", "ONE\nTWO\n");
    assert_output(&["--to", "fr", "--text", source], "", &format!("{}\n", source.to_uppercase()));
    assert_output(&["--to", "fr", source, "-o", &path("out.txt")], "", "");
    assert_eq!(fs::read_to_string(path("out.txt")).unwrap(), "ONE\nTWO\n");
    assert_output(&["--to", "fr", source, "-o", &path("new/")], "", "");
    assert_eq!(fs::read_to_string(path("new/notes.fr.txt")).unwrap(), "ONE\nTWO\n");

    let message = assert_failure(&["--to", "fr", source, "-o", &path("out.txt")], Exit::Usage);
    assert!(message.ends_with("out.txt exists already; --force overwrites it"), "{message}");
    assert_output(&["--to", "fr", source, "-o", &path("out.txt"), "--force"], "", "");
    assert_failure(&["--to", "fr", source, "-o", source, "--force"], Exit::Usage);
    assert_failure(&["--to", "fr", "-f", &path("missing.txt")], Exit::BadInput);
    assert_failure(&["--to", "fr", "-f", folder.path().to_str().unwrap()], Exit::BadInput);
    assert_failure(&["--to", "fr", source, "and", "text"], Exit::Usage);
    assert_eq!(fs::read_to_string(source).unwrap(), "one\ntwo\n");
}

#[test]
fn several_files_are_written_beside_their_sources_or_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("sub")).unwrap();
    for name in ["a.txt", "b.md", "sub/a.txt"] {
        fs::write(path(name), format!("this is {name}\n")).unwrap();
    }
    assert_output(&["--to", "fr", &path("a.txt"), &path("b.md")], "", "");
    assert_eq!(fs::read_to_string(path("a.fr.txt")).unwrap(), "THIS IS A.TXT\n");
    assert_eq!(fs::read_to_string(path("b.fr.md")).unwrap(), "THIS IS B.MD\n");

    assert_output(&["--to", "fr", &path("a.txt"), &path("b.md"), "-o", &path("out")], "", "");
    assert_eq!(fs::read_to_string(path("out/b.fr.md")).unwrap(), "THIS IS B.MD\n");

    let message = assert_failure(&["--to", "fr", &path("a.txt"), &path("sub/a.txt"), "-o", &path("both")], Exit::Usage);
    assert!(message.starts_with("two of the files"), "{message}");
    assert_failure(&["--to", "fr", &path("a.txt"), &path("b.md"), "-o", &path("a.fr.txt")], Exit::Usage);
}

#[test]
fn an_unfinished_file_is_kept_as_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("notes.txt");
    fs::write(&source, b"one\ntw\0o\n").unwrap();
    let target = folder.path().join("out.txt");
    assert_failure(&["--to", "fr", source.to_str().unwrap(), "-o", target.to_str().unwrap()], Exit::BadInput);
    assert!(!target.exists());
    assert_eq!(fs::read_to_string(folder.path().join("out.txt.part")).unwrap(), "ONE\nTW\n");
}

#[test]
fn a_named_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        return;
    }
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "one\n").unwrap()
    });
    assert_output(&["--to", "fr", pipe.to_str().unwrap()], "", "ONE\n");
    writer.join().unwrap();
}

/// Gives a line, then waits until the line's translation was seen.
struct Conversation {
    lines: Vec<&'static str>,
    stdout: Stdout,
}

impl Read for Conversation {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lines.is_empty() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while self.stdout.bytes.lock().unwrap().is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(*self.stdout.bytes.lock().unwrap(), b"FIRST\n", "the first line was not translated in time");
        }
        let line = self.lines.pop().unwrap_or_default();
        buffer[..line.len()].copy_from_slice(line.as_bytes());
        Ok(line.len())
    }
}

#[test]
fn a_slow_input_is_translated_as_it_comes() {
    let test = Test::default();
    let stdin = Conversation { lines: vec!["first\n"], stdout: test.stdout.clone() };
    let outcome = test.run(&["--to", "fr"], stdin);
    assert_eq!(outcome.stdout, "FIRST\n");
}

const SRT: &str = "\
1
00:00:01,000 --> 00:00:02,000
<i>The colossus</i>

2
00:00:02,000 --> 00:00:04,500
<i>of Rhodes.</i>

3
00:00:05,000 --> 00:00:06,000
- Emo, look!
- [door] No.
";

#[test]
fn subtitles_are_translated_by_sentences_and_keep_their_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("film.SRT"), SRT).unwrap();
    let shouted = SRT.replace("The colossus", "THE COLOSSUS").replace("of Rhodes.", "OF RHODES.");
    let shouted = shouted.replace("Emo, look!", "EMO, LOOK!").replace("[door] No.", "[DOOR] NO.");
    assert_output(&["--to", "fr", &path("film.SRT")], "", &shouted);
    assert_output(&["--to", "fr", &path("film.SRT"), "-o", &path("out/")], "", "");
    assert_eq!(fs::read_to_string(path("out/film.fr.SRT")).unwrap(), shouted);

    // A file's name says its format.
    assert_output(&["--to", "fr", &path("film.SRT"), "-o", &path("film.vtt")], "", "");
    let webvtt = fs::read_to_string(path("film.vtt")).unwrap();
    assert!(webvtt.starts_with("WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<i>THE COLOSSUS</i>\n"), "{webvtt}");
    assert_output(&["--to", "fr", "--text", &path("film.SRT")], "", &format!("{}\n", path("film.SRT").to_uppercase()));
}

#[test]
fn subtitles_as_json_have_sentences_and_cues() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("film.srt");
    fs::write(&source, SRT).unwrap();
    let outcome = babil(&["--from", "en", "--to", "fr", "--json", source.to_str().unwrap()], "");
    let objects: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = objects.iter().map(|object| object["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["sentence", "sentence", "sentence", "sentence", "cue", "cue", "cue", "summary"]);
    assert_eq!(objects[0]["cues"], serde_json::json!([1, 2]));
    assert_eq!((&objects[0]["start"], &objects[0]["end"]), (&1.0.into(), &4.5.into()));
    assert_eq!(objects[0]["source"], "The colossus of Rhodes.");
    assert_eq!((&objects[4]["text"], &objects[4]["end"]), (&"<i>THE COLOSSUS</i>".into(), &2.0.into()));
    assert_eq!((&objects[7]["sentences"], &objects[7]["bytes"]), (&4.into(), &SRT.len().into()));
}

#[test]
fn what_is_no_subtitle_file_is_refused_and_an_empty_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("film.srt"), "This is a letter.\n").unwrap();
    let message = assert_failure(&["--to", "fr", &path("film.srt")], Exit::BadInput);
    assert!(message.starts_with("there are no subtitles in"), "{message}");
    fs::write(path("empty.srt"), "\n").unwrap();
    assert_output(&["--from", "en", "--to", "fr", &path("empty.srt")], "", "");
    fs::write(path("empty.vtt"), "WEBVTT\n").unwrap();
    assert_output(&["--from", "en", "--to", "fr", &path("empty.vtt")], "", "WEBVTT\n");
    assert_failure(&["--to", "fr", "--file", &path("missing.srt")], Exit::BadInput);
}

#[test]
fn glossaries_are_read_and_their_mistakes_named() {
    let folder = tempfile::tempdir().unwrap();
    let glossary = folder.path().join("terms.txt");
    fs::write(&glossary, "# nouns\nSea = see\nthe sea = la mer\n").unwrap();
    let glossary = glossary.to_str().unwrap();
    assert_output(&["--to", "fr", "--glossary", glossary, "The sea, to me!"], "", "LA MER, TO ME!\n");
    assert_output(&["--to", "fr", "--keep", "sea", "The sea, to me!"], "", "THE SEA, TO ME!\n");
    fs::write(glossary, "Emo\n= MER\n").unwrap();
    let message = assert_failure(&["--to", "fr", "--glossary", glossary, "Emo"], Exit::BadInput);
    assert!(message.ends_with("terms.txt: line 2: there is no term before `=`"), "{message}");
    assert_failure(&["--to", "fr", "--glossary", "no/such/file", "Emo"], Exit::BadInput);
    assert_failure(&["--to", "fr", "--keep", " ", "Emo"], Exit::Usage);
}
