"""Writes vectors.json: random logits, and what llama.cpp's own samplers leave of them.

    python make_vectors.py path/to/libllama.so

Written with llama.cpp as of llama-cpp-python 0.3.36. Python's standard library suffices.

A case has options (as in `SamplingOptions`), the tokens so far, breakers (token sequences) and steps; a step has logits
and the candidates that remain, with their probabilities, just before the choice. In mirostat's, `chosen` is the token
that llama.cpp chose: it decides the next step's bound.
"""

import ctypes
import json
import os
import pathlib
import random
import sys

llama = ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY)


class Data(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float)]


class Candidates(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.POINTER(Data)),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    ]


class Vector(ctypes.Structure):
    """A std::vector, as libstdc++ and libc++ lay it out."""

    _fields_ = [("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("capacity", ctypes.c_void_p)]

    @classmethod
    def of(cls, array):
        start, size = ctypes.addressof(array), ctypes.sizeof(array)
        vector = cls(start, start + size, start + size)
        vector.kept_alive = array
        return vector


def function(name, arguments, result=ctypes.c_void_p):
    found = getattr(llama, name)
    found.argtypes, found.restype = arguments, result
    return found


c_int, c_float, c_size, c_void = ctypes.c_int32, ctypes.c_float, ctypes.c_size_t, ctypes.c_void_p
apply = function("llama_sampler_apply", [c_void, ctypes.POINTER(Candidates)], None)
accept = function("llama_sampler_accept", [c_void, c_int], None)
penalties = function("llama_sampler_init_penalties", [c_int, c_int, c_float, c_float, c_float])
dry = function("_Z30llama_sampler_init_dry_testingffiiRKSt6vectorIS_IiSaIiEESaIS1_EE",
               [c_float, c_float, c_int, c_int, ctypes.POINTER(Vector)])
top_k = function("llama_sampler_init_top_k", [c_int])
typical = function("llama_sampler_init_typical", [c_float, c_size])
top_p = function("llama_sampler_init_top_p", [c_float, c_size])
min_p = function("llama_sampler_init_min_p", [c_float, c_size])
xtc = function("llama_sampler_init_xtc", [c_float, c_float, c_size, ctypes.c_uint32])
temperature = function("llama_sampler_init_temp", [c_float])
mirostat = function("llama_sampler_init_mirostat_v2", [ctypes.c_uint32, c_float, c_float])
dist = function("llama_sampler_init_dist", [ctypes.c_uint32])


def chain(options, vocab, breakers):
    """llama.cpp's samplers for our options, in the order of its common sampler."""
    p = {"window": 64, "repetition": 1.0, "frequency": 0.0, "presence": 0.0} | options.get("penalties", {})
    d = {"multiplier": 0.0, "base": 1.75, "allowed_length": 2, "window": 64} | options.get("dry", {})
    x = {"probability": 0.0, "threshold": 0.1} | options.get("xtc", {})
    lists = [(c_int * len(b))(*b) for b in breakers]
    vectors = Vector.of((Vector * len(lists))(*map(Vector.of, lists)))
    processors = [penalties(vocab, p["window"], p["repetition"], p["frequency"], p["presence"])]
    if d["multiplier"] > 0:
        processors.append(dry(d["multiplier"], d["base"], d["allowed_length"], d["window"], ctypes.byref(vectors)))
    if "mirostat" in options:
        m = options["mirostat"]
        return processors + [temperature(options["temperature"]), mirostat(1, m["tau"], m["eta"])]
    return processors + [
        top_k(options["top_k"]),
        typical(options["typical_p"], 0),
        top_p(options["top_p"], 0),
        min_p(options["min_p"], 0),
        xtc(x["probability"], x["threshold"], 0, 1),
        temperature(options["temperature"]),
        dist(1),
    ]


def run(options, vocab, tokens, breakers, steps, draw):
    samplers = chain(options, vocab, breakers)
    for token in tokens:
        for sampler in samplers:
            accept(sampler, token)
    results = []
    for _ in range(steps):
        logits = [draw() for _ in range(vocab)]
        data = (Data * vocab)(*[Data(i, logit, 0.0) for i, logit in enumerate(logits)])
        candidates = Candidates(data, vocab, -1, False)
        for sampler in samplers:
            apply(sampler, ctypes.byref(candidates))
        left = [candidates.data[i] for i in range(candidates.size)]
        kept = sorted((c.id, float(f"{c.p:.6g}")) for c in left)
        step = {"logits": logits, "kept": kept}
        if "mirostat" in options:
            step["chosen"] = left[candidates.selected].id
        results.append(step)
    return {"options": options, "tokens": tokens, "breakers": breakers, "steps": results}


OFF = {"top_k": 0, "typical_p": 1.0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}
rng = random.Random(20)
# Multiples of 1/64: exact in float32, and short in the file.
draw = lambda: round(rng.gauss(0.0, 3.0) * 64) / 64
peaked = lambda: round(rng.expovariate(0.25) * 64) / 64
text = lambda length, vocab: [rng.randrange(vocab) for _ in range(length)]

cases = []
for options in [
    {"temperature": 0.25}, {"temperature": 1.75}, {"top_k": 1}, {"top_k": 7}, {"top_k": 1000},
    {"top_p": 0.0}, {"top_p": 0.3}, {"top_p": 0.95}, {"min_p": 0.05}, {"min_p": 0.5}, {"min_p": 1.0},
    {"typical_p": 0.1}, {"typical_p": 0.5}, {"typical_p": 0.95},
    {"xtc": {"probability": 1.0, "threshold": 0.05}}, {"xtc": {"probability": 1.0, "threshold": 0.2}},
    {"xtc": {"probability": 1.0, "threshold": 0.45}},
]:
    for vocab, distribution in [(60, draw), (60, peaked)]:
        cases.append(run(OFF | options, vocab, [], [], 1, distribution))
for options in [{"repetition": 1.3}, {"frequency": 0.4}, {"presence": 0.7}, {"repetition": 0.8, "presence": -0.5},
                {"window": 5, "repetition": 1.5, "frequency": 0.2, "presence": 0.3}, {"window": 0, "repetition": 2.0}]:
    cases.append(run(OFF | {"penalties": options}, 24, text(100, 30), [], 1, draw))
for options in [{}, {"allowed_length": 1}, {"allowed_length": 0, "window": 20}, {"allowed_length": 4, "base": 3.0},
                {"window": 12}, {"base": 1.0}]:
    for breakers in [[], [[2]], [[2], [0, 1], [1, 1, 2]]]:
        # Few tokens, many repetitions.
        tokens = text(90, 4) if len(cases) % 2 else text(20, 3) * 3
        cases.append(run(OFF | {"dry": {"multiplier": 0.8} | options}, 6, tokens, breakers, 1, draw))
for _ in range(40):
    options = {
        "penalties": {"window": rng.randrange(40), "repetition": rng.choice([1.0, 1.2]),
                      "frequency": rng.choice([0.0, 0.25]), "presence": rng.choice([0.0, 0.5])},
        "dry": {"multiplier": rng.choice([0.0, 0.8])},
        "top_k": rng.choice([0, 5, 40]), "typical_p": rng.choice([1.0, 0.9]), "top_p": rng.choice([1.0, 0.95, 0.7]),
        "min_p": rng.choice([0.0, 0.05]), "xtc": {"probability": rng.choice([0.0, 1.0])},
        "temperature": rng.choice([0.5, 0.8, 1.3]),
    }
    vocab = rng.choice([30, 80])
    cases.append(run(options, vocab, text(rng.randrange(60), 12), [[3]], 1, rng.choice([draw, peaked])))
# More than the blocks in which a vocabulary is sorted; no two logits are equal, as llama.cpp's order of these is not
# defined.
for options in [{"top_p": 0.97}, {"top_k": 300}, {"typical_p": 0.8}]:
    different = iter(rng.sample(range(1200), 1200))
    cases.append(run(OFF | options, 1200, [], [], 1, lambda: next(different) / 256))
for options in [{}, {"tau": 2.0, "eta": 0.5}, {"tau": 0.0, "eta": 1.0}]:
    both = {"temperature": 0.9, "mirostat": {"tau": 3.0, "eta": 0.1} | options}
    cases.append(run(both, 40, [], [], 8, draw))

lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
pathlib.Path(__file__).with_name("vectors.json").write_text(f"[\n{lines}\n]\n")
