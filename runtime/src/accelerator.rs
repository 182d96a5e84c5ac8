//! What may compute a part of a model in place of the CPU, such as an NPU: the traits, and what there is to compute.
//!
//! ```text
//! plan --Subgraph--> Accelerator --compile--> Compiled --run--> keys and values, rows of the residual stream
//!                                             ^ Offload: which one, whether it pays, what happens when it fails
//! ```
//!
//! Accelerators want fixed shapes and a compiler that runs before, so a [`Subgraph`] has a size, and what is shorter is
//! filled up and masked. Its results enter the caches of an ordinary session: tokens are generated on the CPU. All numbers
//! that cross the border are float32; what an accelerator computes in between is its own affair, and so results are
//! close to the CPU's, not the same to the bit.

mod choices;
mod encoding;
mod offload;
mod prefill;
mod remembered;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use self::choices::Choices;
pub(crate) use self::encoding::Encoding;
pub use self::offload::{Offload, Report, SubgraphReport};
pub(crate) use self::offload::{Ran, Skipped, Trial, tested};
pub(crate) use self::prefill::{Filled, Prefill};
pub use self::remembered::Remembered;
use crate::cpu_time;
use crate::plan::{DecoderPlan, EncoderDecoderPlan, EncoderInput};
use crate::spec::{AttentionSpec, LayerSpec, Mixer, QueryGrowth, Span};
use crate::{Cancel, Error, Result};

/// A number that is added to scores of what is not to be seen: its exponential is 0, and float16 has it.
pub const UNSEEN: f32 = -3e4;

/// A part of a model, of fixed shapes.
#[derive(Clone)]
pub enum Subgraph {
    /// The encoder, and of its output the keys and values of attention to it in every layer of the decoder.
    Encoder {
        /// The model.
        plan: Arc<EncoderDecoderPlan>,
        /// Rows of the encoder.
        positions: usize,
    },
    /// The layers of a decoder on some tokens of a prompt.
    Prefill {
        /// The model.
        plan: Arc<DecoderPlan>,
        /// Tokens.
        chunk: usize,
        /// The most positions before them.
        past: usize,
    },
}

/// The shape of a [`Subgraph`], which tells those of a model apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Of [`Subgraph::Encoder`].
    Encoder {
        /// Rows.
        positions: usize,
    },
    /// Of [`Subgraph::Prefill`].
    Prefill {
        /// Tokens.
        chunk: usize,
        /// The most positions before them.
        past: usize,
    },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoder { positions } => write!(f, "encoder of {positions} positions"),
            Self::Prefill { chunk, past } => write!(f, "prompt of {chunk} tokens after {past}"),
        }
    }
}

/// A tensor of float32 that goes in or comes out, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
}

