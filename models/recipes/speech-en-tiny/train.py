#!/usr/bin/env python3
"""Train the small speech model on a CPU.

    train.py --data DATA --out RUN [--init OTHER/ema.pt --full] [--resume]

DATA is what text.py, synthesise.py and tokens.py wrote. RUN receives last.pt (everything needed to resume, every --save
steps), ema.pt (the moving average of the weights: what export.py reads) and log.txt. Nothing depends on the clock:
windows depend on the seed and the step, the learning rate on the step. Every process (--processes, one per core) has
one thread and takes its part of each step; they meet once per step, which costs little also where cores are busy
otherwise.

The windows of a step have one of the lengths of the STAGE that the step is in: short windows with a sentence each at
first, which are cheap, then longer ones, at the end mostly the full ten seconds; with --full that last stage is all
there is. --init starts from the weights of another run. The loss is the cross entropy of the tokens (timestamps may be
off by a step or two at a price) plus two that use what the synthesiser knows: the phoneme at every encoder position,
from a linear layer that is thrown away afterwards, and for two heads of the last decoder layer the place of the word
that is written next.
"""
import argparse
import datetime
import math
import multiprocessing
import os
import time

import numpy as np
import tokenizers
import torch
import torch.distributed
import torch.nn.functional as F

import tokens
from audio import RATE, LogMel, Windows
from model import Whisper
from text import normal

# (share of the steps, window lengths in seconds, sentences in a window at most, seconds of sound in a step)
STAGES = [(0.40, (2, 2, 3), 1, 48), (0.25, (3, 4), 99, 60), (0.35, (4, 10, 10, 10), 99, 100)]
SMEAR = (0.06, 0.18, 0.52, 0.18, 0.06)  # of the target when it is a timestamp
PREVIOUS = 62  # tokens of previous text at most


def target(window, tokenizer, rng, texts, previous):
    """The decoder's side of a window: ids [T], labels [T] (-100: not learned), spans [T] of encoder positions or None.
    `previous` is the probability of a previous text, some sentences of `texts`.

    ids[i] is read when labels[i] is written. Forms, with a previous text before some of them:
      sot en transcribe <start> text <end> <start> text <end> eot; a sentence that the window cuts is only its <start>
      sot en transcribe notimestamps text text eot
      sot (nospeech), and as if one went on nevertheless: en transcribe <0.00> eot
    """
    encode = lambda text: tokenizer.encode(" " + text, add_special_tokens=False).ids
    ids, spans = [tokens.SOT, tokens.EN, tokens.TRANSCRIBE], [None] * 3
    timed = rng.random() < 0.75
    if not timed:
        ids, spans = ids + [tokens.NOTIMESTAMPS], spans + [None]

    def mark(seconds):
        place = min(round(seconds / tokens.STEP), tokens.TIMES - 1)
        ids.append(tokens.TIME + place)
        spans.append((place - 4, place + 5))

    for segment in window.segments:
        if timed:
            mark(segment.start)
            if not segment.whole:
                break
        ends = segment.starts[1:] + [segment.end]
        for word, start, end in zip(segment.text.split(), segment.starts, ends):
            if not segment.whole and end >= segment.end:
                break  # the window cuts this word
            pieces = encode(word)
            ids += pieces
            spans += [(int(start * 50) - 1, int(end * 50) + 2)] * len(pieces)
        if timed:
            mark(segment.end)
    if not window.segments and timed:
        ids.append(tokens.TIME)
        spans.append(None)
    ids.append(tokens.EOT)
    spans.append(None)
    labels = ids[1:]
    spans, first = spans[1:], 3 if timed else 4
    if not window.segments:
        labels[0] = tokens.NOSPEECH if not window.phonemes.any() else -100
        labels[1] = -100
    if not timed:
        labels[2] = -100
    ids = ids[:-1]
    if rng.random() < previous:
        count = rng.integers(1, 4)
        before = [i for _ in range(count) for i in encode(texts[rng.integers(len(texts))])][-PREVIOUS:]
        ids = [tokens.PREV] + before + ids
        labels, spans = [-100] * (1 + len(before)) + labels, [None] * (1 + len(before)) + spans
    return ids, labels, spans


