//! `include/babil.h` is what cbindgen makes of `src/c`. With `BABIL_WRITE_HEADER=1` the test writes it (`just header`).

use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, RenameRule};

/// What stands before everything else.
const HEADER: &str = "\
/* babil for C: translation, small language models and speech, on the device itself.
 *
 * Engines, conversations and generations are numbers that are never used twice; 0 is none. Everything is pulled: no thread
 * of the library calls into the program. All functions can be called from any thread. Using what was closed gives
 * BABIL_STATUS_CLOSED, and is never a crash. Strings are UTF-8 and end with NUL; texts have a length and may hold NUL.
 *
 * Made from android/src/c by `just header`: change it there.
 */";

/// Names of types, in Rust and in C.
const TYPES: [[&str; 2]; 15] = [
    ["BabilStatus", "babil_status"],
    ["BabilDevice", "babil_device"],
    ["BabilOptions", "babil_options"],
    ["BabilNeeds", "babil_needs"],
    ["BabilTask", "babil_task"],
    ["BabilPair", "babil_pair"],
    ["BabilListenOptions", "babil_listen_options"],
    ["BabilWhenFull", "babil_when_full"],
    ["BabilThink", "babil_think"],
    ["BabilChatOptions", "babil_chat_options"],
    ["BabilKind", "babil_kind"],
    ["BabilPiece", "babil_piece"],
    ["BabilFinish", "babil_finish"],
    ["BabilStatistics", "babil_statistics"],
    ["BabilMessage", "babil_message"],
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn generated() -> String {
    let mut config = Config {
        header: Some(HEADER.to_owned()),
        include_guard: Some("BABIL_H".to_owned()),
        language: Language::C,
        cpp_compat: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        documentation_style: DocumentationStyle::Doxy,
        line_length: 120,
        ..Config::default()
    };
    config.enumeration.rename_variants = RenameRule::QualifiedScreamingSnakeCase;
    config.export.rename = TYPES.iter().map(|[rust, c]| ((*rust).to_owned(), (*c).to_owned())).collect();
    // Those that only numbers in structures stand for.
    config.export.include = ["BabilDevice", "BabilThink", "BabilWhenFull"].map(str::to_owned).to_vec();
    let bindings = Builder::new().with_config(config).with_src(root("src/c/mod.rs")).generate().unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    c_comments(&String::from_utf8(header).unwrap())
}

/// What Rust's comments say to callers from C: without the promises of `unsafe`, which C's callers always make, and with the
/// names of C.
fn c_comments(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut skipped = false;
    for line in header.lines() {
        let comment = line.trim_start();
        if comment == "* # Safety" {
            skipped = true;
            // The empty line before.
            lines.pop();
        }
        skipped &= comment.starts_with("* ") || comment == "*";
        if !skipped {
            let names = |line: String, [rust, c]: &[&str; 2]| line.replace(&format!("`{rust}`"), &format!("`{c}`"));
            lines.push(TYPES.iter().fold(line.to_owned(), names));
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_header_is_made_from_the_source() {
    let (file, generated) = (root("include/babil.h"), generated());
    if std::env::var_os("BABIL_WRITE_HEADER").is_some() {
        std::fs::write(&file, &generated).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written == generated, "include/babil.h is not what `just header` makes");
}

/// Whatever is exported is declared: one function for each exported name in the source.
#[test]
fn all_functions_and_types_are_in_it() {
    let header = generated();
    let mut functions = 0;
    for name in ["mod", "open", "begin", "live", "pull"] {
        let source = std::fs::read_to_string(root(&format!("src/c/{name}.rs"))).unwrap();
        for definition in source.split("extern \"C\" fn ").skip(1) {
            let (name, _) = definition.split_once('(').unwrap();
            assert!(header.contains(&format!("{name}(")), "the header lacks {name}");
            functions += 1;
        }
    }
    assert!(functions > 15);
    for [rust, c] in TYPES {
        assert!(header.contains(&format!("{c} ")) || header.contains(&format!("{c};")), "the header lacks {c}");
        assert!(!header.contains(rust), "{rust} is a name of Rust");
    }
    assert!(!header.contains("# Safety"));
}
