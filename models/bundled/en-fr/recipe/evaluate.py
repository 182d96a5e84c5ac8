#!/usr/bin/env python3
"""Decode a test or validation file with beam search in float32 PyTorch and print BLEU and chrF of both directions.

    evaluate.py --model DIR --pairs test.tsv [--out FOLDER] [--beams 4]

DIR is what export.py wrote: only its files are read. The pairs are English, tab, French. With --out, the hypotheses are
written to FOLDER/en-fr.txt and FOLDER/fr-en.txt, one per line in the order of the input.

This is the reference for other implementations, so here is the search in full. It is that of Hugging Face transformers'
beam search with early_stopping=False and length_penalty=1.0:
- the source is the language tag (>>fra<< or >>eng<<), the pieces of the line, </s>;
- the decoder starts from <pad>; <pad> is never generated: its logit is minus infinity before the log-softmax;
- at every step the 2 * beams best continuations (sum of log-probabilities) of all beams are taken, best first. One that
  ends in </s> is finished if it is among the first `beams` of them, and dropped otherwise; its score is the sum divided
  by the number of generated pieces, </s> included. The first `beams` others are the beams of the next step;
- the `beams` best finished hypotheses are kept; the search ends when there are that many and the best sum of this step
  divided by the pieces generated so far is not above the worst of their scores, or at the greatest length, where the
  running beams are finished as they are. The hypothesis with the best score wins.
"""
import argparse
import json
import math
import os
import time

import sacrebleu
import sentencepiece
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

TAGS = {"en-fr": ">>fra<<", "fr-en": ">>eng<<"}


