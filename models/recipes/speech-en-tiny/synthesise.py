#!/usr/bin/env python3
"""Read the sentences aloud with espeak-ng: DATA/sentences.tsv to 16 kHz samples, with the time of every word.

    synthesise.py --data DATA --readings 1.7 --processes 2

Writes DATA/speech.N.pcm (signed 16-bit samples, one utterance after the other) and DATA/speech.N.jsonl (one line per
utterance: split, text, voice, rate, pitch, first sample, number of samples, `starts`: the sample at which each word
begins, `phonemes`: each with the sample at which it begins) for every process N. Utterances are trimmed to what is
heard, so that they start at 0 and end at their length. A training sentence is read `--readings` times on average, each
time by another voice; valid and test sentences once.

espeak-ng's library is called directly, which is many times faster than its program and also tells when words and
phonemes begin.
"""
import argparse
import ctypes
import json
import multiprocessing
import random

import numpy as np
import soxr

RATE = 16000
ACCENTS = ["en", "en-us", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan"]
VARIANTS = ["", "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "m8",
            "Annie", "linda", "steph", "Alex", "john"]
AUDIBLE = 60  # of 32768: quieter samples at the ends of an utterance are trimmed


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8)]


class Espeak:
    """One synthesiser per process: the library has global state."""

    END, WORD, PHONEME = 0, 1, 7
    RATE, PITCH, RANGE = 1, 3, 4

    def __init__(self):
        self.lib = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.lib.espeak_Initialize(2, 0, None, 1)  # samples and phonemes come to the callback
        if self.rate <= 0:
            raise SystemExit("espeak-ng does not start; is the package espeak-ng installed?")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
        self.callback = kind(self.receive)
        self.lib.espeak_SetSynthCallback(self.callback)

    def receive(self, samples, count, events):
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != self.END:
            if events[i].type == self.WORD:
                self.words.append((events[i].text_position - 1, events[i].sample))
            elif events[i].type == self.PHONEME:
                self.phonemes.append((events[i].id.decode(), events[i].sample))
            i += 1
        return 0

    def read(self, text, voice, rate, pitch, span):
        """Samples at 16 kHz (int16), trimmed; the sample at which each word of `text.split()` begins; phonemes too."""
        self.chunks, self.words, self.phonemes = [], [], []
        if self.lib.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"espeak-ng has no voice {voice}")
        for parameter, value in ((self.RATE, rate), (self.PITCH, pitch), (self.RANGE, span)):
            self.lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        samples = soxr.resample(np.concatenate(self.chunks), self.rate, RATE)
        heard = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
        first, last = heard[0], heard[-1] + 1
        starts, place = [], 0
        for word in text.split():
            place = text.index(word, place)
            # A word such as 7:30 is read as several, a contracted pair ("of the") may have one event.
            at = [s for p, s in self.words if place <= p < place + len(word)]
            starts.append(int(min(at) * RATE / self.rate) - int(first) if at else -1)
            place += len(word)
        starts = [max(s, 0) if s != -1 else -1 for s in starts]
        for i, s in enumerate(starts):
            if s == -1:  # it ends with the word before
                starts[i] = starts[i - 1] if i else 0
        phonemes = [(p, max(int(s * RATE / self.rate) - int(first), 0)) for p, s in self.phonemes]
        return samples[first:last], starts, phonemes


def work(data, number, jobs):
    espeak, at = Espeak(), 0
    with open(f"{data}/speech.{number}.pcm", "wb") as pcm, open(f"{data}/speech.{number}.jsonl", "w") as index:
        for split, text, seed in jobs:
            rng = random.Random(seed)
            voice, variant = rng.choice(ACCENTS), rng.choice(VARIANTS)
            voice += "+" * bool(variant) + variant
            rate, pitch, span = rng.randint(135, 210), rng.randint(30, 70), rng.randint(35, 65)
            samples, starts, phonemes = espeak.read(text, voice, rate, pitch, span)
            pcm.write(samples.tobytes())
            index.write(json.dumps({"split": split, "text": text, "voice": voice, "rate": rate, "pitch": pitch,
                                    "at": at, "samples": len(samples), "starts": starts, "phonemes": phonemes}) + "\n")
            at += len(samples)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", required=True)
    args.add_argument("--readings", type=float, default=1.7)
    args.add_argument("--processes", type=int, default=2)
    args = args.parse_args()
    rng, jobs = random.Random(2), []
    with open(f"{args.data}/sentences.tsv", encoding="utf-8") as lines:
        for line in lines:
            split, _, text = line.rstrip("\n").split("\t")
            times = 1 if split != "train" else int(args.readings + rng.random())
            jobs += [(split, text, rng.randrange(2**32)) for _ in range(times)]
    rng.shuffle(jobs)
    started = [multiprocessing.Process(target=work, args=(args.data, n, jobs[n :: args.processes]))
               for n in range(args.processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode:
            raise SystemExit("a process failed")


if __name__ == "__main__":
    main()
