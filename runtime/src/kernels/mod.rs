//! The only home of SIMD intrinsics: a table of functions, chosen once for the CPU found.
//!
//! Arithmetic is defined once: every instruction set computes the same sums in the same order (integer dot products
//! are exact, float accumulation is one fused multiply-add per block and lane), so every table gives the same bits. A
//! token's result depends neither on the other tokens of a call nor on the range of columns that is asked for.
//!
//! - `gemm.rs`: the product of packed weights and int8 activations, for every instruction set and type of weights;
//! - `floats.rs`: the product of float weights and float32 activations, likewise;
//! - `attention.rs`: scores with stored keys and sums of stored values, for every instruction set and type of cache;
//! - `generic.rs`: the portable body of everything else;
//! - `simd.rs`: what the first three ask of an instruction set;
//! - `scalar.rs`, `x86_64/`, `aarch64/`: a file per instruction set, with what it does with its registers, and its table.
//!
//! `ADDING_A_KERNEL.md` says how to add one.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "loops over registers and lanes read best by index")]

mod attention;
mod floats;
mod gemm;
mod generic;
mod scalar;
mod simd;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::quant::{BlockType, Grain, PackedView};
use crate::threads::ColumnsMut;
use crate::{Error, Result};
pub use attention::{Keys, Stored, TILE, Values};
pub use gemm::ActivationsView;

/// The environment variable that [`Kernels::from_env`] reads.
pub const ISA_VARIABLE: &str = "BABIL_ISA";

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x * sigmoid(x), also called swish
    Silu,
    /// max(x, 0)^2
    ReluSquared,
    /// x * Phi(x), exact (erf)
    Gelu,
    /// x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
    GeluTanh,
}

/// An instruction set with its own kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable Rust, the reference.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX2 with `vpdpbusd` (Alder Lake and later).
    AvxVnni,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
    /// AVX-512 VNNI, and AMX int8 for many tokens (Sapphire Rapids and later).
    Amx,
    /// aarch64 without dot products (Cortex-A72).
    Neon,
    /// aarch64 with `sdot`.
    Dotprod,
    /// aarch64 with `smmla` as well.
    I8mm,
}

impl Isa {
    /// Every instruction set, those of other architectures included; of one architecture, the better ones last.
    pub const ALL: [Self; 8] =
        [Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512Vnni, Self::Amx, Self::Neon, Self::Dotprod, Self::I8mm];

