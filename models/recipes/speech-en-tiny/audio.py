"""Sound for training and tests: windows of utterances, pauses, noise and music with what is said in them; log-mel.

`Windows` draws utterances from the files of synthesise.py and puts them into windows; each `Window` knows its segments
(start, end, text, in seconds) and where each word and phoneme lies. `LogMel` turns windows into Whisper's features.
"""
import dataclasses
import glob
import json

import numpy as np
import torch

RATE, HOP, FFT, MELS = 16000, 160, 400, 80
PAD = ("_:", "_", "_!", "", "_^_")  # espeak-ng's names of pauses


@dataclasses.dataclass
class Segment:
    """A sentence, or its beginning, in a window. Times in seconds from the start of the window."""

    text: str
    start: float
    end: float
    starts: list  # of each word of `text.split()`
    whole: bool = True  # False: the window ends before the sentence does


@dataclasses.dataclass
class Window:
    samples: np.ndarray  # float32 [seconds * RATE]
    segments: list  # empty: nothing is said, or not one whole word
    phonemes: np.ndarray  # int64 [seconds * 50], 0 where nothing is said


class Speech:
    """The utterances of one split, on disk."""

    def __init__(self, data, split):
        self.items, self.files, names = [], [], set()
        for path in sorted(glob.glob(f"{data}/speech.*.jsonl")):
            self.files.append(np.memmap(path.replace(".jsonl", ".pcm"), np.int16, "r"))
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    item = json.loads(line)
                    names.update(p for p, _ in item["phonemes"])
                    if item["split"] == split:
                        item["file"] = len(self.files) - 1
                        self.items.append(item)
        # The same numbers whatever the split.
        self.phonemes = {p: i + 1 for i, p in enumerate(sorted(names - set(PAD)))} | dict.fromkeys(PAD, 0)

    def samples(self, item):
        return self.files[item["file"]][item["at"] : item["at"] + item["samples"]].astype(np.float32) / 32768


