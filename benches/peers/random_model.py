"""GGUF files at the shapes of real language models, with random weights: speed does not depend on the values.

    python random_model.py smollm2-135m VOCABULARIES OUTPUT.gguf

Matrices are float16, for `llama-quantize` or `babil quantize`. The vocabulary is copied from one of the vocabularies
without weights (`ggml-vocab-*.gguf`) in the folder `models` of llama.cpp's source, of the model itself or one like it;
where it is smaller than the model's, unused tokens fill it up.
"""

import argparse
import dataclasses
from pathlib import Path

import gguf
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    architecture: str
    vocabulary: str  # which ggml-vocab
    tokens: int
    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    rope_theta: float
    norm_epsilon: float
    context: int
    # Of Qwen 2.
    qkv_bias: bool = False
    # Of Gemma 3: norms after attention and feed-forward, norms of queries and keys.
    more_norms: bool = False
    window: int | None = None


SHAPES = {
    "smollm2-135m": Shape("llama", "starcoder", 49152, 30, 576, 9, 3, 64, 1536, 1e5, 1e-5, 8192),
    "smollm2-360m": Shape("llama", "starcoder", 49152, 32, 960, 15, 5, 64, 2560, 1e5, 1e-5, 8192),
    "qwen2.5-0.5b": Shape("qwen2", "qwen2", 151936, 24, 896, 14, 2, 64, 4864, 1e6, 1e-6, 32768, qkv_bias=True),
    "llama-3.2-1b": Shape("llama", "llama-bpe", 128256, 16, 2048, 32, 8, 64, 8192, 5e5, 1e-5, 131072),
    "gemma-3-270m": Shape(
        "gemma3", "llama-spm", 262144, 18, 640, 4, 1, 256, 2048, 1e6, 1e-6, 32768, more_norms=True, window=512
    ),
}


def copy_vocabulary(writer, path, size):
    """The tokenizer of a GGUF file, with `size` tokens."""
    prefix, lists = "tokenizer.ggml.", {"tokens": "[unused {}]", "token_type": gguf.TokenType.UNUSED, "scores": -1e4}
    for name, field in gguf.GGUFReader(path).fields.items():
        key = name.removeprefix(prefix)
        if key == name:
            continue
        value = field.contents()
        if key in lists:
            if len(value) > size:
                raise SystemExit(f"{path} has {len(value)} tokens, the model {size}")
            fill = lists[key]
            for i in range(len(value), size):
                value.append(fill.format(i) if isinstance(fill, str) else type(value[0])(fill))
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_key_value(name, value, field.types[0])


def write(shape, vocabularies, output, seed=1):
    """Writes the model `output`: tensors [rows, columns] of which the last axis is what a product sums over."""
    writer = gguf.GGUFWriter(output, shape.architecture)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.tokens)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if shape.window:
        writer.add_sliding_window(shape.window)
    copy_vocabulary(writer, vocabularies / f"ggml-vocab-{shape.vocabulary}.gguf", shape.tokens)

    generator = np.random.default_rng(seed)

    def random(rows, columns, deviation=None):
        """Unless told otherwise, of a size that keeps the size of what goes through."""
        values = generator.standard_normal((rows, columns), dtype=np.float32)
        return (values * np.float32(deviation or columns**-0.5)).astype(np.float16)

    def ones(size):
        return np.ones(size, np.float32)

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    # There is no output matrix: it is the embedding.
    writer.add_tensor("token_embd.weight", random(shape.tokens, shape.dim, deviation=0.02))
    writer.add_tensor("output_norm.weight", ones(shape.dim))
    for i in range(shape.layers):
        matrices = {
            "attn_q": (queries, shape.dim),
            "attn_k": (keys, shape.dim),
            "attn_v": (keys, shape.dim),
            "attn_output": (shape.dim, queries),
            "ffn_gate": (shape.hidden, shape.dim),
            "ffn_up": (shape.hidden, shape.dim),
            "ffn_down": (shape.dim, shape.hidden),
        }
        norms = {"attn_norm": shape.dim, "ffn_norm": shape.dim}
        if shape.more_norms:
            norms |= {"post_attention_norm": shape.dim, "post_ffw_norm": shape.dim}
            norms |= {"attn_q_norm": shape.head_dim, "attn_k_norm": shape.head_dim}
        for name, (rows, columns) in matrices.items():
            writer.add_tensor(f"blk.{i}.{name}.weight", random(rows, columns))
        for name, size in norms.items():
            writer.add_tensor(f"blk.{i}.{name}.weight", ones(size))
        if shape.qkv_bias:
            for name, size in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
                writer.add_tensor(f"blk.{i}.{name}.bias", random(1, size)[0].astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("vocabularies", type=Path, help="llama.cpp's folder `models`")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(SHAPES[args.shape], args.vocabularies, args.output, args.seed)


if __name__ == "__main__":
    main()