    /// Its name in [`ISA_VARIABLE`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Quantises one row of activations: x `[cols]` -> quants `[cols]`, a scale and sums for as many columns as a [`Grain`] says.
pub type QuantizeRow = fn(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]);
/// out\[m]\[n] = bias\[n] + sum_k w\[n]\[k] * x\[m]\[k] for the columns n of `out`, whose start is a multiple of 16.
/// `bias`, when given, covers all rows of `w`. Panics when the shapes do not fit each other.
pub type GemmPacked = fn(w: PackedView<'_>, x: ActivationsView<'_>, bias: Option<&[f32]>, out: &mut ColumnsMut<'_>);
/// As [`GemmPacked`] for the bytes of little-endian floats `[rows, cols]` (row-major), which need not be aligned, and
/// float32 activations `[m, cols]`, for any columns.
pub type GemmFloat = fn(w: &[u8], cols: usize, x: &[f32], bias: Option<&[f32]>, out: &mut ColumnsMut<'_>);

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, over one row; all of x's length.
pub type LayerNorm = fn(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]);
/// y = x / sqrt(mean(x^2) + eps) * weight, over one row; all of x's length.
pub type RmsNorm = fn(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]);
/// The scores of heads of queries, `[heads][features][4]`, each feature 4 times: head `h`'s with position `i` of the keys
/// goes to `scores[h * stride + i]`, for all positions of their tiles. (q, keys, scores, stride)
pub type AttentionScores = fn(q: &[f32], keys: Keys<'_>, scores: &mut [f32], stride: usize);
/// out\[h] += sum_i p\[h * stride + i] * values\[i], in order of i, for heads of `dim` features. (p, stride, values, out, dim)
pub type AttentionValues = fn(p: &[f32], stride: usize, values: Values<'_>, out: &mut [f32], dim: usize);
/// Turns each pair of features of one head by its angle: (a, b) becomes (a cos - b sin, b cos + a sin).
pub type Rotate = fn(x: &mut [f32], cos: &[f32], sin: &[f32]);

/// The functions of one instruction set. To have a table means that this CPU can run it.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Which instruction set they need.
    pub isa: Isa,
    /// Of [`Grain::Fine`]. Of each block, the scale is largest magnitude / 127, / 126, / 125 or / 124, whichever makes the
    /// smallest error, and a quant is x / scale to the nearest integer (ties to even). That is a seventh less error, in squares,
    /// than 127 alone.
    pub quantize_row: QuantizeRow,
    /// The same with largest magnitude / 127 as the scale: several times as fast, for what is many and exact enough.
    pub quantize_plainly: QuantizeRow,
    /// Of [`Grain::Coarse`], with largest magnitude / 63 as the scale.
    quantize_coarsely: QuantizeRow,
    /// See [`Kernels::gemm`].
    gemm_packed: &'static [GemmPacked; BlockType::ALL.len()],
    /// See [`GemmFloat`], for float32 weights.
    pub gemm_f32: GemmFloat,
    /// See [`GemmFloat`], for float16 weights.
    pub gemm_f16: GemmFloat,
    /// See [`GemmFloat`], for bfloat16 weights.
    pub gemm_bf16: GemmFloat,
    /// See [`LayerNorm`].
    pub layer_norm: LayerNorm,
    /// See [`RmsNorm`].
    pub rms_norm: RmsNorm,
    /// The largest value, minus infinity for an empty row; NaNs are passed over.
    pub max: fn(&[f32]) -> f32,
    /// Each value becomes e^(value - max), no value being above max; returns their sum. (x, max)
    pub exponentials: fn(&mut [f32], f32) -> f32,
    /// Softmax of one row, in place. At least one value must be finite, or all become NaN.
    pub softmax: fn(&mut [f32]),
    /// ln(sum(exp(x))), computed from the maximum down.
    pub log_sum_exp: fn(&[f32]) -> f32,
    /// An elementwise function, in place.
    pub activate: fn(Activation, &mut [f32]),
    /// y += x. (x, y)
    pub add: fn(&[f32], &mut [f32]),
    /// See [`AttentionScores`].
    pub attention_scores: AttentionScores,
    /// See [`AttentionValues`].
    pub attention_values: AttentionValues,
    /// See [`Rotate`]: feature i and feature i + n/2 are a pair.
    pub rotate_halves: Rotate,
    /// See [`Rotate`]: features 2i and 2i + 1 are a pair.
    pub rotate_pairs: Rotate,
    /// x becomes cap * tanh(x / cap). (cap, x)
    pub softcap: fn(f32, &mut [f32]),
    /// y *= x. (x, y)
    pub multiply: fn(&[f32], &mut [f32]),
    /// y *= f(x), f being an elementwise function. (f, x, y)
    pub gated: fn(Activation, &[f32], &mut [f32]),
    /// z += x * y, fused. (x, y, z)
    pub multiply_add: fn(&[f32], &[f32], &mut [f32]),
    /// x *= factor. (factor, x)
    pub scale: fn(f32, &mut [f32]),
}

/// A [`GemmPacked`] for each type of weights, in the order of [`BlockType::ALL`]: of the type called `$w`, the function
/// `$gemm`, which needs the CPU and operands that fit each other.
macro_rules! gemms {
    ($w:ident => $($gemm:tt)+) => {{
        use $crate::kernels::gemm::{Type, Weights, check};
        fn of<$w: Weights>(
            w: $crate::quant::PackedView<'_>,
            x: $crate::kernels::ActivationsView<'_>,
            bias: Option<&[f32]>,
            out: &mut $crate::threads::ColumnsMut<'_>,
        ) {
            check::<$w>(w, x, bias, out);
            // SAFETY: who has the table has a CPU with the features of this instruction set; the operands were checked.
            unsafe { $($gemm)+(w, x, bias, out) }
        }
        &[
            of::<Type<0>>, of::<Type<1>>, of::<Type<2>>, of::<Type<3>>, of::<Type<4>>, of::<Type<5>>, of::<Type<6>>,
            of::<Type<7>>, of::<Type<8>>, of::<Type<9>>, of::<Type<10>>, of::<Type<11>>, of::<Type<12>>, of::<Type<13>>,
            of::<Type<14>>, of::<Type<15>>, of::<Type<16>>, of::<Type<17>>, of::<Type<18>>,
        ]
    }};
}
use gemms;

/// Makes `const TABLE: Kernels` of an instruction set: the portable bodies compiled for `features`, and [`gemms`] with
/// how many registers of rows at a time and how many of them in flight together, for several tokens and for one. The table
/// may only be handed out where the CPU has `features`: its functions do not check again.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! table {
    (
        isa: $isa:expr, features: $features:literal, simd: $simd:ty,
        rows: ($n:literal, $p:literal), of_one_token: ($n1:literal, $p1:literal) $(,)?
    ) => {
        pub(in crate::kernels) const TABLE: $crate::kernels::Kernels = {
            use $crate::kernels::{Activation, Kernels, attention, floats, generic};
            $crate::kernels::shims! {
                $features;
                fn quantize_row(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]);
                fn quantize_plainly(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]);
                fn quantize_coarsely(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]);
                fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]);
                fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]);
                fn max(x: &[f32]) -> f32;
                fn exponentials(x: &mut [f32], max: f32) -> f32;
                fn softmax(x: &mut [f32]);
                fn log_sum_exp(x: &[f32]) -> f32;
                fn activate(activation: Activation, x: &mut [f32]);
                fn add(x: &[f32], y: &mut [f32]);
                fn rotate_halves(x: &mut [f32], cos: &[f32], sin: &[f32]);
                fn rotate_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]);
                fn softcap(cap: f32, x: &mut [f32]);
                fn multiply(x: &[f32], y: &mut [f32]);
                fn gated(activation: Activation, x: &[f32], y: &mut [f32]);
                fn multiply_add(x: &[f32], y: &[f32], z: &mut [f32]);
                fn scale(factor: f32, x: &mut [f32]);
            }
            Kernels {
                isa: $isa,
                quantize_row,
                quantize_plainly,
                quantize_coarsely,
        gemm_packed: $crate::kernels::gemms!(W => $crate::kernels::gemm::gemm::<$simd, W, $n, $p, $n1, $p1>),
                gemm_f32: floats::gemm::<$simd, floats::F32>,
                gemm_f16: floats::gemm::<$simd, floats::F16>,
                gemm_bf16: floats::gemm::<$simd, floats::Bf16>,
                layer_norm,
                rms_norm,
                max,
                exponentials,
                softmax,
                log_sum_exp,
                activate,
                add,
                attention_scores: attention::scores::<$simd>,
                attention_values: attention::sums::<$simd>,
                rotate_halves,
                rotate_pairs,
                softcap,
                multiply,
                gated,
                multiply_add,
                scale,
            }
        };
    };
}

