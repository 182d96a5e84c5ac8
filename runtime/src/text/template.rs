//! Chat templates: a conversation becomes the text that a model was trained on.
//!
//! ```text
//! template of the model file --ChatTemplate::new--> compiled --render(messages, options)--> prompt text
//! ```
//!
//! The language is Jinja as Hugging Face runs it: blocks are trimmed, `raise_exception`, `strftime_now` and their
//! `tojson` exist, values have Python's methods and print as in Python, `{% generation %}` marks what a model says.
//! The text of a prompt holds its special tokens by name (`<|im_start|>`), so it has to be tokenized with special
//! tokens recognised and none added.
//!
//! A template comes with a model file from anywhere, so it gets no files, no other templates and no endless loops:
//! fuel pays for every instruction and every byte, and nesting has a limit.

mod json;
mod message;
mod namespace;
mod python;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::thread;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

pub use message::{Content, Message};

use message::TemplateMessage;
use python::Refusal;

use crate::{Error, Result};

/// Longer templates are refused; the longest known ones have 17 kB.
const MAX_SOURCE: usize = 1 << 17;
/// Templates with more opening brackets and bars are refused: each makes a value deeper by one, at most.
const MAX_BRACKETS: usize = 2_000;
/// Room to print and free values as deep as [`MAX_BRACKETS`] times [`MAX_RECURSION`], at about 800 bytes for a level,
/// and to compile a chain of operators as long as [`MAX_SOURCE`]: minijinja recurses for both. This is address space,
/// which is not touched unless a template is that strange.
const STACK: usize = if cfg!(target_pointer_width = "64") { 256 << 20 } else { 128 << 20 };
/// Fuel for any conversation. One unit pays for an instruction or for 64 bytes of new text.
const BASE_FUEL: u64 = 1_000_000;
/// More fuel for each message: templates that look at all messages for each message are usual.
const FUEL_PER_MESSAGE: u64 = 10_000;
/// Deepest recursion of loops that call themselves; a macro counts as four.
const MAX_RECURSION: usize = 100;
/// The name of the one template in its environment.
const NAME: &str = "chat template";

/// A compiled chat template. Immutable: rendering never changes it.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    label: String,
}

/// What a template is told besides the messages.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// End with the beginning of an answer, so that the model goes on with it.
    pub add_generation_prompt: bool,
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence.
    pub eos_token: Option<String>,
    /// JSON schemas of the tools that the model may call.
    pub tools: Option<Vec<serde_json::Value>>,
    /// Documents that the answer should rest on, `{"title": ..., "text": ...}`.
    pub documents: Option<Vec<serde_json::Value>>,
    /// Whether the model thinks before it answers; `None` leaves it to the template.
    pub enable_thinking: Option<bool>,
    /// What `strftime_now` tells; `None` is now. Setting it makes prompts reproducible.
    pub now: Option<SystemTime>,
    /// Further variables by name; they win over those above.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

impl ChatTemplate {
    /// Compiles `source`. `label` names the model file in errors.
    ///
    /// # Errors
    /// The template is too long or not valid Jinja.
    pub fn new(source: &str, label: &str) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            let problem = format!("{NAME}: {} bytes are more than the {MAX_SOURCE} accepted", source.len());
            return Err(Error::bad_file(label, problem));
        }
        let brackets = source.bytes().filter(|byte| b"[({|".contains(byte)).count();
        if brackets > MAX_BRACKETS {
            let problem = format!("{NAME}: {brackets} brackets and filters are more than the {MAX_BRACKETS} accepted");
            return Err(Error::bad_file(label, problem));
        }
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(|error| problem(label, &error))?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_recursion_limit(MAX_RECURSION);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", json::tojson);
        environment.add_test("iterable", python::is_iterable);
        environment.add_function("raise_exception", python::raise_exception);
        environment.add_function("namespace", namespace::namespace);
        on_large_stack(label, || environment.add_template_owned(NAME, source::prepared(source)))?
            .map_err(|error| problem(label, &error))?;
        Ok(Self { environment, label: label.to_owned() })
    }

    /// The prompt text of `messages`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with the template's own words if it refuses the conversation (`raise_exception`),
    /// [`Error::BadFile`] naming the line if it fails or does not end within its limits.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let mut environment = self.environment.clone();
        let fuel = BASE_FUEL + FUEL_PER_MESSAGE * messages.len() as u64;
        environment.set_fuel(Some(fuel));
        let now = options.now.unwrap_or_else(SystemTime::now);
        environment.add_function("strftime_now", move |format: &str| python::strftime(format, now));
        let template = environment.get_template(NAME).map_err(|error| problem(&self.label, &error))?;
        on_large_stack(&self.label, || template.render(variables(messages, options)))?
            .map_err(|error| problem(&self.label, &error))
    }
}

/// Runs `job` on a thread of its own with [`STACK`] bytes of stack. Where the engine panics, as some versions do on a
/// `loop.cycle()` of nothing, the template of the file `label` is to blame.
fn on_large_stack<T: Send>(label: &str, job: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(NAME.to_owned()).stack_size(STACK).spawn_scoped(scope, job);
        let thread = thread.map_err(|error| Error::io("start", "a thread for the chat template", error))?;
        thread.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Error::bad_file(label, format!("{NAME}: the template engine fails: {}", text.unwrap_or("it panics")))
        })
    })
}

/// What the template sees by name.
fn variables(messages: &[Message], options: &RenderOptions) -> Value {
    let messages: Vec<TemplateMessage<'_>> = messages.iter().map(TemplateMessage::from).collect();
    let mut variables = BTreeMap::from([
        ("messages", Value::from(Serde(messages))),
        // Defined in any case: templates ask `tools is not none`.
        ("tools", Value::from(Serde(&options.tools))),
        ("documents", Value::from(Serde(&options.documents))),
        ("add_generation_prompt", Value::from(options.add_generation_prompt)),
    ]);
    // Undefined if it is not known: templates ask `bos_token is defined`.
    variables.extend(options.bos_token.as_ref().map(|text| ("bos_token", Value::from(text))));
    variables.extend(options.eos_token.as_ref().map(|text| ("eos_token", Value::from(text))));
    variables.extend(options.enable_thinking.map(|enable| ("enable_thinking", Value::from(enable))));
    variables.extend(options.variables.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))));
    Value::from_pairs(variables)
}

/// The error of a template of the file `label`.
fn problem(label: &str, error: &minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return Error::BadRequest(format!("the {NAME} of {label} refuses the conversation: {message}"));
        }
        cause = current.source();
    }
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "does not end within the work that a template may do".to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let place = error.line().map_or_else(String::new, |line| format!(", line {line}"));
    Error::bad_file(label, format!("{NAME}{place}: {what}"))
}
