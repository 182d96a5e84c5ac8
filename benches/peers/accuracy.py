"""How near quantised models' logits are to those of float32: babil's and llama.cpp's, on the same files.

    just accuracy [--shape qwen2.5-0.5b] [--types Q4_0 Q4_K]

For every type: a model of random weights at a real shape, quantised by llama-quantize; the same file dequantised to
float32 and computed in float32 by us is the reference, which the parity tests check against transformers. Printed is
the normalised mean squared error, sum((x - reference)^2) / sum(reference^2), over all logits of all positions.
"""

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import peers
import random_model
from common import HERE, WORK, run

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
TYPES += ["IQ4_XS", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"]
FOLDER = WORK / "accuracy"
# Threads of both sides.
THREADS = 2


def build_peer():
    """A program that writes llama.cpp's logits."""
    programs, output = peers.llama_cpp_programs(), FOLDER / "llamacpp_logits"
    includes = [f"-I{peers.LLAMA_CPP_SOURCE / folder}" for folder in ("include", "ggml/include")]
    libraries = [f"-L{programs}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{programs.resolve()}"]
    run("c++", "-O2", HERE / "llamacpp_logits.cpp", "-o", output, *includes, *libraries)
    return output


def quantised(whole, kind):
    """The model in that type, and that in float32; `None` if its rows are not whole blocks of the type."""
    quantize = peers.llama_cpp_programs() / "llama-quantize"
    small, floats = FOLDER / "quantised.gguf", FOLDER / "floats.gguf"
    pure = [] if kind in ("F16", "BF16") else ["--pure"]
    if subprocess.run([quantize, *pure, whole, small, kind], capture_output=True).returncode != 0:
        return None
    run(quantize, "--allow-requantize", small, floats, "F32")
    return small, floats


def measure(ours, theirs, whole, kind, tokens):
    """{side: (normalised error, share of equal best tokens)}; `None` if there is no such model."""
    models = quantised(whole, kind)
    if models is None:
        return None
    small, floats = models
    file, cache = FOLDER / "tokens.u32", FOLDER / "cache"
    tokens.tofile(file)
    jobs = {"reference": (ours, floats), "babil": (ours, small), "llama.cpp": (theirs, small)}
    logits = {}
    for name, (program, model) in jobs.items():
        output = FOLDER / f"{name}.f32"
        run(program, model, file, output, THREADS, env=os.environ | {"BABIL_CACHE": str(cache)})
        logits[name] = np.memmap(output, np.float32, "r").reshape(len(tokens), -1)
    shutil.rmtree(cache, ignore_errors=True)
    reference = logits.pop("reference")
    scale = np.sum(np.square(reference, dtype=np.float64))
    best = np.argmax(reference, axis=1)
    return {
        name: (
            float(np.sum(np.square(values - reference, dtype=np.float64)) / scale),
            float(np.mean(np.argmax(values, axis=1) == best)),
        )
        for name, values in logits.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=random_model.SHAPES, default="smollm2-135m")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--positions", type=int, default=500)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    peers.build_llama_cpp()
    peers.cargo_build(["-p", "babil-benches", "--example", "logits"], FOLDER)
    ours, theirs = FOLDER / "logits", build_peer()
    shape, whole = random_model.SHAPES[args.shape], FOLDER / f"{args.shape}.gguf"
    if not whole.exists():
        random_model.write(shape, peers.LLAMA_CPP_SOURCE / "models", whole)
    # The distribution of words is skewed: ranks of Zipf.
    tokens = (shape.tokens * np.random.default_rng(7).random(args.positions) ** 3).astype(np.uint32)
    print("| type | babil | llama.cpp | ratio | same best token, babil / llama.cpp |\n|---|--:|--:|--:|--:|")
    rows = []
    for kind in args.types:
        sides = measure(ours, theirs, whole, kind, tokens)
        if sides is None:
            print(f"| {kind} | rows are not whole blocks | | | |", flush=True)
            continue
        (error, same), (peer_error, peer_same) = sides["babil"], sides["llama.cpp"]
        ratio = f"{error / peer_error:.3f}" if peer_error else ""
        print(f"| {kind} | {error:.3e} | {peer_error:.3e} | {ratio} | {same:.1%} / {peer_same:.1%} |", flush=True)
        rows.append({"shape": args.shape, "type": kind, "sides": sides})
    worse = [row["type"] for row in rows if row["sides"]["babil"][0] > row["sides"]["llama.cpp"][0]]
    print(f"\n{args.shape}: worse than llama.cpp: {', '.join(worse) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
