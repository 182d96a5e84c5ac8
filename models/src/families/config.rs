//! config.json of a language model: typed access to its keys, and what several of them say together.
//!
//! Keys are remembered when they are asked for. One that nobody asked for and that is not known to be harmless may
//! change what the model computes: it is an error, unless it says null, false or nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;

use babil_runtime::spec::{Activation, Pairing, Rope, RopeScaling};
use babil_runtime::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Keys that say nothing about what is computed: names, training, tokens, and values that others follow from.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "_name_or_path", "_sliding_window_pattern", "architectures", "attention_dropout", "auto_map", "boi_token_index",
    "bos_token_id", "cache_implementation", "dtype", "embd_pdrop", "eoi_token_index", "eos_token_id", "image_token_id",
    "image_token_index", "initializer_range", "is_llama_config", "mm_tokens_per_image", "model_type",
    "multimodal_projector_bias", "pad_token_id", "pretraining_tp", "projector_hidden_act", "resid_pdrop",
    "sep_token_id", "spatial_merge_size", "text_config", "torch_dtype", "transformers_version", "unsloth_fixed",
    "use_cache", "vision_config", "vision_feature_layer",
];

/// The keys of a language model's config.json: those of `text_config`, where there is one, before those around it.
pub(super) struct Config<'a> {
    file: &'a str,
    outer: &'a Map<String, Value>,
    inner: Option<&'a Map<String, Value>>,
    seen: RefCell<BTreeSet<String>>,
    /// How many positions conversations may have.
    pub(super) context: usize,
}

impl<'a> Config<'a> {
    pub(super) fn new(file: &'a str, value: &'a Value, context: usize) -> Result<Self> {
        let outer = value.as_object().ok_or_else(|| Error::bad_file(file, "is not a JSON object"))?;
        let inner = outer.get("text_config").and_then(Value::as_object);
        Ok(Self { file, outer, inner, seen: RefCell::default(), context })
    }

