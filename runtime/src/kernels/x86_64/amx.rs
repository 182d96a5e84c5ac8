//! AMX int8 (Sapphire Rapids and later): one instruction multiplies 16 tokens by 16 rows. It serves products of 16
//! tokens or more; everything else is AVX-512's.
//!
//! Three tiles are in use: 16 tokens by the columns that share a scale, as they lie in [`Tokens`]; these columns by 16
//! rows, whose layout is that of packed 8-bit codes; and their products, `[16 tokens][16 rows]` i32, which are stored,
//! scaled and added with AVX-512, in the order that `gemm.rs` defines.
//!
//! ```text
//! for each strip of STRIP groups of rows
//!   for each panel of PANEL blocks of columns
//!     codes of the strip -> signed bytes, once for all tokens
//!     for each 16 tokens
//!       quants, scales and sums -> Tokens, once for the strip
//!       for each group: accumulators, from the bias or the output, through the panel, to the output
//! ```

use super::avx512::{Avx512, TABLE as AVX512};
use crate::kernels::gemm::{self, Weights, unroll};
use crate::kernels::simd::Simd;
use crate::kernels::{ActivationsView, GemmPacked};
use crate::quant::{BLOCK, BlockType, Code, PackedView, TILE_ROWS};
use crate::threads::ColumnsMut;
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// [`GemmPacked`] for each type of weights. The CPU must have AVX-512 (see `avx512.rs`), and tiles be [`available`].
pub(super) const GEMMS: &[GemmPacked; BlockType::ALL.len()] = gemms!(W => multiply::<W>);

/// Tokens of a tile.
const TOKENS: usize = 16;
/// Groups of rows that share [`Tokens`].
const STRIP: usize = 4;
/// Blocks of columns whose weights (64 KB for a strip) and tokens (20 KB) stay in the second cache.
const PANEL: usize = 32;
/// Bytes of a block's codes of 16 rows, each in a byte.
const TILE: usize = BLOCK * TILE_ROWS;

/// Whether the CPU has tiles and int8 products, and the system lets this process use them. The CPU must have AVX-512.
#[cfg(target_os = "linux")]
pub(super) fn available() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    const SYS_ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;

    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: only reads a register of the CPU.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: AVX-512 is not detected unless leaf 7 exists and the system has enabled `xgetbv`. The system call takes
    // two numbers, and changes only what instructions this process may use.
    unsafe {
        __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8 && enabled_state() & TILE_STATE == TILE_STATE && {
            let result: isize;
            asm!(
                "syscall",
                inlateout("rax") SYS_ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
            result == 0
        }
    }
}

/// Tiles are not asked for on other systems.
#[cfg(not(target_os = "linux"))]
pub(super) fn available() -> bool {
    false
}

/// What `ldtilecfg` reads: the shapes of tiles.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row.
    widths: [u16; 16],
    rows: [u8; 16],
}

/// Where sums start without a bias.
static ZEROS: [f32; TILE_ROWS] = [0.0; TILE_ROWS];

/// What a tile of products is stored to: `[token][row]`.
#[repr(align(64))]
struct Products([[i32; TILE_ROWS]; TOKENS]);

/// A panel of a group of rows.
struct Rows {
    /// Which blocks of columns it has.
    blocks: Range<usize>,
    /// A tile for each of them.
    tiles: *const u8,
    /// The scales of the group, those of all columns.
    scales: *const u8,
    /// The set of rows that there are.
    lanes: __mmask16,
}

/// A panel of up to [`TOKENS`] tokens.
#[repr(align(64))]
struct Tokens {
    /// How many there are.
    count: usize,
    quants: [[[i8; BLOCK]; TOKENS]; PANEL],
    scales: [[f32; TOKENS]; PANEL],
    /// What minimums are multiplied with: for each scale of a block, the negative sum of the quants times the scale.
    sums: [[[f32; TOKENS]; 2]; PANEL],
}

/// Weights as signed bytes, blocks of columns of groups of rows; a tile has the layout of packed 8-bit codes.
#[repr(align(64))]
struct Panel([[[u8; TILE]; PANEL]; STRIP]);

/// [`GemmPacked`]
///
/// # Safety
/// The CPU must have AVX-512, tiles must be [`available`], and the operands fit each other (see [`gemm::check`]).
unsafe fn multiply<W: Weights>(
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    if x.rows < TOKENS {
        return AVX512.gemm(W::BLOCK)(w, x, bias, out);
    }
    // SAFETY: the caller's duty.
    unsafe { multiply_panels::<W>(w, x, bias, out) }
}

