//! Q5_1: 32 weights as 5-bit quants in 0..=31, a float16 scale and a float16 that is added.

use super::format::{Code, Format, Grain, Scales, Unpacked, fifth_bits, nibbles};

/// Block: scale; what is added; 32 fifth bits; 16 bytes, of which byte i holds the other bits of columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "q5_1",
    ggml_id: Some(7),
    columns: 32,
    activations: Grain::Fine,
    bytes: 24,
    planes: [4, 1],
    code: Code::Minus(0),
    scales: Scales::F16Min,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    to.set_negated_head(1, &block[2..4]);
    nibbles(&block[8..24], &mut to.codes[..32]);
    fifth_bits(&block[4..8], &mut to.codes[..32]);
}
