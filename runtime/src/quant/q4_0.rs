//! Q4_0: 32 weights as 4-bit quants in -8..=7 and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};

/// Block: scale; 16 bytes, of which byte i holds columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "q4_0",
    ggml_id: Some(2),
    columns: 32,
    activations: Grain::Fine,
    bytes: 18,
    planes: [4, 0],
    code: Code::Minus(8),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    nibbles(&block[2..18], &mut to.codes[..32]);
}
