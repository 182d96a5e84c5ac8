//! Names of a language model's tensors. They are the same in all families but for a few synonyms, so that one list of
//! names per role serves all.

use babil_runtime::Result;
use babil_runtime::spec::{DecoderSpec, FfnKind, Mixer, NormPlacement, Part, Projection, Role, Stack, TensorNames};
use babil_runtime::weights::Weights;

/// Tensor names in Hugging Face's files.
#[derive(Clone, Copy, Debug)]
pub struct HubNames {
    placement: NormPlacement,
}

/// Where the layers stand: text models, and those inside of models that also see.
const PREFIXES: [&str; 3] = ["model.", "model.language_model.", "language_model.model."];

impl HubNames {
    /// The names for models of `spec`.
    pub fn new(spec: &DecoderSpec) -> Self {
        let placement = spec.stack.layers.first().map_or(NormPlacement::Pre, |layer| layer.placement);
        Self { placement }
    }

    fn part(self, part: Part) -> &'static [&'static str] {
        let both = self.placement == NormPlacement::Both;
        match part {
            Part::MixerNorm => &["input_layernorm", "operator_norm"],
            Part::MixerPostNorm => &["post_attention_layernorm"],
            Part::SelfAttention(Projection::Query) => &["self_attn.q_proj"],
            Part::SelfAttention(Projection::Key) => &["self_attn.k_proj"],
            Part::SelfAttention(Projection::Value) => &["self_attn.v_proj"],
            Part::SelfAttention(Projection::Output) => &["self_attn.o_proj", "self_attn.out_proj"],
            Part::HeadNorm(Projection::Query) => {
                &["self_attn.q_norm", "self_attn.q_layernorm", "self_attn.query_layernorm"]
            }
            Part::HeadNorm(Projection::Key) => {
                &["self_attn.k_norm", "self_attn.k_layernorm", "self_attn.key_layernorm"]
            }
            Part::AttentionSubNorm => &["self_attn.attn_sub_norm"],
            Part::ConvIn => &["conv.in_proj"],
            Part::ConvKernel => &["conv.conv"],
            Part::ConvOut => &["conv.out_proj"],
            Part::FfnNorm if both => &["pre_feedforward_layernorm"],
            Part::FfnNorm => &["post_attention_layernorm", "ffn_norm"],
            Part::FfnPostNorm => &["post_feedforward_layernorm"],
            Part::FfnGate => &["mlp.gate_proj", "feed_forward.w1"],
            Part::FfnUp => &["mlp.up_proj", "feed_forward.w3"],
            Part::FfnDown => &["mlp.down_proj", "feed_forward.w2"],
            Part::FfnSubNorm => &["mlp.ffn_sub_norm"],
            Part::HeadNorm(_) | Part::CrossAttention(_) | Part::CrossAttentionNorm => &[],
        }
    }
}

