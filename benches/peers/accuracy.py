#!/usr/bin/env python3
"""How near quantised models' logits are to those of float32: ours and llama.cpp's, on the same files.

    accuracy.py --llama-cpp BUILD --llama-cpp-source SOURCE --gen GEN_GGUF.py --vocab VOCAB.gguf [--shape ...] [--types ...]

For every type: a random-weight model at a real shape, quantised by llama-quantize; the same file dequantised to float32
and computed in float32 by us is the reference (which the parity tests check against transformers). Printed is the
normalised mean squared error, sum((x - reference)^2) / sum(reference^2), over all logits of all positions.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
         "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"]


def run(*command, may_fail=False, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if result.returncode and may_fail:
        return False
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return True


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--llama-cpp", required=True, type=Path, help="llama.cpp's build folder, with bin/")
    args.add_argument("--llama-cpp-source", required=True, type=Path)
    args.add_argument("--gen", required=True, type=Path, help="writes random models: gen_gguf.py SHAPE VOCAB OUT")
    args.add_argument("--vocab", required=True, type=Path)
    args.add_argument("--logits", type=Path, default=Path("target/release/examples/logits"), help="ours")
    args.add_argument("--shape", default="smollm2-135m")
    args.add_argument("--types", nargs="*", default=TYPES)
    args.add_argument("--positions", type=int, default=500)
    args.add_argument("--work", type=Path, default=Path("target/accuracy"))
    args.add_argument("--json", type=Path)
    a = args.parse_args()
    bin_folder = a.llama_cpp / "bin"
    a.work.mkdir(parents=True, exist_ok=True)
    peer = a.work / "llamacpp_logits"
    source = Path(__file__).with_name("llamacpp_logits.cpp")
    run("g++", "-O2", source, "-o", peer, f"-I{a.llama_cpp_source}/include", f"-I{a.llama_cpp_source}/ggml/include",
        f"-L{bin_folder}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{bin_folder.resolve()}")
    base = a.work / f"{a.shape}.gguf"
    if not base.exists():
        run(sys.executable, a.gen, a.shape, a.vocab, base)
    rng = np.random.default_rng(7)
    vocabulary = {"smollm2-135m": 49152, "smollm2-360m": 49152, "qwen2.5-0.5b": 151936}.get(a.shape, 32000)
    # The distribution of words is skewed: ranks of Zipf.
    tokens = (vocabulary * rng.random(a.positions) ** 3).astype(np.uint32)
    token_file = a.work / "tokens.u32"
    tokens.tofile(token_file)
    rows = []
    for kind in a.types:
        quantised, floats = a.work / "quantised.gguf", a.work / "floats.gguf"
        quantize = bin_folder / "llama-quantize"
        if kind in ("F16", "BF16"):
            run(quantize, base, quantised, kind)
        else:
            if not run(quantize, "--pure", base, quantised, kind, may_fail=True):
                print(f"{a.shape:14} {kind:7} llama-quantize refuses it: rows that are not whole blocks", flush=True)
                continue
        run(quantize, "--allow-requantize", quantised, floats, "F32")
        environment = dict(os.environ, BABIL_CACHE=str(a.work / "cache"))
        for model, name in ((floats, "reference"), (quantised, "ours")):
            run(a.logits, model, token_file, a.work / f"{name}.f32", "2", env=environment)
        run(peer, quantised, token_file, a.work / "theirs.f32", "2")
        load = lambda name: np.memmap(a.work / f"{name}.f32", np.float32, "r").reshape(a.positions, -1)
        reference = load("reference")
        scale = float(np.sum(np.square(reference, dtype=np.float64)))
        errors = [float(np.sum(np.square(load(name) - reference, dtype=np.float64))) / scale for name in ("ours", "theirs")]
        agree = [float(np.mean(np.argmax(load(name), 1) == np.argmax(reference, 1))) for name in ("ours", "theirs")]
        rows.append({"shape": a.shape, "type": kind, "ours": errors[0], "llama.cpp": errors[1],
                     "same_argmax_ours": agree[0], "same_argmax_llama.cpp": agree[1]})
        print(f"{a.shape:14} {kind:7} ours {errors[0]:.3e}  llama.cpp {errors[1]:.3e}  ratio {errors[0] / max(errors[1], 1e-30):.3f}"
              f"  argmax {agree[0]:.3f} {agree[1]:.3f}", flush=True)
        subprocess.run(["rm", "-rf", a.work / "cache"], check=True)
    if a.json:
        a.json.write_text(json.dumps(rows, indent=1) + "\n")
    worse = [row["type"] for row in rows if row["ours"] > row["llama.cpp"]]
    print("no type is worse" if not worse else f"worse than llama.cpp: {', '.join(worse)}")


if __name__ == "__main__":
    main()
