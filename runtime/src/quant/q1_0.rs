//! Q1_0: 128 weights of -1 and 1 in a bit each, and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// What the bits mean.
const VALUES: [i8; 16] = [-1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Block: scale; 16 bytes of 8 columns each, the first in the lowest bit.
pub(super) const FORMAT: Format = Format {
    name: "q1_0",
    ggml_id: Some(41),
    columns: 128,
    activations: Grain::Fine,
    bytes: 18,
    planes: [1, 0],
    code: Code::Table(&VALUES),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    for (codes, byte) in to.codes[..128].chunks_exact_mut(8).zip(&block[2..18]) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = byte >> i & 1;
        }
    }
}
