//! Q7_128: 128 weights as 7-bit quants and a float16 scale. It is babil's own, and what translators are packed to.
//!
//! Made for short products of many tokens, which are bound by arithmetic. Scales that belong to 128 columns, of weights and
//! of activations, leave little to do but integer products; and sums of two products of a 7-bit code and an activation fit 16
//! bits as they are, which AVX2 multiplies in three instructions where it needs four for signed bytes.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Columns of a block.
pub(super) const COLUMNS: usize = 128;
/// What is added to quants.
const OFFSET: i8 = 64;

/// Block: scale; 128 signed bytes, -64..=63.
pub(super) const FORMAT: Format = Format {
    name: "q7_128",
    ggml_id: None,
    columns: COLUMNS,
    activations: Grain::Coarse,
    bytes: 2 + COLUMNS,
    planes: [8, 0],
    code: Code::Minus(OFFSET as i32),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    for (code, quant) in to.codes.iter_mut().zip(&block[2..]) {
        *code = quant.wrapping_add(OFFSET as u8) & 0x7f;
    }
}