def collate(windows, tokenizer, rng, texts, log_mel, augment, previous=0.0):
    """mel [B, 80, M], ids and labels [B, T], mask [B, T, S] of where an alignment head may look, phonemes [B, S]."""
    sides = [target(w, tokenizer, rng, texts, previous) for w in windows]
    longest = max(len(ids) for ids, _, _ in sides)
    ids = torch.full((len(sides), longest), tokens.EOT)
    labels = torch.full((len(sides), longest), -100)
    positions = len(windows[0].phonemes)
    mask = torch.zeros(len(sides), longest, positions)
    for b, (i, l, spans) in enumerate(sides):
        ids[b, : len(i)], labels[b, : len(l)] = torch.tensor(i), torch.tensor(l)
        for t, span in enumerate(spans):
            if span:
                mask[b, t, max(span[0], 0) : span[1]] = 1
    floor = torch.tensor(rng.uniform(0, 1, len(windows)) * (rng.random(len(windows)) < 0.3), dtype=torch.float32)
    mel = log_mel(torch.tensor(np.stack([w.samples for w in windows])), floor if augment else 0.0)
    if augment:
        for b in range(len(windows)):
            if rng.random() < 0.5:
                first = rng.integers(0, 72)
                mel[b, first : first + rng.integers(1, 9)] = mel[b].mean()
            if rng.random() < 0.5:
                first = rng.integers(0, mel.shape[2])
                mel[b, :, first : first + rng.integers(1, 12)] = mel[b].mean()
    return mel, ids, labels, mask, torch.tensor(np.stack([w.phonemes for w in windows]))


def losses(model, batch):
    """Cross entropy of the tokens and of the phonemes, and how far alignment heads miss the words; the hit rate."""
    mel, ids, labels, mask, phonemes = batch
    memory = model.encoder(mel)
    logits, attention = model.decoder(ids, memory, weights=True)
    keep = labels != -100
    scores, wanted = logits[keep].float().log_softmax(-1), labels[keep]
    token = -scores.gather(1, wanted[:, None])[:, 0]
    timed = wanted >= tokens.TIME
    smeared = sum(-weight * scores.gather(1, (wanted + k - 2).clamp(tokens.TIME, tokens.VOCABULARY - 1)[:, None])[:, 0]
                  for k, weight in enumerate(SMEAR))
    token = torch.where(timed, smeared, token).mean()
    hits = (scores.argmax(-1) == wanted)[~timed].float().mean()
    phoneme = F.cross_entropy(model.phoneme(memory).float().transpose(1, 2), phonemes)
    aligned = mask.any(-1)
    seen = (attention.float() * mask[:, None]).sum(-1).clamp(min=1e-5).log()  # [B, 2, T]
    align = -(seen.mean(1)[aligned]).mean() if aligned.any() else torch.zeros(())
    return token, phoneme, align, hits


@torch.no_grad()
def greedy(model, mel, limit=60):
    """Token ids of each window, with timestamps, without the rules that real decoding adds. For the log only."""
    memory = model.encoder(mel)
    ids = torch.tensor([[tokens.SOT, tokens.EN, tokens.TRANSCRIBE]]).repeat(len(mel), 1)
    done = torch.zeros(len(mel), dtype=torch.bool)
    for _ in range(limit):
        best = model.decoder(ids, memory)[0][:, -1].float().argmax(-1)
        best[done] = tokens.EOT
        ids = torch.cat([ids, best[:, None]], 1)
        done |= best == tokens.EOT
        if done.all():
            break
    return ids[:, 3:].tolist()


