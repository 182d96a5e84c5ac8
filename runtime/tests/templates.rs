//! Chat templates against transformers' own rendering of them; `templates/make_vectors.py` writes what is expected.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use babil_runtime::text::{ChatTemplate, Message, RenderOptions};
use serde::Deserialize;

/// A case of `conversations.json`.
#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    #[serde(default)]
    add_generation_prompt: bool,
    bos_token: Option<String>,
    eos_token: Option<String>,
    tools: Option<Vec<serde_json::Value>>,
    documents: Option<Vec<serde_json::Value>>,
    enable_thinking: Option<bool>,
    #[serde(default)]
    variables: serde_json::Map<String, serde_json::Value>,
}

/// What transformers made of it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Text(String),
    Error(String),
}

impl Conversation {
    fn render(&self, template: &ChatTemplate) -> babil_runtime::Result<String> {
        let options = RenderOptions {
            add_generation_prompt: self.add_generation_prompt,
            bos_token: self.bos_token.clone(),
            eos_token: self.eos_token.clone(),
            tools: self.tools.clone(),
            documents: self.documents.clone(),
            enable_thinking: self.enable_thinking,
            // Noon of 2025-07-09, as in the script.
            now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_752_062_400)),
            variables: self.variables.clone(),
        };
        template.render(&self.messages, &options)
    }
}

/// Compares every template of `folder` with the `expected.json` beside it; returns what differs.
fn compare(folder: &Path) -> Vec<String> {
    let conversations = std::fs::read_to_string(folder.join("conversations.json"))
        .unwrap_or_else(|_| include_str!("templates/conversations.json").to_owned());
    let conversations: BTreeMap<String, Conversation> = serde_json::from_str(&conversations).unwrap();
    let expected = std::fs::read_to_string(folder.join("expected.json")).expect("make_vectors.py writes expected.json");
    let expected: BTreeMap<String, BTreeMap<String, Expected>> = serde_json::from_str(&expected).unwrap();
    let mut differences = Vec::new();
    for (file, cases) in &expected {
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        let template = ChatTemplate::new(&source, file);
        for (case, expected) in cases {
            let template = match &template {
                Ok(template) => template,
                Err(error) => {
                    differences.push(format!("{file}: does not compile: {error}"));
                    break;
                }
            };
            match (conversations[case].render(template), expected) {
                (Ok(text), Expected::Text(expected)) if text == *expected => {}
                (Err(_), Expected::Error(_)) => {}
                // Python refuses to iterate over None and the like; here that is an empty list.
                (Ok(_), Expected::Error(error)) if !error.starts_with("TemplateError") => {
                    eprintln!("{file}, {case}: renders, in transformers: {error}");
                }
                // Text that is `safe` infects all that is added to it with HTML escapes in Python: never wanted here.
                (Ok(text), Expected::Text(expected)) if text == unescape(expected) && source.contains("|safe") => {
                    eprintln!("{file}, {case}: renders without HTML escapes");
                }
                (Ok(text), Expected::Text(expected)) => {
                    let at = text.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
                    let around = |text: &str| {
                        let start = text.floor_char_boundary(at.saturating_sub(40));
                        text[start..text.ceil_char_boundary((at + 60).min(text.len()))].to_owned()
                    };
                    differences.push(format!(
                        "{file}, {case}: {:?}\n  instead of {:?}",
                        around(&text),
                        around(expected)
                    ));
                }
                (Ok(text), Expected::Error(error)) => {
                    differences.push(format!("{file}, {case}: renders {} bytes, should fail: {error}", text.len()));
                }
                (Err(error), Expected::Text(_)) => differences.push(format!("{file}, {case}: {error}")),
            }
        }
    }
    differences
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

#[test]
fn the_families_templates_render_as_in_transformers() {
    let differences = compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates"));
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn the_language_is_that_of_transformers() {
    let differences = compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates/language"));
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// Other people's templates, which are not in this repository: `just templates FOLDER`.
#[test]
fn a_folder_of_templates_renders_as_in_transformers() {
    let Some(folder) = std::env::var_os("BABIL_TEMPLATE_DIR") else {
        eprintln!("skipped: BABIL_TEMPLATE_DIR names no folder of templates");
        return;
    };
    let differences = compare(Path::new(&folder));
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
