"""Writes rows of weights, and what ggml makes of them: u32 rows, u32 columns, float32 values; then for each type
u32 number of the type, u32 bytes of a row, bytes.

pip install numpy==2.*
python make_vectors.py LIBGGML_BASE [vectors.bin [COUNT]]

LIBGGML_BASE is a libggml-base.so of llama.cpp (the one in llama-cpp-python 0.3.36 was used), built without fused
operations, as its own build is on x86-64. COUNT is how many rows of each kind; the checked-in file has one.
"""

import ctypes
import sys

import numpy as np

COLUMNS = 256
# Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K ... Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, Q1_0, Q2_0.
TYPES = [2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 34, 35, 39, 41, 42]


def rows(random, count):
    """Rows of many kinds: [kinds * count, COLUMNS]."""
    shape = (count, COLUMNS)
    normal = lambda: random.standard_normal(shape)
    group = lambda n: np.repeat(random.random((count, COLUMNS // n)), n, axis=1)
    kinds = [
        normal() * 0.02,
        normal() * 10.0 ** random.uniform(-6, 3, (count, 1)),
        normal() + random.uniform(-3, 3, (count, 1)),
        random.standard_t(1.3, shape),
        np.abs(normal()),
        -np.abs(normal()),
        np.abs(normal()) + 5,
        np.zeros(shape),
        np.broadcast_to(random.standard_normal((count, 1)), shape),
        normal() * (group(16) < 0.5),  # whole groups of zeros
        normal() * (random.random(shape) < 0.05),
        normal() * 10.0 ** (-20 * group(32)),  # groups below every epsilon
        normal() * 1e-13,
        normal() * 1e-17,
        np.clip(normal() * 2e4, -6e4, 6e4),
        random.integers(-1, 2, shape) * random.uniform(0.01, 2, (count, 1)),
        random.integers(-8, 8, shape) / 8,  # exact ties
        normal().astype(np.float16),
        0.1 + 2 * np.cos(np.arange(COLUMNS) + random.uniform(0, 9, (count, 1))),
        normal() ** 3 * np.where(np.arange(COLUMNS) % 32 == 7, 50, 1),
    ]
    return np.concatenate([np.asarray(kind, dtype=np.float32) for kind in kinds])


def main():
    library = ctypes.CDLL(sys.argv[1])
    path = sys.argv[2] if len(sys.argv) > 2 else "vectors.bin"
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]
    x = rows(np.random.default_rng(7), count)
    with open(path, "wb") as file:
        np.array(x.shape, dtype="<u4").tofile(file)
        x.tofile(file)
        for kind in TYPES:
            out = np.zeros((len(x), library.ggml_row_size(kind, COLUMNS)), dtype=np.uint8)
            written = library.ggml_quantize_chunk(kind, x.ctypes.data, out.ctypes.data, 0, len(x), COLUMNS, None)
            assert written == out.size
            np.array([kind, out.shape[1]], dtype="<u4").tofile(file)
            out.tofile(file)


main()
