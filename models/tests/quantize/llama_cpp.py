"""What llama.cpp makes of models when it quantises them, beside what babil makes of them.

    llama_cpp.py fixture LIBLLAMA                 writes expected.json for models/tests/quantize.rs
    llama_cpp.py compare LIBLLAMA BABIL IN.gguf   quantises IN.gguf with both, and compares tensor by tensor

pip install gguf==0.19.0 numpy==2.*; LIBLLAMA is a libllama.so of llama.cpp (that of llama-cpp-python 0.3.36 was used).
"""

import ctypes
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np

# Name: number of the file type, --pure in llama.cpp.
MIXES = {
    "q2_k": (10, False), "q3_k_s": (11, False), "q3_k_m": (12, False), "q3_k_l": (13, False), "q4_k_s": (14, False),
    "q4_k_m": (15, False), "q5_k_s": (16, False), "q5_k_m": (17, False), "q6_k": (18, False), "q8_0": (7, False),
    "q4_0": (2, False), "q4_1": (3, False), "q5_0": (8, False), "q5_1": (9, False), "iq4_nl": (25, False),
    "iq4_xs": (30, False), "tq1_0": (36, False), "tq2_0": (37, False), "q1_0": (40, False), "q2_0": (41, False),
    "mxfp4": (38, True), "f16": (1, False), "bf16": (32, False), "f32": (0, False),
}


class Params(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("nthread", "ftype", "output_type", "embedding_type")]
    _fields_ += [
        (name, ctypes.c_bool) for name in ("requantize", "output", "only_copy", "pure", "keep_split", "dry_run")
    ]
    _fields_ += [(name, ctypes.c_void_p) for name in ("imatrix", "overrides", "types", "prune")]
    _fields_ += [("max_buf_size", ctypes.c_size_t)]


def llama_quantize(library, source, target, mix, pure=False):
    llama = ctypes.CDLL(library)
    llama.llama_log_set(LOG, None)
    llama.llama_model_quantize_default_params.restype = Params
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.pure = MIXES[mix]
    params.pure = params.pure or pure
    return llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) == 0


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


def tensors(path):
    """Name -> (type, shape, bytes). gguf-py does not know the newest types."""
    data = memoryview(open(path, "rb").read())
    at = 24
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value[0]

    def string():
        nonlocal at
        length = take("Q")
        at += length
        return bytes(data[at - length : at])

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            kind = take("I")
            return [value(kind) for _ in range(take("Q"))]
        return take("BbHhIif?  QqdI"[kind] if kind < 8 else "QqdI"[kind - 10])

    keys = {}
    for _ in range(n_keys):
        key = string()
        keys[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name = string().decode()
        shape = [take("Q") for _ in range(take("I"))]
        infos.append((take("I"), shape, take("Q"), name))
    start = (at + 31) // 32 * 32
    ends = sorted([offset for _, _, offset, _ in infos] + [len(data) - start])
    found = {}
    for kind, shape, offset, name in infos:
        found[name] = (kind, shape, bytes(data[start + offset : start + ends[ends.index(offset) + 1]]))
    return keys, found


def compare(library, babil, source):
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = os.path.join(folder, "ours.gguf"), os.path.join(folder, "theirs.gguf")
        for mix in MIXES:
            for pure in (False, True):
                if not llama_quantize(library, source, theirs, mix, pure):
                    print(f"{mix}: llama.cpp refuses (pure: {pure})")
                    continue
                arguments = [babil, "quantize", source, ours, "--type", mix, "--force"] + ["--pure"] * pure
                subprocess.run(arguments, check=True, stderr=subprocess.DEVNULL)
                (our_keys, our_tensors), (their_keys, their_tensors) = tensors(ours), tensors(theirs)
                differing = [name for name in their_tensors if our_tensors.get(name) != their_tensors[name]]
                same = not differing and our_keys == their_keys and len(our_tensors) == len(their_tensors)
                failed += not same
                kinds = {}
                for kind, _, _ in our_tensors.values():
                    kinds[kind] = kinds.get(kind, 0) + 1
                print(f"{mix}{' pure' * pure}: {'same' if same else f'DIFFERENT {differing[:5]}'} {kinds}")
    sys.exit(failed > 0)


def weights(count, seed):
    """The same numbers as `weights` of the test: in -1..1, with a few large ones."""
    i = np.arange(count, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    bits = (i * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    value = bits.astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return value * value * value


# Name: width, FFN width, layers, heads, KV heads, whether the output is a matrix of its own.
MODELS = {"narrow": (96, 256, 17, 3, 1, False), "wide": (256, 384, 9, 8, 2, True)}
ROWS = 3


def write_model(path, width, ffn, layers, heads, kv_heads, untied):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["a", "b", "c"])
    writer.add_file_type(0)
    shapes = {"token_embd.weight": [ROWS, width], "output_norm.weight": [width]}
    if untied:
        shapes["output.weight"] = [ROWS, width]
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"):
            shapes[f"blk.{layer}.{name}.weight"] = [ROWS, width]
        shapes[f"blk.{layer}.ffn_down.weight"] = [ROWS, ffn]
        shapes[f"blk.{layer}.attn_norm.weight"] = [width]
    if not untied:
        # Rows of no block at all.
        shapes["blk.0.odd.weight"] = [ROWS, 24]
    for seed, (name, shape) in enumerate(sorted(shapes.items())):
        writer.add_tensor(name, weights(int(np.prod(shape)), seed).reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def fixture(library):
    """For each model and mix: the tensors' types, and a hash of the bytes of all of them, in the order of names."""
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.gguf"), os.path.join(folder, "out.gguf")
        for model, shape in MODELS.items():
            write_model(source, *shape)
            for mix in MIXES:
                if not llama_quantize(library, source, target, mix):
                    print(f"{model}: llama.cpp refuses {mix}")
                    continue
                _, found = tensors(target)
                types = " ".join(str(found[name][0]) for name in sorted(found))
                data = b"".join(found[name][2] for name in sorted(found))
                expected.setdefault(model, {})[mix] = {"types": types, "sha256": hashlib.sha256(data).hexdigest()}
    with open("expected.json", "w") as file:
        json.dump(expected, file, indent=0, sort_keys=True)
        file.write("\n")


{"fixture": fixture, "compare": compare}[sys.argv[1]](*sys.argv[2:])
