"""Generates the tiny Marian models in this folder and what transformers computes from them.

    pip install -r requirements.txt
    python make_fixtures.py            # writes every variant, MUTATIONS.json and the table of mutations
    python make_fixtures.py swish      # one variant only

The models are random, and made so that an implementation's mistakes show: attention is peaked, every bias and every
LayerNorm is randomised, outputs vary, the padding token is often the most likely one, some outputs end by themselves and
some at the length limit. The script asserts all of that, and that each mutation in `MUTATIONS` (a mistake somebody could
make) moves the results far beyond the tolerance of a parity test.

Two independent implementations agree before anything is written: transformers' Marian, and `run` below, a page of plain
torch that also knows pre-norm layers and how to apply the mutations.
"""

import argparse
import fnmatch
import json
import logging
import math
import types
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import GenerationConfig, MarianConfig, MarianMTModel
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4  # of a parity test, relative to a row's largest logit
SOURCE_LENGTHS = [2, 3, 6, 11, 19, 34, 60]  # end of sentence included
TARGET_LENGTHS = [1, 4, 8, 13, 21, 30, 45]  # decoder inputs, start token included
MAX_LENGTH = 24  # of generated sequences, start token included
BEAMS = 4

# Every variant differs from the others in more than one way; `share` is share_encoder_decoder_embeddings.
VARIANTS = {
    "swish": dict(
        seed=3, d_model=32, heads=(4, 4), ffn=(64, 64), layers=(2, 1), vocab=(96, 96), activation="swish",
        share=True, pre_norm=False, eos=0, pad=95,
    ),
    "relu": dict(
        seed=38, d_model=64, heads=(2, 2), ffn=(64, 96), layers=(2, 1), vocab=(104, 104), activation="relu",
        share=True, pre_norm=False, eos=0, pad=103,
    ),
    "separate": dict(
        seed=1, d_model=32, heads=(2, 4), ffn=(64, 96), layers=(3, 1), vocab=(112, 100), activation="swish",
        share=False, pre_norm=False, eos=0, pad=99,
    ),
    # `pad` is not the last id here.
    "pre-norm": dict(
        seed=2, d_model=32, heads=(4, 2), ffn=(128, 64), layers=(3, 2), vocab=(120, 120), activation="relu",
        share=True, pre_norm=True, eos=0, pad=3,
    ),
}  # fmt: skip


def config_of(v):
    """config.json of a variant, in the manner of the opus-mt models."""
    config = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "activation_function": v["activation"],
        "d_model": v["d_model"],
        "encoder_attention_heads": v["heads"][0],
        "decoder_attention_heads": v["heads"][1],
        "encoder_ffn_dim": v["ffn"][0],
        "decoder_ffn_dim": v["ffn"][1],
        "encoder_layers": v["layers"][0],
        "decoder_layers": v["layers"][1],
        "vocab_size": v["vocab"][0],
        "decoder_vocab_size": v["vocab"][1],
        "max_position_embeddings": 64,
        "scale_embedding": True,
        "static_position_embeddings": True,
        "normalize_embedding": False,
        "share_encoder_decoder_embeddings": v["share"],
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "use_cache": True,
        "dropout": 0.0,
        "torch_dtype": "float32",
        "decoder_start_token_id": v["pad"],
        "pad_token_id": v["pad"],
        "eos_token_id": v["eos"],
        "forced_eos_token_id": v["eos"],
    }
    if v["pre_norm"]:
        config |= {"normalize_before": True, "add_final_layer_norm": True}
    return config


def generation_config_of(v):
    return {
        "bad_words_ids": [[v["pad"]]],
        "decoder_start_token_id": v["pad"],
        "pad_token_id": v["pad"],
        "eos_token_id": v["eos"],
        "forced_eos_token_id": v["eos"],
        "max_length": MAX_LENGTH,
        "num_beams": BEAMS,
        "renormalize_logits": True,
    }


# --- weights ---------------------------------------------------------------------------------------------------------


