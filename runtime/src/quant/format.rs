//! What a quantised type is, as data: the geometry of its blocks in GGUF, and what their parts mean.
//!
//! A weight is `scale * quant - min`. A quant is what a small *code* of 1 to 8 bits stands for; scales, and minimums where
//! a type has them, belong to 16 or 32 columns and are made of *heads*, one or two float16 for the whole block, and *subs*,
//! one or two bytes for each 32 columns. All of it is lossless: kernels compute with the same codes and scales as the file
//! has.

use super::BLOCK;
use half::f16;

/// The most columns of a block.
pub(crate) const MAX_COLUMNS: usize = 256;

/// A quantised type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Its name in files, options and reports.
    pub(crate) name: &'static str,
    /// Its number in GGUF, where it has one.
    pub(crate) ggml_id: Option<u32>,
    /// Columns of a block: 32, 64, 128 or 256.
    pub(crate) columns: usize,
    /// How the activations are quantised that it is multiplied with. Where they are coarse, a block has one scale.
    pub(crate) activations: Grain,
    /// Bytes of a block in a file.
    pub(crate) bytes: usize,
    /// Bits of a code that are packed together: the lower and the upper ones, 8, 4, 2 or 1 and 2, 1 or none.
    pub(crate) planes: [usize; 2],
    /// What the codes stand for.
    pub(crate) code: Code,
    /// What the scales are made of.
    pub(crate) scales: Scales,
    /// Takes a block of `bytes` apart.
    pub(crate) unpack: fn(&[u8], &mut Unpacked),
}

/// How activations are quantised: how many columns have a scale, and the range of their integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// 32 columns, -127..=127.
    Fine,
    /// 128 columns, -63..=63.
    Coarse,
}

impl Grain {
    /// Columns that have a scale.
    pub const fn columns(self) -> usize {
        match self {
            Self::Fine => BLOCK,
            Self::Coarse => 4 * BLOCK,
        }
    }

    /// Columns that have a sum: as many as the smallest part of weights that has a scale.
    pub const fn sum_columns(self) -> usize {
        match self {
            Self::Fine => BLOCK / 2,
            Self::Coarse => self.columns(),
        }
    }

    /// The largest magnitude of an integer.
    pub(crate) const fn largest(self) -> usize {
        match self {
            Self::Fine => 127,
            Self::Coarse => 63,
        }
    }
}

/// What codes stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    /// Bytes in two's complement.
    Signed,
    /// The quant is the code minus this. Codes that are packed in 8 bits have 7: they are below 128. A
    /// damaged file may have others, which give numbers without meaning.
    Minus(i32),
    /// The quant is this table's entry, at most 127 in magnitude.
    Table(&'static [i8; 16]),
}

impl Code {
    /// The quant that `code` stands for.
    pub(crate) const fn quant(self, code: u8) -> i8 {
        match self {
            Self::Signed => code as i8,
            Self::Minus(offset) => code.wrapping_sub(offset as u8) as i8,
            Self::Table(values) => values[(code & 15) as usize],
        }
    }
}

/// What scales and minimums are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scales {
    /// scale = head
    F16,
    /// scale = head 0, min = head 1
    F16Min,
    /// scale = head * signed byte
    Byte,
    /// scale = head * signed byte, one for either half of the 32 columns
    ByteHalves,
    /// scale = head 0 * byte 0, min = head 1 * byte 1
    ByteMin,
    /// scale = head 0 * low nibble, min = head 1 * high nibble of a byte for either half of the 32 columns
    NibbleHalvesMin,
    /// scale = 2^(byte - 128)
    Exponent,
    /// scale = a float32 for the whole matrix
    Tensor,
}

impl Scales {
    /// float16 per block.
    pub(crate) const fn heads(self) -> usize {
        match self {
            Self::F16 | Self::Byte | Self::ByteHalves => 1,
            Self::F16Min | Self::ByteMin | Self::NibbleHalvesMin => 2,
            Self::Exponent | Self::Tensor => 0,
        }
    }

    /// Bytes per 32 columns.
    pub(crate) const fn subs(self) -> usize {
        match self {
            Self::F16 | Self::F16Min | Self::Tensor => 0,
            Self::Byte | Self::Exponent => 1,
            Self::ByteHalves | Self::ByteMin | Self::NibbleHalvesMin => 2,
        }
    }

    /// Scales per 32 columns: 1, or 2 when either half has its own.
    pub(crate) const fn per_block(self) -> usize {
        match self {
            Self::ByteHalves | Self::NibbleHalvesMin => 2,
            _ => 1,
        }
    }

    /// Whether there are minimums.
    pub(crate) const fn have_min(self) -> bool {
        matches!(self, Self::F16Min | Self::ByteMin | Self::NibbleHalvesMin)
    }

    /// Scale and minimum of half `half` (0 or 1) of 32 columns.
    pub(super) fn read(self, heads: [f16; 2], subs: [u8; 2], tensor: f32, half: usize) -> (f32, f32) {
        let [head, min_head] = heads.map(f16::to_f32);
        match self {
            Self::F16 => (head, 0.0),
            Self::F16Min => (head, min_head),
            Self::Byte => (head * f32::from(subs[0] as i8), 0.0),
            Self::ByteHalves => (head * f32::from(subs[half] as i8), 0.0),
            Self::ByteMin => (head * f32::from(subs[0]), min_head * f32::from(subs[1])),
            Self::NibbleHalvesMin => (head * f32::from(subs[half] & 15), min_head * f32::from(subs[half] >> 4)),
            Self::Exponent => (power_of_two(subs[0]), 0.0),
            Self::Tensor => (tensor, 0.0),
        }
    }
}

/// 2^(exponent - 128), which for exponents 0 and 1 is subnormal.
pub(crate) const fn power_of_two(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => (exponent as u32 - 1) << 23,
    })
}

/// The parts of one block of up to [`MAX_COLUMNS`] columns. What a type does not have stays as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    /// Bits of float16.
    pub(crate) heads: [u16; 2],
    /// For each 32 columns.
    pub(crate) subs: [[u8; 2]; MAX_COLUMNS / BLOCK],
    /// For each column.
    pub(crate) codes: [u8; MAX_COLUMNS],
}

impl Unpacked {
    /// Nothing: zero times whatever code 0 stands for.
    pub(crate) const ZERO: Self = Self { heads: [0; 2], subs: [[0; 2]; MAX_COLUMNS / BLOCK], codes: [0; MAX_COLUMNS] };

    /// Head `index`, from two bytes.
    pub(crate) fn set_head(&mut self, index: usize, bytes: &[u8]) {
        self.heads[index] = u16::from_le_bytes([bytes[0], bytes[1]]);
    }

    /// Head `index`, with the other sign: a minimum that the file adds instead of subtracting it.
    pub(crate) fn set_negated_head(&mut self, index: usize, bytes: &[u8]) {
        self.set_head(index, bytes);
        self.heads[index] ^= 0x8000;
    }
}

/// Low nibbles to the first half of `codes`, high nibbles to the second.
pub(super) fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// Adds 32 fifth bits, the first in the lowest bit of the first byte, to 32 codes of four bits.
pub(super) fn fifth_bits(bytes: &[u8], codes: &mut [u8]) {
    for (codes, byte) in codes.chunks_exact_mut(8).zip(bytes) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code |= (byte >> i & 1) << 4;
        }
    }
}
