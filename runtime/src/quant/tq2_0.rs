//! TQ2_0: 256 weights of -1, 0 and 1 (and 2) in 2 bits each, and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: 64 bytes, each 32 of which hold 128 columns: byte i columns i, 32 + i, 64 + i and 96 + i; scale.
pub(super) const FORMAT: Format = Format {
    name: "tq2_0",
    ggml_id: Some(35),
    columns: 256,
    activations: Grain::Fine,
    bytes: 66,
    planes: [2, 0],
    code: Code::Minus(1),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[64..66]);
    for (b, codes) in to.codes.chunks_exact_mut(32).enumerate() {
        for (code, byte) in codes.iter_mut().zip(&block[b / 4 * 32..][..32]) {
            *code = byte >> (b % 4 * 2) & 3;
        }
    }
}
