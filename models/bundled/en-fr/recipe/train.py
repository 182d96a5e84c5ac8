#!/usr/bin/env python3
"""Train the small English<->French translator: one model, both directions, on a CPU with bfloat16 instructions.

    train.py --data DIR --out RUN --minutes 90 [--init model.safetensors --spm spm.model] [--resume]

DIR holds train.tsv.gz and valid.tsv (English, tab, French). RUN receives spm.model (SentencePiece, 8,000 pieces),
model.safetensors (float32, the moving average of the weights), last.pt (everything needed to resume) and log.txt.

The model is a pre-norm transformer: 6 encoder and 2 decoder layers, width 256, feed-forward 1024 with relu, 4 heads, one
embedding for source, target and output, sinusoidal positions (first half sine, second half cosine). A source starts with
>>fra<< or >>eng<<, the language to translate into, and ends with </s>; the decoder starts from <pad>.

Speed. Sentences are packed one after the other, without padding, into batches of a fixed number of rows, so all matrix
products have the same shapes at every step and run at the speed of oneDNN's bfloat16 kernels; what lies between them
(attention within a sentence, dropout with residual and layer norm, cross entropy) is in kernels.cpp, compiled at the
start by PyTorch's extension loader. `train.py --self-test` compares that fast path, values and gradients, with the plain
float32 modules below; those are also what validation and export.py use.
"""
import argparse
import gzip
import math
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import sacrebleu
import sentencepiece
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import augment

EOS, UNK, PAD = 0, 1, 3
VOCAB, POSITIONS = 8000, 256
LONGEST = 100  # pieces of a side of an example
KERNELS = None
HERE = os.path.dirname(os.path.abspath(__file__))


# The model, as plain modules (float32, padded batches).


class Attention(nn.Module):
    """Multi-head attention; self-attention unless `cross`. x: [batch, time, dim]."""

    def __init__(self, dim, heads, cross):
        super().__init__()
        self.heads, self.cross = heads, cross
        self.q = nn.Linear(dim, dim if cross else 3 * dim)
        self.kv = nn.Linear(dim, 2 * dim) if cross else None
        self.o = nn.Linear(dim, dim)

    def forward(self, x, memory, mask):
        b, t, d = x.shape
        q, k, v = (self.q(x), *self.kv(memory).chunk(2, -1)) if self.cross else self.q(x).chunk(3, -1)
        q, k, v = (y.view(b, -1, self.heads, d // self.heads).transpose(1, 2) for y in (q, k, v))
        a = (q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5 + mask).softmax(-1)
        return self.o((a @ v).transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self, dim, heads, ffn, decoder):
        super().__init__()
        self.a, self.n1, self.n3 = Attention(dim, heads, False), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.c, self.n2 = (Attention(dim, heads, True), nn.LayerNorm(dim)) if decoder else (None, None)
        self.f1, self.f2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = x + self.a(self.n1(x), None, mask)
        if self.c is not None:
            x = x + self.c(self.n2(x), memory, memory_mask)
        return x + self.f2(F.relu(self.f1(self.n3(x))))


class Translator(nn.Module):
    """E: encoder layers, Dd: decoder layers, e: embedding, ne and nd: final norms, b: output bias."""

    def __init__(self, vocab=VOCAB, dim=256, heads=4, ffn=1024, encoder=6, decoder=2):
        super().__init__()
        self.dim = dim
        self.e = nn.Embedding(vocab, dim)
        self.E = nn.ModuleList(Layer(dim, heads, ffn, False) for _ in range(encoder))
        self.Dd = nn.ModuleList(Layer(dim, heads, ffn, True) for _ in range(decoder))
        self.ne, self.nd, self.b = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Parameter(torch.zeros(vocab))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        nn.init.normal_(self.e.weight, std=dim**-0.5)
        angle = torch.arange(POSITIONS)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, dim, 2) / dim)[None]
        self.register_buffer("pe", torch.cat([angle.sin(), angle.cos()], 1), persistent=False)

    def embed(self, ids):
        return self.e(ids) * self.dim**0.5 + self.pe[: ids.shape[1]]

    def encode(self, ids):
        mask, h = (ids == PAD)[:, None, None, :] * -1e4, self.embed(ids)
        for layer in self.E:
            h = layer(h, mask)
        return self.ne(h), mask

    def decode(self, ids, memory, memory_mask):
        t = ids.shape[1]
        mask, h = torch.triu(torch.full((t, t), -1e4), 1)[None, None], self.embed(ids)
        for layer in self.Dd:
            h = layer(h, mask, memory, memory_mask)
        return self.nd(h)

    def logits(self, h):
        return F.linear(h, self.e.weight, self.b)


