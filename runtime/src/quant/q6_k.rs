//! Q6_K: 256 weights as 6-bit quants in -32..=31; each 16 have an 8-bit scale, each block a float16.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: 128 bytes, each 64 of which hold the lower four bits of 128 columns: byte i those of columns i and 64 + i; 64 bytes,
/// each 32 of which hold the upper two: byte i those of columns i, 32 + i, 64 + i and 96 + i; 16 scales; scale of the scales.
pub(super) const FORMAT: Format = Format {
    name: "q6_k",
    ggml_id: Some(14),
    columns: 256,
    activations: Grain::Fine,
    bytes: 210,
    planes: [4, 2],
    code: Code::Minus(32),
    scales: Scales::ByteHalves,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    let (low, high) = (&block[..128], &block[128..192]);
    to.subs.copy_from_slice(block[192..208].as_chunks().0);
    to.set_head(0, &block[208..210]);
    for (b, codes) in to.codes.chunks_exact_mut(32).enumerate() {
        let low = &low[b / 4 * 64 + b % 2 * 32..][..32];
        let high = &high[b / 4 * 32..][..32];
        for (code, (low, high)) in codes.iter_mut().zip(low.iter().zip(high)) {
            *code = low >> (b % 4 / 2 * 4) & 15 | (high >> (b % 4 * 2) & 3) << 4;
        }
    }
}
