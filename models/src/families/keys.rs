//! Metadata of a language model's GGUF file: typed access to the keys of its architecture. As with config.json, keys
//! of the architecture that nobody asked for are errors, because they may change what the model computes.

use std::cell::RefCell;
use std::collections::BTreeSet;

use babil_runtime::spec::{Pairing, Rope, RopeScaling};
use babil_runtime::weights::Weights;
use babil_runtime::weights::gguf::{FromValue, Metadata, Value};
use babil_runtime::{Error, Result};

/// Keys that say nothing that tensors do not say.
const HARMLESS: &[&str] = &["vocab_size", "rope.scaling.finetuned", "tensor_data_layout"];

/// The metadata of a GGUF file under its architecture's name.
pub(super) struct Keys<'a> {
    pub(super) weights: &'a Weights,
    metadata: &'a Metadata,
    architecture: &'a str,
    seen: RefCell<BTreeSet<String>>,
    context: usize,
}

impl<'a> Keys<'a> {
    pub(super) fn new(weights: &'a Weights, context: usize) -> Result<Self> {
        let metadata = weights.gguf_metadata().ok_or_else(|| Error::bad_file(weights.file(), "is not a GGUF file"))?;
        let architecture = metadata.expect("general.architecture")?;
        Ok(Self { weights, metadata, architecture, seen: RefCell::default(), context })
    }

    /// `general.architecture`
    pub(super) fn architecture(&self) -> &'a str {
        self.architecture
    }

    fn full(&self, key: &str) -> String {
        self.seen.borrow_mut().insert(key.to_owned());
        format!("{}.{key}", self.architecture)
    }

    /// The value of `architecture.key` as a `T`, where there is one.
    pub(super) fn find<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        self.metadata.find(&self.full(key))
    }

    /// The value of `architecture.key` as a `T`.
    pub(super) fn expect<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        self.metadata.expect(&self.full(key))
    }

    /// The value of `architecture.key`, or what llama.cpp takes for it.
    pub(super) fn or<T: FromValue<'a>>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.find(key)?.unwrap_or(default))
    }

    /// The numbers of `architecture.key`: one for every layer, or one for all of them.
    pub(super) fn per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<usize>>> {
        let name = self.full(key);
        let Some(value) = self.metadata.get(&name) else { return Ok(None) };
        let Value::Array(array) = value else {
            return Ok(Some(vec![self.expect(key)?; layers]));
        };
        let numbers: Option<Vec<usize>> = array.iter().map(usize::from_value).collect();
        match numbers {
            Some(numbers) if numbers.len() == layers => Ok(Some(numbers)),
            _ => Err(self.metadata.bad(&name, format!("expected {layers} integers"))),
        }
    }

    /// The error that `architecture.key` says something that is not handled.
    pub(super) fn unsupported(&self, key: &str) -> Error {
        let name = self.full(key);
        let value = self.metadata.get(&name).map(|value| value.to_string()).unwrap_or_default();
        Error::Unsupported(format!("metadata key `{name}`: {value} ({})", self.weights.file()))
    }

    /// Refuses keys of the architecture that nobody asked for, unless they say 0 or false: no experts, for example.
    pub(super) fn finish(&self) -> Result<()> {
        let seen = self.seen.borrow().clone();
        let prefix = format!("{}.", self.architecture);
        let mut own = self.metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)));
        let known = |key: &str| seen.contains(key) || HARMLESS.contains(&key);
        let says_nothing = |value| usize::from_value(value) == Some(0) || value == Value::Bool(false);
        match own.find(|&(key, value)| !known(key) && !says_nothing(value)) {
            Some((key, _)) => Err(self.unsupported(key)),
            None => Ok(()),
        }
    }

    /// Rotary positions of heads of `head_dim` features.
    pub(super) fn rope(&self, head_dim: usize, pairing: Pairing) -> Result<Rope> {
        let theta = self.or("rope.freq_base", 10_000.0)?;
        let dims = self.or("rope.dimension_count", head_dim)?;
        let factor = match self.find::<f32>("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.or("rope.scale_linear", 1.0)?,
        };
        let original = match self.find::<usize>("rope.scaling.original_context_length")? {
            Some(original) => original,
            None => self.expect("context_length")?,
        };
        let magnitude = self.or("rope.scaling.attn_factor", 1.0)?;
        let kind = self.or("rope.scaling.type", "linear")?;
        let fast = self.or("rope.scaling.yarn_beta_fast", 32.0)?;
        let slow = self.or("rope.scaling.yarn_beta_slow", 1.0)?;
        let scale = self.find::<f32>("rope.scaling.yarn_log_multiplier")?;
        let divisors = |name: &str| self.weights.get(name).map(|tensor| tensor.to_f32());
        let long = if self.context > original { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        let scaling = match (divisors("rope_freqs.weight").or_else(|| divisors(long)), kind) {
            (Some(factors), _) if factor == 1.0 => RopeScaling::PerPair { factors, magnitude },
            (Some(_), _) => return Err(self.unsupported("rope.scaling.factor")),
            (None, "yarn") => RopeScaling::Yarn {
                factor,
                original: original as f32,
                beta_fast: fast,
                beta_slow: slow,
                magnitude: magnitude * RopeScaling::yarn_magnitude(factor, scale.map(|scale| (1.0, scale))),
                truncate: true,
            },
            (None, "linear" | "none") if magnitude != 1.0 => return Err(self.unsupported("rope.scaling.attn_factor")),
            (None, "linear") if factor != 1.0 => RopeScaling::Linear { factor },
            (None, "linear" | "none") => RopeScaling::None,
            (None, _) => return Err(self.unsupported("rope.scaling.type")),
        };
        Ok(Rope { dims, theta, pairing, scaling })
    }
}
