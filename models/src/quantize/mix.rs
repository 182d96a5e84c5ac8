//! Which tensor of a model is stored as what: the mixes of llama.cpp's `llama-quantize`, by their names.
//!
//! A mix has a type for matrices in general, one for the output (or for embeddings that serve as the output), and
//! rules for the matrices that suffer most. Rows that are not a multiple of a type's block take the next type that
//! fits. Vectors, norms and a few small matrices stay as they are.

use babil_runtime::quant::BlockType::{self, *};
use babil_runtime::weights::Encoding;

/// A named way of quantising a whole model.
#[derive(Debug)]
pub struct Mix {
    /// Its name, in small letters.
    pub name: &'static str,
    /// The value of `general.file_type`.
    pub file_type: u32,
    default: Encoding,
    output: Encoding,
    /// The first that applies to a tensor decides.
    rules: &'static [Rule],
}

type Rule = (Role, Layers, BlockType);

/// What a matrix does in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Embedding,
    Output,
    /// Of attention: values, alone or joined with queries and keys.
    Values,
    AttentionOutput,
    FfnDown,
    Other,
}

/// Of which layers a rule holds. Layers are counted among those that have such a matrix.
#[derive(Clone, Copy, Debug)]
enum Layers {
    All,
    First(usize),
    /// The first eighth, sixteenth ...
    FirstOf(usize),
    /// The first and the last eighth, and every third between.
    MoreBits,
    /// All, where at least four heads share keys and values: the matrix is small.
    Grouped,
}

use Layers::{All, First, FirstOf, Grouped, MoreBits};
use Role::{AttentionOutput, Embedding, FfnDown, Values};

const fn mix(name: &'static str, file_type: u32, default: BlockType, output: BlockType, rules: &'static [Rule]) -> Mix {
    Mix { name, file_type, default: Encoding::Blocks(default), output: Encoding::Blocks(output), rules }
}

const fn floats(name: &'static str, file_type: u32, encoding: Encoding) -> Mix {
    Mix { name, file_type, default: encoding, output: encoding, rules: &[] }
}

const TERNARY: &[Rule] = &[(Embedding, All, Q4K)];
const IQ4: &[Rule] = &[(Values, Grouped, Q5K), (FfnDown, FirstOf(8), Q5K)];
const SIX_IN_PLACES: &[Rule] = &[(Values, MoreBits, Q6K), (FfnDown, MoreBits, Q6K)];

/// All mixes.
pub const MIXES: &[Mix] = &[
    mix(
        "q2_k",
        10,
        Q2K,
        Q6K,
        &[(Values, Grouped, Q4K), (Values, All, Q3K), (FfnDown, All, Q3K), (AttentionOutput, All, Q3K)],
    ),
    mix("q3_k_s", 11, Q3K, Q6K, &[]),
    mix(
        "q3_k_m",
        12,
        Q3K,
        Q6K,
        &[
            (Values, First(2), Q5K),
            (Values, All, Q4K),
            (FfnDown, FirstOf(16), Q5K),
            (FfnDown, All, Q4K),
            (AttentionOutput, All, Q4K),
        ],
    ),
    mix("q3_k_l", 13, Q3K, Q6K, &[(Values, All, Q5K), (FfnDown, All, Q5K), (AttentionOutput, All, Q5K)]),
    mix("q4_k_s", 14, Q4K, Q6K, &[(Values, First(4), Q5K), (FfnDown, FirstOf(8), Q5K)]),
    mix("q4_k_m", 15, Q4K, Q6K, SIX_IN_PLACES),
    mix("q5_k_s", 16, Q5K, Q6K, &[]),
    mix("q5_k_m", 17, Q5K, Q6K, SIX_IN_PLACES),
    mix("q6_k", 18, Q6K, Q6K, &[]),
    mix("q8_0", 7, Q8_0, Q8_0, &[]),
    mix("q4_0", 2, Q4_0, Q6K, &[]),
    mix("q4_1", 3, Q4_1, Q6K, &[]),
    mix("q5_0", 8, Q5_0, Q6K, &[]),
    mix("q5_1", 9, Q5_1, Q6K, &[]),
    mix("iq4_nl", 25, Iq4Nl, Q6K, IQ4),
    mix("iq4_xs", 30, Iq4Xs, Q6K, IQ4),
    mix("tq1_0", 36, Tq1_0, Q6K, TERNARY),
    mix("tq2_0", 37, Tq2_0, Q6K, TERNARY),
    mix("q1_0", 40, Q1_0, Q6K, &[]),
    mix("q2_0", 41, Q2_0, Q6K, TERNARY),
    // llama-quantize has it for experts alone, or with --pure, as here.
    mix("mxfp4", 38, Mxfp4, Mxfp4, &[]),
    floats("f16", 1, Encoding::F16),
    floats("bf16", 32, Encoding::Bf16),
    floats("f32", 0, Encoding::F32),
];

