//! Q3_K: 256 weights as 3-bit quants in -4..=3; each 16 have a 6-bit scale in -32..=31, each block a float16.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: 32 bytes of third bits, of which bit b of byte i is that of column 32 * b + i; 64 bytes of the other bits, as in
/// Q2_K; 12 bytes of scales; scale of the scales.
pub(super) const FORMAT: Format = Format {
    name: "q3_k",
    ggml_id: Some(11),
    columns: 256,
    activations: Grain::Fine,
    bytes: 110,
    planes: [2, 1],
    code: Code::Minus(4),
    scales: Scales::ByteHalves,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    let (third, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    to.set_head(0, &block[108..110]);
    for (i, sub) in to.subs.as_flattened_mut().iter_mut().enumerate() {
        let low = scales[i % 8] >> (i / 8 * 4) & 15;
        let high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
        *sub = (low | high << 4).wrapping_sub(32);
    }
    for (b, codes) in to.codes.chunks_exact_mut(32).enumerate() {
        let quants = &quants[b / 4 * 32..][..32];
        for (code, (byte, third)) in codes.iter_mut().zip(quants.iter().zip(third)) {
            *code = byte >> (b % 4 * 2) & 3 | (third >> b & 1) << 2;
        }
    }
}