# The same model on packed rows: bfloat16 matrix products and the functions of kernels.cpp.


def load_kernels():
    global KERNELS
    if KERNELS is None:
        from torch.utils.cpp_extension import load

        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp"]
        KERNELS = load(name="translator_kernels", sources=[f"{HERE}/kernels.cpp"], extra_cflags=flags)


def prepare(m):
    """Give every matrix its bfloat16 copy, which the fast path uses and which collects its gradient."""
    for part in m.modules():
        if isinstance(part, nn.Linear):
            part.w16 = part.weight.detach().to(torch.bfloat16).share_memory_().requires_grad_()
    m.e.w16 = m.e.weight.detach().to(torch.bfloat16).share_memory_()
    m.share_memory()


def refresh(m):
    """Make the bfloat16 copies again after the weights were replaced."""
    with torch.no_grad():
        for part in m.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                part.w16.copy_(part.weight)


class Shared:
    """What the processes of a run have in common: the weights, the optimizer's state, everyone's gradients."""

    def __init__(self, m, workers, barrier):
        prepare(m)
        zeros = lambda dtype=torch.float32: {k: torch.zeros(p.shape, dtype=dtype).share_memory_() for k, p in m.named_parameters()}
        self.m, self.barrier, self.first, self.second, self.average = m, barrier, zeros(), zeros(), zeros()
        self.grads = []
        for _ in range(workers):
            self.grads.append({k: torch.zeros(p.shape, dtype=p.dtype if k == "e.weight" or p.dim() == 1 else torch.bfloat16)
                               .share_memory_() for k, p in m.named_parameters()})
        self.losses, self.norms = (torch.zeros(workers, dtype=torch.float64).share_memory_() for _ in range(2))
        self.control = torch.zeros(3, dtype=torch.float64).share_memory_()  # learning rate (negative: stop), step, average


class Worker:
    """One process of a run: the gradient of its share of every batch, and the update of its share of the weights.

    Each process computes with one thread, so they wait for each other only between the parts of a step, not within
    every matrix product: that matters where other programs take turns on the same cores."""

    BETAS, EPSILON, DECAY, CLIP = (0.9, 0.98), 1e-8, 0.01, 1.0

    def __init__(self, rank, shared, a):
        self.rank, self.shared, self.a, self.m = rank, shared, a, shared.m
        self.m.e.grad_buffer = shared.grads[rank]["e.weight"]
        self.entries, load = [], [0] * a.workers  # name, parameter, its bfloat16 copy or None, who updates it
        parameters = dict(self.m.named_parameters())
        for name in sorted(parameters, key=lambda k: -parameters[k].numel()):
            owner = self.m.get_submodule(name.rpartition(".")[0])
            copy = owner.w16 if name.endswith(".weight") and hasattr(owner, "w16") else None
            who = load.index(min(load))
            load[who] += parameters[name].numel()
            self.entries.append((name, parameters[name], copy, who))

    def backward(self, batch, dropout, smoothing, seed):
        """Loss of a batch; leaves the gradients in shared.grads[rank]."""
        loss = packed_loss(self.m, batch, dropout, smoothing, seed)
        loss.backward()
        for name, p, copy, _ in self.entries:
            if name != "e.weight":  # whose gradient is there already
                holder = p if copy is None else copy
                self.shared.grads[self.rank][name].copy_(holder.grad)
                holder.grad = None
        return loss.item()

    def step(self, batch):
        """AdamW, with the gradient's norm clipped, on the mean of the gradients of all workers."""
        s, a = self.shared, self.a
        rate, step, average = s.control.tolist()
        step = int(step)
        s.losses[self.rank] = self.backward(batch, a.dropout, a.smoothing, step * a.workers + self.rank)
        s.barrier.wait()
        mine = [e for e in self.entries if e[3] == self.rank]
        total = 0.0
        for name, _, _, _ in mine:
            g = s.grads[0][name]
            for other in s.grads[1:]:
                g.add_(other[name])
            total += KERNELS.sum_squares(g)
        s.norms[self.rank] = total
        s.barrier.wait()
        norm = math.sqrt(s.norms.sum().item()) / a.workers
        clip = min(1.0, self.CLIP / (norm + 1e-6)) / a.workers
        with torch.no_grad():
            for name, p, copy, _ in mine:
                KERNELS.adamw_(p.data, s.grads[0][name], s.first[name], s.second[name], None if copy is None else copy.data,
                               clip, rate, *self.BETAS, self.EPSILON, self.DECAY, step)
                if average:
                    s.average[name].lerp_(p.data, 1 - average)
        s.barrier.wait()


