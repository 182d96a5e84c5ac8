//! I2_S, BitNet's own: 128 weights of -1, 0 and 1 in 2 bits each; one float32 scale for the whole tensor, behind its blocks.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: 32 bytes, of which byte i holds columns i, 32 + i, 64 + i and 96 + i, the first in the highest bits.
pub(super) const FORMAT: Format = Format {
    name: "i2_s",
    ggml_id: Some(36),
    columns: 128,
    activations: Grain::Fine,
    bytes: 32,
    planes: [2, 0],
    code: Code::Minus(1),
    scales: Scales::Tensor,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    for (b, codes) in to.codes[..128].chunks_exact_mut(32).enumerate() {
        for (code, byte) in codes.iter_mut().zip(block) {
            *code = byte >> (6 - 2 * b) & 3;
        }
    }
}
