//! The tiny random models of `parity/lm`, and Hugging Face folders made of files that hold the same in GGUF.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use babil_runtime::weights::gguf::Metadata;
use babil_runtime::weights::{Encoding, Tensor, TensorToWrite, Weights, write_safetensors};
use serde_json::{Value, json};

#[path = "../../../runtime/tests/support/scores_json.rs"]
mod scores_json;

/// One of every family, and of every way to be one.
pub(crate) const MODELS: [&str; 13] = [
    "llama",
    "llama-biases",
    "qwen2",
    "qwen3",
    "gemma3",
    "smollm3",
    "phi3",
    "phi3-long",
    "granite",
    "ministral3",
    "lfm2",
    "hunyuan-dense",
    "bitnet",
];

/// A file of the model `name`.
pub(crate) fn parity(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/lm").join(name).join(file)
}

/// Writes the Llama in the GGUF file `from`, of float32, to the folder `to` as transformers has it.
pub(crate) fn write_llama(from: &Path, to: &Path) {
    let weights = Weights::open(from).unwrap();
    let metadata = weights.gguf_metadata().unwrap();
    let number = |key: &str| metadata.expect::<usize>(&format!("llama.{key}")).unwrap();
    let (dim, heads) = (number("embedding_length"), number("attention.head_count"));
    let config = json!({
        "model_type": "llama",
        "vocab_size": weights.get("token_embd.weight").unwrap().shape()[0],
        "hidden_size": dim,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv"),
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": metadata.expect::<f32>("llama.attention.layer_norm_rms_epsilon").unwrap(),
        "tie_word_embeddings": weights.get("output.weight").is_none(),
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    fs::write(to.join("tokenizer.json"), tokenizer_json(metadata).to_string()).unwrap();
    let tensors: Vec<TensorToWrite<'_>> = weights
        .iter()
        .map(|(name, tensor)| TensorToWrite {
            name: hub_name(name),
            encoding: Encoding::F32,
            shape: tensor.shape().to_vec(),
            content: Box::new(move |out| out.write_all(&hub_rows(name, tensor, dim / heads))),
        })
        .collect();
    write_safetensors(&mut File::create(to.join("model.safetensors")).unwrap(), &tensors, &BTreeMap::new()).unwrap();
}

fn hub_name(name: &str) -> String {
    match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("blk.").unwrap().split_once('.').unwrap();
    let part = match part.strip_suffix(".weight").unwrap() {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => panic!("{other}"),
    };
    format!("model.layers.{layer}.{part}.weight")
}

/// The bytes of a tensor; the two features of a pair stand half a head apart.
fn hub_rows(name: &str, tensor: &Tensor, head_dim: usize) -> Vec<u8> {
    if !name.contains("attn_q.") && !name.contains("attn_k.") {
        return tensor.bytes().to_vec();
    }
    let rows: Vec<&[u8]> = tensor.bytes().chunks_exact(4 * tensor.shape()[1]).collect();
    let heads = rows.chunks_exact(head_dim);
    heads
        .flat_map(|head| head.iter().step_by(2).chain(head.iter().skip(1).step_by(2)))
        .copied()
        .flatten()
        .copied()
        .collect()
}

/// The `tokenizer.json` that transformers' converter makes of a SentencePiece vocabulary: see
/// [`scores_json::fill`].
pub(crate) fn tokenizer_json(metadata: &Metadata) -> Value {
    let mut json = json!({
        "version": "1.0",
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true},
    });
    scores_json::fill(&mut json, metadata);
    json
}
