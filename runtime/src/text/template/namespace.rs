//! `namespace()`, the one value that a template can change, of our own because of what minijinja's lets happen.
//!
//! A loop that wraps a namespace's value in a list again and again, or a namespace that holds itself, makes a value so
//! deep that printing or freeing it overflows the stack, which no error can catch. This one refuses deep values, so
//! values get no deeper than the template's text and its nesting of calls, for which [`super::STACK`] has room.
//!
//! minijinja assigns to its own namespaces only, so that [`super::source`] turns `{% set ns.name = value %}` into a
//! call of the method [`SET`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// The method that assigns; no template can mean another one by it.
pub(super) const SET: &str = "__set__";
/// Nesting of values that a namespace keeps.
const MAX_DEPTH: usize = 32;
/// So many items are looked at for one unit of fuel.
const ITEMS_PER_FUEL: usize = 16;

#[derive(Debug, Default)]
struct Namespace(Mutex<BTreeMap<String, Value>>);

/// `namespace(name=value, ...)` or `namespace({"name": value, ...})`.
pub(super) fn namespace(state: &State, from: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut values = BTreeMap::new();
    if let Some(from) = from {
        for key in from.try_iter()? {
            values.insert(key.to_string(), checked(state, from.get_item(&key)?)?);
        }
    }
    for name in named.args() {
        values.insert(name.to_owned(), checked(state, named.get(name)?)?);
    }
    named.assert_all_used()?;
    Ok(Value::from_object(Namespace(Mutex::new(values))))
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Enumerator::Values(values.keys().map(Value::from).collect())
    }

    fn call_method(self: &Arc<Self>, state: &mut State, name: &str, args: &[Value]) -> Result<Value, Error> {
        if name != SET {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (name, value): (String, Value) = from_args(args)?;
        let value = checked(state, value)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, value);
        Ok(Value::UNDEFINED)
    }
}

/// `value` if it is shallow. Iterators, which can be walked once only, become lists.
fn checked(state: &State, value: Value) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                state.consume_fuel(1)?;
                items.push(item);
            }
            Value::from(items)
        }
        _ => value,
    };
    check(state, &value, 0)?;
    Ok(value)
}

fn check(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    let refuse = |problem: &'static str| Err(Error::new(ErrorKind::InvalidOperation, problem));
    if depth > MAX_DEPTH {
        return refuse("a value nested too deeply for a namespace");
    }
    if value.downcast_object_ref::<Namespace>().is_some() {
        return refuse("a namespace cannot hold a namespace");
    }
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    for (i, item) in value.try_iter()?.enumerate() {
        if i % ITEMS_PER_FUEL == 0 {
            state.consume_fuel(1)?;
        }
        check(state, &item, depth + 1)?;
        if is_map {
            check(state, &value.get_item(&item)?, depth + 1)?;
        }
    }
    Ok(())
}
