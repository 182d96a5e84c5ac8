//! IQ4_NL: 32 weights as 4-bit indices of 16 unevenly spaced values, and a float16 scale.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};

/// The 16 values: finer around zero, where weights are many.
pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Block: as Q4_0.
pub(super) const FORMAT: Format = Format {
    name: "iq4_nl",
    ggml_id: Some(20),
    columns: 32,
    activations: Grain::Fine,
    bytes: 18,
    planes: [4, 0],
    code: Code::Table(&VALUES),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[0..2]);
    nibbles(&block[2..18], &mut to.codes[..32]);
}
