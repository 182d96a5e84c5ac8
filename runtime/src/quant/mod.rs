//! Block-quantised weight types: those of GGUF, and the layout in which kernels read them.
//!
//! What a type is, is data in its own file (`format.rs`); how matrices are packed is in `packed.rs`; how floats become
//! blocks is in [`quantize`].

mod blocks;
mod format;
mod i2_s;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod packed;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q7_128;
mod q8_0;
pub mod quantize;
mod tq1_0;
mod tq2_0;

pub use blocks::BlocksView;
pub use format::Grain;
pub(crate) use format::{Code, Format, Scales, power_of_two};
pub use packed::{Block, PackedMut, PackedView, RowsMut, dequantize_row, pack, pack_blocks, packed_len};

/// Columns that kernels multiply at a time; the columns of a block are a multiple of it.
pub const BLOCK: usize = 32;
/// Rows interleaved in one tile.
pub const TILE_ROWS: usize = 16;

/// A quantised weight type: the block types of GGUF. Blocks of a row follow each other; a row is whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is described in its own file")]
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Q1_0,
    Q2_0,
    /// BitNet's own: ternary, one float32 scale for the whole tensor.
    I2S,
    Q7_128,
}

impl BlockType {
    /// Every type, in the order of the enum.
    pub const ALL: [Self; 19] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Tq1_0,
        Self::Tq2_0,
        Self::Mxfp4,
        Self::Q1_0,
        Self::Q2_0,
        Self::I2S,
        Self::Q7_128,
    ];

    /// What the type is.
    pub(crate) const fn format(self) -> &'static Format {
        match self {
            Self::Q4_0 => &q4_0::FORMAT,
            Self::Q4_1 => &q4_1::FORMAT,
            Self::Q5_0 => &q5_0::FORMAT,
            Self::Q5_1 => &q5_1::FORMAT,
            Self::Q8_0 => &q8_0::FORMAT,
            Self::Q2K => &q2_k::FORMAT,
            Self::Q3K => &q3_k::FORMAT,
            Self::Q4K => &q4_k::FORMAT,
            Self::Q5K => &q5_k::FORMAT,
            Self::Q6K => &q6_k::FORMAT,
            Self::Iq4Nl => &iq4_nl::FORMAT,
            Self::Iq4Xs => &iq4_xs::FORMAT,
            Self::Tq1_0 => &tq1_0::FORMAT,
            Self::Tq2_0 => &tq2_0::FORMAT,
            Self::Mxfp4 => &mxfp4::FORMAT,
            Self::Q1_0 => &q1_0::FORMAT,
            Self::Q2_0 => &q2_0::FORMAT,
            Self::I2S => &i2_s::FORMAT,
            Self::Q7_128 => &q7_128::FORMAT,
        }
    }

    /// The type's name in files, options and reports.
    pub const fn name(self) -> &'static str {
        self.format().name
    }

    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.name() == name)
    }

    /// Its number in GGUF (`ggml_type`); `None` for what is babil's own.
    pub const fn ggml_id(self) -> Option<u32> {
        self.format().ggml_id
    }

    /// The type with this number in GGUF.
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.ggml_id() == Some(id))
    }

    /// Columns of one block.
    pub const fn block_columns(self) -> usize {
        self.format().columns
    }

    /// How the activations are quantised that it is multiplied with.
    pub const fn activations(self) -> Grain {
        self.format().activations
    }

    /// Bytes of one block in a GGUF file.
    pub const fn block_bytes(self) -> usize {
        self.format().bytes
    }

    /// Bytes behind the last block of a tensor in a GGUF file. (Those of I2_S begin with its float32 scale.)
    pub const fn tail_bytes(self) -> usize {
        match self.format().scales {
            Scales::Tensor => 32,
            _ => 0,
        }
    }

    /// What rows of `cols` weights are quantised to where this type is asked for: Q8_0 where they are not whole blocks of
    /// Q7_128, and `None` where they are not whole blocks.
    pub const fn for_rows(self, cols: usize) -> Option<Self> {
        match self {
            _ if cols.is_multiple_of(self.block_columns()) => Some(self),
            Self::Q7_128 => Self::Q8_0.for_rows(cols),
            _ => None,
        }
    }

    /// Bytes of a row of `cols` weights in a GGUF file; `None` when that is not whole blocks, or too many bytes.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        match cols.is_multiple_of(self.block_columns()) {
            true => (cols / self.block_columns()).checked_mul(self.block_bytes()),
            false => None,
        }
    }

    /// Bytes of a `[rows, cols]` matrix in a GGUF file; `None` when rows are not whole blocks, or it is too many bytes.
    pub fn tensor_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        rows.checked_mul(self.row_bytes(cols)?)?.checked_add(self.tail_bytes())
    }
}

/// [`BlockType::ALL`] can be indexed by a type.
const _: () = {
    let mut i = 0;
    while i < BlockType::ALL.len() {
        assert!(BlockType::ALL[i] as usize == i);
        i += 1;
    }
};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
