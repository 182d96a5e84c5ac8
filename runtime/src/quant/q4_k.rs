//! Q4_K: 256 weights as 4-bit quants; each 32 have a 6-bit scale and a 6-bit minimum, each block a float16 for either.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};

/// Block: scale of the scales; scale of the minimums; 12 bytes of both; 128 bytes, each 32 of which hold 64 columns: byte i
/// columns i and 32 + i.
pub(super) const FORMAT: Format = Format {
    name: "q4_k",
    ggml_id: Some(12),
    columns: 256,
    activations: Grain::Fine,
    bytes: 144,
    planes: [4, 0],
    code: Code::Minus(0),
    scales: Scales::ByteMin,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    unpack_scales(&block[..16], to);
    for (codes, quants) in to.codes.chunks_exact_mut(64).zip(block[16..144].chunks_exact(32)) {
        nibbles(quants, codes);
    }
}

/// The scales of Q4_K and Q5_K. Of the 12 bytes, the first four hold six bits of scales 0..4, the next four those of
/// minimums 0..4, the last four the low nibbles of scales and minimums 4..8, whose upper two bits are above the six.
pub(super) fn unpack_scales(bytes: &[u8], to: &mut Unpacked) {
    to.set_head(0, &bytes[0..2]);
    to.set_head(1, &bytes[2..4]);
    let (scales, mins, low) = (&bytes[4..8], &bytes[8..12], &bytes[12..16]);
    for i in 0..4 {
        to.subs[i] = [scales[i] & 63, mins[i] & 63];
        to.subs[i + 4] = [low[i] & 15 | scales[i] >> 6 << 4, low[i] >> 4 | mins[i] >> 6 << 4];
    }
}