/// [`multiply`] with tiles.
///
/// # Safety
/// As [`multiply`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply_panels<W: Weights>(
    w: PackedView<'_>,
    x: ActivationsView<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnsMut<'_>,
) {
    let tile_bytes = W::FORMAT.tile_bytes();
    let blocks = w.cols / BLOCK;
    let columns = out.columns();
    let groups = columns.start / TILE_ROWS..columns.end.div_ceil(TILE_ROWS);
    let mut panel = MaybeUninit::<Panel>::uninit();
    let panel = panel.as_mut_ptr();
    let mut tokens = Tokens::ZERO;
    // SAFETY: groups and blocks are among those of the weights; the panel has room for those of a strip. `to` are the
    // rows' columns of the output, `start` as many values.
    unsafe {
        load_shapes(W::QUADS);
        for strip in groups.clone().step_by(STRIP) {
            for first in (0..blocks).step_by(PANEL) {
                let part = first..blocks.min(first + PANEL);
                let codes = |group: usize| w.codes.as_ptr().add((group * blocks + first) * tile_bytes);
                let tiles = |group: usize| (&raw mut (*panel).0[group - strip]).cast::<u8>();
                let strip = strip..groups.end.min(strip + STRIP);
                if !has_tiles::<W>() {
                    for group in strip.clone() {
                        for i in 0..part.len() {
                            unpack::<W>(codes(group).add(i * tile_bytes), tiles(group).add(i * TILE));
                        }
                    }
                }
                for token in (0..x.rows).step_by(TOKENS) {
                    tokens.pack::<W>(x, token..x.rows.min(token + TOKENS), part.clone());
                    for group in strip.clone() {
                        let row = group * TILE_ROWS;
                        let rows = TILE_ROWS.min(columns.end - row);
                        let mut to = [std::ptr::null_mut(); TOKENS];
                        for m in 0..tokens.count {
                            to[m] = out.row_mut(token + m)[row - columns.start..][..rows].as_mut_ptr();
                        }
                        let start = match (first, bias) {
                            (0, Some(bias)) => [bias[row..][..rows].as_ptr(); TOKENS],
                            (0, None) => [ZEROS.as_ptr(); TOKENS],
                            _ => to.map(<*mut f32>::cast_const),
                        };
                        let rows = Rows {
                            blocks: part.clone(),
                            tiles: if has_tiles::<W>() { codes(group) } else { tiles(group) },
                            scales: w
                                .scales
                                .as_ptr()
                                .add(group * (w.cols / W::FORMAT.columns) * W::FORMAT.span_bytes()),
                            lanes: ((1u32 << rows) - 1) as u16,
                        };
                        multiply_panel::<W>(&rows, &tokens, start, to);
                    }
                }
            }
        }
        asm!("tilerelease", options(nomem, nostack, preserves_flags));
    }
}

/// Whether packed codes are tiles as they lie there.
const fn has_tiles<W: Weights>() -> bool {
    matches!(W::FORMAT.code, Code::Signed)
}

/// Tells this thread's tiles their shapes, for columns of `quads` quads.
///
/// # Safety
/// Tiles must be available.
unsafe fn load_shapes(quads: usize) {
    let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], widths: [0; 16], rows: [0; 16] };
    shapes.widths[..3].copy_from_slice(&[TILE_ROWS as u16 * 4, quads as u16 * 4, TILE_ROWS as u16 * 4]);
    shapes.rows[..3].copy_from_slice(&[TOKENS as u8, TOKENS as u8, quads as u8]);
    // SAFETY: reads 64 bytes; palette 1 has tiles of up to 16 rows of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(readonly, nostack, preserves_flags)) };
}

/// Writes the quants of 16 rows and 32 columns of codes `at` to a tile.
///
/// # Safety
/// The CPU must have AVX-512, and both must have the bytes.
#[inline(always)]
unsafe fn unpack<W: Weights>(at: *const u8, to: *mut u8) {
    // SAFETY: the caller's duty.
    unsafe {
        unroll!(quad < BLOCK / 4, 0 1 2 3 4 5 6 7; {
            let codes = gemm::codes::<Avx512, W>(at, quad);
            let quants = match W::FORMAT.code {
                Code::Signed => codes,
                Code::Minus(offset) => _mm512_sub_epi8(codes, _mm512_set1_epi8(offset as i8)),
                Code::Table(values) => {
                    let table = _mm512_broadcast_i32x4(_mm_loadu_si128(values.as_ptr().cast()));
                    _mm512_shuffle_epi8(table, codes)
                }
            };
            _mm512_store_si512(to.add(quad * TILE_ROWS * 4).cast(), quants);
        });
    }
}

impl Tokens {
    const ZERO: Self = Self {
        count: 0,
        quants: [[[0; BLOCK]; TOKENS]; PANEL],
        scales: [[0.0; TOKENS]; PANEL],
        sums: [[[0.0; TOKENS]; 2]; PANEL],
    };

