//! What kernels are written with: an instruction set as a type.

use super::gemm::Weights;

/// A kernel's body, generic over the instruction set.
pub(super) trait Work {
    /// Runs it. `#[inline(always)]`, so that it becomes part of a function that is compiled for the instruction set.
    ///
    /// # Safety
    /// The CPU must support the instruction set; whatever else the kernel asks for.
    unsafe fn run<S: Simd>(self);
}

/// An instruction set: its registers and what it does with them. A register of bytes holds 4 columns (a quad) of `LANES` rows,
/// one of integers or floats a value for each of these rows.
///
/// # Safety
/// Of all functions: the CPU must support the instruction set, and what is named `at` or `to` must be readable, or writable,
/// for as many values as are loaded or stored (but for `prefetch`). It need not be aligned.
pub(super) trait Simd: Sized {
    /// `[LANES][4]` bytes.
    type Bytes: Copy;
    /// `[LANES]` i32, in the form in which `floats` takes what `dots` returns.
    type Ints: Copy;
    /// `[LANES]` f32.
    type Floats: Copy;
    /// Rows of a register: a divisor of 16.
    const LANES: usize;
    /// The most tokens that are multiplied together, 1 or 4: as many as there are registers for.
    const TOKENS: usize = 4;

    /// Loads bytes.
    unsafe fn bytes(at: *const u8) -> Self::Bytes;
    /// Each byte shifted right by `right` bits, or left by `-right`, and with `mask`, which has no bit that came from
    /// another byte.
    unsafe fn field(bytes: Self::Bytes, right: i32, mask: u8) -> Self::Bytes;
    /// a | b
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// What the products start with of the register of rows at `rows` and a token whose sum over the columns that will be
    /// multiplied is `sum`: minus its product with the offset of codes, where it is codes that are multiplied.
    unsafe fn start<W: Weights>(rows: *const u8, sum: i32) -> Self::Ints;
    /// `dots` and the products of quads `first..first + W::QUADS` of `P` registers of rows, at `rows` (their first quad's byte in
    /// the tile), and of `M` tokens, at `x` (the tile's 32 quants).
    unsafe fn dots<W: Weights, const P: usize, const M: usize>(
        dots: [[Self::Ints; P]; M],
        rows: [*const u8; P],
        first: usize,
        x: [*const i8; M],
    ) -> [[Self::Ints; P]; M];

    /// What `start` and `dots` return -> f32
    unsafe fn floats(ints: Self::Ints) -> Self::Floats;
    /// Loads float32.
    unsafe fn load(at: *const f32) -> Self::Floats;
    /// Stores float32.
    unsafe fn store(at: *mut f32, x: Self::Floats);
    /// x for each row.
    unsafe fn splat(x: f32) -> Self::Floats;
    /// a * b
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a * b + c, rounded once
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Loads float16.
    unsafe fn f16(at: *const u8) -> Self::Floats;
    /// Loads bfloat16.
    unsafe fn bf16(at: *const u8) -> Self::Floats;
    /// a times unsigned bytes: of the 16 at `at`, those from number `lane` on.
    unsafe fn mul_u8(a: Self::Floats, at: *const u8, lane: usize) -> Self::Floats;
    /// Loads signed bytes.
    unsafe fn i8(at: *const u8) -> Self::Floats;
    /// a times the low or the high nibbles of bytes, as [`Simd::mul_u8`].
    unsafe fn mul_nibbles(a: Self::Floats, at: *const u8, lane: usize, high: bool) -> Self::Floats;
    /// Loads powers of two: see [`crate::quant::power_of_two`].
    unsafe fn powers_of_two(at: *const u8) -> Self::Floats;

    /// 4 floats again and again, over all lanes.
    unsafe fn quads(at: *const f32) -> Self::Floats;
    /// Of 16 floats, in the first 16 / `LANES` registers: stores the sums of those at a distance of 4, 8 and 12, which are
    /// `(x[i] + x[i + 8]) + (x[i + 4] + x[i + 12])` for i in 0..4.
    unsafe fn sum_quads(x: [Self::Floats; 4], to: *mut f32);

    /// Brings the cache line of `at`, which need not be readable, into the second-level cache: it waits for more lines at a
    /// time than the first, which a stream from memory needs, and is near enough.
    unsafe fn prefetch(at: *const u8);
    /// Brings the cache line of `at`, which need not be writable, into the first-level cache, to be written.
    unsafe fn prefetch_to_write(at: *mut f32);

    /// Runs `work`, compiled for the instruction set.
    unsafe fn with<W: Work>(work: W);
}
