//! Q2_K: 256 weights as 2-bit quants; each 16 have a 4-bit scale and a 4-bit minimum, each block a float16 for either.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: 16 bytes of scale (low nibble) and minimum (high nibble); 64 bytes, each 32 of which hold 128 columns: byte i
/// columns i, 32 + i, 64 + i and 96 + i; scale of the scales; scale of the minimums.
pub(super) const FORMAT: Format = Format {
    name: "q2_k",
    ggml_id: Some(10),
    columns: 256,
    activations: Grain::Fine,
    bytes: 84,
    planes: [2, 0],
    code: Code::Minus(0),
    scales: Scales::NibbleHalvesMin,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[80..82]);
    to.set_head(1, &block[82..84]);
    to.subs.copy_from_slice(block[..16].as_chunks().0);
    for (codes, quants) in to.codes.chunks_exact_mut(128).zip(block[16..80].chunks_exact(32)) {
        for (shift, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(quants) {
                *code = byte >> (2 * shift) & 3;
            }
        }
    }
}
