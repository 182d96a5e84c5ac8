#!/usr/bin/env python3
"""Writes blocks.jsonl: random blocks of every quantised type, and the float32 that llama.cpp's own functions make of them.

    make_vectors.py path/to/libggml-base.so

One line a type: its name, two blocks and their values, as little-endian bytes in hexadecimal. Scales are random float16,
subnormal ones among them, but finite. I2_S is missing: it exists in BitNet's fork only.
"""

import ctypes
import json
import random
import sys
from pathlib import Path

# Name in ggml's functions, columns, bytes, offsets of float16.
TYPES = [
    ("q4_0", 32, 18, [0]),
    ("q4_1", 32, 20, [0, 2]),
    ("q5_0", 32, 22, [0]),
    ("q5_1", 32, 24, [0, 2]),
    ("q8_0", 32, 34, [0]),
    ("q2_K", 256, 84, [80, 82]),
    ("q3_K", 256, 110, [108]),
    ("q4_K", 256, 144, [0, 2]),
    ("q5_K", 256, 176, [0, 2]),
    ("q6_K", 256, 210, [208]),
    ("iq4_nl", 32, 18, [0]),
    ("iq4_xs", 256, 136, [0]),
    ("tq1_0", 256, 54, [52]),
    ("tq2_0", 256, 66, [64]),
    ("mxfp4", 32, 17, []),
    ("q1_0", 128, 18, [0]),
    ("q2_0", 64, 18, [0]),
]
BLOCKS = 2


def finite_f16(rng):
    while True:
        bits = rng.randrange(1 << 16)
        if bits >> 10 & 31 != 31:
            return bits.to_bytes(2, "little")


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    rng = random.Random(1)
    with open(Path(__file__).parent / "blocks.jsonl", "w") as out:
        for name, columns, size, heads in TYPES:
            blocks = bytearray(rng.randbytes(BLOCKS * size))
            for i in range(BLOCKS):
                for head in heads:
                    blocks[i * size + head : i * size + head + 2] = finite_f16(rng)
            if name == "mxfp4":
                # The smallest exponents are subnormal in float32.
                blocks += bytes([0]) + rng.randbytes(size - 1) + bytes([1]) + rng.randbytes(size - 1)
            count = len(blocks) // size * columns
            values = (ctypes.c_float * count)()
            function = getattr(ggml, f"dequantize_row_{name}")
            function.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_float), ctypes.c_int64]
            function.restype = None
            function(bytes(blocks), values, count)
            line = {"type": name.lower(), "blocks": blocks.hex(), "values": bytes(values).hex()}
            out.write(json.dumps(line) + "\n")


main()
