//! What is changed in a template's text before minijinja compiles it. Lines stay where they are.
//!
//! - `{% generation %}` blocks become `{% with %}` blocks: a scope and nothing else. Training needs to know what they
//!   enclose, a prompt does not.
//! - `{% set ns.name = value %}` becomes `{% do ns.__set__('name', value) %}`, see [`super::namespace`].

use super::namespace::SET;

/// `source` as minijinja shall compile it.
pub(super) fn prepared(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + source.len() / 16);
    let mut rest = source;
    // Of `{{`, `{%` and `{#`, whichever comes first.
    while let Some(start) =
        rest.match_indices('{').map(|(i, _)| i).find(|&i| rest[i + 1..].starts_with(['{', '%', '#']))
    {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let length = match tag.as_bytes()[1] {
            b'#' => tag.find("#}").map(|end| end + 2),
            b'{' => end_of_tag(tag, "}}"),
            _ => end_of_tag(tag, "%}"),
        };
        let Some(length) = length else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        if !tag.starts_with("{%") {
            out.push_str(tag);
            continue;
        }
        let inner = &tag[2..length - 2];
        let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
        match inner.trim() {
            "raw" => {
                // Up to the tag that ends it, text is text.
                let end = rest.match_indices("{%").map(|(i, _)| i).find(|&i| {
                    let name = rest[i + 2..].trim_start_matches(['-', '+']).trim_start();
                    name.starts_with("endraw")
                });
                let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
                out.push_str(tag);
                out.push_str(text);
                rest = after;
            }
            "generation" => out.push_str(&tag.replace("generation", "with")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endwith")),
            statement => match assignment(statement) {
                Some((namespace, name, value)) => {
                    let (open, close) = tag.split_once(statement).unwrap_or((tag, ""));
                    // The line breaks before the value count.
                    let lines = statement[..statement.len() - value.len()].matches('\n').count();
                    let lines = "\n".repeat(lines);
                    out.push_str(&format!("{open}do {namespace}.{SET}('{name}',{lines}({value})){close}"));
                }
                None => out.push_str(tag),
            },
        }
    }
    out.push_str(rest);
    out
}

/// Bytes of the tag that `tag` begins with, up to and with `end` outside of strings.
fn end_of_tag(tag: &str, end: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let mut at = 2;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            // `}}` may also end two dictionaries.
            b'{' if end == "}}" => at += end_of_braces(&bytes[at..])? - 1,
            _ if bytes[at..].starts_with(end.as_bytes()) => return Some(at + end.len()),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Bytes of the dictionary that `bytes` begins with.
fn end_of_braces(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The parts of `set namespace.name = value`.
fn assignment(statement: &str) -> Option<(&str, &str, &str)> {
    let target = statement.strip_prefix("set")?;
    let (target, value) = target.strip_prefix(char::is_whitespace)?.split_once('=')?;
    let (namespace, name) = target.split_once('.')?;
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|char| char == '_' || char.is_alphanumeric());
    let (namespace, name, value) = (namespace.trim(), name.trim(), value.trim_start());
    (is_name(namespace) && is_name(name) && !value.starts_with('=')).then_some((namespace, name, value))
}
