//! A position in a file's bytes: every read is checked against what is left, and says where it was.

use super::value::{Array, Kind, Value};

/// How deep arrays may lie inside arrays.
const MAX_DEPTH: usize = 8;

/// What is wrong, and at which byte.
pub(in crate::weights) struct Problem {
    pub(in crate::weights) at: usize,
    pub(in crate::weights) text: String,
}

pub(in crate::weights) type Read<T> = Result<T, Problem>;

/// Reads little-endian values one after the other.
#[derive(Clone)]
pub(in crate::weights) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(in crate::weights) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(in crate::weights) fn at(&self) -> usize {
        self.at
    }

    pub(in crate::weights) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(in crate::weights) fn problem<T>(&self, text: impl Into<String>) -> Read<T> {
        Err(Problem { at: self.at, text: text.into() })
    }

    pub(in crate::weights) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        match self.bytes[self.at..].split_at_checked(len) {
            Some((taken, _)) => {
                self.at += len;
                Ok(taken)
            }
            None => self.problem(format!("{len} bytes are needed, the file has {} more", self.left())),
        }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("N bytes"))
    }

    pub(in crate::weights) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::weights) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A u64 that counts things of at least `size` bytes each, which must still fit the file.
    pub(in crate::weights) fn count(&mut self, size: usize, what: &str) -> Read<usize> {
        let count = self.clone().u64()?;
        let most = ((self.left() - 8) / size) as u64;
        if count > most {
            let text = format!("claims {count} {what}, the rest of the file has room for {most} at most");
            return self.problem(text);
        }
        self.at += 8;
        Ok(count as usize)
    }

    /// A string: u64 length, bytes.
    pub(in crate::weights) fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.count(1, "bytes of a string")?;
        self.take(len)
    }

    /// A string that must be UTF-8.
    pub(in crate::weights) fn name(&mut self) -> Read<&'a str> {
        let start = self.at;
        let bytes = self.bytes()?;
        str::from_utf8(bytes)
            .map_err(|_| Problem { at: start, text: format!("the name `{}` is not UTF-8", bytes.escape_ascii()) })
    }

    pub(in crate::weights) fn kind(&mut self) -> Read<Kind> {
        let id = self.clone().u32()?;
        let Some(kind) = Kind::from_id(id) else {
            return self.problem(format!("unknown metadata type {id}"));
        };
        self.at += 4;
        Ok(kind)
    }

    /// A value of type `kind`, and with it the way past it.
    pub(in crate::weights) fn value(&mut self, kind: Kind) -> Read<Value<'a>> {
        self.value_at_depth(kind, 0)
    }

    fn value_at_depth(&mut self, kind: Kind, depth: usize) -> Read<Value<'a>> {
        Ok(match kind {
            Kind::U8 => Value::U8(self.array::<1>()?[0]),
            Kind::I8 => Value::I8(self.array().map(i8::from_le_bytes)?),
            Kind::U16 => Value::U16(self.array().map(u16::from_le_bytes)?),
            Kind::I16 => Value::I16(self.array().map(i16::from_le_bytes)?),
            Kind::U32 => Value::U32(self.u32()?),
            Kind::I32 => Value::I32(self.array().map(i32::from_le_bytes)?),
            Kind::F32 => Value::F32(self.array().map(f32::from_le_bytes)?),
            Kind::U64 => Value::U64(self.u64()?),
            Kind::I64 => Value::I64(self.array().map(i64::from_le_bytes)?),
            Kind::F64 => Value::F64(self.array().map(f64::from_le_bytes)?),
            Kind::Bool => match self.clone().array::<1>()? {
                [byte @ 0..=1] => {
                    self.at += 1;
                    Value::Bool(byte == 1)
                }
                [byte] => return self.problem(format!("a bool is 0 or 1, not {byte}")),
            },
            Kind::Str => Value::Str(self.bytes()?),
            Kind::Array if depth == MAX_DEPTH => {
                return self.problem(format!("arrays are nested more than {MAX_DEPTH} deep"));
            }
            Kind::Array => {
                let element = self.kind()?;
                let len = self.count(element.least_bytes(), &format!("elements of type {element}"))?;
                let start = self.at;
                match element.fixed_bytes() {
                    Some(size) => {
                        self.take(len * size)?;
                    }
                    None => {
                        for _ in 0..len {
                            self.value_at_depth(element, depth + 1)?;
                        }
                    }
                }
                Value::Array(Array { element, len, bytes: &self.bytes[start..self.at] })
            }
        })
    }
}