def work(rank, shared, a, data, vary, position):
    """The life of a worker other than the first, which leads in main()."""
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, signal.SIG_IGN)
    torch.set_num_threads(1)
    load_kernels()
    worker, packer = Worker(rank, shared, a), Packer(data, a.rows // a.workers, a.joined, a.seed, position, vary)
    while True:
        batch, _ = packer.next(rank, a.workers)
        shared.barrier.wait()
        if shared.control[0] < 0:
            return
        worker.step(batch)


class Embed(torch.autograd.Function):
    """Scaled embedding plus positions. Its gradient is added to `grad_buffer`, which Output fills before."""

    @staticmethod
    def forward(ctx, ids, at, weight, positions, grad_buffer):
        ctx.save_for_backward(ids)
        ctx.buffer, ctx.scale = grad_buffer, weight.shape[1] ** 0.5
        return KERNELS.embed(ids, at, weight.detach(), positions, ctx.scale)

    @staticmethod
    def backward(ctx, g):
        KERNELS.embed_back_(ctx.buffer, ctx.saved_tensors[0], g.contiguous(), ctx.scale)
        return None, None, None, None, None


class AddNorm(torch.autograd.Function):
    """h + dropout(y + bias), and the layer norm of that in bfloat16. y and bias may be None."""

    @staticmethod
    def forward(ctx, h, y, bias, gamma, beta, p, seed):
        out, norm, stats = KERNELS.add_norm(h, y, bias, gamma, beta, p, seed)
        ctx.save_for_backward(out, stats, gamma)
        ctx.rest = y is not None, p, seed
        ctx.set_materialize_grads(False)
        if y is None:
            ctx.mark_non_differentiable()
            return h.view_as(h), norm
        return out, norm

    @staticmethod
    def backward(ctx, dout, dnorm):
        dh, dy, dbias, dgamma, dbeta = KERNELS.add_norm_back(
            None if dout is None else dout.contiguous(), dnorm.contiguous(), *ctx.saved_tensors, *ctx.rest)
        has_y = ctx.rest[0]
        return dh, dy if has_y else None, dbias if has_y else None, dgamma, dbeta, None, None


class SelfAttention(torch.autograd.Function):
    """Without the bias of the output projection, which AddNorm adds. Weights in bfloat16, biases in float32."""

    @staticmethod
    def forward(ctx, x, w, b, wo, starts, causal):
        qkv = F.linear(x, w, b.to(x.dtype))
        o = KERNELS.attention(qkv, qkv, x.shape[1], starts, starts, x.shape[1], causal)
        ctx.save_for_backward(x, w, wo, starts, qkv, o)
        ctx.causal = causal
        return o @ wo.t()

    @staticmethod
    def backward(ctx, dy):
        x, w, wo, starts, qkv, o = ctx.saved_tensors
        dim = x.shape[1]
        g, _, _, _, db = KERNELS.attention_back(dy @ wo, qkv, qkv, dim, starts, starts, dim, ctx.causal)
        return g @ w, g.t() @ x, db, dy.t() @ o, None, None


class CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, memory, wq, bq, wkv, bkv, wo, starts, memory_starts):
        q, kv = F.linear(x, wq, bq.to(x.dtype)), F.linear(memory, wkv, bkv.to(x.dtype))
        o = KERNELS.attention(q, kv, 0, starts, memory_starts, x.shape[1], False)
        ctx.save_for_backward(x, memory, wq, wkv, wo, starts, memory_starts, q, kv, o)
        return o @ wo.t()

    @staticmethod
    def backward(ctx, dy):
        x, memory, wq, wkv, wo, starts, memory_starts, q, kv, o = ctx.saved_tensors
        dq, dkv, dbq, dbkv, _ = KERNELS.attention_back(dy @ wo, q, kv, 0, starts, memory_starts, x.shape[1], False)
        return dq @ wq, dkv @ wkv, dq.t() @ x, dbq, dkv.t() @ memory, dbkv, dy.t() @ o, None, None


class FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w1, b1, w2):
        r = F.linear(x, w1, b1.to(x.dtype)).relu_()
        ctx.save_for_backward(x, w1, w2, r)
        return r @ w2.t()

    @staticmethod
    def backward(ctx, dy):
        x, w1, w2, r = ctx.saved_tensors
        g = dy @ w2
        db1 = KERNELS.relu_back(g, r)
        return g @ w1, g.t() @ x, db1, dy.t() @ r


class Output(torch.autograd.Function):
    """Output projection and mean label-smoothed cross entropy over the rows whose target is not negative.

    The gradient of the logits replaces the logits, some rows at a time, while they are in the cache."""

    buffer = None

    @staticmethod
    def forward(ctx, x, w, b, targets, smoothing, grad_buffer):
        rows, chunk = len(x), 1024
        if Output.buffer is None or Output.buffer.shape != (rows, len(w)):
            Output.buffer = torch.empty(rows, len(w), dtype=x.dtype)
        z, dx, db = Output.buffer, torch.empty_like(x), torch.zeros(len(w))
        scale, wt = 1.0 / max(1, int((targets >= 0).sum())), w.t()
        loss = 0.0
        for at in range(0, rows, chunk):
            part = slice(at, at + chunk)
            torch.mm(x[part], wt, out=z[part])
            loss += KERNELS.cross_entropy_(z[part], b, targets[part], db, smoothing, scale)
            torch.mm(z[part], w, out=dx[part])
        if ctx.needs_input_grad[0]:
            grad_buffer.copy_(z.t() @ x)
        ctx.save_for_backward(dx, db)
        return torch.tensor(loss)

    @staticmethod
    def backward(ctx, _):  # the loss is the end of the graph: its own gradient is one
        dx, db = ctx.saved_tensors
        return dx, None, db, None, None, None


def packed_loss(m, batch, dropout, smoothing, seed=0):
    """Mean loss over the target pieces of a batch made by Packer."""
    source, source_at, source_starts, shifted, target_at, target_starts, targets = batch
    count = [seed * 64]

    def add_norm(h, y, bias, norm):
        count[0] += 1
        return AddNorm.apply(h, y, bias, norm.weight, norm.bias, dropout if y is not None else 0.0, count[0])

    def embed(ids, at):
        return Embed.apply(ids, at, m.e.weight, m.pe, m.e.grad_buffer)

    h, y, bias = embed(source, source_at), None, None
    for layer in m.E:
        h, n = add_norm(h, y, bias, layer.n1)
        y, bias = SelfAttention.apply(n, layer.a.q.w16, layer.a.q.bias, layer.a.o.w16, source_starts,
                                      False), layer.a.o.bias
        h, n = add_norm(h, y, bias, layer.n3)
        y, bias = FeedForward.apply(n, layer.f1.w16, layer.f1.bias, layer.f2.w16), layer.f2.bias
    _, memory = add_norm(h, y, bias, m.ne)
    h, y, bias = embed(shifted, target_at), None, None
    for layer in m.Dd:
        h, n = add_norm(h, y, bias, layer.n1)
        y, bias = SelfAttention.apply(n, layer.a.q.w16, layer.a.q.bias, layer.a.o.w16, target_starts,
                                      True), layer.a.o.bias
        h, n = add_norm(h, y, bias, layer.n2)
        c = layer.c
        y, bias = CrossAttention.apply(n, memory, c.q.w16, c.q.bias, c.kv.w16, c.kv.bias,
                                       c.o.w16, target_starts, source_starts), c.o.bias
        h, n = add_norm(h, y, bias, layer.n3)
        y, bias = FeedForward.apply(n, layer.f1.w16, layer.f1.bias, layer.f2.w16), layer.f2.bias
    _, n = add_norm(h, y, bias, m.nd)
    return Output.apply(n, m.e.w16, m.b, targets, smoothing, m.e.grad_buffer)


