#!/usr/bin/env python3
"""Convert the weights written by train.py to a Hugging Face Marian-style directory (float32 safetensors).

    export.py --run RUN --out DIR [--no-check]

RUN holds model.safetensors and spm.model as train.py writes them. DIR receives config.json, generation_config.json,
vocab.json, source.spm (the one SentencePiece model of both sides), and model.safetensors. The directory is written
under a temporary name and renamed at the end, so a reader never sees half of it.

Unless --no-check is given, a few sentences are then put through the training model (PyTorch, train.py) and through a
second implementation that shares no code with it (NumPy, below; it reads nothing but the exported files), and the
program fails if any logit differs by more than 1e-3.
"""
import argparse
import json
import math
import os
import shutil

import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file

EOS, PAD = 0, 3
HEADS, MAX_POSITIONS, BEAMS = 4, 256, 4

CHECKS = [
    (">>fra<<", "I'm sorry, I didn't hear what you said.", "Je suis désolé, je n'ai pas entendu ce que tu as dit."),
    (">>eng<<", "Où est la gare ?", "Where is the station?"),
    (">>fra<<", "Tom wants to learn how to swim. Can you teach him this summer?", "Tom veut apprendre à nager."),
]


def convert(weights):
    """Names and shapes of train.py -> names and shapes of transformers' Marian classes."""
    out = {"model.shared.weight": weights["e.weight"], "final_logits_bias": weights["b"][None]}
    dim = weights["e.weight"].shape[1]

    def put(name, weight, bias):
        out[f"{name}.weight"], out[f"{name}.bias"] = weight, bias

    def copy(name, source):
        put(name, weights[f"{source}.weight"], weights[f"{source}.bias"])

    def split(names, source):
        for i, name in enumerate(names):
            rows = slice(i * dim, (i + 1) * dim)
            put(name, weights[f"{source}.weight"][rows], weights[f"{source}.bias"][rows])

    for side, stack in (("encoder", "E"), ("decoder", "Dd")):
        for n in range(layer_count(weights, stack)):
            to, of = f"model.{side}.layers.{n}", f"{stack}.{n}"
            split([f"{to}.self_attn.{x}_proj" for x in "qkv"], f"{of}.a.q")
            copy(f"{to}.self_attn.out_proj", f"{of}.a.o")
            copy(f"{to}.self_attn_layer_norm", f"{of}.n1")
            if side == "decoder":
                copy(f"{to}.encoder_attn.q_proj", f"{of}.c.q")
                split([f"{to}.encoder_attn.{x}_proj" for x in "kv"], f"{of}.c.kv")
                copy(f"{to}.encoder_attn.out_proj", f"{of}.c.o")
                copy(f"{to}.encoder_attn_layer_norm", f"{of}.n2")
            copy(f"{to}.fc1", f"{of}.f1")
            copy(f"{to}.fc2", f"{of}.f2")
            copy(f"{to}.final_layer_norm", f"{of}.n3")
    copy("model.encoder.layer_norm", "ne")
    copy("model.decoder.layer_norm", "nd")
    used = sum(v.size for v in out.values())
    have = sum(v.size for v in weights.values())
    assert used == have, f"{have - used} weights were not exported"
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}


def layer_count(weights, stack):
    return 1 + max(int(k.split(".")[1]) for k in weights if k.startswith(stack + "."))


def export(run, out):
    weights = load_file(f"{run}/model.safetensors")
    sp = sentencepiece.SentencePieceProcessor(model_file=f"{run}/spm.model")
    vocab, dim = weights["e.weight"].shape
    assert vocab == sp.get_piece_size() and sp.eos_id() == EOS and sp.pad_id() == PAD
    ffn = weights["E.0.f1.weight"].shape[0]
    generation = {
        "bad_words_ids": [[PAD]],
        "decoder_start_token_id": PAD,
        "eos_token_id": EOS,
        "forced_eos_token_id": EOS,
        "max_length": MAX_POSITIONS,
        "num_beams": BEAMS,
        "pad_token_id": PAD,
    }
    config = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "d_model": dim,
        "encoder_layers": layer_count(weights, "E"),
        "decoder_layers": layer_count(weights, "Dd"),
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": ffn,
        "decoder_ffn_dim": ffn,
        "activation_function": "relu",
        "vocab_size": vocab,
        "scale_embedding": True,
        "normalize_before": True,
        "add_final_layer_norm": True,
        "normalize_embedding": False,
        "static_position_embeddings": True,
        "max_position_embeddings": MAX_POSITIONS,
        # Keys of babil's: the directions, and the longest sentence that training has prepared the model for.
        "translation_pairs": [
            {"from": "en", "to": "fr", "prefix": ">>fra<<"},
            {"from": "fr", "to": "en", "prefix": ">>eng<<"},
        ],
        "max_source_tokens": 100,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "dropout": 0.1,
        "torch_dtype": "float32",
        **generation,
    }
    temporary = out.rstrip("/") + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)

    def write(name, value):
        with open(f"{temporary}/{name}", "w", encoding="utf8") as f:
            json.dump(value, f, ensure_ascii=False, indent=2)
            f.write("\n")

    write("config.json", config)
    write("generation_config.json", {**generation, "renormalize_logits": True})
    write("vocab.json", {sp.id_to_piece(i): i for i in range(vocab)})
    shutil.copyfile(f"{run}/spm.model", f"{temporary}/source.spm")
    save_file(convert(weights), f"{temporary}/model.safetensors", metadata={"format": "pt"})
    os.chmod(f"{temporary}/model.safetensors", 0o644)
    old = out.rstrip("/") + ".old"
    shutil.rmtree(old, ignore_errors=True)
    if os.path.exists(out):
        os.rename(out, old)
    os.rename(temporary, out)
    shutil.rmtree(old, ignore_errors=True)


