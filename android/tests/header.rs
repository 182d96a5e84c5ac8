//! The header of C declares what `src/c.rs` defines: functions, fields and numbers.

use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The same with single spaces, without comments and attributes.
fn plain(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        code += before;
        rest = after.split_once("*/").unwrap().1;
    }
    let lines = (code + rest).lines().map(str::trim).map(str::to_owned).collect::<Vec<_>>();
    let lines = lines.iter().filter(|line| !line.starts_with("//") && !line.starts_with('#'));
    lines.flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ")
}

/// `name` as C declares it with Rust's type.
fn declaration(name: &str, rust: &str) -> String {
    let (prefix, rust) = match rust {
        _ if rust.starts_with("*const ") => ("const ", &rust[7..]),
        _ if rust.starts_with("*mut ") => ("*", &rust[5..]),
        _ => ("", rust),
    };
    let c = match rust {
        "u64" => "uint64_t",
        "u32" => "uint32_t",
        "usize" => "size_t",
        "f32" => "float",
        "f64" => "double",
        "c_char" => "char",
        "BabilStatus" => "babil_status",
        "BabilKind" => "babil_kind",
        "BabilPiece" => "babil_piece",
        "BabilOptions" => "babil_options",
        other => panic!("a type that C does not know: {other}"),
    };
    match prefix {
        "const " => format!("const {c} *{name}"),
        "*" => format!("{c} *{name}"),
        _ => format!("{c} {name}"),
    }
}

/// `name: type` pairs, between commas.
fn declarations(list: &str) -> Vec<String> {
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, kind) = pair.trim_start_matches("pub ").split_once(": ").unwrap();
            declaration(name, kind)
        })
        .collect()
}

#[test]
fn functions_are_declared_as_they_are_defined() {
    let (source, header) = (plain(&read("src/c.rs")), plain(&read("include/babil.h")));
    let mut defined = Vec::new();
    for definition in source.split("extern \"C\" fn ").skip(1) {
        let (name, rest) = definition.split_once('(').unwrap();
        let (parameters, rest) = rest.split_once(')').unwrap();
        let result = rest.split_once('{').unwrap().0.trim().trim_start_matches("-> ");
        let parameters = declarations(parameters).join(", ");
        let parameters = if parameters.is_empty() { "void" } else { &parameters };
        let result = if result.is_empty() { format!("void {name}") } else { declaration(name, result) };
        defined.push(format!("{result}({parameters});"));
    }
    assert!(defined.len() > 10);
    for prototype in &defined {
        assert!(header.contains(prototype.as_str()), "the header lacks `{prototype}`");
    }
    assert_eq!(header.matches(");").count(), defined.len(), "the header declares something else");
}

#[test]
fn structures_have_the_same_fields() {
    let (source, header) = (plain(&read("src/c.rs")), plain(&read("include/babil.h")));
    for (rust, c) in [("BabilPiece", "babil_piece"), ("BabilOptions", "babil_options")] {
        let fields = source.split_once(&format!("pub struct {rust} {{")).unwrap().1.split_once('}').unwrap().0;
        let fields = declarations(fields).join("; ");
        assert!(header.contains(&format!("typedef struct {c} {{ {fields}; }} {c};")), "{c}: {fields}");
    }
}

#[test]
fn numbers_are_the_same() {
    let (source, header) = (plain(&read("src/c.rs")), plain(&read("include/babil.h")));
    let mut count = 0;
    for (rust, c) in [("BabilStatus", "BABIL_STATUS"), ("BabilKind", "BABIL_KIND")] {
        let variants = source.split_once(&format!("pub enum {rust} {{")).unwrap().1.split_once('}').unwrap().0;
        for variant in variants.split(',').map(str::trim).filter(|variant| !variant.is_empty()) {
            let (name, number) = variant.split_once(" = ").unwrap();
            let upper = |c: char| if c.is_uppercase() { format!("_{c}") } else { c.to_ascii_uppercase().to_string() };
            let name: String = name.chars().map(upper).collect();
            let expected = format!("{c}{name} = {number}");
            assert!(header.contains(&expected), "the header lacks `{expected}`");
            count += 1;
        }
    }
    assert_eq!(header.matches("BABIL_STATUS_").count() + header.matches("BABIL_KIND_").count(), count);
}
