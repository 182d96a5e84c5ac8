#!/usr/bin/env python3
"""Measure an exported model with transformers' generate: greedy, with timestamps, on the full window.

    evaluate.py --model DIR --data DATA --split valid [--limit N]

Three tables: every utterance of the split alone in a window, clean or with noise as in training; windows of several
sentences; windows in which nothing is said. Sentences that a window cuts are not counted in the second.
"""
import argparse

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

import tokens
from audio import RATE, Windows, decibels, noise
from text import normal
from train import edits


def transcribe(model, processor, samples, prompt=None):
    """[(start, end, text)] of each window of float32 samples, and the probability that nothing is said."""
    features = processor.feature_extractor([s for s in samples], sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        first = model(features, decoder_input_ids=torch.full((len(samples), 1), tokens.SOT)).logits[:, 0].softmax(-1)
        ids = model.generate(features, language="en", task="transcribe", return_timestamps=True, num_beams=1,
                             do_sample=False, max_new_tokens=110)
    heard = []
    for row in ids.tolist():
        segments, text, start = [], [], None
        for token in row:
            if token >= tokens.TIME:
                time = (token - tokens.TIME) * tokens.STEP
                if text:
                    segments.append((start, time, processor.tokenizer.decode(text).strip()))
                    text, start = [], None
                else:
                    start = time
            elif token < tokens.EOT:
                text.append(token)
        if text:
            segments.append((start, None, processor.tokenizer.decode(text).strip()))
        heard.append(segments)
    return heard, first[:, tokens.NOSPEECH].tolist()


class Count:
    """Word errors and how far the times of cues are from the truth, where a cue has the same text."""

    def __init__(self):
        self.wrong = self.words = self.sentences = self.right = 0
        self.late = []

    def add(self, said, heard, examples=None):
        a, b = normal(" ".join(t for _, _, t in said)), normal(" ".join(t for _, _, t in heard))
        wrong = edits(a, b)
        self.wrong, self.words = self.wrong + wrong, self.words + len(a)
        self.sentences, self.right = self.sentences + 1, self.right + (wrong == 0)
        if len(said) == len(heard):
            for (s, e, _), (t, f, _) in zip(said, heard):
                if t is not None and f is not None:
                    self.late += [abs(s - t), abs(e - f)]
        if wrong and examples is not None:
            examples.append((" ".join(t for _, _, t in said), " ".join(t for _, _, t in heard)))

    def __str__(self):
        late = np.array(self.late or [0])
        return (f"WER {100 * self.wrong / max(self.words, 1):.2f} % ({self.wrong} of {self.words} words), "
                f"{self.right} of {self.sentences} windows without an error; times: median {np.median(late):.3f} s, "
                f"{100 * (late <= 0.3).mean():.1f} % within 0.3 s")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model", required=True)
    args.add_argument("--data", required=True)
    args.add_argument("--split", default="valid")
    args.add_argument("--limit", type=int, default=10**9, help="utterances and windows at most")
    args.add_argument("--examples", type=int, default=0, help="of errors to show")
    args = args.parse_args()
    model = WhisperForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    processor = WhisperProcessor.from_pretrained(args.model)
    windows = Windows(args.data, args.split, 11)
    rng = np.random.default_rng(12)

    counts, examples = {"clean": Count(), "noise": Count()}, []
    items = windows.speech.items[: args.limit]
    for at in range(0, len(items), 16):
        for kind, count in counts.items():
            said, samples = [], []
            for item in items[at : at + 16]:
                speech = windows.speech.samples(item)
                start = int(rng.uniform(0.1, 0.6) * RATE)
                sound = np.zeros(10 * RATE, np.float32)
                sound[start : start + len(speech)] = speech * decibels(rng.uniform(-20, 0))
                if kind == "noise":
                    level = np.abs(sound).max() * decibels(rng.uniform(-40, -20) - 3)
                    sound += noise(rng, len(sound)) * level
                said.append([(start / RATE, (start + len(speech)) / RATE, item["text"])])
                samples.append(np.clip(sound, -1, 1))
            for a, b in zip(said, transcribe(model, processor, samples)[0]):
                count.add(a, b, examples)
    for kind, count in counts.items():
        print(f"{args.split}, one sentence, {kind}: {count}", flush=True)

    count, drawn = Count(), [windows.spoken(rng, 10) for _ in range(min(args.limit, 128))]
    for at in range(0, len(drawn), 16):
        part = drawn[at : at + 16]
        for window, heard in zip(part, transcribe(model, processor, [w.samples for w in part])[0]):
            count.add([(s.start, s.end, s.text) for s in window.segments if s.whole], heard, examples)
    print(f"{args.split}, several sentences in 10 s with noise and music: {count}", flush=True)

    drawn, invented, probabilities = [windows.silent(rng, 10) for _ in range(min(args.limit, 96))], 0, []
    for at in range(0, len(drawn), 16):
        heard, nothing = transcribe(model, processor, [w.samples for w in drawn[at : at + 16]])
        invented += sum(any(t for _, _, t in h) for h in heard)
        probabilities += nothing
    probabilities = np.array(probabilities)
    print(f"{args.split}, nothing said: text in {invented} of {len(drawn)} windows; <|nospeech|> above 0.6 in "
          f"{(probabilities > 0.6).sum()}, mean {probabilities.mean():.3f}")
    for said, heard in examples[: args.examples]:
        print(f"  {said}\n  {heard}\n")


if __name__ == "__main__":
    main()
