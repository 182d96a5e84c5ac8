//! The metadata of a GGUF file for a spec: the keys that `keys.rs` reads, and the tensors that stand for some of them.

use std::collections::BTreeMap;

use babil_runtime::spec::{AttentionSpec, DecoderSpec, LayerSpec, Mixer, Norm, Rope, RopeScaling};
use babil_runtime::weights::Tensor;
use babil_runtime::weights::gguf::{Entries, Value};
use babil_runtime::{Error, Result};

/// Metadata under an architecture's name.
pub(super) struct Description<'a> {
    architecture: &'a str,
    pub(super) entries: Entries,
    /// Tensors that are no parameters.
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// How the norm after the last layer is called.
    pub(super) final_norm: &'static str,
}

impl<'a> Description<'a> {
    /// Of the model called `name`.
    pub(super) fn new(architecture: &'a str, name: &str) -> Self {
        let mut entries = Entries::default();
        entries.set("general.architecture", Value::Str(architecture.as_bytes()));
        entries.set("general.type", Value::Str(b"model"));
        entries.set("general.name", Value::Str(name.as_bytes()));
        Self { architecture, entries, tensors: BTreeMap::new(), final_norm: "output_norm" }
    }

    fn set(&mut self, key: &str, value: Value<'_>) {
        self.entries.set(&format!("{}.{key}", self.architecture), value);
    }

    /// Appends a number; one that is too large for the file becomes the largest, and is found when the file is compared.
    pub(super) fn number(&mut self, key: &str, number: usize) {
        self.set(key, Value::U32(number.try_into().unwrap_or(u32::MAX)));
    }

    /// Appends a number.
    pub(super) fn float(&mut self, key: &str, number: f32) {
        self.set(key, Value::F32(number));
    }

    /// Adds a vector.
    pub(super) fn tensor(&mut self, name: &str, values: &[f32]) {
        self.tensors.insert(name.to_owned(), Tensor::from_f32(&[values.len()], values));
    }

    /// Appends the keys that all families share.
    ///
    /// # Errors
    /// The model has no layers with attention.
    pub(super) fn usual(&mut self, spec: &DecoderSpec) -> Result<()> {
        let (stack, layers) = (&spec.stack, &spec.stack.layers);
        let attention = attentions(spec).next();
        let attention = attention.ok_or_else(|| Error::Unsupported("models without attention".to_owned()))?;
        self.number("block_count", layers.len());
        self.number("context_length", stack.max_positions);
        self.number("embedding_length", stack.dim);
        self.number("vocab_size", stack.vocab());
        self.number("feed_forward_length", layers[0].ffn.hidden);
        self.number("attention.head_count", attention.heads);
        let kv_heads: Vec<i32> = layers.iter().map(kv_heads).collect();
        match kv_heads.iter().all(|&heads| heads == kv_heads[0]) {
            true => self.number("attention.head_count_kv", attention.kv_heads),
            false => {
                let key = format!("{}.attention.head_count_kv", self.architecture);
                self.entries.set_i32s(&key, kv_heads.into_iter());
            }
        }
        self.number("attention.key_length", attention.head_dim);
        self.number("attention.value_length", attention.head_dim);
        if let Norm::Rms { eps, .. } = layers[0].norm {
            self.float("attention.layer_norm_rms_epsilon", eps);
        }
        rope(spec).into_iter().for_each(|rope| self.rope(rope));
        Ok(())
    }

    fn rope(&mut self, rope: &Rope) {
        self.float("rope.freq_base", rope.theta);
        self.number("rope.dimension_count", rope.dims);
        match rope.scaling {
            // Families that have the second say it themselves.
            RopeScaling::None | RopeScaling::PerPair { .. } => {}
            RopeScaling::Linear { factor } => {
                self.set("rope.scaling.type", Value::Str(b"linear"));
                self.float("rope.scaling.factor", factor);
            }
            RopeScaling::Llama3 { .. } => {
                let plain = Rope { scaling: RopeScaling::None, ..rope.clone() }.frequencies().0;
                let divided = rope.frequencies().0;
                let factors: Vec<f32> = plain.iter().zip(divided).map(|(plain, divided)| plain / divided).collect();
                self.tensor("rope_freqs.weight", &factors);
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, magnitude, .. } => {
                self.set("rope.scaling.type", Value::Str(b"yarn"));
                self.float("rope.scaling.factor", factor);
                self.number("rope.scaling.original_context_length", original as usize);
                self.float("rope.scaling.yarn_beta_fast", beta_fast);
                self.float("rope.scaling.yarn_beta_slow", beta_slow);
                let usual = RopeScaling::yarn_magnitude(factor, None);
                if magnitude != usual {
                    self.float("rope.scaling.attn_factor", magnitude / usual);
                }
            }
        }
    }
}

/// Attention, layer by layer.
pub(super) fn attentions(spec: &DecoderSpec) -> impl Iterator<Item = &AttentionSpec> {
    spec.stack.layers.iter().filter_map(|layer| match &layer.mixer {
        Mixer::Attention(attention) => Some(attention),
        Mixer::ShortConv { .. } => None,
    })
}

/// The rotary positions of the layers that read farthest.
fn rope(spec: &DecoderSpec) -> Option<&Rope> {
    let turning = attentions(spec).filter(|attention| attention.rope.is_some());
    turning.max_by_key(|attention| attention.span.behind)?.rope.as_ref()
}

/// How those are scaled.
pub(super) fn scaling(spec: &DecoderSpec) -> Option<&RopeScaling> {
    rope(spec).map(|rope| &rope.scaling)
}

fn kv_heads(layer: &LayerSpec) -> i32 {
    match &layer.mixer {
        Mixer::Attention(attention) => attention.kv_heads.try_into().unwrap_or(i32::MAX),
        Mixer::ShortConv { .. } => 0,
    }
}
