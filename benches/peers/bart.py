"""The layers that Marian and Whisper have in common, by the names that transformers gives them: random ones, and the same
for CTranslate2, whose own converters take models of transformers only.
"""

import math

import numpy as np


class Random:
    """Random float32 weights, by their names."""

    def __init__(self, seed):
        self.generator, self.weights = np.random.default_rng(seed), {}

    def normal(self, shape, deviation):
        return self.generator.standard_normal(shape, dtype=np.float32) * np.float32(deviation)

    def linear(self, name, shape, bias=True):
        """A matrix or a convolution that keeps the size of what goes through."""
        self.weights[f"{name}.weight"] = self.normal(shape, math.prod(shape[1:]) ** -0.5)
        if bias:
            self.weights[f"{name}.bias"] = self.normal(shape[0], 0.02)

    def norm(self, name, dim):
        self.weights[f"{name}.weight"] = 1 + self.normal(dim, 0.02)
        self.weights[f"{name}.bias"] = self.normal(dim, 0.02)

    def layers(self, config, stack, key_bias):
        dim, hidden = config["d_model"], config["encoder_ffn_dim"]
        for i in range(config[f"{stack}_layers"]):
            layer = f"model.{stack}.layers.{i}"
            for attention in ("self_attn", "encoder_attn") if stack == "decoder" else ("self_attn",):
                for part in ("q", "k", "v", "out"):
                    self.linear(f"{layer}.{attention}.{part}_proj", (dim, dim), key_bias or part != "k")
                self.norm(f"{layer}.{attention}_layer_norm", dim)
            self.linear(f"{layer}.fc1", (hidden, dim))
            self.linear(f"{layer}.fc2", (dim, hidden))
            self.norm(f"{layer}.final_layer_norm", dim)


def set_linear(weights, target, name):
    target.weight = weights[f"{name}.weight"]
    if f"{name}.bias" in weights:
        target.bias = weights[f"{name}.bias"]


def set_norm(weights, target, name):
    target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def set_attention(weights, target, name, cross):
    from ctranslate2.converters import utils
    from ctranslate2.specs import common_spec

    parts = [common_spec.LinearSpec() for _ in "qkv"]
    for part, letter in zip(parts, "qkv", strict=True):
        set_linear(weights, part, f"{name}.{letter}_proj")
    if cross:
        utils.fuse_linear(target.linear[0], parts[:1])
        utils.fuse_linear(target.linear[1], parts[1:])
    else:
        utils.fuse_linear(target.linear[0], parts)
    set_linear(weights, target.linear[-1], f"{name}.out_proj")
    set_norm(weights, target.layer_norm, f"{name}_layer_norm")


def set_layers(weights, target, stack):
    """Of an encoder's or a decoder's specification."""
    for i, layer in enumerate(target.layer):
        name = f"model.{stack}.layers.{i}"
        set_attention(weights, layer.self_attention, f"{name}.self_attn", cross=False)
        if stack == "decoder":
            set_attention(weights, layer.attention, f"{name}.encoder_attn", cross=True)
        set_linear(weights, layer.ffn.linear_0, f"{name}.fc1")
        set_linear(weights, layer.ffn.linear_1, f"{name}.fc2")
        set_norm(weights, layer.ffn.layer_norm, f"{name}.final_layer_norm")
