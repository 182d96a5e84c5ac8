//! A checked reader of the protobuf wire format and the few messages of a SentencePiece model.
//!
//! Field numbers are those of SentencePiece's `sentencepiece_model.proto`. Fields that do not
//! change how text is split or joined (the trainer's settings, the self-test) are skipped.

use super::PieceKind;
use crate::{Error, Result};

/// A model file as it was read: nothing but syntax has been checked.
#[derive(Debug)]
pub(super) struct ModelProto<'a> {
    pub(super) pieces: Vec<PieceProto<'a>>,
    pub(super) trainer: TrainerSpec<'a>,
    pub(super) normalizer: NormalizerSpec<'a>,
    pub(super) has_denormalizer: bool,
}

/// One entry of the vocabulary.
#[derive(Debug)]
pub(super) struct PieceProto<'a> {
    pub(super) text: &'a str,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
    /// Where in the file the entry begins.
    pub(super) offset: usize,
}

/// What of the training settings matters after training.
#[derive(Debug)]
pub(super) struct TrainerSpec<'a> {
    pub(super) model_type: u64,
    pub(super) treat_whitespace_as_suffix: bool,
    pub(super) byte_fallback: bool,
    pub(super) unk_surface: &'a str,
    pub(super) unk_piece: &'a str,
    pub(super) bos_piece: &'a str,
    pub(super) eos_piece: &'a str,
    pub(super) pad_piece: &'a str,
}

/// How text is normalised before it is split.
#[derive(Debug)]
pub(super) struct NormalizerSpec<'a> {
    /// The compiled character map and its offset in the file; empty when there is none.
    pub(super) charsmap: (&'a [u8], usize),
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
}

impl Default for TrainerSpec<'_> {
    fn default() -> Self {
        Self {
            model_type: 1,
            treat_whitespace_as_suffix: false,
            byte_fallback: false,
            unk_surface: " \u{2047} ",
            unk_piece: "<unk>",
            bos_piece: "<s>",
            eos_piece: "</s>",
            pad_piece: "<pad>",
        }
    }
}

impl Default for NormalizerSpec<'_> {
    fn default() -> Self {
        Self { charsmap: (&[], 0), add_dummy_prefix: true, remove_extra_whitespaces: true, escape_whitespaces: true }
    }
}

impl<'a> ModelProto<'a> {
    /// Reads a whole model file; `file` names it in errors.
    pub(super) fn read(bytes: &'a [u8], file: &'a str) -> Result<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            trainer: TrainerSpec::default(),
            normalizer: NormalizerSpec::default(),
            has_denormalizer: false,
        };
        let mut fields = Fields { file, bytes, position: 0, base: 0 };
        while let Some(field) = fields.next()? {
            match field.number {
                1 => model.pieces.push(PieceProto::read(field.message()?)?),
                2 => model.trainer.read(field.message()?)?,
                3 => model.normalizer.read(field.message()?)?,
                5 => model.has_denormalizer |= denormalizes(field.message()?)?,
                _ => {}
            }
        }
        Ok(model)
    }
}

impl<'a> PieceProto<'a> {
    fn read(mut fields: Fields<'a>) -> Result<Self> {
        let offset = fields.base;
        let mut piece = Self { text: "", score: 0.0, kind: PieceKind::Normal, offset };
        while let Some(field) = fields.next()? {
            match field.number {
                1 => piece.text = field.text()?,
                2 => piece.score = field.float()?,
                3 => {
                    piece.kind = match field.varint()? {
                        1 => PieceKind::Normal,
                        2 => PieceKind::Unknown,
                        3 => PieceKind::Control,
                        4 => PieceKind::UserDefined,
                        5 => PieceKind::Unused,
                        6 => PieceKind::Byte,
                        other => return Err(field.error(format!("unknown piece type {other}"))),
                    }
                }
                _ => {}
            }
        }
        Ok(piece)
    }
}