impl Slot {
    fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }

    /// How many numbers it has.
    pub fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Subgraph {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        match *self {
            Self::Encoder { positions, .. } => Shape::Encoder { positions },
            Self::Prefill { chunk, past, .. } => Shape::Prefill { chunk, past },
        }
    }

    /// What tells the model's spec from others: the same weights in another configuration are another model.
    fn spec(&self) -> u64 {
        let spec = match self {
            Self::Encoder { plan, .. } => format!("{:?}", plan.spec()),
            Self::Prefill { plan, .. } => format!("{:?}", plan.spec()),
        };
        let mut hasher = DefaultHasher::new();
        spec.hash(&mut hasher);
        hasher.finish()
    }

    /// The instruction set of the CPU's side.
    fn isa(&self) -> &'static str {
        match self {
            Self::Encoder { plan, .. } => plan.kernels().isa.name(),
            Self::Prefill { plan, .. } => plan.kernels().isa.name(),
        }
    }

    /// Refuses what no accelerator computes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] says which part of the model.
    pub fn check(&self) -> Result<()> {
        let (layers, encoder) = match self {
            Self::Encoder { plan, .. } => (&plan.spec().encoder.layers, true),
            Self::Prefill { plan, .. } => (&plan.spec().stack.layers, false),
        };
        for layer in layers {
            let Mixer::Attention(attention) = &layer.mixer else {
                return Err(Error::Unsupported("short convolutions on an accelerator".to_owned()));
            };
            if encoder && (attention.span != Span::FULL || attention.rope.is_some() || attention.growth.is_some()) {
                let what = "an encoder with windows or rotated heads on an accelerator";
                return Err(Error::Unsupported(what.to_owned()));
            }
        }
        Ok(())
    }

    /// What goes in.
    ///
    /// Of an encoder of `p` positions over frames: `frames` `[features, 2 p]`, `sound` `[1, 2 p]` (1 where there is a frame,
    /// 0 where it is filled up) and `seen` `[1, p]` (0, or [`UNSEEN`] where filled up). Over tokens: `rows` `[p, dim]`, the
    /// embedded tokens, and `seen`.
    ///
    /// Of a chunk of `c` tokens after a past of `l`: `rows` `[c, dim]`; for each kind of span `seen` `[c, l + c]`; for each
    /// kind of rotation `cos` and `sin` `[c, pairs]`; for each kind of growth `growth` `[c, 1]`; and where `l > 0`, for each
    /// layer, `keys` and `values` of the past, `[l, kv_heads * head_dim]`.
    pub fn inputs(&self) -> Vec<Slot> {
        match self {
            Self::Encoder { plan, positions } => {
                let p = *positions;
                let seen = Slot::new("seen", &[1, p]);
                match &plan.encoder.input {
                    EncoderInput::Frames(stem) => {
                        let frames = Slot::new("frames", &[stem.features(), 2 * p]);
                        vec![frames, Slot::new("sound", &[1, 2 * p]), seen]
                    }
                    EncoderInput::Tokens(_) => vec![Slot::new("rows", &[p, plan.spec().encoder.dim]), seen],
                }
            }
            Self::Prefill { plan, chunk, past } => {
                let (chunk, past) = (*chunk, *past);
                let stack = &plan.spec().stack;
                let mut slots = vec![Slot::new("rows", &[chunk, stack.dim])];
                let spans = spans(&stack.layers).len();
                slots.extend((0..spans).map(|i| Slot::new(format!("seen.{i}"), &[chunk, past + chunk])));
                for (i, rope) in plan.parts.stack.ropes.iter().enumerate() {
                    let pairs = rope.spec().dims / 2;
                    slots.push(Slot::new(format!("cos.{i}"), &[chunk, pairs]));
                    slots.push(Slot::new(format!("sin.{i}"), &[chunk, pairs]));
                }
                let growths = growths(&stack.layers).len();
                slots.extend((0..growths).map(|i| Slot::new(format!("growth.{i}"), &[chunk, 1])));
                if past > 0 {
                    for (i, width) in key_widths(&stack.layers).enumerate() {
                        slots.push(Slot::new(format!("past.{i}.keys"), &[past, width]));
                        slots.push(Slot::new(format!("past.{i}.values"), &[past, width]));
                    }
                }
                slots
            }
        }
    }

    /// What comes out: of an encoder, for each layer of the decoder, `keys` and `values` `[positions, dim]`; of a chunk the
    /// residual stream `rows` `[chunk, dim]` after the last layer and, for each layer, the `keys` and `values` of the chunk's
    /// own tokens, `[chunk, kv_heads * head_dim]`.
    pub fn outputs(&self) -> Vec<Slot> {
        let (mut slots, rows, widths): (_, _, Vec<usize>) = match self {
            Self::Encoder { plan, positions } => {
                let decoder = &plan.spec().decoder.stack;
                (Vec::new(), *positions, vec![decoder.dim; decoder.layers.len()])
            }
            Self::Prefill { plan, chunk, .. } => {
                let stack = &plan.spec().stack;
                (vec![Slot::new("out", &[*chunk, stack.dim])], *chunk, key_widths(&stack.layers).collect())
            }
        };
        for (i, width) in widths.into_iter().enumerate() {
            slots.push(Slot::new(format!("{i}.keys"), &[rows, width]));
            slots.push(Slot::new(format!("{i}.values"), &[rows, width]));
        }
        slots
    }
}

/// The attention of each layer; short convolutions have none.
fn attentions(layers: &[LayerSpec]) -> impl Iterator<Item = &AttentionSpec> {
    layers.iter().filter_map(|layer| match &layer.mixer {
        Mixer::Attention(attention) => Some(attention),
        Mixer::ShortConv { .. } => None,
    })
}

/// Features of the keys of a position in each layer.
fn key_widths(layers: &[LayerSpec]) -> impl Iterator<Item = usize> + '_ {
    attentions(layers).map(|attention| attention.kv_heads * attention.head_dim)
}

/// The kinds of `items`, in the order of their first appearance.
fn kinds<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// The kinds of spans.
pub(crate) fn spans(layers: &[LayerSpec]) -> Vec<Span> {
    kinds(attentions(layers).map(|attention| attention.span))
}

/// The kinds of growth.
pub(crate) fn growths(layers: &[LayerSpec]) -> Vec<QueryGrowth> {
    kinds(attentions(layers).filter_map(|attention| attention.growth))
}

/// How numbers are computed on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32.
    F32,
    /// Products in float16.
    F16,
    /// Weights in 8 bits, what they are multiplied with in 16, in ranges that are measured on the first input.
    Int8,
}

impl Precision {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let all = [Self::F32, Self::F16, Self::Int8];
        all.into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| format!("`{name}` is not f32, f16 or int8"))
    }
}

