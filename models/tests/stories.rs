//! A real trained model, stories260K (karpathy/llama2.c): the reference's 200 greedy tokens on every instruction set.
//!
//! Its files are not part of the repository: `BABIL_STORIES` names their folder.

use std::path::PathBuf;
use std::sync::Arc;

use babil_runtime::Token;
use babil_runtime::kernels::Kernels;
use babil_runtime::model::{Logits, Model, Row};
use babil_runtime::plan::DecoderPlan;
use babil_runtime::session::{DecoderSession, KvType};
use babil_runtime::spec::*;
use babil_runtime::threads::ThreadPool;
use babil_runtime::weights::Weights;

struct Names;
impl TensorNames for Names {
    fn names(&self, role: Role) -> Vec<String> {
        let name = match role {
            Role::Embedding(_) => "token_embd.weight".into(),
            Role::Output => "output".into(),
            Role::FinalNorm(_) => "output_norm".into(),
            Role::OutputBias => return vec![],
            Role::Layer(_, i, part) => {
                let p = match part {
                    Part::MixerNorm => "attn_norm",
                    Part::SelfAttention(Projection::Query) => "attn_q",
                    Part::SelfAttention(Projection::Key) => "attn_k",
                    Part::SelfAttention(Projection::Value) => "attn_v",
                    Part::SelfAttention(Projection::Output) => "attn_output",
                    Part::FfnGate => "ffn_gate",
                    Part::FfnUp => "ffn_up",
                    Part::FfnDown => "ffn_down",
                    Part::FfnNorm => "ffn_norm",
                    _ => return vec![],
                };
                format!("blk.{i}.{p}")
            }
        };
        vec![name]
    }
}

#[test]
fn draft() {
    let dir = PathBuf::from(std::env::var_os("BABIL_STORIES").unwrap());
    let weights = Weights::open(dir.join("stories260K.gguf")).unwrap();
    let mut attention = AttentionSpec::causal(8, 4, 8);
    attention.rope = Some(Rope { dims: 8, theta: 10000.0, pairing: Pairing::Interleaved, scaling: RopeScaling::None });
    let norm = Norm::Rms { eps: 1e-5, offset: 0.0 };
    let layer = LayerSpec {
        norm,
        placement: NormPlacement::Pre,
        mixer: Mixer::Attention(attention),
        cross: None,
        ffn: FfnSpec { kind: FfnKind::Gated, hidden: 172, activation: Activation::Silu, bias: false, sub_norm: None },
        residual_scale: 1.0,
    };
    let spec = DecoderSpec {
        stack: StackSpec {
            vocab: 512,
            dim: 64,
            embed_scale: 1.0,
            position: Position::None,
            max_positions: 2048,
            layers: vec![layer; 5],
            final_norm: Some(norm),
        },
        output: OutputMatrix::Own,
        output_bias: false,
        logit_scale: 1.0,
        logit_softcap: None,
    };
    let expected: Vec<Token> =
        serde_json::from_slice(&std::fs::read(dir.join("stories260K.greedy_tokens.json")).unwrap()).unwrap();
    for kernels in Kernels::all() {
        for kv in [KvType::F32, KvType::F16] {
            let plan = DecoderPlan::new(spec.clone(), &weights, &Names, kernels).unwrap();
            let mut session = DecoderSession::new(Arc::new(plan), Arc::new(ThreadPool::new(1)), kv).unwrap();
            let mut state = session.sequence();
            let mut token = 1;
            let mut found = vec![];
            let mut logits = Logits::default();
            for _ in 0..expected.len() {
                session.step(&mut [Row::new(&mut state, &[token])], &mut logits).unwrap();
                let row = logits.row(0);
                token = (0..512).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as Token;
                found.push(token);
            }
            assert_eq!(found, expected, "{kernels:?} {kv:?}");
        }
    }
}
