//! Writing GGUF: the header first, then the tensors' bytes as they are made.

use std::io::{self, Read, Write};

use super::{Kind, MAGIC, Metadata, Value, type_id};
use crate::Result;
use crate::weights::Encoding;

const VERSION: u32 = 3;
const DEFAULT_ALIGNMENT: u32 = 32;

/// What a file says of a tensor.
#[derive(Clone, Debug)]
pub struct TensorHeader {
    /// Its name.
    pub name: String,
    /// How its values are stored.
    pub encoding: Encoding,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
}

/// A GGUF file that is being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    alignment: u64,
    /// Bytes that each tensor still needs, the next one last.
    left: Vec<u64>,
    /// Bytes written of the data.
    at: u64,
}

/// What tensors of a file with these metadata are aligned to.
///
/// # Errors
/// The metadata ask for something else than a power of two.
pub fn alignment(metadata: &Metadata) -> Result<u32> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.find(KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        return Err(metadata.bad(KEY, format!("{alignment} is not a power of two")));
    }
    Ok(alignment)
}

impl<W: Write> Writer<W> {
    /// Writes the header. `alignment` must be what `metadata` say, or 32 where they say nothing.
    ///
    /// # Errors
    /// `out` cannot be written.
    ///
    /// # Panics
    /// A tensor is packed, or its rows are not whole blocks.
    pub fn new(
        mut out: W,
        metadata: &[(&str, Value<'_>)],
        tensors: &[TensorHeader],
        alignment: u32,
    ) -> io::Result<Self> {
        let alignment = u64::from(alignment);
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_entry(&mut header, key, value);
        }
        let mut offset = 0u64;
        let mut left = Vec::with_capacity(tensors.len());
        for TensorHeader { name, encoding, shape } in tensors {
            let len = encoding.byte_len(shape).expect("rows of whole blocks") as u64;
            put_string(&mut header, name.as_bytes());
            header.extend((shape.len() as u32).to_le_bytes());
            header.extend(shape.iter().rev().flat_map(|&d| (d as u64).to_le_bytes()));
            header.extend(type_id(*encoding).expect("a type of GGUF").to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset = (offset + len).next_multiple_of(alignment);
            left.push(len);
        }
        left.reverse();
        out.write_all(&header)?;
        pad(&mut out, header.len() as u64, alignment)?;
        Ok(Self { out, alignment, left, at: 0 })
    }

    /// Writes the next bytes of the tensors, in the order of the header: a whole tensor or a part of one.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// The bytes are more than the current tensor has.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.last_mut().expect("a tensor is left to write");
        *left = left.checked_sub(bytes.len() as u64).expect("no more bytes than the tensor has");
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        if *left == 0 {
            self.left.pop();
            self.at = pad(&mut self.out, self.at, self.alignment)?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// Bytes of a tensor are missing.
    pub fn finish(mut self) -> io::Result<W> {
        assert!(self.left.is_empty(), "{} tensors are not written", self.left.len());
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Metadata that are being put together, for a file that does not exist yet.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    bytes: Vec<u8>,
    count: u64,
}

impl Entries {
    /// Appends a key, which must be new.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        put_entry(&mut self.bytes, key, &value);
        self.count += 1;
    }

    /// Appends an array of strings.
    pub fn set_strings<S: AsRef<[u8]>>(&mut self, key: &str, strings: impl ExactSizeIterator<Item = S>) {
        let put = |out: &mut Vec<u8>, string: S| put_string(out, string.as_ref());
        self.set_array(key, Kind::Str, strings, put);
    }

    /// Appends an array of integers.
    pub fn set_i32s(&mut self, key: &str, numbers: impl ExactSizeIterator<Item = i32>) {
        self.set_array(key, Kind::I32, numbers, |out, number| out.extend(number.to_le_bytes()));
    }

    /// Appends an array of float32.
    pub fn set_f32s(&mut self, key: &str, numbers: impl ExactSizeIterator<Item = f32>) {
        self.set_array(key, Kind::F32, numbers, |out, number| out.extend(number.to_le_bytes()));
    }

    fn set_array<T>(
        &mut self,
        key: &str,
        element: Kind,
        values: impl ExactSizeIterator<Item = T>,
        put: impl Fn(&mut Vec<u8>, T),
    ) {
        put_string(&mut self.bytes, key.as_bytes());
        self.bytes.extend((Kind::Array as u32).to_le_bytes());
        self.bytes.extend((element as u32).to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.for_each(|value| put(&mut self.bytes, value));
        self.count += 1;
    }

    /// A file with these metadata and no tensors.
    pub(in crate::weights) fn file(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        file.extend(&self.bytes);
        file
    }
}

/// Writes zeros from `at` to the next multiple of `alignment`, which it returns.
fn pad(out: &mut impl Write, at: u64, alignment: u64) -> io::Result<u64> {
    let padded = at.next_multiple_of(alignment);
    io::copy(&mut io::repeat(0).take(padded - at), out)?;
    Ok(padded)
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_entry(out: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    put_string(out, key.as_bytes());
    out.extend((value.kind() as u32).to_le_bytes());
    put_value(out, value);
}

fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match *value {
        Value::U8(v) => out.push(v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(v.into()),
        Value::Str(bytes) => put_string(out, bytes),
        Value::Array(array) => {
            out.extend((array.element as u32).to_le_bytes());
            out.extend((array.len as u64).to_le_bytes());
            out.extend(array.bytes);
        }
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
}