class Plain:
    """The exported model in NumPy, one sentence at a time, without any batching, masking or caching tricks."""

    def __init__(self, folder):
        with open(f"{folder}/config.json", encoding="utf8") as f:
            self.c = json.load(f)
        self.w = load_file(f"{folder}/model.safetensors")

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attend(self, name, x, memory, causal):
        q, k, v = (self.linear(f"{name}.{p}_proj", y) for p, y in (("q", x), ("k", memory), ("v", memory)))
        heads, size = self.c["encoder_attention_heads"], x.shape[1] // self.c["encoder_attention_heads"]
        result = np.empty_like(q)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(len(x)):
                seen = i + 1 if causal else len(memory)
                score = k[:seen, part] @ q[i, part] / math.sqrt(size)
                p = np.exp(score - score.max())
                result[i, part] = (p / p.sum()) @ v[:seen, part]
        return self.linear(f"{name}.out_proj", result)

    def embed(self, ids):
        dim = self.c["d_model"]
        x = self.w["model.shared.weight"][ids] * math.sqrt(dim)
        for position in range(len(ids)):
            for j in range(dim // 2):
                angle = position / 10000 ** (2 * j / dim)
                x[position, j] += math.sin(angle)
                x[position, dim // 2 + j] += math.cos(angle)
        return x

    def stack(self, side, x, memory):
        for n in range(self.c[f"{side}_layers"]):
            name = f"model.{side}.layers.{n}"
            y = self.norm(f"{name}.self_attn_layer_norm", x)
            x = x + self.attend(f"{name}.self_attn", y, y, causal=side == "decoder")
            if side == "decoder":
                y = self.norm(f"{name}.encoder_attn_layer_norm", x)
                x = x + self.attend(f"{name}.encoder_attn", y, memory, causal=False)
            y = self.linear(f"{name}.fc1", self.norm(f"{name}.final_layer_norm", x))
            x = x + self.linear(f"{name}.fc2", np.maximum(y, 0))
        return self.norm(f"model.{side}.layer_norm", x)

    def logits(self, source, target):
        memory = self.stack("encoder", self.embed(source), None)
        h = self.stack("decoder", self.embed(target), memory)
        return h @ self.w["model.shared.weight"].T + self.w["final_logits_bias"]


def check(run, out):
    import torch
    from safetensors.torch import load_file as load_torch

    from train import Translator

    model = Translator()
    model.load_state_dict(load_torch(f"{run}/model.safetensors"))
    model.eval()
    plain = Plain(out)
    sp = sentencepiece.SentencePieceProcessor(model_file=f"{out}/source.spm")
    worst = 0.0
    for tag, source, target in CHECKS:
        x = [sp.piece_to_id(tag)] + sp.encode(source) + [EOS]
        y = [PAD] + sp.encode(target)
        with torch.no_grad():
            memory, mask = model.encode(torch.tensor([x]))
            expected = model.logits(model.decode(torch.tensor([y]), memory, mask))[0].numpy()
        worst = max(worst, float(np.abs(plain.logits(x, y) - expected).max()))
    print(f"largest difference of a logit between the training model and the exported files: {worst:.2e}")
    if not worst < 1e-3:
        raise SystemExit("the exported weights do not reproduce the training model")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", required=True, help="folder that train.py wrote")
    ap.add_argument("--out", required=True, help="folder to write")
    ap.add_argument("--no-check", action="store_true", help="do not compare with the training model")
    a = ap.parse_args()
    export(a.run, a.out)
    if not a.no_check:
        check(a.run, a.out)


if __name__ == "__main__":
    main()