def random_weights(v, attention_gain):
    """Tensors by their Hugging Face names. `attention_gain` scales the query and key projections."""
    rng = torch.Generator().manual_seed(v["seed"])
    d = v["d_model"]
    weights = {}

    def normal(name, *shape, std):
        weights[name] = torch.randn(*shape, generator=rng) * std

    def linear(name, inputs, outputs, gain=1.0):
        normal(f"{name}.weight", outputs, inputs, std=gain / math.sqrt(inputs))
        normal(f"{name}.bias", outputs, std=0.2)

    def norm(name):
        # Signs vary, or the residual stream would make every token predict itself (embeddings are tied).
        signs = torch.randint(2, (d,), generator=rng) * 2 - 1
        weights[f"{name}.weight"] = (torch.rand(d, generator=rng) + 0.5) * signs
        normal(f"{name}.bias", d, std=0.15)

    def attention(name):
        for projection in ("q_proj", "k_proj"):
            linear(f"{name}.{projection}", d, d, attention_gain)
        for projection in ("v_proj", "out_proj"):
            linear(f"{name}.{projection}", d, d, 1.6)

    embedding_std = 1.0 / math.sqrt(d)
    if v["share"]:
        normal("model.shared.weight", v["vocab"][0], d, std=embedding_std)
    else:
        normal("model.encoder.embed_tokens.weight", v["vocab"][0], d, std=embedding_std)
        normal("model.decoder.embed_tokens.weight", v["vocab"][1], d, std=embedding_std)
    for side, (stack, layers, ffn) in enumerate(zip(("encoder", "decoder"), v["layers"], v["ffn"])):
        for layer in range(layers):
            name = f"model.{stack}.layers.{layer}"
            attention(f"{name}.self_attn")
            norm(f"{name}.self_attn_layer_norm")
            if side == 1:
                attention(f"{name}.encoder_attn")
                norm(f"{name}.encoder_attn_layer_norm")
            linear(f"{name}.fc1", d, ffn, 2.0)
            linear(f"{name}.fc2", ffn, d, 2.0)
            norm(f"{name}.final_layer_norm")
        if v["pre_norm"]:
            norm(f"model.{stack}.layer_norm")
    # A long embedding makes the end of sentence very likely here and very unlikely there.
    target_embedding = weights["model.shared.weight" if v["share"] else "model.decoder.embed_tokens.weight"]
    target_embedding[v["eos"]] *= 2.0
    weights["final_logits_bias"] = torch.zeros(1, v["vocab"][1])
    # Logits differ more than embeddings do.
    last_norm = "layer_norm" if v["pre_norm"] else f"layers.{v['layers'][1] - 1}.final_layer_norm"
    weights[f"model.decoder.{last_norm}.weight"] *= 3.0
    return weights