impl<'a> TrainerSpec<'a> {
    fn read(&mut self, mut fields: Fields<'a>) -> Result<()> {
        while let Some(field) = fields.next()? {
            match field.number {
                3 => self.model_type = field.varint()?,
                24 => self.treat_whitespace_as_suffix = field.bool()?,
                35 => self.byte_fallback = field.bool()?,
                44 => self.unk_surface = field.text()?,
                45 => self.unk_piece = field.text()?,
                46 => self.bos_piece = field.text()?,
                47 => self.eos_piece = field.text()?,
                48 => self.pad_piece = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> NormalizerSpec<'a> {
    fn read(&mut self, mut fields: Fields<'a>) -> Result<()> {
        while let Some(field) = fields.next()? {
            match field.number {
                2 => self.charsmap = (field.bytes()?, field.content),
                3 => self.add_dummy_prefix = field.bool()?,
                4 => self.remove_extra_whitespaces = field.bool()?,
                5 => self.escape_whitespaces = field.bool()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn denormalizes(mut fields: Fields<'_>) -> Result<bool> {
    let mut charsmap: &[u8] = &[];
    while let Some(field) = fields.next()? {
        if field.number == 2 {
            charsmap = field.bytes()?;
        }
    }
    Ok(!charsmap.is_empty())
}

/// The fields of one message, read in order.
struct Fields<'a> {
    file: &'a str,
    /// The message alone.
    bytes: &'a [u8],
    position: usize,
    /// Where the message begins in the file.
    base: usize,
}

struct Field<'a> {
    file: &'a str,
    number: u64,
    value: Value<'a>,
    /// Offset of the field's tag in the file.
    offset: usize,
    /// Offset of the field's payload in the file (of a [`Value::Bytes`]).
    content: usize,
}

enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Fields<'a> {
    /// The next field, or `None` at the end of the message.
    fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.position == self.bytes.len() {
            return Ok(None);
        }
        let offset = self.base + self.position;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            other => {
                return Err(bad(self.file, offset, format!("protobuf wire type {other} is not used by any model")));
            }
        };
        let number = tag >> 3;
        if number == 0 {
            return Err(bad(self.file, offset, "protobuf field number 0"));
        }
        let content = match value {
            Value::Bytes(bytes) => self.base + self.position - bytes.len(),
            _ => self.base + self.position,
        };
        Ok(Some(Field { file: self.file, number, value, offset, content }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let Some(taken) = rest.get(..length) else {
            let problem = format!("a field of {length} bytes, but {} are left", rest.len());
            return Err(bad(self.file, self.base + self.position, problem));
        };
        self.position += length;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let start = self.base + self.position;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad(self.file, start, "a protobuf integer longer than 64 bits"))
    }
}

impl<'a> Field<'a> {
    fn message(&self) -> Result<Fields<'a>> {
        Ok(Fields { file: self.file, bytes: self.bytes()?, position: 0, base: self.content })
    }

    fn bytes(&self) -> Result<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.error(format!("protobuf field {} should hold bytes", self.number))),
        }
    }

    fn text(&self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|source| bad(self.file, self.content + source.valid_up_to(), "text that is not UTF-8"))
    }

    fn varint(&self) -> Result<u64> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.error(format!("protobuf field {} should hold an integer", self.number))),
        }
    }

    fn bool(&self) -> Result<bool> {
        self.varint().map(|value| value != 0)
    }

    fn float(&self) -> Result<f32> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.error(format!("protobuf field {} should hold a float", self.number))),
        }
    }

    fn error(&self, problem: impl std::fmt::Display) -> Error {
        bad(self.file, self.offset, problem)
    }
}

/// An [`Error::BadFile`] that says where.
pub(super) fn bad(file: &str, offset: usize, problem: impl std::fmt::Display) -> Error {
    Error::bad_file(file, format!("not a valid SentencePiece model: {problem} (at byte {offset})"))
}
