//! Q5_K: 256 weights as 5-bit quants; each 32 have a 6-bit scale and a 6-bit minimum, each block a float16 for either.

use super::format::{Code, Format, Grain, Scales, Unpacked, nibbles};
use super::q4_k::unpack_scales;

/// Block: scales as in Q4_K; 32 bytes of fifth bits, of which bit b of byte i is that of column 32 * b + i; the other bits
/// as in Q4_K.
pub(super) const FORMAT: Format = Format {
    name: "q5_k",
    ggml_id: Some(13),
    columns: 256,
    activations: Grain::Fine,
    bytes: 176,
    planes: [4, 1],
    code: Code::Minus(0),
    scales: Scales::ByteMin,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    unpack_scales(&block[..16], to);
    for (codes, quants) in to.codes.chunks_exact_mut(64).zip(block[48..176].chunks_exact(32)) {
        nibbles(quants, codes);
    }
    for (b, codes) in to.codes.chunks_exact_mut(32).enumerate() {
        for (code, fifth) in codes.iter_mut().zip(&block[16..48]) {
            *code |= (fifth >> b & 1) << 4;
        }
    }
}
