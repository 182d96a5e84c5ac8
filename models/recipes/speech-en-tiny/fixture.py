#!/usr/bin/env python3
"""Make test recordings of held-out sentences, with the truth of every cue.

    fixture.py --sentences DATA/sentences.tsv --seconds 40 --out fixture/short.flac
    fixture.py --sentences DATA/sentences.tsv --seconds 606 --seed 2 --out fixture/long.opus

The recording alternates talk (two to five sentences of the test split with pauses of 0.4 to 1.2 s, one voice) and rest
(1.5 to 5 s of silence, noise, or music). Beside it, OUT.json holds `cues` (start and end in seconds, text, voice) and
`rests` (start, end, kind). Everything follows from the seed and espeak-ng's version; 16 kHz mono, Opus (by ffmpeg) at
16 kbit/s.
"""
import argparse
import json
import os
import subprocess

import numpy as np
import soundfile

from audio import RATE, decibels, music, noise
from synthesise import ACCENTS, VARIANTS, Espeak

RESTS = ("silence", "noise", "music")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--sentences", required=True)
    args.add_argument("--seconds", type=float, default=40)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--out", required=True, help=".flac, .wav or .opus")
    args = args.parse_args()
    rng, espeak = np.random.default_rng(args.seed), Espeak()
    with open(args.sentences, encoding="utf-8") as lines:
        texts = [text for split, _, text in (line.rstrip("\n").split("\t") for line in lines) if split == "test"]
    texts = [t for t in texts if len(t.split()) >= 3]
    order = rng.permutation(len(texts))

    parts, cues, rests, at, taken, turn = [], [], [], 0, 0, int(rng.integers(3))

    def put(samples):
        nonlocal at
        parts.append(samples.astype(np.float32))
        at += len(samples)

    while at < args.seconds * RATE:
        first, n, kind = at, int(rng.uniform(1.5, 5) * RATE), RESTS[turn % 3]
        make = {"silence": lambda rng, n: np.zeros(n), "noise": noise, "music": music}[kind]
        fade = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.2 * RATE))
        put(make(rng, n) * fade * decibels(rng.uniform(-50, -35) if kind == "noise" else rng.uniform(-38, -24)))
        rests.append({"start": round(first / RATE, 3), "end": round(at / RATE, 3), "kind": kind})
        turn += 1
        if at >= (args.seconds - 4) * RATE:
            break
        accent, variant = rng.choice(ACCENTS), rng.choice(VARIANTS)
        voice = accent + "+" * bool(variant) + variant
        rate, pitch = int(rng.integers(140, 190)), int(rng.integers(35, 65))
        level = decibels(rng.uniform(-9, 0))
        for _ in range(rng.integers(2, 6)):
            text = texts[order[taken % len(texts)]]
            samples, _, _ = espeak.read(text, voice, rate, pitch, 50)
            if at + len(samples) > (args.seconds - 1) * RATE:
                break
            taken += 1
            put(np.zeros(int(rng.uniform(0.2, 0.6) * RATE)))
            cues.append({"start": round(at / RATE, 3), "end": round((at + len(samples)) / RATE, 3), "text": text,
                         "voice": f"{voice} rate {rate} pitch {pitch}"})
            put(samples / 32768 * level)
            put(np.zeros(int(rng.uniform(0.2, 0.6) * RATE)))
    sound = np.concatenate(parts)[: int(args.seconds * RATE)]
    sound = np.clip(sound, -1, 1)
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    if args.out.endswith(".opus"):
        encode = ["ffmpeg", "-loglevel", "error", "-y", "-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-"]
        pcm = (sound * 32767).astype("<i2").tobytes()
        subprocess.run([*encode, "-c:a", "libopus", "-b:a", "16k", args.out], input=pcm, check=True)
    else:
        soundfile.write(args.out, sound, RATE, subtype="PCM_16")
    rests = [dict(r, end=min(r["end"], round(len(sound) / RATE, 3))) for r in rests]
    with open(os.path.splitext(args.out)[0] + ".json", "w", encoding="utf-8") as out:
        truth = {"seconds": round(len(sound) / RATE, 3), "synthesiser": "espeak-ng 1.51", "cues": cues, "rests": rests}
        json.dump(truth, out, indent=1)
        out.write("\n")
    print(f"{len(sound) / RATE:.1f} s, {len(cues)} cues, {sum(len(c['text'].split()) for c in cues)} words, "
          f"{os.path.getsize(args.out) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
