//! Q8_0: 32 weights as 8-bit quants and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: scale; 32 signed bytes.
pub(super) const FORMAT: Format = Format {
    name: "q8_0",
    ggml_id: Some(8),
    columns: 32,
    activations: Grain::Fine,
    bytes: 34,
    planes: [8, 0],
    code: Code::Signed,
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    to.codes[..32].copy_from_slice(&block[2..34]);
}
