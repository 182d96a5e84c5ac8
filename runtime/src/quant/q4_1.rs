//! Q4_1: 32 weights as 4-bit quants in 0..=15, a float16 scale and a float16 that is added.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};

/// Block: scale; what is added; 16 bytes, of which byte i holds columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "q4_1",
    ggml_id: Some(3),
    columns: 32,
    activations: Grain::Fine,
    bytes: 20,
    planes: [4, 0],
    code: Code::Minus(0),
    scales: Scales::F16Min,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    to.set_negated_head(1, &block[2..4]);
    nibbles(&block[4..20], &mut to.codes[..32]);
}