def set_logits_bias(weights, v, config, sources, targets):
    """A random final_logits_bias, less the mean logits, or the same few tokens would win everywhere."""
    rng = torch.Generator().manual_seed(2000 + v["seed"])
    bias = weights["final_logits_bias"][0]
    bias[:] = 0.0
    mean = torch.cat([run(weights, config, s, t)[1] for s, t in zip(sources, targets)]).mean(0)
    bias[:] = torch.randn(len(bias), generator=rng) * 0.5 - mean
    bias[v["pad"]] += 2.5  # often the most likely token, so that forgetting to mask it shows
    # End of sentence becomes the best token, somewhere, for about half of the sources.
    needed = []
    for source in sources:
        tokens, gaps = [v["pad"]], []
        while len(tokens) < MAX_LENGTH - 1:
            logits = run(weights, config, source, tokens)[1][-1]
            eos = logits[v["eos"]].item()
            logits[[v["eos"], v["pad"]]] = -math.inf
            tokens.append(logits.argmax().item())
            gaps.append(logits.max().item() - eos)
        needed.append(min(gaps))
    needed.sort()
    bias[v["eos"]] += (needed[len(needed) // 2] + needed[len(needed) // 2 + 1]) / 2


def random_sentences(v):
    """Sources (ending in eos) and decoder inputs (starting with the start token)."""
    rng = torch.Generator().manual_seed(1000 + v["seed"])

    def tokens(n, vocab):
        allowed = torch.tensor([t for t in range(vocab) if t not in (v["eos"], v["pad"])])
        return allowed[torch.randint(len(allowed), (n,), generator=rng)].tolist()

    sources = [tokens(n - 1, v["vocab"][0]) + [v["eos"]] for n in SOURCE_LENGTHS]
    targets = [[v["pad"]] + tokens(n - 1, v["vocab"][1]) for n in TARGET_LENGTHS]
    return sources, targets


# --- the plain implementation ----------------------------------------------------------------------------------------

DEFAULT_SPEC = {
    "position_pairing": "halves",  # or "interleaved"
    "position_base": 10000.0,
    "encoder_position_offset": 0,
    "decoder_position_offset": 0,
    "norm_eps": 1e-5,
    "attention_scale": True,
    "causal_window": 0,  # +1: sees one position ahead; -1: does not see itself
    "cross_positions_dropped": 0,
}


def sinusoids(n, d, offset, spec):
    positions = torch.arange(offset, offset + n, dtype=torch.float64)[:, None]
    angles = positions / spec["position_base"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    if spec["position_pairing"] == "halves":
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
    else:
        table = torch.stack([angles.sin(), angles.cos()], dim=2).reshape(n, d)
    return table.float()


def run(weights, config, source, decoder_input, spec=None, peaks=None):
    """Encoder output [source, d] and logits [decoder input, vocab]. `peaks`: collects the largest attention weights."""
    spec = DEFAULT_SPEC | (spec or {})
    d = config["d_model"]
    pre_norm = config.get("normalize_before", False)
    activation = {"swish": F.silu, "relu": F.relu, "gelu": F.gelu}[config["activation_function"]]

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        return F.layer_norm(x, (d,), weights[f"{name}.weight"], weights[f"{name}.bias"], spec["norm_eps"])

    def attention(name, kind, heads, x, memory, mask=None):
        def split(t):
            return t.reshape(len(t), heads, d // heads).transpose(0, 1)

        q, k, v = (split(linear(f"{name}.{p}_proj", t)) for p, t in (("q", x), ("k", memory), ("v", memory)))
        scores = q @ k.transpose(1, 2)
        if spec["attention_scale"]:
            scores = scores / math.sqrt(d // heads)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        probabilities = scores.softmax(-1)
        if peaks is not None:  # only rows with at least 8 keys to choose from
            visible = mask.sum(1) if mask is not None else torch.full((len(x),), len(memory))
            peaks.setdefault(kind, []).append(probabilities[:, visible >= 8].amax(-1).flatten())
        return linear(f"{name}.out_proj", (probabilities @ v).transpose(0, 1).reshape(len(x), d))

    def residual(norm_name, x, block):
        if pre_norm:
            return x + block(norm(norm_name, x))
        return norm(norm_name, x + block(x))

    def stack(side, x, self_mask, memory=None):
        heads = config[f"{side}_attention_heads"]
        for layer in range(config[f"{side}_layers"]):
            name = f"model.{side}.layers.{layer}"
            x = residual(
                f"{name}.self_attn_layer_norm", x,
                lambda y: attention(f"{name}.self_attn", f"{side} self", heads, y, y, self_mask),
            )  # fmt: skip
            if memory is not None:
                x = residual(
                    f"{name}.encoder_attn_layer_norm", x,
                    lambda y: attention(f"{name}.encoder_attn", "cross", heads, y, memory),
                )  # fmt: skip
            x = residual(
                f"{name}.final_layer_norm", x,
                lambda y: linear(f"{name}.fc2", activation(linear(f"{name}.fc1", y))),
            )  # fmt: skip
        return norm(f"model.{side}.layer_norm", x) if config.get("add_final_layer_norm", False) else x

    def embed(side, tokens):
        shared = config["share_encoder_decoder_embeddings"]
        table = weights["model.shared.weight" if shared else f"model.{side}.embed_tokens.weight"]
        scale = math.sqrt(d) if config["scale_embedding"] else 1.0
        positions = sinusoids(len(tokens), d, spec[f"{side}_position_offset"], spec)
        return table[tokens] * scale + positions, table

    x, _ = embed("encoder", source)
    encoded = stack("encoder", x, None)
    x, table = embed("decoder", decoder_input)
    n = len(decoder_input)
    mask = torch.ones(n, n, dtype=torch.bool).tril(spec["causal_window"])
    mask[0, 0] = True  # the first position always sees itself
    memory = encoded[: max(1, len(encoded) - spec["cross_positions_dropped"])]
    hidden = stack("decoder", x, mask, memory)
    return encoded, hidden @ table.T + weights["final_logits_bias"]


# --- transformers ----------------------------------------------------------------------------------------------------


def pre_norm_encoder_layer(self, hidden_states, attention_mask, **kwargs):
    attended, _ = self.self_attn(self.self_attn_layer_norm(hidden_states), attention_mask=attention_mask, **kwargs)
    hidden_states = hidden_states + attended
    return hidden_states + self.fc2(self.activation_fn(self.fc1(self.final_layer_norm(hidden_states))))


def pre_norm_decoder_layer(
    self, hidden_states, attention_mask=None, encoder_hidden_states=None, encoder_attention_mask=None,
    past_key_values=None, use_cache=True, **kwargs,
):  # fmt: skip
    attended, _ = self.self_attn(
        self.self_attn_layer_norm(hidden_states), past_key_values=past_key_values, attention_mask=attention_mask, **kwargs
    )
    hidden_states = hidden_states + attended
    attended, _ = self.encoder_attn(
        self.encoder_attn_layer_norm(hidden_states), key_value_states=encoder_hidden_states,
        attention_mask=encoder_attention_mask, past_key_values=past_key_values, **kwargs,
    )  # fmt: skip
    hidden_states = hidden_states + attended
    return hidden_states + self.fc2(self.activation_fn(self.fc1(self.final_layer_norm(hidden_states))))


class PreNormMarian(MarianMTModel):
    """Marian with pre-norm layers and a final norm in each stack, which transformers does not have."""

    def __init__(self, config):
        super().__init__(config)
        for stack, forward in (
            (self.model.encoder, pre_norm_encoder_layer),
            (self.model.decoder, pre_norm_decoder_layer),
        ):
            stack.layer_norm = torch.nn.LayerNorm(config.d_model)
            for layer in stack.layers:
                layer.forward = types.MethodType(forward, layer)
            stack.register_forward_hook(self.final_norm)

    @staticmethod
    def final_norm(stack, _, output):
        output.last_hidden_state = stack.layer_norm(output.last_hidden_state)
        return output


class Noise(LogitsProcessor):
    """Disturbs the scores, to see whether a result hangs on rounding."""

    def __init__(self, size, seed):
        self.size, self.rng = size, torch.Generator().manual_seed(seed)

    def __call__(self, input_ids, scores):
        return scores + self.size * (2 * torch.rand(scores.shape, generator=self.rng) - 1)


def load(folder, v):
    kind = PreNormMarian if v["pre_norm"] else MarianMTModel
    model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def generate(model, source, noise=None, **options):
    """[(tokens after the start token, score)], best first."""
    processors = LogitsProcessorList([noise] if noise else [])
    out = model.generate(
        torch.tensor([source]), attention_mask=torch.ones(1, len(source), dtype=torch.long), do_sample=False,
        logits_processor=processors, return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    eos = model.generation_config.eos_token_id
    hypotheses = []
    for i, row in enumerate(out.sequences.tolist()):
        tokens = row[1:]
        if eos in tokens:
            tokens = tokens[: tokens.index(eos) + 1]
        if options.get("num_beams") == 1:
            steps = zip(tokens, out.scores)
            score = sum(step[0, token].item() for token, step in steps) / len(tokens)
        else:
            score = out.sequences_scores[i].item()
        hypotheses.append((tokens, score))
    return hypotheses


GREEDY = dict(num_beams=1)
BEAM = dict(num_beams=BEAMS, num_return_sequences=BEAMS, length_penalty=1.0, early_stopping=False)
EARLY = BEAM | {"early_stopping": True}


# --- mutations -------------------------------------------------------------------------------------------------------

# Mistakes to be made on purpose, as data. `change` says where: "weights" (tensor name patterns, and what to multiply them
# by), "config" (keys of config.json), "spec" (keys of DEFAULT_SPEC above), "input" or "generation" (options of generate).
# `only`: the configurations it makes sense for. `effect`: what moves; "none" is a change that cannot matter.
MUTATIONS = [
    ("position-pairing", "sine and cosine interleaved instead of in halves", {"spec": {"position_pairing": "interleaved"}}),
    ("position-base", "base 1000 instead of 10000", {"spec": {"position_base": 1000.0}}),
    ("encoder-position-offset", "source positions start at 1", {"spec": {"encoder_position_offset": 1}}),
    ("decoder-position-offset", "target positions start at 1", {"spec": {"decoder_position_offset": 1}}),
    ("norm-eps", "LayerNorm epsilon 1e-1 instead of 1e-5", {"spec": {"norm_eps": 1e-1}}),
    ("q-bias", "no bias in the query projections", {"weights": {"*.q_proj.bias": 0.0}}),
    ("k-bias", "no bias in the key projections: adds the same number to all scores of a query, so softmax cancels it",
     {"weights": {"*.k_proj.bias": 0.0}}),
    ("v-bias", "no bias in the value projections", {"weights": {"*.v_proj.bias": 0.0}}),
    ("out-bias", "no bias in the attention output projections", {"weights": {"*.out_proj.bias": 0.0}}),
    ("fc1-bias", "no bias in the first feed-forward layers", {"weights": {"*.fc1.bias": 0.0}}),
    ("fc2-bias", "no bias in the second feed-forward layers", {"weights": {"*.fc2.bias": 0.0}}),
    ("norm-bias", "no bias in the LayerNorms", {"weights": {"*layer_norm.bias": 0.0}}),
    ("final-logits-bias", "no final_logits_bias", {"weights": {"final_logits_bias": 0.0}}),
    ("attention-scale", "scores not divided by sqrt(head size)", {"spec": {"attention_scale": False}}),
    ("embedding-scale", "embeddings not multiplied by sqrt(d_model)", {"config": {"scale_embedding": False}}),
    ("activation-relu", "relu instead of swish", {"config": {"activation_function": "relu"}}, {"activation_function": "swish"}),
    ("activation-swish", "swish instead of relu", {"config": {"activation_function": "swish"}}, {"activation_function": "relu"}),
    ("encoder-heads", "half as many attention heads in the encoder", {"config": {"encoder_attention_heads": 0.5}}),
    ("decoder-heads", "half as many attention heads in the decoder", {"config": {"decoder_attention_heads": 0.5}}),
    ("causal-ahead", "each target position sees one position ahead", {"spec": {"causal_window": 1}}),
    ("causal-behind", "target positions do not see themselves (except the first)", {"spec": {"causal_window": -1}}),
    ("cross-shorter", "cross-attention misses the last source position", {"spec": {"cross_positions_dropped": 1}}),
    ("source-padding", "two padding tokens after each source, attended to", {"input": {"source_padding": 2}}),
    ("norm-placement-pre", "pre-norm layers instead of post-norm", {"config": {"normalize_before": True}},
     {"normalize_before": False}),
    ("norm-placement-post", "post-norm layers instead of pre-norm", {"config": {"normalize_before": False}},
     {"normalize_before": True}),
    ("final-norm", "no final LayerNorm of the stacks", {"config": {"add_final_layer_norm": False}},
     {"add_final_layer_norm": True}),
    ("pad-mask", "the padding token may be generated", {"generation": {"bad_words_ids": None}}),
    ("renormalize", "scores not renormalised after the padding token is masked", {"generation": {"renormalize_logits": False}}),
    ("forced-eos", "no forced end of sentence at the length limit", {"generation": {"forced_eos_token_id": None}}),
    ("length-normalisation", "scores not divided by the length", {"generation": {"length_penalty": 0.0}}),
    ("early-stopping", "search ends as soon as there are enough finished hypotheses", {"generation": {"early_stopping": True}}),
]  # fmt: skip


def mutation_table():
    table = []
    for name, what, change, *only in MUTATIONS:
        effect = "generation" if "generation" in change else "none" if name == "k-bias" else "logits"
        table.append({"name": name, "what": what, "change": change, "only": only[0] if only else {}, "effect": effect})
    return table


def applies(mutation, config):
    if any(config.get(key, False) != value for key, value in mutation["only"].items()):
        return False
    heads = [key for key in mutation["change"].get("config", {}) if key.endswith("_heads")]
    return all(config[key] > 1 for key in heads)


def mutated(mutation, weights, config, source, v):
    """Weights, config, source and spec with the mutation applied."""
    change = mutation["change"]
    weights = dict(weights)
    for pattern, factor in change.get("weights", {}).items():
        hit = fnmatch.filter(weights, pattern)
        assert hit, pattern
        weights |= {name: weights[name] * factor for name in hit}
    config = dict(config)
    for key, value in change.get("config", {}).items():
        config[key] = int(config[key] * value) if key.endswith("_heads") else value
    source = source + [v["pad"]] * change.get("input", {}).get("source_padding", 0)
    return weights, config, source, change.get("spec")


def relative(a, b):
    """Per row: the largest difference over the largest value of `a`."""
    return (a - b).abs().amax(-1) / a.abs().amax(-1)


# --- one variant -----------------------------------------------------------------------------------------------------


def peaked_weights(v, config, sources, targets):
    """Weights whose attention is peaked, in every kind of attention, and the peaks."""
    gain = 1.0
    while True:
        weights = random_weights(v, gain)
        peaks = {}
        for source, target in zip(sources, targets):
            run(weights, config, source, target, peaks=peaks)
        peaks = {kind: torch.cat(values).mean().item() for kind, values in peaks.items()}
        if min(peaks.values()) > 0.35:
            return weights, peaks
        gain *= 1.05


def make(name, v, folder):
    folder.mkdir(parents=True, exist_ok=True)
    config, generation = config_of(v), generation_config_of(v)
    sources, targets = random_sentences(v)
    weights, peaks = peaked_weights(v, config, sources, targets)
    set_logits_bias(weights, v, config, sources, targets)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    save(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(folder, v)

    tensors, cases = {}, []
    for i, (source, target) in enumerate(zip(sources, targets)):
        out = model(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]), output_attentions=True
        )
        encoded, logits = run(weights, config, source, target)
        assert relative(out.logits[0], logits).max() < 2e-5, "the two implementations differ"
        assert relative(out.encoder_last_hidden_state[0], encoded).max() < 2e-5, "the two implementations differ"
        tensors[f"encoder.{i}"] = out.encoder_last_hidden_state[0].contiguous()
        tensors[f"logits.{i}"] = out.logits[0].contiguous()
        (greedy,), beam = generate(model, source, **GREEDY), generate(model, source, **BEAM)
        cases.append({
            "source": source,
            "decoder_input": target,
            "greedy": {"tokens": greedy[0], "score": greedy[1]},
            "beam": [{"tokens": tokens, "score": score} for tokens, score in beam],
            "early": [{"tokens": tokens, "score": score} for tokens, score in generate(model, source, **EARLY)],
        })  # fmt: skip

    # Fixtures that cannot fail are no fixtures.
    assert min(peaks.values()) > 0.3, peaks
    greedy = [case["greedy"]["tokens"] for case in cases]
    longest = MAX_LENGTH - 1
    ended = [len(tokens) < longest for tokens in greedy]
    assert any(ended) and not all(ended), f"{name}: greedy lengths {[len(t) for t in greedy]}"
    ended = [len(h["tokens"]) < longest for case in cases for h in case["beam"]]
    assert any(ended) and not all(ended), f"{name}: beam: {sum(ended)} ended of {len(ended)}"
    distinct = len({t for tokens in greedy for t in tokens})
    assert distinct >= 20, f"{name}: only {distinct} distinct tokens"
    varied = [len(set(tokens)) >= min(5, len(tokens)) for tokens in greedy]
    assert sum(varied) >= len(varied) - 1, f"{name}: greedy output repeats: {greedy}"
    assert len({len(tokens) for tokens in greedy}) >= 3, f"{name}: greedy lengths {[len(t) for t in greedy]}"
    assert sum(case["beam"][0]["tokens"] != case["greedy"]["tokens"] for case in cases) >= 2, f"{name}: beam = greedy"
    assert any(case["early"] != case["beam"] for case in cases)
    for seed in range(6):
        for source, case in zip(sources, cases):
            for key, options in (("greedy", GREEDY), ("beam", BEAM)):
                expected = [case["greedy"]] if key == "greedy" else case["beam"]
                got = generate(model, source, noise=Noise(3e-4, seed), **options)
                assert [t for t, _ in got] == [h["tokens"] for h in expected], f"{name}: {key} hangs on rounding"

    changes = {}
    for mutation in mutation_table():
        if not applies(mutation, config):
            continue
        if mutation["effect"] == "generation":
            moved = 0
            for source, case in zip(sources, cases):
                options = mutation["change"]["generation"]
                got = generate(model, source, **BEAM | options)
                same = all(
                    tokens == h["tokens"] and abs(score - h["score"]) < 1e-3
                    for (tokens, score), h in zip(got, case["beam"], strict=True)
                )
                moved += not same
            changes[mutation["name"]] = {"sources_changed": moved}
            assert moved >= 1, f"{name}: {mutation['name']} changes nothing"
            continue
        rows = []
        for i, (source, target) in enumerate(zip(sources, targets)):
            w, c, s, spec = mutated(mutation, weights, config, source, v)
            rows.append(relative(tensors[f"logits.{i}"], run(w, c, s, target, spec)[1]))
        largest, rows = max(r.max().item() for r in rows), torch.cat(rows)
        changes[mutation["name"]] = {
            "largest": float(f"{largest:.3g}"),
            "rows_beyond_tolerance": round((rows > TOLERANCE).float().mean().item(), 3),
        }
        if mutation["effect"] == "none":
            assert largest < TOLERANCE, f"{name}: {mutation['name']} should change nothing"
        else:
            assert largest > 100 * TOLERANCE, f"{name}: {mutation['name']} moves the logits by {largest:.2g} only"

    expected = {
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
        "tolerance": TOLERANCE,
        "max_length": MAX_LENGTH,
        "attention_peaks": {kind: round(value, 3) for kind, value in peaks.items()},
        "cases": cases,
    }
    (folder / "expected.json").write_text(compact(expected) + "\n")
    save(tensors, folder / "expected.safetensors")
    return changes


def compact(value, indent=""):
    """JSON with an indented outline, and everything that fits into a line on one line."""
    line = json.dumps(value, ensure_ascii=False)
    deeper = indent + "  "
    if not isinstance(value, (dict, list)) or len(line) < 110 or (isinstance(value, list) and isinstance(value[0], int)):
        return line
    if isinstance(value, dict):
        body = [f"{deeper}{json.dumps(key)}: {compact(item, deeper)}" for key, item in value.items()]
    else:
        body = [deeper + compact(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + "\n" + ",\n".join(body) + "\n" + indent + closing


def make_pytorch_files(folder, v, out):
    """What old repositories hold instead of safetensors, of the model in `folder`: torch's files, old and new."""
    out.mkdir(parents=True, exist_ok=True)
    state = load(folder, v).state_dict()
    assert {"lm_head.weight", "model.encoder.embed_positions.weight"} <= set(state)
    torch.save(state, out / "pytorch_model.bin")
    # The other two hold a few tensors only: tied ones, and one that is stored transposed.
    names = ["final_logits_bias", "model.shared.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"]
    some = {name: state[name] for name in names} | {
        "model.decoder.layers.0.fc1.weight": state["model.decoder.layers.0.fc1.weight"].T.contiguous().T,
        "model.decoder.layers.0.fc1.bias": state["model.decoder.layers.0.fc1.bias"],
    }
    halves = {}  # one half-precision copy per tensor, so that tied tensors stay tied
    some_halves = {name: halves.setdefault(t.data_ptr(), t.half()) for name, t in some.items()}
    some_halves["model.decoder.layers.0.fc1.weight"] = some["model.decoder.layers.0.fc1.weight"].half()
    torch.save(some_halves, out / "float16.bin")
    torch.save(some, out / "legacy.bin", _use_new_zipfile_serialization=False)


def save(tensors, path, **options):
    save_file(tensors, path, **options)
    path.chmod(0o644)  # safetensors makes it private


def print_table(results):
    names = list(results)
    print(f"{'largest relative change of a logit':28}" + "".join(f"{n:>12}" for n in names))
    for mutation in mutation_table():
        cells = []
        for variant in names:
            change = results[variant].get(mutation["name"])
            if change is None:
                cells.append("-")
            elif "largest" in change:
                cells.append(f"{change['largest']:.2g}")
            else:
                cells.append(f"{change['sources_changed']}/{len(SOURCE_LENGTHS)} src")
        print(f"{mutation['name']:28}" + "".join(f"{c:>12}" for c in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="default: all")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--find-seed", action="store_true", help="look for a seed that satisfies the assertions")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    results = {}
    for name in args.variants or VARIANTS:
        v = VARIANTS[name]
        if args.find_seed:
            results[name] = find_seed(name, v, args.out / name)
        else:
            results[name] = make(name, v, args.out / name)
    print_table(results)
    if not args.variants:
        make_pytorch_files(args.out / "swish", VARIANTS["swish"], args.out / "pytorch")
        table = [m | {"measured": {n: r[m["name"]] for n, r in results.items() if m["name"] in r}} for m in mutation_table()]
        (args.out / "MUTATIONS.json").write_text(compact({"tolerance": TOLERANCE, "mutations": table}) + "\n")


def find_seed(name, v, folder):
    for seed in range(1, 1000):
        try:
            changes = make(name, v | {"seed": seed}, folder)
        except AssertionError as error:
            print(f"seed {seed}: {error}", flush=True)
            continue
        print(f"{name}: seed={seed}")
        return changes
    raise SystemExit(f"{name}: no seed found")


if __name__ == "__main__":
    main()