/// What a mix needs to know of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Its layers.
    pub(super) layers: usize,
    /// Heads of queries that share one of keys and values.
    pub(super) group: usize,
}

/// What the names of weights hold that stay as they are.
const KEPT: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "position_embd",
    "token_types.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "attn_rel_b.weight",
];

impl Mix {
    /// The mix called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        MIXES.iter().find(|mix| mix.name == name)
    }

    /// The mix that has the same type everywhere.
    pub fn pure(&self) -> Self {
        Self { output: self.default, rules: &[], ..*self }
    }

    /// How each of `tensors` (name, shape, encoding now) is to be stored. They must be in the order of [`order`].
    pub(super) fn assign<'t>(
        &self,
        tensors: impl Iterator<Item = (&'t str, &'t [usize], Encoding)> + Clone,
        facts: Facts,
    ) -> Vec<Encoding> {
        let count = |role| tensors.clone().filter(|(name, ..)| Role::of(name) == role).count();
        let tied = count(Role::Output) == 0;
        let values = count(Values);
        // How many there were of each.
        let (mut value, mut down) = (0, 0);
        let assign = |(name, shape, now): (&str, &[usize], Encoding)| {
            if !is_quantised(name, shape) {
                return now;
            }
            let role = Role::of(name);
            let (layer, layers) = match role {
                Values => (next(&mut value), values),
                FfnDown => (next(&mut down), facts.layers),
                _ => (0, 0),
            };
            let encoding = if role == Role::Output || tied && role == Embedding {
                self.output
            } else {
                let applies = |rule: &&Rule| rule.0 == role && rule.1.hold(layer, layers, facts.group);
                self.rules.iter().find(applies).map_or(self.default, |rule| Encoding::Blocks(rule.2))
            };
            fitting(encoding, shape)
        };
        tensors.clone().map(assign).collect()
    }
}

/// Returns a counter's value and advances it.
fn next(counter: &mut usize) -> usize {
    *counter += 1;
    *counter - 1
}

impl Role {
    fn of(name: &str) -> Self {
        let is = |part: &str| name.contains(part);
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::Embedding,
            _ if is("attn_qkv.weight") || is("attn_kv_b.weight") || is("attn_v.weight") => Self::Values,
            _ if is("attn_output.weight") => Self::AttentionOutput,
            _ if is("ffn_down") => Self::FfnDown,
            _ => Self::Other,
        }
    }
}

impl Layers {
    /// Whether `layer` of `layers` is among them.
    fn hold(self, layer: usize, layers: usize, group: usize) -> bool {
        match self {
            Self::All => true,
            Self::First(count) => layer < count,
            Self::FirstOf(parts) => layer < layers / parts,
            Self::MoreBits => {
                layer < layers / 8 || layer >= layers.saturating_mul(7) / 8 || (layer - layers / 8) % 3 == 2
            }
            Self::Grouped => group >= 4,
        }
    }
}

fn is_quantised(name: &str, shape: &[usize]) -> bool {
    // A dimension of 1 in front is none.
    let matrix = shape.iter().rev().skip(1).any(|&d| d > 1);
    matrix && name.ends_with("weight") && !KEPT.iter().any(|part| name.contains(part))
}

/// `encoding`, or what a matrix takes whose rows are not a multiple of its blocks.
fn fitting(encoding: Encoding, shape: &[usize]) -> Encoding {
    let fits = |encoding: &Encoding| encoding.byte_len(shape).is_some();
    let smaller = match encoding {
        Encoding::Blocks(Q2K | Q3K | Tq1_0 | Tq2_0 | Q2_0) => Q4_0,
        Encoding::Blocks(Q4K) => Q5_0,
        Encoding::Blocks(Q5K) => Q5_1,
        Encoding::Blocks(Q6K) => Q8_0,
        Encoding::Blocks(Iq4Xs) => Iq4Nl,
        // Q1_0 too: there is nothing near it.
        _ => Q8_0,
    };
    let smaller = Some(Encoding::Blocks(smaller)).filter(|_| !matches!(encoding, Encoding::Blocks(Q1_0)));
    [Some(encoding), smaller].into_iter().flatten().find(fits).unwrap_or(Encoding::F16)
}

/// The key by which tensors are ordered: those of no layer, then layer by layer, by name.
pub(super) fn order(name: &str) -> (Option<usize>, &str) {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    (layer, name)
}
