"""Whisper's architecture in plain PyTorch, with transformers' names of the weights, and what only training needs:
encoders of any length, phonemes from encoder states, attention that is told where words are.

Shapes: B windows, M mel frames (100 a second), S = M / 2 encoder positions, T tokens, D width, V tokens in the
vocabulary.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import tokens

CONFIG = dict(d_model=160, heads=5, ffn=640, encoder_layers=4, decoder_layers=2, source_positions=500,
              target_positions=128)
ALIGNMENT = [[1, 0], [1, 1]]  # decoder layer and head: these look at the word that is written next


def sinusoids(length, width):
    """Whisper's positions of the encoder, [length, width]."""
    scale = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angle = torch.arange(length)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d)
        self.q_proj, self.out_proj = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x, memory, causal=False, weights=False):
        """x [B, T, D], memory [B, S, D] -> [B, T, D] and, if asked for, the weights [B, heads, T, S]."""
        b, t, d = x.shape
        q, k, v = (y.view(b, -1, self.heads, d // self.heads).transpose(1, 2)
                   for y in (self.q_proj(x), self.k_proj(memory), self.v_proj(memory)))
        # In training twice as fast on a CPU as PyTorch's fused attention, whose backward pass is slow.
        a = (q * (d // self.heads) ** -0.5) @ k.transpose(-1, -2)
        if causal:
            a = a + torch.full((t, t), -1e4, dtype=a.dtype).triu(1)
        a = a.softmax(-1)
        return self.out_proj((a @ v).transpose(1, 2).reshape(b, t, d)), a if weights else None


class Layer(nn.Module):
    def __init__(self, d, heads, ffn, decoder, dropout):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(d, heads), nn.LayerNorm(d)
        if decoder:
            self.encoder_attn, self.encoder_attn_layer_norm = Attention(d, heads), nn.LayerNorm(d)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(d, ffn), nn.Linear(ffn, d), nn.LayerNorm(d)
        self.decoder, self.dropout = decoder, dropout

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x, memory=None, weights=False):
        a = None
        h = self.self_attn_layer_norm(x)
        x = x + self.drop(self.self_attn(h, h, causal=self.decoder)[0])
        if self.decoder:
            h, a = self.encoder_attn(self.encoder_attn_layer_norm(x), memory, weights=weights)
            x = x + self.drop(h)
        return x + self.drop(self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))), a


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["d_model"]
        self.conv1 = nn.Conv1d(80, d, 3, padding=1)
        self.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(c["source_positions"], d)
        self.layers = nn.ModuleList(Layer(d, c["heads"], c["ffn"], False, 0.0) for _ in range(c["encoder_layers"]))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, mel):
        """mel [B, 80, M] -> [B, S, D]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x, _ = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        d = c["d_model"]
        self.embed_tokens = nn.Embedding(tokens.VOCABULARY, d)
        self.embed_positions = nn.Embedding(c["target_positions"], d)
        self.layers = nn.ModuleList(Layer(d, c["heads"], c["ffn"], True, dropout) for _ in range(c["decoder_layers"]))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, ids, memory, weights=False):
        """ids [B, T], memory [B, S, D] -> logits [B, T, V], the alignment heads' weights [B, 2, T, S] or None."""
        x, a = self.embed_tokens(ids) + self.embed_positions.weight[: ids.shape[1]], None
        for i, layer in enumerate(self.layers):
            x, a = layer(x, memory, weights=weights and i == len(self.layers) - 1)
        logits = F.linear(self.layer_norm(x), self.embed_tokens.weight)
        return logits, None if a is None else a[:, [h for _, h in ALIGNMENT]]


class Whisper(nn.Module):
    def __init__(self, phonemes, dropout=0.0, config=CONFIG):
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config, dropout)
        d = config["d_model"]
        self.phoneme = nn.Linear(d, phonemes)  # not part of the exported model
        with torch.no_grad():
            positions = sinusoids(config["source_positions"], d)
            self.encoder.embed_positions.weight.copy_(positions)
            self.encoder.embed_positions.weight.requires_grad_(False)
            table = self.decoder.embed_tokens.weight.normal_(std=0.05)
            # A timestamp begins as the position that it names: 0.02 s are one position of the encoder.
            table[tokens.TIME : tokens.TIME + len(positions)] += 0.1 * positions
            self.decoder.embed_positions.weight.normal_(std=0.02)
