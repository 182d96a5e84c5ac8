"""Writes whisper.cpp's `.bin` files. Needs numpy and gguf alone."""

import struct

import gguf
import numpy as np

MAGIC = 0x67676D6C
# Number of the file's type, the types of its matrices and of its convolutions. There are files of float32 only (type 0),
# but whisper.cpp 1.8.5 loads them and then aborts in the first convolution.
TYPES = {
    "f16": (1, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F16),
    "q5_1": (9, gguf.GGMLQuantizationType.Q5_1, gguf.GGMLQuantizationType.F16),
    "q8_0": (7, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F16),
}
QUANTISATION_VERSION = 2

RENAMED = [
    ("model.", ""), (".embed_tokens.", ".token_embedding."), (".layers.", ".blocks."),
    (".self_attn_layer_norm.", ".attn_ln."), (".encoder_attn_layer_norm.", ".cross_attn_ln."),
    (".final_layer_norm.", ".mlp_ln."), (".self_attn.", ".attn."), (".encoder_attn.", ".cross_attn."),
    (".q_proj.", ".query."), (".k_proj.", ".key."), (".v_proj.", ".value."), (".out_proj.", ".out."),
    (".fc1.", ".mlp.0."), (".fc2.", ".mlp.2."), (".embed_positions.weight", ".positional_embedding"),
    ("encoder.layer_norm.", "encoder.ln_post."), ("decoder.layer_norm.", "decoder.ln."),
]  # fmt: skip


def openai_name(name):
    for old, new in RENAMED:
        name = name.replace(old, new)
    return name


def write(path, config, weights, tokens, filters, kind):
    """`weights` are float32 arrays by their Hugging Face names, `tokens` the bytes of each token of text, `filters` the mel
    filters `[bins, 201]`."""
    number, matrices, convolutions = TYPES[kind]
    if kind.startswith("q"):
        number += 1000 * QUANTISATION_VERSION
    keys = (
        "vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers",
        "max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers", "num_mel_bins",
    )  # fmt: skip
    assert config["encoder_ffn_dim"] == config["decoder_ffn_dim"] == 4 * config["d_model"], "the file has no key for it"
    with open(path, "wb") as out:
        out.write(struct.pack("<12i", MAGIC, *(config[key] for key in keys), number))
        out.write(struct.pack("<2i", *filters.shape) + filters.astype(np.float32).tobytes())
        out.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            out.write(struct.pack("<i", len(token)) + token)
        for name, data in sorted(weights.items()):
            name = openai_name(name)
            if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
                data = data[:, None]
            type_ = matrices if data.ndim == 2 else convolutions
            if data.ndim == 1 or name.endswith("positional_embedding") or name.startswith("encoder.conv") and data.ndim == 2:
                type_ = gguf.GGMLQuantizationType.F32
            encoded = gguf.quantize(data, type_)
            out.write(struct.pack("<3i", data.ndim, len(name), type_))
            out.write(struct.pack(f"<{data.ndim}i", *reversed(data.shape)) + name.encode() + encoded.tobytes())
