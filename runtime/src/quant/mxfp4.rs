//! MXFP4: 32 weights as 4-bit floats (a sign, two bits of exponent, one of mantissa) and a power of two.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};

/// Twice the values of the 4-bit floats.
const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Block: exponent; 16 bytes, of which byte i holds columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "mxfp4",
    ggml_id: Some(39),
    columns: 32,
    activations: Grain::Fine,
    bytes: 17,
    planes: [4, 0],
    code: Code::Table(&VALUES),
    scales: Scales::Exponent,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.subs[0][0] = block[0];
    nibbles(&block[1..17], &mut to.codes[..32]);
}