    /// The value of `key`; null is none.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(key.to_owned());
        let value = self.inner.and_then(|inner| inner.get(key)).or_else(|| self.outer.get(key));
        value.filter(|value| !value.is_null())
    }

    /// The value of `key` as a `T`, where there is one.
    pub(super) fn find<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get(key).map(|value| self.read(key, value)).transpose()
    }

    /// The value of `key` as a `T`.
    pub(super) fn expect<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| Error::bad_file(self.file, format!("`{key}` is missing")))
    }

    /// The value of `key`, or what the family's implementation takes for it.
    pub(super) fn or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.find(key)?.unwrap_or(default))
    }

    /// As [`Config::expect`], of the first of `keys` that has a value.
    pub(super) fn first<T: DeserializeOwned>(&self, keys: &[&str]) -> Result<T> {
        self.expect(keys.iter().find(|key| self.get(key).is_some()).unwrap_or(&keys[0]))
    }

    fn read<T: DeserializeOwned>(&self, key: &str, value: &Value) -> Result<T> {
        T::deserialize(value).map_err(|problem| Error::bad_file(self.file, format!("`{key}`: {problem}")))
    }

    /// The error that `key` says something that is not handled.
    pub(super) fn unsupported(&self, key: &str) -> Error {
        let value = self.get(key).unwrap_or(&Value::Null);
        Error::Unsupported(format!("`{key}`: {value} ({})", self.file))
    }

    /// Asks for keys that say nothing about what is computed in this family.
    pub(super) fn ignore(&self, keys: &[&str]) {
        self.seen.borrow_mut().extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        let seen = self.seen.borrow().clone();
        let known = |key: &String| seen.contains(key) || HARMLESS.contains(&key.as_str());
        let says_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(values) => values.is_empty(),
            Value::Object(values) => values.is_empty(),
            _ => false,
        };
        let all = self.outer.iter().chain(self.inner.into_iter().flatten());
        match all.into_iter().find(|(key, value)| !known(key) && !says_nothing(value)) {
            Some((key, _)) => Err(self.unsupported(key)),
            None => Ok(()),
        }
    }

    /// An activation by its name in transformers.
    pub(super) fn activation(&self, key: &str, default: Activation) -> Result<Activation> {
        match self.find::<String>(key)?.as_deref() {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("relu") => Ok(Activation::Relu),
            Some("relu2") => Ok(Activation::ReluSquared),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some(_) => Err(self.unsupported(key)),
        }
    }

    /// The window of each layer, if it has one. `pattern`: every how many layers one has none, where the file is
    /// silent.
    pub(super) fn windows(&self, layers: usize, pattern: Option<usize>) -> Result<Vec<Option<usize>>> {
        let window = self.find::<usize>("sliding_window")?;
        let used = self.find::<bool>("use_sliding_window")?;
        self.ignore(&["layer_types", "max_window_layers", "sliding_window_pattern"]);
        let Some(window) = window.filter(|_| used != Some(false)) else { return Ok(vec![None; layers]) };
        let slides: Vec<bool> = if let Some(kinds) = self.find::<Vec<String>>("layer_types")? {
            kinds.iter().map(|kind| kind == "sliding_attention").collect()
        } else if let Some(pattern) = self.find("sliding_window_pattern")?.or(pattern) {
            (1..=layers).map(|layer| !layer.is_multiple_of(pattern)).collect()
        } else {
            let first = if used == Some(true) { self.or("max_window_layers", 0)? } else { 0 };
            (0..layers).map(|layer| layer >= first).collect()
        };
        if slides.len() != layers {
            return Err(self.unsupported("layer_types"));
        }
        Ok(slides.into_iter().map(|slides| slides.then_some(window)).collect())
    }

    /// The key under which rotary positions are described.
    pub(super) fn rope_key(&self) -> &'static str {
        if self.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" }
    }

    /// Rotary positions of heads of `head_dim` features: `rope_parameters`, or `rope_scaling` beside `rope_theta`.
    /// Models of transformers turn halves. `own_keys` are those that this family alone has there; with `alpha` it has
    /// `dynamic` scaling that is none, but a stretched base.
    pub(super) fn rope(&self, head_dim: usize, theta: f32, own_keys: &[&str]) -> Result<Rope> {
        let key = self.rope_key();
        let own = self.get(key).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let full = own.get("full_attention").unwrap_or(&own);
        let scaling = Config::new(self.file, full, self.context)?;
        // What stands inside wins.
        self.ignore(&["rope_theta", "partial_rotary_factor"]);
        let theta = match scaling.find("rope_theta")? {
            Some(theta) => theta,
            None => self.or("rope_theta", theta)?,
        };
        let turned = match scaling.find("partial_rotary_factor")? {
            Some(turned) => turned,
            None => self.or("partial_rotary_factor", 1.0f64)?,
        };
        let dims = (head_dim as f64 * turned) as usize;
        let kind = match scaling.find::<String>("rope_type")? {
            Some(kind) => kind,
            None => scaling.or("type", "default".to_owned())?,
        };
        scaling.ignore(&["type", "max_position_embeddings"]);
        let original = scaling.find("original_max_position_embeddings")?;
        let original = original.or(self.find::<usize>("original_max_position_embeddings")?);
        let needed = || original.ok_or_else(|| self.unsupported(key));
        let divided = match kind.as_str() {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: scaling.expect("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: scaling.expect("factor")?,
                low: scaling.expect("low_freq_factor")?,
                high: scaling.expect("high_freq_factor")?,
                original: needed()? as f32,
            },
            "yarn" => {
                let factor = scaling.expect("factor")?;
                let scales = scaling.find("mscale")?.zip(scaling.find("mscale_all_dim")?);
                let magnitude = scaling.find("attention_factor")?;
                RopeScaling::Yarn {
                    factor,
                    original: needed()? as f32,
                    beta_fast: scaling.or("beta_fast", 32.0)?,
                    beta_slow: scaling.or("beta_slow", 1.0)?,
                    magnitude: magnitude.unwrap_or_else(|| RopeScaling::yarn_magnitude(factor, scales)),
                    truncate: scaling.or("truncate", true)?,
                }
            }
            "longrope" | "su" => {
                let factors = if self.context > needed()? { "long_factor" } else { "short_factor" };
                scaling.ignore(&["long_factor", "short_factor"]);
                let (longest, original) = (self.expect::<usize>("max_position_embeddings")?, needed()?);
                let magnitude = scaling.find("attention_factor")?;
                RopeScaling::PerPair {
                    factors: scaling.expect(factors)?,
                    magnitude: magnitude.unwrap_or_else(|| RopeScaling::long_magnitude(longest, original)),
                }
            }
            "dynamic" if own_keys.contains(&"alpha") && scaling.get("alpha").is_some() => {
                scaling.ignore(&["factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"]);
                let stretch = scaling.expect::<f64>("alpha")?.powf(dims as f64 / (dims as f64 - 2.0));
                let theta = (f64::from(theta) * stretch) as f32;
                return Ok(Rope { dims, theta, pairing: Pairing::Halves, scaling: RopeScaling::None });
            }
            _ => return Err(self.unsupported(key)),
        };
        scaling.ignore(own_keys);
        scaling.finish()?;
        Ok(Rope { dims, theta, pairing: Pairing::Halves, scaling: divided })
    }
}
