//! Small models of random weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernels::Kernels;
use crate::plan::{DecoderPlan, EncoderDecoderPlan};
use crate::spec::{
    Activation, AttentionSpec, DecoderSpec, EncoderDecoderSpec, FfnKind, FfnSpec, Input, LayerSpec, Mixer, Norm,
    NormPlacement, OutputMatrix, Part, Position, Projection, Role, Span, Stack, StackSpec, TensorNames,
};
use crate::weights::{Encoding, TensorToWrite, Weights, write_safetensors};

pub(super) const VOCAB: usize = 50;
pub(super) const FEATURES: usize = 6;
const DIM: usize = 16;
const HIDDEN: usize = 24;
const LAYERS: usize = 2;

/// Every parameter is called by its role.
struct Names;

impl TensorNames for Names {
    fn names(&self, role: Role) -> Vec<String> {
        vec![format!("{role:?}")]
    }
}

fn layer(cross: bool, span: Span) -> LayerSpec {
    let attention = AttentionSpec { span, ..AttentionSpec::causal(4, 4, DIM / 4) };
    LayerSpec {
        norm: Norm::Rms { eps: 1e-5, offset: 0.0 },
        placement: NormPlacement::Pre,
        cross: cross.then(|| AttentionSpec { span: Span::FULL, ..attention.clone() }),
        mixer: Mixer::Attention(attention),
        ffn: FfnSpec {
            kind: FfnKind::Plain,
            hidden: HIDDEN,
            activation: Activation::Gelu,
            bias: false,
            sub_norm: None,
        },
        residual_scale: 1.0,
    }
}

fn stack(input: Input, layer: &LayerSpec, max_positions: usize) -> StackSpec {
    StackSpec {
        input,
        dim: DIM,
        position: Position::None,
        max_positions,
        layers: vec![layer.clone(); LAYERS],
        final_norm: None,
    }
}

const TOKENS: Input = Input::Tokens { vocab: VOCAB, scale: 1.0 };

fn decoder_spec(cross: bool) -> DecoderSpec {
    DecoderSpec {
        stack: stack(TOKENS, &layer(cross, Span::CAUSAL), 2048),
        output: OutputMatrix::Tied,
        output_bias: false,
        logit_scale: 1.0,
        logit_softcap: None,
    }
}

/// Random weights for all that a model of these stacks could ask for.
fn weights(stacks: &[(Stack, bool)]) -> Weights {
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &(stack, cross) in stacks {
        shapes.insert(format!("{:?}", Role::Embedding(stack)), vec![VOCAB, DIM]);
        for index in 0..LAYERS {
            let mut add = |part: Part, shape: &[usize]| {
                shapes.insert(format!("{:?}.weight", Role::Layer(stack, index, part)), shape.to_vec());
            };
            for projection in [Projection::Query, Projection::Key, Projection::Value, Projection::Output] {
                add(Part::SelfAttention(projection), &[DIM, DIM]);
                if cross {
                    add(Part::CrossAttention(projection), &[DIM, DIM]);
                }
            }
            for norm in [Part::MixerNorm, Part::CrossAttentionNorm, Part::FfnNorm] {
                add(norm, &[DIM]);
            }
            add(Part::FfnUp, &[HIDDEN, DIM]);
            add(Part::FfnDown, &[DIM, HIDDEN]);
        }
    }
    for (index, features) in [(0, FEATURES), (1, DIM)] {
        shapes.insert(format!("{:?}.weight", Role::Convolution(index)), vec![DIM, features, 3]);
        shapes.insert(format!("{:?}.bias", Role::Convolution(index)), vec![DIM]);
    }
    let mut seed = 1u64;
    let mut number = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            let bytes = (0..count).flat_map(|_| number().to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorToWrite {
            name: name.clone(),
            encoding: Encoding::F32,
            shape: shape.clone(),
            content: Box::new(|out| out.write_all(bytes)),
        })
        .collect();
    let mut file = Vec::new();
    write_safetensors(&mut file, &tensors, &BTreeMap::new()).unwrap();
    Weights::from_vec(file, "random").unwrap()
}

fn encoder_decoder(input: Input, max_positions: usize) -> Arc<EncoderDecoderPlan> {
    let spec = EncoderDecoderSpec {
        encoder: stack(input, &layer(false, Span::FULL), max_positions),
        decoder: decoder_spec(true),
    };
    let weights = weights(&[(Stack::Encoder, false), (Stack::Decoder, true)]);
    Arc::new(EncoderDecoderPlan::new(spec, &weights, &Names, Kernels::detect()).unwrap())
}

/// Translates.
pub(super) fn translator() -> Arc<EncoderDecoderPlan> {
    encoder_decoder(TOKENS, 300)
}

/// Hears up to 40 frames.
pub(super) fn hearing() -> Arc<EncoderDecoderPlan> {
    encoder_decoder(Input::Frames { features: FEATURES }, 20)
}

/// Continues text.
pub(super) fn decoder() -> Arc<DecoderPlan> {
    let weights = weights(&[(Stack::Decoder, false)]);
    Arc::new(DecoderPlan::new(decoder_spec(false), &weights, &Names, Kernels::detect()).unwrap())
}
