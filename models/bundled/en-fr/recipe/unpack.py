#!/usr/bin/env python3
"""Turn bundled weights back into a float32 start for train.py: the inverse of export.py and `babil quantize`.

    unpack.py --model DIR --out start.safetensors

DIR holds model.safetensors as babil ships it. Its matrices are packed blocks (runtime/src/quant/packed.rs): tiles of
16 rows by 32 columns, a byte string `[rows / 16][columns / 32][8 quads][16 rows][4]` of codes, then the scales
`[rows / 16][columns / COLUMNS][16 rows]` in float16. What was rounded is not given back, but train.py goes on from there as
well.
"""
import argparse
import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

# Of each type: the columns of a scale, and what codes are above quants.
TYPES = {"q8_0": (32, 0), "q7_128": (128, 64)}


def unpack(data, kind, rows, columns):
    """data: uint8 of a packed matrix of type `kind` -> float32 [rows, columns]."""
    width, offset = TYPES[kind]
    tiles, blocks = -(-rows // 16), columns // 32
    quants = data[: tiles * blocks * 512].view(np.int8).reshape(tiles, blocks, 8, 16, 4) - np.int8(offset)
    scales = data[tiles * blocks * 512 :].view("<f2").reshape(tiles, columns // width, 1, 16, 1).astype(np.float32)
    scales = scales.repeat(width // 32, axis=1)
    return (quants * scales).transpose(0, 3, 1, 2, 4).reshape(tiles * 16, columns)[:rows]


def read(path):
    with safe_open(path, "numpy") as f:
        packed = json.loads((f.metadata() or {}).get("babil.packed", "{}"))
        out = {}
        for name in f.keys():
            out[name] = f.get_tensor(name)
            if name in packed:
                kind = packed[name]["type"]
                if kind not in TYPES:
                    raise SystemExit(f"{name} is of type {kind}, not {' or '.join(TYPES)}")
                out[name] = unpack(out[name], kind, *packed[name]["shape"])
        return out


def invert(w):
    """Names and shapes of transformers' Marian classes -> names and shapes of train.py."""
    out = {"e.weight": w["model.shared.weight"], "b": w["final_logits_bias"][0]}

    def put(name, *sources):
        for kind in ("weight", "bias"):
            out[f"{name}.{kind}"] = np.concatenate([w[f"{s}.{kind}"] for s in sources])

    for side, stack in (("encoder", "E"), ("decoder", "Dd")):
        n = 0
        while f"model.{side}.layers.{n}.fc1.bias" in w:
            of, to = f"model.{side}.layers.{n}", f"{stack}.{n}"
            put(f"{to}.a.q", *(f"{of}.self_attn.{x}_proj" for x in "qkv"))
            put(f"{to}.a.o", f"{of}.self_attn.out_proj")
            put(f"{to}.n1", f"{of}.self_attn_layer_norm")
            if side == "decoder":
                put(f"{to}.c.q", f"{of}.encoder_attn.q_proj")
                put(f"{to}.c.kv", *(f"{of}.encoder_attn.{x}_proj" for x in "kv"))
                put(f"{to}.c.o", f"{of}.encoder_attn.out_proj")
                put(f"{to}.n2", f"{of}.encoder_attn_layer_norm")
            put(f"{to}.f1", f"{of}.fc1")
            put(f"{to}.f2", f"{of}.fc2")
            put(f"{to}.n3", f"{of}.final_layer_norm")
            n += 1
    put("ne", "model.encoder.layer_norm")
    put("nd", "model.decoder.layer_norm")
    assert sum(v.size for v in out.values()) == sum(v.size for v in w.values())
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="folder of a bundled model, or one that export.py wrote")
    ap.add_argument("--out", required=True, help="file to write, for train.py --init")
    a = ap.parse_args()
    save_file(invert(read(f"{a.model}/model.safetensors")), a.out)


if __name__ == "__main__":
    main()