def edits(a, b):
    """Levenshtein distance of two lists of words."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        left, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, left + (x != y))
    return row[-1]


def evaluate(model, windows, tokenizer, log_mel):
    """Loss and word error rate of validation windows, by `greedy`, and an example."""
    model.eval()
    wrong = total = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        batch = collate(windows, tokenizer, np.random.default_rng(0), [], log_mel, augment=False)
        numbers = [float(x) for x in losses(model, batch)]
        written = greedy(model, batch[0])
    for window, ids in zip(windows, written):
        said = normal(" ".join(s.text for s in window.segments if s.whole))
        heard = normal(tokenizer.decode([i for i in ids if i < tokens.EOT]))
        wrong, total = wrong + edits(said, heard), total + len(said)
    example = tokenizer.decode([i for i in written[0] if i != tokens.EOT], skip_special_tokens=False)
    model.train()
    return numbers, wrong / total, example


def average(model, processes):
    """Makes the gradients of all processes their mean."""
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= processes
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


def stage(share, full):
    """Window lengths, sentences in a window, and seconds of sound in a step, where `share` of the steps are done."""
    for part, *settings in STAGES:
        if share < part and not full:
            return settings
        share -= part
    return STAGES[-1][1:]


def train(args, process):
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    if args.processes > 1:
        torch.distributed.init_process_group("gloo", f"file://{os.path.abspath(args.out)}/meet", rank=process,
                                             world_size=args.processes, timeout=datetime.timedelta(days=2))
    log = open(f"{args.out}/log.txt", "a")

    def say(text):
        if process == 0:
            print(text, flush=True)
            print(text, file=log, flush=True)

    tokenizer = tokenizers.Tokenizer.from_file(f"{args.data}/tokenizer.json")
    data, log_mel = Windows(args.data, "train", args.seed), LogMel()
    if process == 0:
        valid, one, full = Windows(args.data, "valid", 2), np.random.default_rng(3), np.random.default_rng(4)
        valid = {"one sentence": [valid.spoken(one, 4, 1) for _ in range(64)],
                 "10 s": [valid.spoken(full, 10) for _ in range(24)]}
    texts = [item["text"] for item in data.speech.items]
    model = Whisper(len(set(data.speech.phonemes.values())), args.dropout).train()
    if args.init:
        model.load_state_dict(torch.load(args.init))
    parameters = list(model.parameters())
    learned = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW([{"params": [p for p in learned if p.dim() > 1], "weight_decay": 0.02},
                                   {"params": [p for p in learned if p.dim() == 1], "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.98), fused=True)
    ema, step, sound = [p.detach().clone() for p in parameters], 0, 0.0
    if args.resume:
        saved = torch.load(f"{args.out}/last.pt")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        ema, step, sound = saved["ema"], saved["step"], saved["sound"]
    say(f"{sum(p.numel() for p in parameters):,} parameters, {len(texts)} utterances, step {step}")

    def save():
        states = {"last": {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema, "step": step,
                           "sound": sound},
                  "ema": dict(zip([name for name, _ in model.named_parameters()], ema))}
        for name, state in states.items():
            torch.save(state, f"{args.out}/{name}.tmp")
            os.replace(f"{args.out}/{name}.tmp", f"{args.out}/{name}.pt")

    sums, count, clock = np.zeros(4), 0, time.time()
    while step < args.steps:
        share = step / args.steps
        rng = np.random.default_rng((args.seed, step))
        lengths, sentences, audio = stage(share, args.full)
        seconds = lengths[rng.integers(len(lengths))]
        # Previous texts make all rows of a step longer, so they come in some steps only.
        previous = 0.6 if sentences > 1 and rng.random() < 0.25 else 0.0
        rng = np.random.default_rng((args.seed, step, process))
        torch.manual_seed((args.seed * 1_000_003 + step) * 64 + process)
        windows = [data.draw(rng, seconds, sentences) for _ in range(round(audio / args.processes / seconds))]
        batch = collate(windows, tokenizer, rng, texts, log_mel, True, previous)
        rate = args.lr * min(1, (step + 1) / args.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            token, phoneme, align, hits = losses(model, batch)
        (token + (1 - share) * phoneme / 2 + align / 10).backward()
        if args.processes > 1:
            average(model, args.processes)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, sound = step + 1, sound + audio
        with torch.no_grad():
            torch._foreach_lerp_(ema, parameters, 1 - min(0.998, step / (step + 20)))
        sums, count = sums + [x.item() for x in (token, phoneme, align, hits)], count + 1
        if process:
            continue
        if step % 25 == 0:
            t, p, a, h = sums / count
            say(f"step {step}, {sound / 3600:.1f} h, {seconds} s: tokens {t:.3f}, phonemes {p:.3f}, alignment {a:.3f}, "
                f"right {h:.3f}; {(time.time() - clock) / count:.2f} s a step")
            sums, count, clock = np.zeros(4), 0, time.time()
        if step % args.save == 0 or step == args.steps:
            save()
            live = [p.detach().clone() for p in parameters]
            with torch.no_grad():
                torch._foreach_copy_(parameters, ema)
            for name, windows in valid.items():
                if name == "one sentence" or sentences > 1:
                    (t, p, a, h), error, example = evaluate(model, windows, tokenizer, log_mel)
                    say(f"  valid, {name}: tokens {t:.3f}, phonemes {p:.3f}, alignment {a:.3f}, right {h:.3f}, "
                        f"word errors {100 * error:.1f} %: {example}")
            with torch.no_grad():
                torch._foreach_copy_(parameters, live)
            clock = time.time()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--resume", action="store_true")
    args.add_argument("--init", help="ema.pt of another run")
    args.add_argument("--full", action="store_true", help="the last stage only")
    args.add_argument("--steps", type=int, default=4000)
    args.add_argument("--lr", type=float, default=1.8e-3)
    args.add_argument("--warmup", type=int, default=250)
    args.add_argument("--dropout", type=float, default=0.05)
    args.add_argument("--save", type=int, default=250)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--processes", type=int, default=2)
    args = args.parse_args()
    os.makedirs(args.out, exist_ok=True)
    if os.path.exists(f"{args.out}/meet"):
        os.remove(f"{args.out}/meet")
    others = [multiprocessing.Process(target=train, args=(args, n), daemon=True) for n in range(1, args.processes)]
    for process in others:
        process.start()
    train(args, 0)
    for process in others:
        process.join()


if __name__ == "__main__":
    main()