/// A function for each function of `generic` that is named: the same body, compiled for `features`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! shims {
    ($features:literal; $(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        fn $name($($arg: $type),*) $(-> $result)? {
            #[target_feature(enable = $features)]
            fn shim($($arg: $type),*) $(-> $result)? {
                generic::$name($($arg),*)
            }
            // SAFETY: who has the table has a CPU with these features.
            unsafe { shim($($arg),*) }
        }
    )*};
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use shims;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The portable table, which every CPU can run.
const SCALAR: Kernels = {
    Kernels {
        isa: Isa::Scalar,
        quantize_row: generic::quantize_row,
        quantize_plainly: generic::quantize_plainly,
        quantize_coarsely: generic::quantize_coarsely,
        gemm_packed: gemms!(W => gemm::gemm::<scalar::Scalar, W, 1, 1, 1, 1>),
        gemm_f32: floats::gemm::<scalar::Scalar, floats::F32>,
        gemm_f16: floats::gemm::<scalar::Scalar, floats::F16>,
        gemm_bf16: floats::gemm::<scalar::Scalar, floats::Bf16>,
        layer_norm: generic::layer_norm,
        rms_norm: generic::rms_norm,
        max: generic::max,
        exponentials: generic::exponentials,
        softmax: generic::softmax,
        log_sum_exp: generic::log_sum_exp,
        activate: generic::activate,
        add: generic::add,
        attention_scores: attention::scores::<scalar::Scalar>,
        attention_values: attention::sums::<scalar::Scalar>,
        rotate_halves: generic::rotate_halves,
        rotate_pairs: generic::rotate_pairs,
        softcap: generic::softcap,
        multiply: generic::multiply,
        gated: generic::gated,
        multiply_add: generic::multiply_add,
        scale: generic::scale,
    }
};

impl Kernels {
    /// What quantises rows to `grain`.
    pub fn quantize(&self, grain: Grain) -> QuantizeRow {
        match grain {
            Grain::Fine => self.quantize_row,
            Grain::Coarse => self.quantize_coarsely,
        }
    }

    /// The product with packed weights of type `block`.
    pub fn gemm(&self, block: BlockType) -> GemmPacked {
        self.gemm_packed[block as usize]
    }

    /// The table of `isa`, if this CPU can run it.
    pub fn for_isa(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Scalar => Some(SCALAR),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86_64::avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => x86_64::avxvnni(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => x86_64::avx512(),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => x86_64::amx(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::neon(),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => aarch64::dotprod(),
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm => aarch64::i8mm(),
            _ => None,
        }
    }

    /// Every table that this CPU can run, the portable one first and the best one last.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        Isa::ALL.into_iter().filter_map(Self::for_isa)
    }

    /// The best table that this CPU can run. AMX is not chosen until it has run on a CPU that has it: so far it has been
    /// tested in an emulator only, and must be asked for by name.
    pub fn detect() -> Self {
        Self::all().rfind(|kernels| kernels.isa != Isa::Amx).unwrap_or(SCALAR)
    }

    /// The table that the environment variable [`ISA_VARIABLE`] names, or the best one when it is unset or empty.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a name that is none, [`Error::Unsupported`] for one that this CPU cannot run.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(ISA_VARIABLE) {
            Some(name) if !name.is_empty() => Self::named(&name.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    /// The table of the instruction set called `name` (see [`Isa::name`]).
    ///
    /// # Errors
    /// As [`Kernels::from_env`].
    pub fn named(name: &str) -> Result<Self> {
        let names = |isas: &mut dyn Iterator<Item = Isa>| isas.map(Isa::name).collect::<Vec<_>>().join(", ");
        let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == name) else {
            let known = names(&mut Isa::ALL.into_iter());
            return Err(Error::BadRequest(format!("{ISA_VARIABLE}: `{name}` is none of {known}")));
        };
        Self::for_isa(isa).ok_or_else(|| {
            let able = names(&mut Self::all().map(|kernels| kernels.isa));
            Error::Unsupported(format!("{ISA_VARIABLE}={name} on this CPU, which can run {able}"))
        })
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).finish_non_exhaustive()
    }
}
