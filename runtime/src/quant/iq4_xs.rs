//! IQ4_XS: 256 weights as indices like those of IQ4_NL; each 32 have a 6-bit scale in -32..=31, each block a float16.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};
use super::iq4_nl::VALUES;

/// Block: scale of the scales; 8 times the upper two bits of a scale; 8 times its lower four bits; 128 bytes, each 16 of which
/// hold 32 columns: byte i columns i and 16 + i.
pub(super) const FORMAT: Format = Format {
    name: "iq4_xs",
    ggml_id: Some(23),
    columns: 256,
    activations: Grain::Fine,
    bytes: 136,
    planes: [4, 0],
    code: Code::Table(&VALUES),
    scales: Scales::Byte,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    let (high, low) = (&block[2..4], &block[4..8]);
    to.set_head(0, &block[0..2]);
    for (b, sub) in to.subs.iter_mut().enumerate() {
        let scale = low[b / 2] >> (b % 2 * 4) & 15 | (high[b / 4] >> (b % 4 * 2) & 3) << 4;
        sub[0] = scale.wrapping_sub(32);
    }
    for (codes, quants) in to.codes.chunks_exact_mut(32).zip(block[8..136].chunks_exact(16)) {
        nibbles(quants, codes);
    }
}