class Model:
    def __init__(self, folder):
        def read(name):
            with open(f"{folder}/{name}", encoding="utf8") as f:
                return json.load(f)

        self.c, self.g = read("config.json"), read("generation_config.json")
        self.w = load_file(f"{folder}/model.safetensors")
        self.sp = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/source.spm")
        dim = self.c["d_model"]
        angle = torch.arange(self.c["max_position_embeddings"])[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        self.positions = torch.cat([angle.sin(), angle.cos()], 1)

    def linear(self, name, x):
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def heads(self, x):
        return x.view(*x.shape[:-1], self.c["encoder_attention_heads"], -1).transpose(-2, -3)

    def attend(self, name, x, k, v, mask=None):
        q = self.heads(self.linear(f"{name}.q_proj", x))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        scores = scores if mask is None else scores + mask
        return self.linear(f"{name}.out_proj", (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2))

    def keys(self, name, x):
        return [self.heads(self.linear(f"{name}.{p}_proj", x)) for p in "kv"]

    def feed_forward(self, name, x):
        y = F.relu(self.linear(f"{name}.fc1", self.norm(f"{name}.final_layer_norm", x)))
        return x + self.linear(f"{name}.fc2", y)

    def embed(self, ids, position=0):
        x = self.w["model.shared.weight"][ids] * self.c["d_model"] ** 0.5
        return x + self.positions[position : position + ids.shape[-1]]

    def encode(self, ids, mask):
        """ids: [batch, time], mask: [batch, 1, 1, time] -> keys and values of the decoder's cross-attention."""
        x = self.embed(ids)
        for n in range(self.c["encoder_layers"]):
            name = f"model.encoder.layers.{n}"
            y = self.norm(f"{name}.self_attn_layer_norm", x)
            x = self.feed_forward(name, x + self.attend(f"{name}.self_attn", y, *self.keys(f"{name}.self_attn", y), mask))
        x = self.norm("model.encoder.layer_norm", x)
        return [self.keys(f"model.decoder.layers.{n}.encoder_attn", x) for n in range(self.c["decoder_layers"])]

    def step(self, ids, position, past, memory, mask):
        """One decoder step. ids: [rows, 1]; past: per layer None or (keys, values), extended in place."""
        x = self.embed(ids, position)
        for n in range(self.c["decoder_layers"]):
            name = f"model.decoder.layers.{n}"
            y = self.norm(f"{name}.self_attn_layer_norm", x)
            new = self.keys(f"{name}.self_attn", y)
            past[n] = new if past[n] is None else [torch.cat(pair, -2) for pair in zip(past[n], new)]
            x = x + self.attend(f"{name}.self_attn", y, *past[n])
            y = self.norm(f"{name}.encoder_attn_layer_norm", x)
            x = x + self.attend(f"{name}.encoder_attn", y, *memory[n], mask)
            x = self.feed_forward(name, x)
        x = self.norm("model.decoder.layer_norm", x)[:, 0]
        return x @ self.w["model.shared.weight"].T + self.w["final_logits_bias"]

    @torch.no_grad()
    def translate(self, lines, tag, beams):
        """Beam search for a batch of lines; returns their translations."""
        eos, pad, limit = self.g["eos_token_id"], self.g["pad_token_id"], self.g["max_length"]
        room = self.c["max_position_embeddings"] - 2
        rows = [[self.sp.piece_to_id(tag)] + ids[:room] + [eos] for ids in self.sp.encode(lines)]
        longest, count = max(map(len, rows)), len(rows)
        source = torch.tensor([r + [pad] * (longest - len(r)) for r in rows])
        mask = torch.zeros(source.shape).masked_fill(source == pad, -math.inf)[:, None, None, :]
        memory = [[t.repeat_interleave(beams, 0) for t in layer] for layer in self.encode(source, mask)]
        mask = mask.repeat_interleave(beams, 0)
        past = [None] * self.c["decoder_layers"]
        tokens = torch.full((count * beams, 1), self.g["decoder_start_token_id"])
        sums = torch.full((count, beams), -math.inf)
        sums[:, 0] = 0.0  # all beams are equal at first
        finished, done = [[] for _ in range(count)], [False] * count
        for length in range(1, limit):  # length: pieces generated after this step
            z = self.step(tokens[:, -1:], length - 1, past, memory, mask)
            z[:, pad] = -math.inf
            logp = z.log_softmax(-1).view(count, beams, -1) + sums[:, :, None]
            best, index = logp.view(count, -1).topk(2 * beams)
            vocab = logp.shape[-1]
            beam, piece = index // vocab, index % vocab
            chosen, chosen_pieces, new_sums = [], [], torch.full((count, beams), -math.inf)
            for i in range(count):
                kept = []
                for rank, (score, b, p) in enumerate(zip(best[i].tolist(), beam[i].tolist(), piece[i].tolist())):
                    if p != eos:
                        kept.append((score, b, p))
                        if len(kept) == beams:
                            break
                    elif rank < beams and not done[i]:
                        finished[i].append((score / length, tokens[i * beams + b, 1:].tolist()))
                finished[i] = sorted(finished[i], key=lambda h: -h[0])[:beams]
                if len(finished[i]) == beams and finished[i][-1][0] >= float(best[i, 0]) / length:
                    done[i] = True
                for j, (score, b, p) in enumerate(kept):
                    new_sums[i, j] = score
                    chosen.append(i * beams + b)
                    chosen_pieces.append(p)
            if all(done):
                break
            order = torch.tensor(chosen)
            tokens = torch.cat([tokens[order], torch.tensor(chosen_pieces)[:, None]], 1)
            past = [[t[order] for t in layer] for layer in past]
            sums = new_sums
        for i in range(count):
            if not done[i]:
                for j in range(beams):
                    n = tokens.shape[1] - 1
                    finished[i].append((float(sums[i, j]) / n, tokens[i * beams + j, 1:].tolist()))
        return [self.sp.decode(max(f, key=lambda h: h[0])[1]) for f in finished]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="folder that export.py wrote")
    ap.add_argument("--pairs", required=True, help="file of English, tab, French")
    ap.add_argument("--out", help="folder for the hypotheses")
    ap.add_argument("--beams", type=int, default=4)
    ap.add_argument("--batch", type=int, default=50, help="lines decoded together (%(default)s)")
    ap.add_argument("--first", type=int, help="only so many lines")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    model = Model(a.model)
    with open(a.pairs, encoding="utf8") as f:
        pairs = [line.rstrip("\n").split("\t")[:2] for line in f][: a.first]
    if a.out:
        os.makedirs(a.out, exist_ok=True)
    for direction, tag in TAGS.items():
        sources, references = zip(*(p if direction == "en-fr" else p[::-1] for p in pairs))
        started, result = time.time(), [None] * len(sources)
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        for at in range(0, len(order), a.batch):
            part = order[at : at + a.batch]
            for i, text in zip(part, model.translate([sources[i] for i in part], tag, a.beams)):
                result[i] = text
        bleu = sacrebleu.corpus_bleu(result, [references], tokenize="13a").score
        chrf = sacrebleu.corpus_chrf(result, [references]).score
        print(f"{direction}: BLEU {bleu:.2f}, chrF {chrf:.2f} ({len(result)} lines, {time.time() - started:.0f} s)", flush=True)
        if a.out:
            with open(f"{a.out}/{direction}.txt", "w", encoding="utf8") as f:
                f.writelines(line + "\n" for line in result)


if __name__ == "__main__":
    main()
