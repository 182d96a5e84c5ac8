"""Random Whisper models, for measuring whisper.cpp and CTranslate2 beside babil: speed does not depend on the values.

    python speech_model.py SHAPE FOLDER [--seed 1]

writes `f16.bin` and `q8_0.bin` of whisper.cpp, `ctranslate2`, a folder with the same weights in float16 (which CTranslate2
quantises when it loads them), and `frames`, a random window `[mels, 3000]` of little-endian float32.
"""

import argparse
import math
import sys
from pathlib import Path

import bart
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "models" / "parity"))

import whisper_file

# Layers of each stack, heads, width.
SHAPES = {"whisper-tiny": (4, 6, 384), "whisper-base": (6, 8, 512)}
FILES = ["f16", "q8_0"]
MELS, WINDOW, TARGET = 80, 1500, 448
# OpenAI's vocabulary of 99 languages: text, end, start, languages, tasks and others, timestamps.
VOCAB, TEXT, LANGUAGES = 51865, 50257, 99
END, START = TEXT, TEXT + 1
TRANSCRIBE, NO_TIMESTAMPS = START + LANGUAGES + 2, START + LANGUAGES + 6
# English, transcribe, without timestamps.
PROMPT = [START, START + 1, TRANSCRIBE, NO_TIMESTAMPS]


def config_of(shape):
    layers, heads, dim = SHAPES[shape]
    config = {"vocab_size": VOCAB, "num_mel_bins": MELS, "d_model": dim}
    config |= {"max_source_positions": WINDOW, "max_target_positions": TARGET}
    for stack in ("encoder", "decoder"):
        config |= {f"{stack}_layers": layers, f"{stack}_attention_heads": heads, f"{stack}_ffn_dim": 4 * dim}
    return config


def tokens():
    """Tokens of text: every byte, and words."""
    alphabet = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet += [byte for byte in range(256) if byte not in alphabet]
    return [bytes([byte]) for byte in alphabet] + [f" w{i}".encode() for i in range(TEXT - 256)]


def names():
    """All tokens by the names that CTranslate2 asks for."""
    text = [f"t{i}" for i in range(TEXT)]
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|l{i}|>" for i in range(LANGUAGES))]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nocaptions|>"]
    special += ["<|notimestamps|>"]
    return text + special + [f"<|{i * 0.02:.2f}|>" for i in range(VOCAB - TEXT - len(special))]


def sinusoids(positions, dim):
    """All sines first, then all cosines, as Whisper has them."""
    step = math.log(10000) / (dim // 2 - 1)
    angles = np.arange(positions)[:, None] * np.exp(-step * np.arange(dim // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def random_weights(config, seed):
    """float32, by transformers' names; exactly float16."""
    dim, random = config["d_model"], bart.Random(seed)
    random.linear("model.encoder.conv1", (dim, MELS, 3))
    random.linear("model.encoder.conv2", (dim, dim, 3))
    random.weights["model.encoder.embed_positions.weight"] = sinusoids(WINDOW, dim)
    random.weights["model.decoder.embed_positions.weight"] = random.normal((TARGET, dim), 0.02)
    random.weights["model.decoder.embed_tokens.weight"] = random.normal((VOCAB, dim), dim**-0.5)
    for stack in ("encoder", "decoder"):
        random.layers(config, stack, key_bias=False)
        random.norm(f"model.{stack}.layer_norm", dim)
    return {name: data.astype(np.float16).astype(np.float32) for name, data in random.weights.items()}


def convert(config, weights, output):
    """The same for CTranslate2."""
    from ctranslate2.specs import whisper_spec

    layers, heads = config["encoder_layers"], config["encoder_attention_heads"]
    spec = whisper_spec.WhisperSpec(layers, heads, layers, heads)

    bart.set_linear(weights, spec.encoder.conv1, "model.encoder.conv1")
    bart.set_linear(weights, spec.encoder.conv2, "model.encoder.conv2")
    spec.decoder.embeddings.weight = weights["model.decoder.embed_tokens.weight"]
    spec.decoder.projection.weight = weights["model.decoder.embed_tokens.weight"]
    for stack, target in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        target.position_encodings.encodings = weights[f"model.{stack}.embed_positions.weight"]
        bart.set_norm(weights, target.layer_norm, f"model.{stack}.layer_norm")
        bart.set_layers(weights, target, stack)
    spec.register_vocabulary(names())
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids = list(range(START + 1, START + 1 + LANGUAGES))
    spec.config.alignment_heads = [(layers - 1, head) for head in range(heads)]
    spec.validate()
    spec.optimize(quantization="float16")
    output.mkdir(parents=True, exist_ok=True)
    spec.save(str(output))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    config = config_of(args.shape)
    weights = random_weights(config, args.seed)
    args.folder.mkdir(parents=True, exist_ok=True)
    convert(config, weights, args.folder / "ctranslate2")
    # Only sound needs the filters.
    filters = np.zeros((MELS, 201), np.float32)
    for kind in FILES:
        whisper_file.write(args.folder / f"{kind}.bin", config, weights, tokens(), filters, kind)
    frames = np.random.default_rng(args.seed).standard_normal((MELS, 2 * WINDOW), dtype=np.float32)
    (args.folder / "frames").write_bytes(frames.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
