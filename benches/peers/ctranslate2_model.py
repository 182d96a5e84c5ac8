"""Models for measuring CTranslate2 beside babil.

    python ctranslate2_model.py convert FOLDER OUTPUT [--quantization int8]
    python ctranslate2_model.py random FOLDER [--seed 1]

`convert` reads a Marian model of float32 weights (config.json, vocab.json and model.safetensors, with the tensor names
of Hugging Face transformers). CTranslate2's own converter knows post-norm Marian models only; this one also knows
pre-norm layers with final norms (`normalize_before`, `add_final_layer_norm`), which the bundled translator has.

`random` writes a model of opus-mt's shape with random weights: speed does not depend on the values.
"""

import argparse
import json
import math
from pathlib import Path

import bart
import numpy as np
from safetensors.numpy import load_file, save_file

OPUS_MT = {
    "model_type": "marian",
    "architectures": ["MarianMTModel"],
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "activation_function": "swish",
    "vocab_size": 58101,
    "scale_embedding": True,
    "normalize_before": False,
    "add_final_layer_norm": False,
    "normalize_embedding": False,
    "static_position_embeddings": True,
    "max_position_embeddings": 512,
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
    "is_encoder_decoder": True,
    "bad_words_ids": [[58100]],
    "decoder_start_token_id": 58100,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "pad_token_id": 58100,
    "max_length": 512,
    "num_beams": 4,
    "renormalize_logits": True,
}


def sinusoids(positions, dim):
    """All sines first, then all cosines, as Marian has them."""
    frequencies = 10000.0 ** (-2.0 * np.arange(dim // 2) / dim)
    angles = np.arange(positions)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def tokens_by_id(folder, size):
    """The names of all tokens; those that the vocabulary lacks get names that are in nobody's way."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    tokens = [f"<unused {i}>" for i in range(size)]
    for token, i in vocabulary.items():
        tokens[i] = token
    return tokens


def convert(folder, output, quantization):
    from ctranslate2.specs import TransformerSpec, common_spec

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "model.safetensors")
    activations = {
        "relu": common_spec.Activation.RELU,
        "swish": common_spec.Activation.SWISH,
        "silu": common_spec.Activation.SWISH,
        "gelu": common_spec.Activation.GELU,
    }
    heads = config["encoder_attention_heads"]
    pre_norm = config.get("normalize_before", False)
    if heads != config["decoder_attention_heads"] or pre_norm != config.get("add_final_layer_norm", False):
        raise SystemExit("different numbers of heads, or pre-norm layers without final norms: not supported")
    spec = TransformerSpec.from_config(
        (config["encoder_layers"], config["decoder_layers"]),
        heads,
        pre_norm=pre_norm,
        activation=activations[config["activation_function"]],
    )

    def embedding(stack):
        own = weights.get(f"model.{stack}.embed_tokens.weight")
        return weights["model.shared.weight"] if own is None else own

    dim = config["d_model"]
    for stack, target in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        target.scale_embeddings = math.sqrt(dim) if config.get("scale_embedding") else False
        target.position_encodings.encodings = sinusoids(config["max_position_embeddings"], dim)
        embeddings = target.embeddings[0] if stack == "encoder" else target.embeddings
        embeddings.weight = embedding(stack)
        if pre_norm:
            bart.set_norm(weights, target.layer_norm, f"model.{stack}.layer_norm")
        bart.set_layers(weights, target, stack)

    spec.decoder.projection.weight = embedding("decoder")
    bias = weights["final_logits_bias"].reshape(-1).copy()
    # A token that must never be generated, and does not count in the normalisation.
    bias[[i for (i,) in config.get("bad_words_ids", [])]] = -1e9
    spec.decoder.projection.bias = bias

    tokens = tokens_by_id(folder, config["vocab_size"])
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.eos_token = tokens[config["eos_token_id"]]
    spec.config.bos_token = spec.config.eos_token
    spec.config.decoder_start_token = tokens[config["decoder_start_token_id"]]
    if "<unk>" in tokens:
        spec.config.unk_token = "<unk>"
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    output.mkdir(parents=True, exist_ok=True)
    spec.save(str(output))


def random(folder, seed):
    dim, vocabulary, random = OPUS_MT["d_model"], OPUS_MT["vocab_size"], bart.Random(seed)
    # Embeddings of the size that scaling by sqrt(dim) expects; the other matrices keep the size of what goes through.
    random.weights["model.shared.weight"] = random.normal((vocabulary, dim), dim**-0.5)
    random.weights["final_logits_bias"] = random.normal((1, vocabulary), 0.1)
    for stack in ("encoder", "decoder"):
        random.layers(OPUS_MT, stack, key_bias=True)

    folder.mkdir(parents=True, exist_ok=True)
    save_file(random.weights, folder / "model.safetensors", {"format": "pt"})
    tokens = ["</s>", "<unk>"] + [f"t{i}" for i in range(2, vocabulary - 1)] + ["<pad>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    (folder / "config.json").write_text(json.dumps(OPUS_MT, indent=1) + "\n", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocab) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("convert", help="Marian folder of float32 weights -> CTranslate2 model")
    command.add_argument("folder", type=Path)
    command.add_argument("output", type=Path)
    command.add_argument("--quantization", default="int8", choices=["int8", "float32"])
    command = commands.add_parser("random", help="a model of opus-mt's shape with random weights")
    command.add_argument("folder", type=Path)
    command.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.command == "convert":
        convert(args.folder, args.output, args.quantization)
    else:
        random(args.folder, args.seed)


if __name__ == "__main__":
    main()
