//! What templates expect of Hugging Face's environment and of Python, and minijinja does not have itself.

use std::time::SystemTime;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// A template's own words about why it does not take a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// `raise_exception(message)`.
pub(super) fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
}

/// `strftime_now(format)`: `now` in the machine's time zone.
pub(super) fn strftime(format: &str, now: SystemTime) -> Result<String, Error> {
    let failed = |error: jiff::Error| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write `{format}`: {error}"))
    };
    let now = ZonedDateTime::try_from(now).map_err(failed)?;
    strtime::format(format, &now).map_err(failed)
}

/// `value is iterable`: `none` is not, although minijinja would iterate over it.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Methods of Python's strings, lists and dictionaries: those of minijinja's own collection, and the rest here.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.kind(), name) {
        (ValueKind::String, _) => match string_method(value.as_str().unwrap_or_default(), name, args)? {
            Some(result) => Ok(result),
            None => pycompat::unknown_method_callback(state, value, name, args),
        },
        (ValueKind::Seq, "index") => {
            let (what,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *what);
            found.map(Value::from).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the list has no such item"))
        }
        (ValueKind::Seq, "append" | "extend" | "insert" | "pop" | "remove" | "clear" | "sort" | "reverse")
        | (ValueKind::Map, "pop" | "popitem" | "update" | "clear" | "setdefault") => {
            let problem = format!("`{name}` would change a value, which templates may not");
            Err(Error::new(ErrorKind::InvalidOperation, problem))
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.split_once(separator);
            triple(parts.map_or([text, "", ""], |(before, after)| [before, separator, after]))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.rsplit_once(separator);
            triple(parts.map_or(["", "", text], |(before, after)| [before, separator, after]))
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most =
                most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = match separator {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "rsplit by an empty separator")),
                Some(separator) => text.rsplitn(most, separator).collect(),
                None if most == usize::MAX => text.split_whitespace().rev().collect(),
                None => return Err(Error::new(ErrorKind::InvalidOperation, "rsplit with a limit needs a separator")),
            };
            parts.reverse();
            Value::from_iter(parts)
        }
        "index" => {
            let (what,): (&str,) = from_args(args)?;
            match text.find(what) {
                Some(at) => Value::from(text[..at].chars().count()),
                None => return Err(Error::new(ErrorKind::InvalidOperation, "the string has no such part")),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn triple(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}