# Data.


def read_pairs(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf8") as f:
        return [line.rstrip("\n").split("\t")[:2] for line in f]


def examples(pairs, sp):
    """[(source, target)]: source with its language tag and </s>, target with </s>; even: en-fr, odd: fr-en."""
    fra, eng = sp.piece_to_id(">>fra<<"), sp.piece_to_id(">>eng<<")
    out = []
    for en, fr in zip(sp.encode([p[0] for p in pairs]), sp.encode([p[1] for p in pairs])):
        if max(len(en), len(fr)) <= LONGEST - 2:
            out += [([fra] + en + [EOS], fr + [EOS]), ([eng] + fr + [EOS], en + [EOS])]
    return out


def more_short(pairs, truecase):
    """Pairs to train on besides `pairs`: its shortest ones again, basic words, and words found in the pairs."""
    words = lambda pair: max(len(text.split()) - text.count(" ?") - text.count(" !") for text in pair)
    out = [pair for pair in pairs for _ in range({1: 5, 2: 3, 3: 1}.get(words(pair), 0))]
    out += augment.basics(f"{HERE}/words.tsv") * 40
    return out + [(augment.capital(en), augment.capital(fr)) for en, fr in augment.lexicon(pairs, truecase)] * 4


class Packer:
    """Endless shuffled batches of `rows` target rows; `position`, (epoch, index), can be saved and restored.

    `vary`, if given, makes variations of examples (augment.py)."""

    def __init__(self, data, rows, joined=0.0, seed=0, position=(0, 0), vary=None):
        self.data, self.rows, self.joined, self.seed, self.vary = data, rows, joined, seed, vary
        self.source_rows = (rows * 9 // 8 + 63) // 64 * 64
        self.epoch, self.index = position
        self.order = None

    def next(self, rank=0, workers=1):
        """The next batch for each of the workers: packs that of `rank`, and counts the target pieces of all."""
        everyone = [self.choose() for _ in range(workers)]
        return self.pack(everyone[rank]), sum(len(y) for chosen in everyone for _, y in chosen)

    def choose(self):
        chosen, s, t = [], 0, 0
        while True:
            if self.order is None:
                self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.data))
            i = int(self.order[self.index])
            x, y = self.example(i)
            if s + len(x) > self.source_rows or t + len(y) > self.rows:
                return chosen
            chosen.append((x, y))
            s, t = s + len(x), t + len(y)
            self.index += 1
            if self.index == len(self.order):
                self.epoch, self.index, self.order = self.epoch + 1, 0, None

    def example(self, i):
        """Example i, now and then followed by one or two others of its direction (several sentences in a line), or varied."""
        x, y = self.data[i]
        draw = random.Random(f"{self.seed} {self.epoch} {i}")
        if draw.random() < self.joined:
            for _ in range(draw.choice((1, 1, 2))):
                x2, y2 = self.data[draw.randrange(len(self.data) // 2) * 2 + i % 2]
                if len(x) + len(x2) > LONGEST or len(y) + len(y2) > LONGEST:
                    break
                x, y = x[:-1] + x2[1:], y[:-1] + y2
        elif self.vary is not None:
            x, y = self.vary(x, y, draw)
        return x, y

    def pack(self, chosen):
        def side(rows, size):
            ids, at, starts = np.full(size, PAD), np.zeros(size, np.int64), np.zeros(len(rows) + 1, np.int32)
            n = 0
            for k, row in enumerate(rows):
                ids[n : n + len(row)] = row
                at[n : n + len(row)] = np.arange(len(row))
                n += len(row)
                starts[k + 1] = n
            return torch.from_numpy(ids), torch.from_numpy(at), torch.from_numpy(starts), n

        source, source_at, source_starts, _ = side([x for x, _ in chosen], self.source_rows)
        shifted, target_at, target_starts, _ = side([[PAD] + y[:-1] for _, y in chosen], self.rows)
        targets = np.full(self.rows, -1, np.int32)
        flat = np.concatenate([y for _, y in chosen])
        targets[: len(flat)] = flat
        return source, source_at, source_starts, shifted, target_at, target_starts, torch.from_numpy(targets)


# Validation.


def pad(rows):
    longest = max(map(len, rows))
    return torch.tensor([r + [PAD] * (longest - len(r)) for r in rows])


@torch.no_grad()
def greedy(m, sp, lines, tag):
    result, order = [None] * len(lines), sorted(range(len(lines)), key=lambda i: len(lines[i]))
    for start in range(0, len(order), 100):
        ids = order[start : start + 100]
        with torch.autocast("cpu", torch.bfloat16):
            rows = [[sp.piece_to_id(tag)] + x[: LONGEST - 2] + [EOS] for x in sp.encode([lines[i] for i in ids])]
            memory, mask = m.encode(pad(rows))
            y = torch.full((len(ids), 1), PAD)
            limit = 2 * max(map(len, rows)) + 10
            while y.shape[1] < limit and not (y == EOS).any(1).all():
                z = m.logits(m.decode(y, memory, mask)[:, -1])
                z[:, PAD] = -1e9
                y = torch.cat([y, z.argmax(-1, keepdim=True)], 1)
        for i, row in zip(ids, y[:, 1:].tolist()):
            result[i] = sp.decode(row[: row.index(EOS)] if EOS in row else row)
    return result


@torch.no_grad()
def entropy(m, data, rows):
    """Cross entropy in nats per target piece, without label smoothing."""
    packer, total, count = Packer(data, rows), 0.0, 0
    while packer.epoch == 0:
        batch, pieces = packer.next()
        total, count = total + float(packed_loss(m, batch, 0.0, 0.0)) * pieces, count + pieces
    return total / count


# Training.


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", help="folder with train.tsv.gz and valid.tsv")
    ap.add_argument("--out", help="folder for the results")
    ap.add_argument("--minutes", type=float, default=90, help="length of the run; the learning rate ends with it (%(default)s)")
    ap.add_argument("--steps", type=int, help="length of the run in steps instead of minutes (for repeatable runs)")
    ap.add_argument("--init", help="a model.safetensors to start from")
    ap.add_argument("--spm", help="a SentencePiece model to use instead of training one")
    ap.add_argument("--resume", action="store_true", help="continue from OUT/last.pt if it is there")
    ap.add_argument("--rows", type=int, default=3072, help="target pieces in a batch (%(default)s)")
    ap.add_argument("--lr", type=float, default=1.2e-3, help="highest learning rate (%(default)s)")
    ap.add_argument("--warmup", type=int, default=400, help="steps of linear warm-up (%(default)s)")
    ap.add_argument("--hold", type=float, default=0.0, help="part of the run before the linear decay begins (%(default)s)")
    ap.add_argument("--dropout", type=float, default=0.1, help="on every residual branch (%(default)s)")
    ap.add_argument("--smoothing", type=float, default=0.1, help="label smoothing (%(default)s)")
    ap.add_argument("--joined", type=float, default=0.04, help="part of the examples that get several sentences (%(default)s)")
    ap.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True, help="short examples and careless lines (augment.py)")
    ap.add_argument("--average", type=float, default=0.99, help="decay of the moving average, every 8 steps (%(default)s)")
    ap.add_argument("--check", type=float, default=5, help="minutes between validations (%(default)s)")
    ap.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that share a batch (default: one per core)")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--self-test", action="store_true", help="compare the fast path with the plain modules, then stop")
    a, began = ap.parse_args(), time.time()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    load_kernels()
    if a.self_test:
        return self_test()
    if not a.data or not a.out:
        ap.error("--data and --out are required")
    os.makedirs(a.out, exist_ok=True)
    log = open(f"{a.out}/log.txt", "a", encoding="utf8")

    def say(text):
        print(text, flush=True)
        print(text, file=log, flush=True)

    train, valid = read_pairs(f"{a.data}/train.tsv.gz"), read_pairs(f"{a.data}/valid.tsv")
    if a.spm and os.path.abspath(a.spm) != os.path.abspath(f"{a.out}/spm.model"):
        with open(a.spm, "rb") as f, open(f"{a.out}/spm.model", "wb") as g:
            g.write(f.read())
    if not os.path.exists(f"{a.out}/spm.model"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(s for p in train for s in p), model_prefix=f"{a.out}/spm", vocab_size=VOCAB,
            character_coverage=1.0, user_defined_symbols=[">>eng<<", ">>fra<<"], pad_id=PAD, unk_id=UNK, bos_id=-1,
            eos_id=EOS)
    sp = sentencepiece.SentencePieceProcessor(model_file=f"{a.out}/spm.model")
    data, valid_data, vary = examples(train, sp), examples(valid, sp), None
    if a.augment:
        truecase = augment.Truecase(text for pair in train for text in pair)
        data += examples(more_short(train, truecase), sp)
        vary = augment.Variations(sp, truecase)

    m = Translator()
    shared = Shared(m, a.workers, multiprocessing.get_context("spawn").Barrier(a.workers))
    step, spent, pieces, recent, position = 0, 0.0, 0, 0.0, (0, 0)
    if a.init:
        m.load_state_dict(load_file(a.init))
    copy_all(shared.average, m.state_dict())
    if a.resume and os.path.exists(f"{a.out}/last.pt"):
        saved = torch.load(f"{a.out}/last.pt")
        m.load_state_dict(saved["model"])
        for name in ("first", "second", "average"):
            copy_all(getattr(shared, name), saved[name])
        step, spent, pieces, recent, position = (saved[k] for k in ("step", "spent", "pieces", "recent", "position"))
    refresh(m)
    shown = "rows lr warmup hold dropout smoothing joined augment average workers".split()
    say(f"{sum(p.numel() for p in m.parameters()) / 1e6:.1f} million parameters, {len(data)} examples, from step {step}; "
        + " ".join(f"{k}={getattr(a, k)}" for k in shown))
    packer = Packer(data, a.rows // a.workers, a.joined, a.seed, position, vary)
    for rank in range(1, a.workers):
        multiprocessing.get_context("spawn").Process(target=work, args=(rank, shared, a, data, vary, position), daemon=True).start()
    leader = Worker(0, shared, a)

    def save():
        save_file(shared.average, f"{a.out}/model.tmp")
        os.replace(f"{a.out}/model.tmp", f"{a.out}/model.safetensors")
        state = {"model": m.state_dict(), "first": shared.first, "second": shared.second, "average": shared.average,
                 "step": step, "spent": spent, "pieces": pieces, "recent": recent, "position": (packer.epoch, packer.index)}
        torch.save(state, f"{a.out}/last.tmp")
        os.replace(f"{a.out}/last.tmp", f"{a.out}/last.pt")

    def validate(count):
        torch.set_num_threads(a.workers)  # the other processes wait
        current = {k: v.clone() for k, v in m.state_dict().items()}
        text = ""
        if count:
            text = f", now {entropy(m, valid_data, a.rows):.4f}"
        m.load_state_dict(shared.average)
        refresh(m)
        text = f"valid nats/piece {entropy(m, valid_data, a.rows):.4f}" + text
        if count:
            en, fr = [p[0] for p in valid[:count]], [p[1] for p in valid[:count]]
            bleu = [sacrebleu.corpus_bleu(greedy(m, sp, x, tag), [ref]).score
                    for x, ref, tag in ((en, fr, ">>fra<<"), (fr, en, ">>eng<<"))]
            text += f", greedy BLEU on {count} en-fr {bleu[0]:.1f}, fr-en {bleu[1]:.1f}"
        m.load_state_dict(current)
        refresh(m)
        torch.set_num_threads(1)
        say(f"{spent / 60:.1f} min, step {step}, epoch {packer.epoch + packer.index / len(data):.2f}, "
            f"{pieces / 1e6:.1f}M pieces, {pieces / max(spent, 1):.0f}/s, train loss {recent:.3f}, {text}")

    stop = []
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stop.append(1))
    if a.init and step == 0:
        validate(0)
    started = began - spent  # getting ready counts
    saved_at = checked_at = time.time()
    while True:
        spent = time.time() - started
        done = step / a.steps if a.steps else spent / (a.minutes * 60)
        if done >= 1 or stop:
            shared.control[0] = -1
            shared.barrier.wait()
            break
        rate = a.lr * min((step + 1) / a.warmup, 1, (1 - done) / (1 - a.hold))
        step += 1
        average = 0.0 if step % 8 else min(a.average, step / (step + 80))
        shared.control.copy_(torch.tensor([rate, step, average]))
        batch, n = packer.next(0, a.workers)
        shared.barrier.wait()
        leader.step(batch)
        pieces += n
        recent += (shared.losses.mean().item() - recent) * max(0.005, 1 / step)
        if step in (20, 50) or step % 100 == 0:
            print(f"{spent:.0f} s, step {step}, {pieces / (time.time() - started):.0f} pieces/s, loss {recent:.4f}", flush=True)
        now = time.time()
        if now - saved_at > 120:
            save()
            saved_at = now
        if now - checked_at > a.check * 60:
            checked_at = now
            validate(0 if int(spent // (a.check * 60)) % 3 else 300)
    save()
    if not stop:
        validate(len(valid))
        say("finished")


def copy_all(to, values):
    for k, v in values.items():
        to[k].copy_(v)


def self_test():
    """The fast path against the plain modules: loss and all gradients on random sentences, without dropout."""
    random.seed(1)
    m = Translator()
    with torch.no_grad():
        for p in m.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)
    draw = lambda low, high: [random.randrange(4, VOCAB) for _ in range(random.randint(low, high))] + [EOS]
    data = [(draw(1, 40), draw(1, 40)) for _ in range(100)]
    packer = Packer(data, 768)
    batch, count = packer.next()
    chosen = [packer.data[int(i)] for i in np.random.default_rng((0, 0)).permutation(len(data))[: packer.index]]
    shared = Shared(m, 1, None)
    loss = Worker(0, shared, argparse.Namespace(workers=1)).backward(batch, 0.0, 0.1, 0)
    fast = {k: g.float() for k, g in shared.grads[0].items()}
    x, y = pad([c[0] for c in chosen]), pad([c[1] for c in chosen])
    keep = torch.zeros(y.shape, dtype=torch.bool)
    for i, c in enumerate(chosen):
        keep[i, : len(c[1])] = True
    memory, mask = m.encode(x)
    z = m.logits(m.decode(torch.cat([torch.full((len(y), 1), PAD), y[:, :-1]], 1), memory, mask)[keep])
    plain = F.cross_entropy(z, y[keep], label_smoothing=0.1)
    plain.backward()
    print(f"loss: fast {loss:.4f}, plain {plain.item():.4f}")
    worst = 0.0
    for k, p in m.named_parameters():
        difference = float((fast[k] - p.grad).norm() / (p.grad.norm() + 1e-6))
        worst = max(worst, difference)
        if difference > 0.03:
            print(f"{k}: relative difference {difference:.4f}")
    print(f"largest relative difference of a gradient: {worst:.4f} (bfloat16 keeps 8 bits)")
    ones = torch.zeros(4096, 256)
    out, _, _ = KERNELS.add_norm(ones, torch.ones(4096, 256, dtype=torch.bfloat16), torch.zeros(256), torch.ones(256), torch.zeros(256), 0.1, 5)
    again = KERNELS.add_norm(ones, torch.ones(4096, 256, dtype=torch.bfloat16), torch.zeros(256), torch.ones(256), torch.zeros(256), 0.1, 6)[0]
    both = ((out == 0) & (again == 0)).float().mean()
    print(f"dropout 0.1: {float((out == 0).float().mean()):.4f} dropped, mean {float(out.mean()):.4f}, dropped twice {float(both):.4f}")
    if abs(loss - plain.item()) > 0.02 or worst > 0.05:
        raise SystemExit("self-test failed")


if __name__ == "__main__":
    main()
