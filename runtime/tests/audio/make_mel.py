"""Writes mel.json: noise and tones, and what transformers' WhisperFeatureExtractor makes of them.

    python make_mel.py

transformers 5.23.0, numpy 2; without torch in the process, so that the reference computes in float64. Samples are not stored:
they follow from a recipe of integers that the test repeats. Values are rounded to 1e-5.
"""

import json
import os
import pathlib

os.environ["USE_TORCH"] = "0"

import numpy as np
from transformers import WhisperFeatureExtractor


def samples(count, seed):
    """Noise of a linear congruential generator, with a slow envelope and a gap of silence: [count] float32."""
    state, out = seed, []
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        noise = (state >> 16) - 32768
        level = 0 if 1500 <= i < 2600 else 1 + i // 700 % 7
        out.append(noise * level / 2.0**20)
    return np.array(out, np.float32)


# Bands, samples in the window, samples of sound.
CASES = [(80, 4800, 4800), (80, 6400, 4001), (80, 3200, 9000), (128, 3333, 2000), (128, 400, 400), (80, 1600, 0)]

cases = []
for seed, (mels, window, length) in enumerate(CASES, start=1):
    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=1)
    sound = np.zeros(window, np.float32)
    sound[: min(window, length)] = samples(length, seed)[:window]
    log_mel = extractor._np_extract_fbank_features(sound[None], "cpu")[0]
    assert log_mel.shape == (mels, window // 160), log_mel.shape
    assert length == 0 or log_mel.std() > 0.1
    values = [round(float(value), 5) for value in log_mel.reshape(-1)]
    cases.append({"mels": mels, "window": window, "seed": seed, "length": length, "log_mel": values})
pathlib.Path(__file__).with_name("mel.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