/// Something to compile.
pub struct Job<'a> {
    /// What tells the model's weights from any others: a hash of them, and what they were quantised to.
    pub model: &'a str,
    /// The part of it.
    pub subgraph: &'a Subgraph,
    /// Inputs such as it will get, in the order of [`Subgraph::inputs`]: ranges of numbers can be measured on them.
    pub sample: &'a [&'a [f32]],
}

impl Job<'_> {
    /// All that a compiled subgraph depends on, and what is remembered of it: made on an accelerator with this `setup`.
    pub(crate) fn key(&self, setup: &str) -> String {
        format!("{setup} | {} | {:016x} | {}", self.model, self.subgraph.spec(), self.subgraph.shape())
    }
}

/// A device, or the way to one.
pub trait Accelerator: Send + Sync {
    /// What it is: provider, version and device.
    fn device(&self) -> &str;

    /// All that what it compiles depends on beside the job: the device, its driver, versions and options.
    fn setup(&self) -> String;

    /// Compiles a subgraph, or loads what was compiled before.
    ///
    /// # Errors
    /// What the device cannot do, or its compiler's own.
    fn compile(&self, job: &Job<'_>) -> Result<Box<dyn Compiled>>;
}

/// A compiled subgraph. Dropping it gives back all that it holds.
pub trait Compiled: Send {
    /// What runs where.
    fn placement(&self) -> Placement;

    /// Computes `outputs` (as many as [`Subgraph::outputs`]; it sets their lengths) of `inputs`. Ends when `stop` says so, as
    /// soon as it can.
    ///
    /// # Errors
    /// The device's own, and that of `stop`. The outputs are meaningless then.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>], stop: &Stop) -> Result<()>;
}

/// When a run has to end though it is not done.
#[derive(Clone, Debug)]
pub struct Stop {
    cancel: Cancel,
    begun: Instant,
    patience: Duration,
}

impl Stop {
    /// How often a run that takes long should ask.
    pub const INTERVAL: Duration = Duration::from_millis(20);

    /// One for a run that begins now: when `cancel` says so, or after `patience`.
    pub fn new(cancel: &Cancel, patience: Duration) -> Self {
        Self { cancel: cancel.clone(), begun: Instant::now(), patience }
    }

    /// Whether it is time.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self) -> Result<()> {
        self.cancel.check()?;
        if self.begun.elapsed() >= self.patience {
            let problem = format!("it was not done after {} s", self.patience.as_secs_f32());
            return Err(Error::Accelerator(problem));
        }
        Ok(())
    }
}

/// Where the operations of a compiled subgraph run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// Operations, or whole compiled parts, on the device.
    pub ops: usize,
    /// Operations that the provider left to its own code for CPUs.
    pub fallback_ops: usize,
    /// Whether it was compiled before and only loaded now.
    pub loaded: bool,
}

impl Placement {
    /// Refuses what does not run on the device at all, and what does not run there wholly unless `allow_fallback`.
    ///
    /// # Errors
    /// [`Error::Accelerator`] says how much does not.
    pub fn check(&self, allow_fallback: bool) -> Result<()> {
        let all = self.ops + self.fallback_ops;
        let problem = match self {
            Self { ops: 0, fallback_ops: 0, .. } => "its provider does not say that anything runs on it".to_owned(),
            Self { ops: 0, .. } => format!("all {all} operations would run on the CPU"),
            Self { fallback_ops, .. } if *fallback_ops > 0 && !allow_fallback => {
                format!("{fallback_ops} of {all} operations would run on the CPU: --npu-fallback allows that")
            }
            Self { .. } => return Ok(()),
        };
        Err(Error::Accelerator(problem))
    }
}

/// What a computation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time that passed.
    pub wall: Duration,
    /// Time of this process on CPUs, where the system tells it.
    pub cpu: Option<Duration>,
}

impl Cost {
    /// Runs `work`, and says what it took.
    pub fn measure<R>(work: impl FnOnce() -> R) -> (R, Self) {
        let (start, cpu) = (Instant::now(), cpu_time::of_process());
        let result = work();
        let cpu = cpu_time::of_process().zip(cpu).map(|(end, start)| Duration::from_secs_f64((end - start).max(0.0)));
        (result, Self { wall: start.elapsed(), cpu })
    }

    /// The share of `part` of `all` tokens.
    pub(crate) fn share(self, part: usize, all: usize) -> Self {
        let share = |time: Duration| time.mul_f64(part as f64 / all.max(1) as f64);
        Self { wall: share(self.wall), cpu: self.cpu.map(share) }
    }

    /// Whether it is faster than `other`, or keeps the CPUs free for half of the time at a price of no more than as much
    /// waiting again.
    pub(crate) fn is_better_than(self, other: Self) -> bool {
        let cheaper = || self.cpu.zip(other.cpu).is_some_and(|(own, other)| own * 2 <= other);
        self.wall < other.wall || (self.wall <= other.wall * 2 && cheaper())
    }
}
