//! Q2_0: 64 weights as 2-bit quants in -1..=2 and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: scale; 16 bytes of 4 columns each, the first in the lowest bits.
pub(super) const FORMAT: Format = Format {
    name: "q2_0",
    ggml_id: Some(42),
    columns: 64,
    activations: Grain::Fine,
    bytes: 18,
    planes: [2, 0],
    code: Code::Minus(1),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    for (codes, byte) in to.codes[..64].chunks_exact_mut(4).zip(&block[2..18]) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = byte >> (2 * i) & 3;
        }
    }
}
