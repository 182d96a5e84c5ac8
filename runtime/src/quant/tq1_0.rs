//! TQ1_0: 256 weights of -1, 0 and 1, five in a byte, and a float16 scale. Packed with 2 bits each, as TQ2_0.

use super::format::{Code, Format, Grain, Scales, Unpacked};

/// Block: bytes of five or four digits to the base 3, the first digit being the most significant, as fractions of 256: 32
/// bytes of columns 0..160, of which byte i holds columns i, 32 + i and so on; 16 bytes of columns 160..240; 4 bytes, of four
/// digits, of columns 240..256; scale.
pub(super) const FORMAT: Format = Format {
    name: "tq1_0",
    ggml_id: Some(34),
    columns: 256,
    activations: Grain::Fine,
    bytes: 54,
    planes: [2, 0],
    code: Code::Minus(1),
    scales: Scales::F16,
    unpack,
};

fn unpack(block: &[u8], to: &mut Unpacked) {
    to.set_head(0, &block[52..54]);
    let (long, rest) = to.codes.split_at_mut(160);
    let (middle, short) = rest.split_at_mut(80);
    for (bytes, codes) in [(&block[..32], long), (&block[32..48], middle), (&block[48..52], short)] {
        for (digit, codes) in codes.chunks_exact_mut(bytes.len()).enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                // The digits before this one, multiplied away, leave a fraction that begins with it.
                let fraction = byte.wrapping_mul(3u8.pow(digit as u32));
                *code = ((u16::from(fraction) * 3) >> 8) as u8;
            }
        }
    }
}