def noise(rng, n):
    """Noise of a random colour, float32 [n], of unit power: white (exponent 0), pink (1), brown (2) or between."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / RATE)
    spectrum *= np.maximum(f, 40) ** (-rng.uniform(0, 2) / 2)
    out = np.fft.irfft(spectrum, n)
    return (out / (out.std() + 1e-9)).astype(np.float32)


def music(rng, n):
    """Chords and melodies of decaying harmonics, float32 [n], of unit power: like music, with nothing said."""
    out, t = np.zeros(n), np.arange(n) / RATE
    beat = rng.uniform(0.2, 0.7)
    scale = 110 * 2 ** (rng.integers(0, 12) / 12) * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19, 24]) / 12)
    at = 0.0
    while at < n / RATE:
        for pitch in rng.choice(scale, rng.integers(1, 4)) * rng.choice([1, 2]):
            first, last = int(at * RATE), min(n, int((at + beat * rng.uniform(1, 3)) * RATE))
            x = t[: last - first]
            envelope = np.minimum(x / 0.01, 1) * np.exp(-x * rng.uniform(1, 6))
            note = sum(np.sin(2 * np.pi * pitch * h * x + rng.uniform(0, 6)) / h ** rng.uniform(0.8, 2)
                       for h in range(1, 6))
            out[first:last] += envelope * note
        if rng.random() < 0.3:  # a drum
            hit = rng.standard_normal(min(1600, n - int(at * RATE)))
            out[int(at * RATE) :][: len(hit)] += hit * np.exp(-np.arange(len(hit)) / 300)
        at += beat
    return (out / (out.std() + 1e-9)).astype(np.float32)


class Pool:
    """Ten-second pieces of noise and music, made once; `take` cuts a random part of one."""

    def __init__(self, seed, count=60):
        rng = np.random.default_rng(seed)
        self.pieces = {make: [make(rng, 10 * RATE) for _ in range(count)] for make in (noise, music)}

    def take(self, rng, make, n):
        piece = self.pieces[make][rng.integers(len(self.pieces[make]))]
        at = rng.integers(len(piece) - n + 1)
        return piece[at : at + n]


def decibels(db):
    return 10 ** (db / 20)


class Windows:
    """Random windows of one split. The generator decides everything: equal seeds give equal windows."""

    def __init__(self, data, split, seed):
        self.speech, self.pool = Speech(data, split), Pool(seed)

    def silent(self, rng, seconds):
        """A window without speech: silence, noise, music, or a stretch of them."""
        n = int(seconds * RATE)
        samples, kind = np.zeros(n, np.float32), rng.random()
        if kind > 0.2:
            samples += self.pool.take(rng, noise, n) * decibels(rng.uniform(-80, -20))
        if kind > 0.5:
            first = rng.integers(0, n // 2) if rng.random() < 0.5 else 0
            length = rng.integers(n // 4, n - first + 1)
            samples[first : first + length] += self.pool.take(rng, music, length) * decibels(rng.uniform(-50, -10))
        return Window(samples, [], np.zeros(int(seconds * 50), np.int64))

    def spoken(self, rng, seconds, sentences=99):
        """A window of `seconds` with up to `sentences` sentences. What does not fit is cut at the end of the window, or
        breaks off earlier and silence follows (a stream that has come so far), or is left out."""
        n = int(seconds * RATE)
        window = Window(np.zeros(n, np.float32), [], np.zeros(int(seconds * 50), np.int64))
        level = rng.uniform(-30, -8)  # of the loudest sample, decibels
        at, cut = int(RATE * (rng.uniform(0, 0.5) if rng.random() < 0.8 else rng.uniform(0, seconds / 3))), n
        for _ in range(sentences):
            item = self.speech.items[rng.integers(len(self.speech.items))]
            length = item["samples"]
            whole = at + length <= n
            if not whole:
                if at > 0.85 * n or (window.segments and rng.random() < 0.4):
                    break
                cut = n if rng.random() < 0.5 and window.segments else rng.integers(at, n)
            elif rng.random() < 0.06:
                whole, cut = False, rng.integers(at, at + length)
            starts = [(at + s) / RATE for s in item["starts"]]
            words, last = item["text"].split(), min(at + length, cut)
            if not whole and cut < n:  # only whole words are heard
                words = [w for w, end in zip(words, starts[1:] + [seconds + 9]) if end * RATE <= cut]
            samples = self.speech.samples(item)[: last - at]
            samples = samples * (decibels(level + rng.uniform(-6, 0)) / 0.5)
            window.samples[at:last] += samples
            marks = item["phonemes"] + [["_", length]]
            for (name, first), (_, end) in zip(marks, marks[1:]):
                a, b = round((at + first) / 320), round(min(at + end, cut) / 320)
                window.phonemes[a:b] = self.speech.phonemes[name]
            if words:
                text, starts = " ".join(words), starts[: len(words)]
                window.segments.append(Segment(text, at / RATE, last / RATE, starts, whole or cut < n))
            if not whole:
                break
            pause = int(RATE * (rng.uniform(0.25, 1.2) if rng.random() < 0.8 else rng.uniform(1.2, 3)))
            if pause > RATE and at + length + pause < n and rng.random() < 0.3:  # music between sentences
                quiet = pause - RATE // 2
                window.samples[at + length + RATE // 4 :][:quiet] += self.pool.take(rng, music, quiet) * decibels(
                    level - rng.uniform(6, 20))
            at += length + pause
            if at >= n or rng.random() < 0.1:
                break
        if rng.random() < 0.6:  # noise under all of it
            window.samples[:cut] += self.pool.take(rng, noise, int(cut)) * decibels(level - rng.uniform(20, 50))
        np.clip(window.samples, -1, 1, out=window.samples)
        return window

    def draw(self, rng, seconds, sentences=99):
        return self.silent(rng, seconds) if rng.random() < 0.08 else self.spoken(rng, seconds, sentences)


class LogMel:
    """Whisper's features of [batch, samples]: [batch, MELS, samples / HOP]. Equal to WhisperFeatureExtractor's."""

    def __init__(self):
        from transformers import WhisperFeatureExtractor

        self.filters = torch.tensor(WhisperFeatureExtractor(chunk_length=10).mel_filters, dtype=torch.float32).T
        self.hann = torch.hann_window(FFT)

    def __call__(self, samples, floor=0.0):
        """`floor` [batch] raises the lower limit, as a louder place elsewhere in a recording does."""
        spectrum = torch.stft(samples, FFT, HOP, window=self.hann, return_complex=True)[..., :-1]
        power = spectrum.real**2 + spectrum.imag**2
        mel = (self.filters @ power).clamp(min=1e-10).log10()
        top = mel.amax((1, 2), keepdim=True) + (floor[:, None, None] if torch.is_tensor(floor) else floor)
        return (torch.maximum(mel, top - 8) + 4) / 4


def self_test():
    from transformers import WhisperFeatureExtractor

    samples = np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32) * 0.1
    theirs = WhisperFeatureExtractor(chunk_length=10)(samples, sampling_rate=RATE, return_tensors="pt").input_features
    ours = LogMel()(torch.tensor(samples)[None])
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() < 1e-4, (ours - theirs).abs().max()
    print("log-mel: equal to transformers' within", float((ours - theirs).abs().max()))


if __name__ == "__main__":
    self_test()
