//! Values of metadata, as views of the file's bytes: a vocabulary of 150,000 strings stays where it is.

use std::fmt::{self, Display};

use super::cursor::{Cursor, Read};

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// Bytes, which ought to be UTF-8.
    Str,
    /// Any number of values of one type.
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    /// In the order of their numbers in the file.
    const ALL: [(Self, &'static str, usize); 13] = [
        (Self::U8, "u8", 1),
        (Self::I8, "i8", 1),
        (Self::U16, "u16", 2),
        (Self::I16, "i16", 2),
        (Self::U32, "u32", 4),
        (Self::I32, "i32", 4),
        (Self::F32, "f32", 4),
        (Self::Bool, "bool", 1),
        (Self::Str, "string", 8),
        (Self::Array, "array", 12),
        (Self::U64, "u64", 8),
        (Self::I64, "i64", 8),
        (Self::F64, "f64", 8),
    ];

    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).map(|row| row.0)
    }

    /// The fewest bytes that a value takes.
    pub(super) fn least_bytes(self) -> usize {
        Self::ALL[self as usize].2
    }

    /// The bytes of every value, where all take the same and mean something whatever they are.
    pub(super) fn fixed_bytes(self) -> Option<usize> {
        (!matches!(self, Self::Bool | Self::Str | Self::Array)).then(|| self.least_bytes())
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// A value of metadata. Displayed, it is one short line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "as the types of the same names")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value<'_> {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::U8(_) => Kind::U8,
            Self::I8(_) => Kind::I8,
            Self::U16(_) => Kind::U16,
            Self::I16(_) => Kind::I16,
            Self::U32(_) => Kind::U32,
            Self::I32(_) => Kind::I32,
            Self::F32(_) => Kind::F32,
            Self::Bool(_) => Kind::Bool,
            Self::Str(_) => Kind::Str,
            Self::Array(_) => Kind::Array,
            Self::U64(_) => Kind::U64,
            Self::I64(_) => Kind::I64,
            Self::F64(_) => Kind::F64,
        }
    }

    /// The value of any integer type.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// Type and value, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Str(bytes) if str::from_utf8(bytes).is_err() => format!("string that is not UTF-8: {self}"),
            Self::Array(_) => self.to_string(),
            _ => format!("{} {self}", self.kind()),
        }
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer strings are cut.
        const CHARS: usize = 60;
        match self {
            Self::F32(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::Str(bytes) => {
                // No more is looked at than may be shown.
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * CHARS)]);
                let cut: String = shown.chars().take(CHARS).collect();
                let more = if cut.len() < bytes.len() { "..." } else { "" };
                write!(f, "{cut:?}{more}")
            }
            Self::Array(array) => array.fmt(f),
            integer => integer.integer().expect("all others are integers").fmt(f),
        }
    }
}

/// An array of metadata: a view of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    pub(super) element: Kind,
    pub(super) len: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The array that starts with `bytes` and was walked before: its elements are not looked at.
    pub(super) fn at(bytes: &'a [u8]) -> Read<Self> {
        let mut cursor = Cursor::new(bytes);
        let element = cursor.kind()?;
        let len = cursor.count(element.least_bytes(), "elements")?;
        Ok(Self { element, len, bytes: &bytes[cursor.at()..] })
    }

    /// The type of its elements.
    pub fn element(&self) -> Kind {
        self.element
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its elements.
    pub fn iter(&self) -> Elements<'a> {
        Elements { element: self.element, left: self.len, cursor: Cursor::new(self.bytes) }
    }

    /// Its elements, where they are strings.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.element == Kind::Str).then(|| Strings(self.iter()))
    }

    /// Its elements, where each is a number that fits `T`.
    pub fn numbers<T: FromValue<'a>>(&self) -> Option<Numbers<'a, T>> {
        let numbers = Numbers { elements: self.iter(), element: std::marker::PhantomData };
        self.iter().all(|value| T::from_value(value).is_some()).then_some(numbers)
    }

    /// Its elements as float32, where they are floats.
    pub fn f32s(&self) -> Option<Numbers<'a, f32>> {
        self.numbers()
    }

    /// Its elements as i32, where they are integers and fit.
    pub fn i32s(&self) -> Option<Numbers<'a, i32>> {
        self.numbers()
    }

    /// Its elements as u32, where they are integers and fit.
    pub fn u32s(&self) -> Option<Numbers<'a, u32>> {
        self.numbers()
    }
}

impl Display for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        write!(f, "{} x {}: ", self.len, self.element)?;
        let shown: Vec<String> = self.iter().take(SHOWN).map(|value| value.to_string()).collect();
        write!(f, "[{}{}]", shown.join(", "), if self.len > SHOWN { ", ..." } else { "" })
    }
}

/// The elements of an array, one after the other.
#[derive(Clone)]
pub struct Elements<'a> {
    element: Kind,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        // The bytes were walked when the file was opened; an error here would be a file that changes under the map.
        self.cursor.value(self.element).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The strings of an array.
#[derive(Clone)]
pub struct Strings<'a>(Elements<'a>);

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.0.next()? {
            Value::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// The numbers of an array.
#[derive(Clone)]
pub struct Numbers<'a, T> {
    elements: Elements<'a>,
    element: std::marker::PhantomData<T>,
}

impl<'a, T: FromValue<'a>> Iterator for Numbers<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.elements.next().and_then(T::from_value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}

impl<'a, T: FromValue<'a>> ExactSizeIterator for Numbers<'a, T> {}

/// What a metadata value can be read as: integers of any type whose value fits, floats, bools, strings, arrays.
pub trait FromValue<'a>: Sized {
    /// How messages name what was expected.
    const EXPECTED: &'static str;

    /// The value, unless it is something else.
    fn from_value(value: Value<'a>) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $expected:literal: $read:expr;)*) => {$(
        impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: Value<'a>) -> Option<Self> {
                let read: fn(Value<'a>) -> Option<Self> = $read;
                read(value)
            }
        }
    )*};
}

from_value! {
    u32, "an integer of 32 bits, not negative": |value| value.integer()?.try_into().ok();
    i32, "an integer of 32 bits": |value| value.integer()?.try_into().ok();
    u64, "an integer, not negative": |value| value.integer()?.try_into().ok();
    i64, "an integer": |value| value.integer()?.try_into().ok();
    usize, "an integer, not negative": |value| value.integer()?.try_into().ok();
    f32, "a float": |value| match value {
        Value::F32(v) => Some(v),
        Value::F64(v) => Some(v as f32),
        _ => None,
    };
    bool, "a bool": |value| match value {
        Value::Bool(v) => Some(v),
        _ => None,
    };
    &'a [u8], "a string": |value| match value {
        Value::Str(bytes) => Some(bytes),
        _ => None,
    };
    &'a str, "a string": |value| match value {
        Value::Str(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    };
    Array<'a>, "an array": |value| match value {
        Value::Array(array) => Some(array),
        _ => None,
    };
    Strings<'a>, "an array of strings": |value| Array::from_value(value)?.strings();
    Numbers<'a, f32>, "an array of floats": |value| Array::from_value(value)?.numbers();
    Numbers<'a, i32>, "an array of integers of 32 bits": |value| Array::from_value(value)?.numbers();
    Numbers<'a, u32>, "an array of integers of 32 bits, none negative": |value| Array::from_value(value)?.numbers();
    Numbers<'a, bool>, "an array of bools": |value| Array::from_value(value)?.numbers();
}
