//! The filter `tojson` as Hugging Face defines it: Python's `json.dumps`, without HTML escapes.
//!
//! A value that holds itself many times over writes text that is exponentially longer than the template, and a nested
//! one recurses: the writer pays fuel while it writes and stops at a depth.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values are refused.
const MAX_DEPTH: usize = 128;
/// Fuel for one value, its text included up to [`FREE_BYTES`].
const FUEL: u64 = 1;
/// A string pays for every so many bytes again.
const FREE_BYTES: usize = 64;

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(state: &State, value: &Value, args: Kwargs) -> Result<Value, Error> {
    let indent = match args.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
    };
    let separators = match args.get::<Option<Vec<String>>>("separators")?.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson needs two separators")),
    };
    let ascii = args.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = args.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    args.assert_all_used()?;
    let mut writer = Writer { state, out: String::new(), indent, separators, ascii, sort_keys };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Writer<'a, 'template, 'env> {
    state: &'a State<'template, 'env>,
    out: String,
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: (String, String),
    ascii: bool,
    sort_keys: bool,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "a value nested too deeply for tojson"));
        }
        self.state.consume_fuel(FUEL)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.map(|item| (None, item));
                self.container(['[', ']'], items, depth)?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                let items = keys.into_iter().map(|key| value.get_item(&key).map(|item| (Some(key), item)));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.container(['{', '}'], items.into_iter(), depth)?;
            }
            other => {
                let problem = format!("tojson cannot write a value of type {other}");
                return Err(Error::new(ErrorKind::BadSerialization, problem));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        [open, close]: [char; 2],
        items: impl Iterator<Item = (Option<Value>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut empty = true;
        for (key, item) in items {
            if !empty {
                self.out.push_str(&self.separators.0);
            }
            empty = false;
            self.line(depth + 1)?;
            if let Some(key) = key {
                match key.kind() {
                    ValueKind::String => self.value(&key, depth + 1)?,
                    ValueKind::Number | ValueKind::Bool | ValueKind::None => {
                        self.out.push('"');
                        self.value(&key, depth + 1)?;
                        self.out.push('"');
                    }
                    other => {
                        let problem = format!("tojson cannot write a key of type {other}");
                        return Err(Error::new(ErrorKind::BadSerialization, problem));
                    }
                }
                self.out.push_str(&self.separators.1);
            }
            self.value(&item, depth + 1)?;
        }
        if !empty {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            self.state.consume_fuel((indent.len() * depth / FREE_BYTES) as u64)?;
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel((text.len() / FREE_BYTES) as u64)?;
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\u{1f}' => self.escape(char),
                '\u{7f}'.. if self.ascii && char != '\u{7f}' => self.escape(char),
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
        Ok(())
    }

    fn escape(&mut self, char: char) {
        for unit in char.encode_utf16(&mut [0; 2]) {
            write!(self.out, "\\u{unit:04x}").expect("a string takes any text");
        }
    }
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float_repr(float),
        _ => value.to_string(),
    }
}

/// Python's `repr` of a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on.
fn float_repr(float: f64) -> String {
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN"
        } else if float > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
    match exponent.parse::<i32>().expect("an exponent is an integer") {
        -4..16 => format!("{float:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}