impl TensorNames for HubNames {
    fn names(&self, role: Role) -> Vec<String> {
        let under = |prefixes: &[&str], names: &[&str]| {
            let pairs = prefixes.iter().flat_map(|prefix| names.iter().map(move |name| format!("{prefix}{name}")));
            pairs.collect()
        };
        match role {
            Role::Embedding(_) => under(&PREFIXES, &["embed_tokens.weight"]),
            Role::FinalNorm(_) => under(&PREFIXES, &["norm", "embedding_norm"]),
            Role::Output => under(&["", "language_model."], &["lm_head"]),
            Role::OutputBias | Role::Positions(_) | Role::Convolution(_) => Vec::new(),
            Role::Layer(_, index, part) => {
                let names: Vec<String> = self.part(part).iter().map(|part| format!("layers.{index}.{part}")).collect();
                under(&PREFIXES, &names.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }
}

/// The names of transformers' encoder-decoder models, which are those of BART (Marian, Whisper): what is the same in all of
/// them.
pub(super) fn bart(role: Role) -> Option<String> {
    let name = |stack| match stack {
        Stack::Encoder => "encoder",
        Stack::Decoder => "decoder",
    };
    let projection = |block: &str, projection| {
        let letter = match projection {
            Projection::Query => "q",
            Projection::Key => "k",
            Projection::Value => "v",
            Projection::Output => "out",
        };
        format!("{block}.{letter}_proj")
    };
    Some(match role {
        Role::Embedding(stack) => format!("model.{}.embed_tokens.weight", name(stack)),
        Role::Positions(stack) => format!("model.{}.embed_positions.weight", name(stack)),
        Role::FinalNorm(stack) => format!("model.{}.layer_norm", name(stack)),
        Role::Output | Role::OutputBias | Role::Convolution(_) => return None,
        Role::Layer(stack, index, part) => {
            let part = match part {
                Part::SelfAttention(p) => projection("self_attn", p),
                Part::MixerNorm => "self_attn_layer_norm".to_owned(),
                Part::CrossAttention(p) => projection("encoder_attn", p),
                Part::CrossAttentionNorm => "encoder_attn_layer_norm".to_owned(),
                Part::FfnUp => "fc1".to_owned(),
                Part::FfnDown => "fc2".to_owned(),
                Part::FfnNorm => "final_layer_norm".to_owned(),
                _ => return None,
            };
            format!("model.{}.layers.{index}.{part}", name(stack))
        }
    })
}

/// Tensor names in GGUF files.
#[derive(Clone, Copy, Debug)]
pub struct GgufNames;

impl TensorNames for GgufNames {
    fn names(&self, role: Role) -> Vec<String> {
        let (index, part) = match role {
            Role::Embedding(_) => return vec!["token_embd.weight".to_owned()],
            Role::FinalNorm(_) => return vec!["output_norm".to_owned(), "token_embd_norm".to_owned()],
            Role::Output => return vec!["output".to_owned()],
            Role::OutputBias | Role::Positions(_) | Role::Convolution(_) => return Vec::new(),
            Role::Layer(_, index, part) => (index, part),
        };
        let name = match part {
            Part::MixerNorm => "attn_norm",
            Part::MixerPostNorm => "post_attention_norm",
            Part::SelfAttention(Projection::Query) => "attn_q",
            Part::SelfAttention(Projection::Key) => "attn_k",
            Part::SelfAttention(Projection::Value) => "attn_v",
            Part::SelfAttention(Projection::Output) => "attn_output",
            Part::HeadNorm(Projection::Query) => "attn_q_norm",
            Part::HeadNorm(Projection::Key) => "attn_k_norm",
            Part::AttentionSubNorm => "attn_sub_norm",
            Part::ConvIn => "shortconv.in_proj",
            Part::ConvKernel => "shortconv.conv",
            Part::ConvOut => "shortconv.out_proj",
            Part::FfnNorm => "ffn_norm",
            Part::FfnPostNorm => "post_ffw_norm",
            Part::FfnGate => "ffn_gate",
            Part::FfnUp => "ffn_up",
            Part::FfnDown => "ffn_down",
            Part::FfnSubNorm => "ffn_sub_norm",
            Part::HeadNorm(_) | Part::CrossAttention(_) | Part::CrossAttentionNorm => return Vec::new(),
        };
        vec![format!("blk.{index}.{name}")]
    }
}

/// A matrix that files join and models have apart.
struct Joined {
    hub: String,
    gguf: String,
    /// Names of the parts, in either form, and how many rows they have.
    parts: Vec<([String; 2], usize)>,
}

/// The matrices that files may join: queries, keys and values; gate and up.
fn joined(spec: &DecoderSpec) -> Vec<Joined> {
    let mut all = Vec::new();
    for (index, layer) in spec.stack.layers.iter().enumerate() {
        let mut add = |whole: [&str; 2], parts: &[([&str; 2], usize)], kind: &str| {
            let names = |[hub, gguf]: [&str; 2]| {
                [format!("model.layers.{index}.{hub}.{kind}"), format!("blk.{index}.{gguf}.{kind}")]
            };
            let [hub, gguf] = names(whole);
            all.push(Joined { hub, gguf, parts: parts.iter().map(|(part, rows)| (names(*part), *rows)).collect() });
        };
        if let Mixer::Attention(attention) = &layer.mixer {
            let (queries, keys) = (attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim);
            let parts = [
                (["self_attn.q_proj", "attn_q"], queries),
                (["self_attn.k_proj", "attn_k"], keys),
                (["self_attn.v_proj", "attn_v"], keys),
            ];
            for kind in ["weight", "bias"] {
                add(["self_attn.qkv_proj", "attn_qkv"], &parts, kind);
            }
        }
        if layer.ffn.kind == FfnKind::Gated {
            let parts =
                [(["mlp.gate_proj", "ffn_gate"], layer.ffn.hidden), (["mlp.up_proj", "ffn_up"], layer.ffn.hidden)];
            // In GGUF files the joined matrix has the name of one of its parts.
            add(["mlp.gate_up_proj", "ffn_up"], &parts, "weight");
        }
    }
    all
}

/// Takes apart the matrices that files join, under the names of their parts.
///
/// # Errors
/// They have other shapes than the spec says.
pub fn split_joined(weights: &mut Weights, spec: &DecoderSpec) -> Result<()> {
    for Joined { hub, gguf, parts } in joined(spec) {
        for (form, whole) in [hub, gguf].iter().enumerate() {
            let parts: Vec<_> = parts.iter().map(|(names, rows)| (names[form].clone(), *rows)).collect();
            if weights.get(whole).is_some() && weights.get(&parts[0].0).is_none() {
                weights.split_rows(whole, &parts)?;
            }
        }
    }
    Ok(())
}

/// The joined matrices of `weights`, in the form of Hugging Face: their names there and in GGUF files.
pub(super) fn joined_names(weights: &Weights, spec: &DecoderSpec) -> Vec<(String, String)> {
    let there = joined(spec).into_iter().filter(|joined| weights.get(&joined.hub).is_some());
    there.map(|joined| (joined.hub, joined.gguf)).collect()
}