    /// Takes up blocks `blocks` of tokens `tokens`. What is not filled stays as it was.
    #[inline(always)]
    fn pack<W: Weights>(&mut self, x: ActivationsView<'_>, tokens: Range<usize>, blocks: Range<usize>) {
        self.count = tokens.len();
        let width = x.cols / BLOCK;
        for (m, token) in tokens.enumerate() {
            let row = token * width..(token + 1) * width;
            let quants = &x.quants.as_chunks::<BLOCK>().0[row.clone()][blocks.clone()];
            let scales = &x.scales[row.start / W::TILES..row.end / W::TILES];
            let scales = &scales[blocks.start / W::TILES..blocks.end / W::TILES];
            for (to, quants) in self.quants.iter_mut().zip(quants) {
                to[m] = *quants;
            }
            for (to, scale) in self.scales.iter_mut().step_by(W::TILES).zip(scales) {
                to[m] = *scale;
            }
            if W::FORMAT.scales.have_min() {
                let sums = &x.sums.as_chunks::<2>().0[row][blocks.clone()];
                for ((to, scale), &[low, high]) in self.sums.iter_mut().zip(scales).zip(sums) {
                    let sums = if W::SCALES == 2 { [low, high] } else { [low + high, 0] };
                    for (to, sum) in to.iter_mut().zip(sums) {
                        to[m] = -(sum as f32 * scale);
                    }
                }
            }
        }
    }
}

/// Adds the products of `rows` and `tokens` to the values at `start`, and stores them at `to`, for each token.
///
/// # Safety
/// As [`multiply`]; shapes must be loaded, and `start` and `to` of the tokens have a value for each row.
#[inline(always)]
unsafe fn multiply_panel<W: Weights>(
    rows: &Rows,
    tokens: &Tokens,
    start: [*const f32; TOKENS],
    to: [*mut f32; TOKENS],
) {
    let format = W::FORMAT;
    let mut products = Products([[0; TILE_ROWS]; TOKENS]);
    // SAFETY: the caller's duty; where there is one scale only, a span has 0 bytes.
    unsafe {
        let mut totals = [_mm512_setzero_ps(); TOKENS];
        for m in 0..tokens.count {
            totals[m] = _mm512_maskz_loadu_ps(rows.lanes, start[m]);
        }
        for (i, b) in rows.blocks.clone().enumerate().step_by(W::TILES) {
            let span = rows.scales.add(b / format.span() * format.span_bytes());
            unroll!(half < W::SCALES, 0 1; {
                let quants = tokens.quants[i].as_flattened().as_ptr().add(half * W::QUADS * 4);
                multiply_tiles::<W>(quants, rows.tiles.add(i * TILE + half * W::QUADS * TILE_ROWS * 4), &mut products);
                let heads = gemm::heads::<Avx512, W>(span, 0);
                let w_scale = gemm::scale::<Avx512, W>(heads, span, b % format.span(), half, 0);
                for m in 0..TOKENS {
                    let dots = _mm512_load_si512(products.0[m].as_ptr().cast());
                    let scale = Avx512::mul(w_scale, Avx512::splat(tokens.scales[i][m]));
                    totals[m] = Avx512::fma(Avx512::floats(dots), scale, totals[m]);
                }
                if format.scales.have_min() {
                    let w_min = gemm::min::<Avx512, W>(heads, span, b % format.span(), half, 0);
                    for m in 0..TOKENS {
                        totals[m] = Avx512::fma(w_min, Avx512::splat(tokens.sums[i][half][m]), totals[m]);
                    }
                }
            });
        }
        for m in 0..tokens.count {
            _mm512_mask_storeu_ps(to[m], rows.lanes, totals[m]);
        }
    }
}

/// The products of 16 tokens, [`BLOCK`] bytes apart, and of a tile of 16 rows; or the sum of those of the tiles beside each
/// other that have one scale.
///
/// # Safety
/// Shapes must be loaded, and quants and tiles have them.
#[inline(always)]
unsafe fn multiply_tiles<W: Weights>(quants: *const i8, tiles: *const u8, products: &mut Products) {
    const { assert!(TOKENS * BLOCK == TILE && PANEL.is_multiple_of(W::TILES)) };
    // SAFETY: reads and writes the tiles' rows alone.
    unsafe {
        asm!(
            "tilezero tmm0",
            "2:",
            "tileloadd tmm1, [{quants} + {block}]",
            "tileloadd tmm2, [{tiles} + {register}]",
            "tdpbssd tmm0, tmm1, tmm2",
            "add {quants}, {tile}",
            "add {tiles}, {tile}",
            "dec {count}",
            "jnz 2b",
            "tilestored [{products} + {register}], tmm0",
            quants = inout(reg) quants => _,
            tiles = inout(reg) tiles => _,
            count = inout(reg) W::TILES => _,
            tile = const TILE,
            products = in(reg) products.0.as_mut_ptr(),
            block = in(reg) BLOCK,
            register = in(reg) TILE_ROWS * 4,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            options(nostack),
        );
    }
}
