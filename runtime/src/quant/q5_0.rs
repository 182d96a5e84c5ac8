//! Q5_0: 32 weights as 5-bit quants in -16..=15 and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked, fifth_bits, nibbles};

/// Block: scale; 32 fifth bits; 16 bytes, of which byte i holds the other bits of columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "q5_0",
    ggml_id: Some(6),
    columns: 32,
    activations: Grain::Fine,
    bytes: 22,
    planes: [4, 1],
    code: Code::Minus(16),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    nibbles(&block[6..22], &mut to.codes[..32]);
    fifth_bits(&block[2..6], &mut to.codes[..32]);
}
