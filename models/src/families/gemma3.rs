//! Gemma 3, text: layers with a window and a base of their own for rotary positions, norms before and after every
//! sublayer and of every head, scaled embeddings, GELU. Norms multiply by 1 + weight; GGUF files have the 1 in the
//! weight.

use babil_runtime::Result;
use babil_runtime::spec::{Activation, DecoderSpec, HeadNorm, Input, Norm, NormPlacement, Pairing, RopeScaling, Span};
use serde_json::Value;

use super::Family;
use super::config::Config;
use super::dense::{Defaults, Dense, attentions, set_windows};
use super::description::{self, Description};
use super::keys::Keys;

pub(super) const FAMILY: Family =
    Family { model_types: &["gemma3_text"], architectures: &["gemma3"], from_config, from_gguf, to_gguf };

/// Every how many layers one has no window.
const PATTERN: usize = 6;

fn from_config(config: &Config<'_>) -> Result<DecoderSpec> {
    let defaults = Defaults { theta: 1e6, tied: true, head_dim: Some(256), ..Defaults::LLAMA };
    let mut dense = Dense::from_config(config, &defaults)?;
    dense.activation = config.activation("hidden_activation", Activation::GeluTanh)?;
    if let Norm::Rms { offset, .. } = &mut dense.norm {
        *offset = 1.0;
    }
    let windows = config.windows(dense.layers, Some(PATTERN))?;
    let scale = config.or("query_pre_attn_scalar", 256.0f32)?.sqrt().recip();
    let apart = config.get("rope_parameters").and_then(|all| all.pointer("/sliding_attention/rope_theta"));
    let theta = match apart.and_then(Value::as_f64) {
        Some(theta) => theta as f32,
        None => config.or("rope_local_base_freq", 10_000.0)?,
    };
    let mut spec = with_differences(dense, &windows, theta, scale);
    spec.logit_softcap = config.find("final_logit_softcapping")?;
    Ok(spec)
}

fn from_gguf(keys: &Keys<'_>) -> Result<DecoderSpec> {
    let dense = Dense { activation: Activation::GeluTanh, ..Dense::from_gguf(keys, Pairing::Halves)? };
    let window = keys.find::<usize>("attention.sliding_window")?.filter(|&window| window > 0);
    let pattern = keys.or("attention.sliding_window_pattern", PATTERN)?;
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    let windows: Vec<_> = (0..dense.layers).map(|layer| window.filter(|_| slides(layer))).collect();
    // The file does not say it: the model of 27 billion parameters has another scale.
    let scaled = if dense.layers == 62 { dense.dim.checked_div(dense.heads).unwrap_or(0) } else { dense.head_dim };
    let theta = keys.or("rope.freq_base_swa", 10_000.0)?;
    let mut spec = with_differences(dense, &windows, theta, (scaled as f32).sqrt().recip());
    spec.logit_softcap = keys.find("final_logit_softcapping")?;
    Ok(spec)
}

fn to_gguf(out: &mut Description<'_>, spec: &DecoderSpec, _: &Config<'_>) -> Result<()> {
    if let Some(slides) = description::attentions(spec).find(|attention| attention.span != Span::CAUSAL) {
        out.number("attention.sliding_window", slides.span.behind + 1);
        slides.rope.iter().for_each(|rope| out.float("rope.freq_base_swa", rope.theta));
    }
    spec.logit_softcap.into_iter().for_each(|cap| out.float("final_logit_softcapping", cap));
    Ok(())
}

fn with_differences(dense: Dense, windows: &[Option<usize>], theta: f32, scale: f32) -> DecoderSpec {
    let norm = dense.norm;
    let mut spec = dense.spec();
    spec.stack.input = Input::Tokens { vocab: spec.stack.vocab(), scale: (spec.stack.dim as f32).sqrt() };
    spec.stack.layers.iter_mut().for_each(|layer| layer.placement = NormPlacement::Both);
    set_windows(&mut spec, windows);
    for (layer, attention) in attentions(&mut spec) {
        attention.scale = scale;
        attention.head_norm = Some((HeadNorm::BeforeRope, norm));
        if let (Some(_), Some(rope)) = (windows[layer], &mut attention.rope) {
            rope.theta = theta;
            rope.scaling = RopeScaling::None;
        }
    }
    spec
}
