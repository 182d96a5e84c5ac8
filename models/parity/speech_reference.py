"""Whisper in plain torch, beside transformers': the network, OpenAI's rules of decoding, segments, and token times.

Written from OpenAI's description and not from transformers, so that two implementations agree before a fixture is
written. Every decision that somebody could get wrong is a key of `SPEC` or of `RULES`; `MUTATIONS` gets them wrong.
"""

import copy
import fnmatch
import math

import torch
from torch.nn import functional as F

# The network.
SPEC = {
    "position_base": 10000.0,
    "position_pairing": "halves",  # or "interleaved"
    "position_steps": "d/2-1",  # or "d/2"
    "position_table": "stored",  # or "computed", which the other position keys imply
    "encoder_position_offset": 0,
    "decoder_position_offset": 0,
    "norm_eps": 1e-5,
    "activation": "gelu",  # or "tanh", "relu"
    "conv_activation": "gelu",
    "conv_padding": "both",  # or "left"
    "conv2_phase": 0,
    "conv_kernel_reversed": False,
    "mel_order": "rising",  # or "falling"
    "head_scale": 1.0,  # times 1 / sqrt(head size)
    "causal_window": 0,  # positions ahead that the decoder sees
    "encoder_causal": False,
    "cross_positions_dropped": 0,
    "cross_memory_layer": None,  # keys and values of this layer everywhere
    "encoder_final_norm": True,
    "decoder_final_norm": True,
    "embedding_scale": False,
    "norm_order": "pre",
    "encoder_heads": 1,  # times
    "decoder_heads": 1,
}

# Decoding: what of OpenAI's rules is applied.
RULES = {
    "suppress": True,
    "suppress_at_begin": True,
    "no_timestamps_suppressed": True,
    "first_is_timestamp": True,
    "max_initial": True,
    "pairs": True,
    "rising": True,
    "no_empty_segment": True,
    "mass": True,
    "single_ending_skips": True,
    "seek_by_timestamp": True,
    "median_width": 7,
    "normalise": True,
    "heads": "alignment",  # or "all"
    "crop": "after softmax",  # or "before softmax", as OpenAI does
    "prompt_rows": False,  # whether the rows of the prompt take part in normalisation, as with OpenAI
    "last_of_jump": False,
}


def positions(spec, d, count):
    half = d // 2
    steps = half - 1 if spec["position_steps"] == "d/2-1" else half
    rates = torch.exp(-math.log(spec["position_base"]) / steps * torch.arange(half))
    angles = torch.arange(count)[:, None] * rates
    if spec["position_pairing"] == "interleaved":
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)


class Reference:
    """A model: `config` as in config.json, `weights` by their Hugging Face names."""

    def __init__(self, config, weights, spec=SPEC):
        self.config, self.spec = config, spec
        self.weights = {name.removeprefix("model."): tensor for name, tensor in weights.items()}

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name, x):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.spec["norm_eps"])

    def activation(self, x, key="activation"):
        kind = self.spec[key]
        return torch.relu(x) if kind == "relu" else F.gelu(x, approximate="tanh" if kind == "tanh" else "none")

    def attention(self, name, x, memory, heads, mask=None, memory_name=None):
        """Output `[rows, d]` and weights `[heads, rows, keys]`."""
        d = x.shape[-1]
        q = self.linear(f"{name}.q_proj", x).view(-1, heads, d // heads).transpose(0, 1)
        k = self.linear(f"{memory_name or name}.k_proj", memory).view(-1, heads, d // heads).transpose(0, 1)
        v = self.linear(f"{memory_name or name}.v_proj", memory).view(-1, heads, d // heads).transpose(0, 1)
        scores = q @ k.transpose(1, 2) * (self.spec["head_scale"] / math.sqrt(d // heads))
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        probabilities = scores.softmax(-1)
        mixed = (probabilities @ v).transpose(0, 1).reshape(-1, d)
        return self.linear(f"{name}.out_proj", mixed), probabilities, scores

    def residual(self, norm, x, sublayer):
        if self.spec["norm_order"] == "pre":
            return x + sublayer(self.norm(norm, x))
        return self.norm(norm, x + sublayer(x))

    def feed_forward(self, name, x):
        return self.residual(
            f"{name}.final_layer_norm",
            x,
            lambda y: self.linear(f"{name}.fc2", self.activation(self.linear(f"{name}.fc1", y))),
        )

    def convolution(self, name, x, stride):
        """`[inputs, time]` to `[outputs, time / stride]`; kernels of 3."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        if self.spec["conv_kernel_reversed"]:
            kernel = kernel.flip(-1)
        left = 2 if self.spec["conv_padding"] == "left" else 1
        padded = F.pad(x, (left, 2 - left))
        if stride == 2 and self.spec["conv2_phase"]:
            padded = F.pad(padded[:, 1:], (0, 1))
        return self.activation(F.conv1d(padded[None], kernel, bias, stride)[0], "conv_activation")

    def encode(self, features):
        """Features `[mels, 2 * positions]` to `[positions, d]`."""
        spec, weights = self.spec, self.weights
        if spec["mel_order"] == "falling":
            features = features.flip(0)
        x = self.convolution("encoder.conv1", features, 1)
        x = self.convolution("encoder.conv2", x, 2).T
        table = weights["encoder.embed_positions.weight"]
        offset = spec["encoder_position_offset"]
        if spec["position_table"] == "computed" or offset:
            table = positions(spec, x.shape[1], len(x) + offset)[offset:]
        x = x + table[: len(x)]
        mask = torch.ones(len(x), len(x)).tril().bool() if spec["encoder_causal"] else None
        heads = max(1, round(self.config["encoder_attention_heads"] * spec["encoder_heads"]))
        for i in range(self.config["encoder_layers"]):
            name = f"encoder.layers.{i}"
            attend = lambda y: self.attention(f"{name}.self_attn", y, y, heads, mask)[0]  # noqa: E731
            x = self.residual(f"{name}.self_attn_layer_norm", x, attend)
            x = self.feed_forward(name, x)
        return self.norm("encoder.layer_norm", x) if spec["encoder_final_norm"] else x

    def decode(self, memory, tokens):
        """Logits `[tokens, vocabulary]`; cross-attention's weights and scores, by layer `[heads, tokens, positions]`."""
        spec, weights = self.spec, self.weights
        if spec["cross_positions_dropped"]:
            memory = memory[: -spec["cross_positions_dropped"]]
        embeddings = weights["decoder.embed_tokens.weight"]
        offset = spec["decoder_position_offset"]
        places = (torch.arange(len(tokens)) + offset).clamp(max=self.config["max_target_positions"] - 1)
        x = embeddings[tokens] * (math.sqrt(embeddings.shape[1]) if spec["embedding_scale"] else 1.0)
        x = x + weights["decoder.embed_positions.weight"][places]
        rows = torch.arange(len(tokens))
        mask = rows[None, :] <= rows[:, None] + spec["causal_window"]
        mask[0, 0] = True
        heads = max(1, round(self.config["decoder_attention_heads"] * spec["decoder_heads"]))
        cross = []
        for i in range(self.config["decoder_layers"]):
            name = f"decoder.layers.{i}"
            x = self.residual(
                f"{name}.self_attn_layer_norm", x, lambda y: self.attention(f"{name}.self_attn", y, y, heads, mask)[0]
            )
            other = spec["cross_memory_layer"]
            memory_name = None if other is None else f"decoder.layers.{other}.encoder_attn"

            def attend(y):
                out, probabilities, scores = self.attention(
                    f"{name}.encoder_attn", y, memory, heads, memory_name=memory_name
                )
                cross.append((probabilities, scores))
                return out

            x = self.residual(f"{name}.encoder_attn_layer_norm", x, attend)
            x = self.feed_forward(name, x)
        if spec["decoder_final_norm"]:
            x = self.norm("decoder.layer_norm", x)
        return x @ embeddings.T, cross


# --- decoding --------------------------------------------------------------------------------------------------------


class Decoder:
    """OpenAI's decoding of one window. `generation` is generation_config.json."""

    def __init__(self, model, generation, rules=RULES):
        self.model, self.generation, self.rules = model, generation, rules
        self.times = generation["no_timestamps_token_id"] + 1
        self.eot = generation["eos_token_id"]

    def filtered(self, logits, tokens, timestamps):
        """Logits of the next token after `tokens` (the prompt excluded), without those that the rules forbid."""
        rules, generation, times = self.rules, self.generation, self.times
        logits = logits.clone()
        if not tokens and rules["suppress_at_begin"]:
            logits[generation["begin_suppress_tokens"]] = -math.inf
        if rules["suppress"]:
            logits[generation["suppress_tokens"]] = -math.inf
        if not timestamps:
            # OpenAI and transformers rely on models not to generate them.
            logits[times - 1 :] = -math.inf
            return logits
        if rules["no_timestamps_suppressed"]:
            logits[times - 1] = -math.inf
        last = len(tokens) >= 1 and tokens[-1] >= times
        before = len(tokens) < 2 or tokens[-2] >= times
        if last and rules["pairs"]:
            if before:
                logits[times:] = -math.inf
            else:
                logits[: self.eot] = -math.inf
        earlier = [t for t in tokens if t >= times]
        if earlier and rules["rising"]:
            # A segment that ends gets a length; the next one may begin where it ended.
            same = last and not before or not rules["no_empty_segment"]
            logits[times : earlier[-1] + (0 if same else 1)] = -math.inf
        if not tokens:
            if rules["first_is_timestamp"]:
                logits[:times] = -math.inf
            if rules["max_initial"]:
                logits[times + generation["max_initial_timestamp_index"] + 1 :] = -math.inf
        if rules["mass"]:
            logprobs = logits.log_softmax(-1)
            if logprobs[times:].logsumexp(-1) > logprobs[:times].max():
                logits[:times] = -math.inf
        return logits

    def margin(self, raw, tokens, timestamps):
        """How far the choice is from another one, relative to the largest logit."""
        logits = self.filtered(raw, tokens, timestamps)
        best, second = logits.topk(2).values.tolist()
        margin = best - second
        if timestamps and tokens:
            rules = self.rules | {"mass": False}
            logprobs = Decoder(self.model, self.generation, rules).filtered(raw, tokens, True).log_softmax(-1)
            margin = min(margin, (logprobs[self.times :].logsumexp(-1) - logprobs[: self.times].max()).abs().item())
        return margin / raw.abs().max().item()

    def greedy(self, memory, prompt, timestamps, limit):
        """Tokens after the prompt, the end included where it came; their mean log-probability; the smallest margin."""
        tokens, total, margin = [], 0.0, math.inf
        while len(tokens) < limit and (not tokens or tokens[-1] != self.eot):
            raw = self.model.decode(memory, prompt + tokens)[0][-1]
            logits = self.filtered(raw, tokens, timestamps)
            margin = min(margin, self.margin(raw, tokens, timestamps))
            token = logits.argmax().item()
            total += logits.log_softmax(-1)[token].item()
            tokens.append(token)
        return tokens, total / len(tokens), margin

    def segments(self, tokens, offset, frames):
        """Segments `(start, end, tokens)` of a window's tokens, the end excluded, and the frames to go ahead."""
        times, rules = self.times, self.rules
        is_time = [t >= times for t in tokens]
        single = is_time[-2:] == [False, True]
        cuts = [i for i in range(1, len(tokens)) if is_time[i] and is_time[i - 1]]
        if not cuts:
            found = [t for t in tokens if t >= times]
            end = (found[-1] - times) * 0.02 if found and found[-1] != times else frames * 0.01
            return [(offset, offset + end, tokens)], frames
        if single:
            cuts.append(len(tokens))
        out = [
            (offset + (tokens[a] - times) * 0.02, offset + (tokens[b - 1] - times) * 0.02, tokens[a:b])
            for a, b in zip([0, *cuts], cuts)
        ]
        if (single and rules["single_ending_skips"]) or not rules["seek_by_timestamp"]:
            return out, frames
        return out, (tokens[cuts[-1] - 1] - times) * 2

    def transcribe(self, features, prompt, limit, window, previous=False, silence=None):
        """Segments of features of any length, the windows they come from, and the smallest margin.

        With `previous`, the text so far goes before the prompt. `silence`: a log-probability below and a probability of
        no speech above which a window is left out.
        """
        seek, found, margin, windows = 0, [], math.inf, []
        while seek < features.shape[1]:
            frames = min(window, features.shape[1] - seek)
            memory = self.model.encode(F.pad(features[:, seek : seek + frames], (0, window - frames)))
            before = []
            if previous and found:
                before = [t for segment in found for t in segment[2]]
                before = [self.generation["prev_sot_token_id"], *before[-(self.model.config["max_target_positions"] // 2 - 1) :]]
            tokens, score, m = self.greedy(memory, before + prompt, True, limit)
            margin = min(margin, m)
            at_start = self.model.decode(memory, before + prompt[:1])[0][-1].softmax(-1)
            no_speech = at_start[self.times - 2].item()
            skipped = bool(silence) and score < silence[0] and no_speech > silence[1]
            windows.append(
                {"seek": seek, "tokens": tokens, "avg_logprob": score, "no_speech": no_speech, "skipped": skipped}
            )
            if skipped:
                seek += frames
                continue
            text = tokens[:-1] if tokens[-1] == self.eot else tokens
            more, ahead = self.segments(text, seek * 0.01, frames)
            found += more
            seek += ahead
            if ahead == 0 or len(windows) > 12:
                raise AssertionError("transcription does not advance")
        return found, windows, margin

    def token_times(self, memory, prompt, tokens, frames=None, disturb=0.0):
        """Seconds of every token but the last, which is the end and repeats the one before."""
        config, rules = self.model.config, self.rules
        _, cross = self.model.decode(memory, prompt + tokens[:-1])
        heads = self.generation["alignment_heads"]
        if rules["heads"] == "all":
            heads = [[i, h] for i in range(config["decoder_layers"]) for h in range(config["decoder_attention_heads"])]
        count = len(memory) if frames is None else frames // 2
        if rules["crop"] == "before softmax":
            weights = torch.stack([cross[i][1][h] for i, h in heads])[:, :, :count].softmax(-1)
        else:
            weights = torch.stack([cross[i][0][h] for i, h in heads])[:, :, :count]
        if disturb:
            weights = weights * (1 + disturb * torch.randn(weights.shape, generator=torch.Generator().manual_seed(7)))
        if not rules["prompt_rows"]:
            weights = weights[:, len(prompt) :]
        if rules["normalise"]:
            deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, correction=0)
            weights = (weights - mean) / deviation
        width = rules["median_width"]
        padded = F.pad(weights, (width // 2, width // 2), mode="reflect")
        matrix = padded.unfold(-1, width, 1).median(-1).values.mean(0)
        if rules["prompt_rows"]:
            matrix = matrix[len(prompt) :]
        rows, columns = warp(-matrix.double())
        first = [0] + [i for i in range(1, len(rows)) if rows[i] != rows[i - 1]]
        if rules["last_of_jump"]:
            first = [i - 1 for i in first[1:]] + [len(rows) - 1]
        times = [columns[i] * 0.02 for i in first]
        return times + times[-1:]


def warp(cost):
    """The cheapest monotonic path through `[rows, columns]`, as two lists; a step to the next column wins ties."""
    height, width = cost.shape
    cost = cost.tolist()
    total = [[math.inf] * (width + 1) for _ in range(height + 1)]
    step = [[2] * (width + 1) for _ in range(height + 1)]
    total[0][0] = 0.0
    for i in range(1, height + 1):
        step[i][0] = 1
        for j in range(1, width + 1):
            diagonal, down, right = total[i - 1][j - 1], total[i - 1][j], total[i][j - 1]
            best = 0 if diagonal < down and diagonal < right else 1 if down < diagonal and down < right else 2
            step[i][j] = best
            total[i][j] = cost[i - 1][j - 1] + (diagonal, down, right)[best]
    rows, columns, i, j = [], [], height, width
    while i > 0 or j > 0:
        rows.append(i - 1)
        columns.append(j - 1)
        move = step[i][j]
        i, j = i - (move != 2), j - (move != 1)
    return rows[::-1], columns[::-1]


def computed(**changes):
    return {"spec": {"position_table": "computed"} | changes}


# Name, what it is, what to change, and what moves: the logits, the tokens of greedy decoding with timestamps, the
# segments of long input, the times of tokens, or nothing.
MUTATIONS = [
    ("position-base", "base 1000 instead of 10000", computed(position_base=1000.0), "logits"),
    ("position-pairing", "sine and cosine interleaved instead of in halves", computed(position_pairing="interleaved"), "logits"),
    ("position-steps", "base^(i / (d/2)) instead of base^(i / (d/2 - 1))", computed(position_steps="d/2"), "logits"),
    ("encoder-position-offset", "the encoder's positions start at 1", {"spec": {"encoder_position_offset": 1}}, "logits"),
    ("decoder-position-offset", "the decoder's positions start at 1", {"spec": {"decoder_position_offset": 1}}, "logits"),
    ("norm-eps", "LayerNorm epsilon 1e-2 instead of 1e-5", {"spec": {"norm_eps": 1e-2}}, "logits"),
    ("gelu-tanh", "the tanh approximation of GELU in the layers", {"spec": {"activation": "tanh"}}, "logits"),
    ("gelu-relu", "ReLU in the layers", {"spec": {"activation": "relu"}}, "logits"),
    ("conv-gelu-tanh", "the tanh approximation of GELU after the convolutions", {"spec": {"conv_activation": "tanh"}}, "logits"),
    ("conv-padding", "convolutions padded at the beginning only", {"spec": {"conv_padding": "left"}}, "logits"),
    ("conv2-phase", "the second convolution starts one step late", {"spec": {"conv2_phase": 1}}, "logits"),
    ("conv-kernel", "kernels reversed in time", {"spec": {"conv_kernel_reversed": True}}, "logits"),
    ("mel-order", "mel bins from high to low", {"spec": {"mel_order": "falling"}}, "logits"),
    ("attention-scale", "scores an eighth too large", {"spec": {"head_scale": 1.125}}, "logits"),
    ("encoder-heads", "half as many heads in the encoder", {"spec": {"encoder_heads": 0.5}}, "logits"),
    ("decoder-heads", "half as many heads in the decoder", {"spec": {"decoder_heads": 0.5}}, "logits"),
    ("causal-ahead", "each token sees one ahead", {"spec": {"causal_window": 1}}, "logits"),
    ("causal-behind", "tokens do not see themselves (except the first)", {"spec": {"causal_window": -1}}, "logits"),
    ("encoder-causal", "the encoder sees the past only", {"spec": {"encoder_causal": True}}, "logits"),
    ("cross-shorter", "cross-attention misses the last position", {"spec": {"cross_positions_dropped": 1}}, "logits"),
    ("cross-layer", "keys and values of the first layer's cross-attention everywhere", {"spec": {"cross_memory_layer": 0}}, "logits"),
    ("window-short", "two frames cut off, the window shorter by a position", {"features": {"cut": 2}}, "logits"),
    ("window-late", "the window starts one frame late", {"features": {"shift": 1}}, "logits"),
    ("encoder-final-norm", "no norm after the encoder", {"spec": {"encoder_final_norm": False}}, "logits"),
    ("decoder-final-norm", "no norm after the decoder", {"spec": {"decoder_final_norm": False}}, "logits"),
    ("norm-order", "norms after the residual instead of before", {"spec": {"norm_order": "post"}}, "logits"),
    ("embedding-scale", "embeddings multiplied by sqrt(d_model)", {"spec": {"embedding_scale": True}}, "logits"),
    ("q-bias", "no bias of queries", {"weights": {"*.q_proj.bias": 0.0}}, "logits"),
    ("k-bias", "a bias of keys, which there is not: softmax cancels it", {"bias": {"*.k_proj": "q_proj"}}, "none"),
    ("v-bias", "no bias of values", {"weights": {"*.v_proj.bias": 0.0}}, "logits"),
    ("out-bias", "no bias of attention's output", {"weights": {"*.out_proj.bias": 0.0}}, "logits"),
    ("fc1-bias", "no bias of the first feed-forward layers", {"weights": {"*.fc1.bias": 0.0}}, "logits"),
    ("fc2-bias", "no bias of the second feed-forward layers", {"weights": {"*.fc2.bias": 0.0}}, "logits"),
    ("norm-bias", "no bias of the norms", {"weights": {"*layer_norm.bias": 0.0}}, "logits"),
    ("conv-bias", "no bias of the convolutions", {"weights": {"*.conv?.bias": 0.0}}, "logits"),
    ("suppress", "tokens of no speech allowed", {"rules": {"suppress": False}}, "tokens"),
    ("suppress-at-begin", "a blank or the end allowed as first token of text", {"rules": {"suppress_at_begin": False}}, "tokens"),
    ("first-timestamp", "no timestamp asked for at the beginning", {"rules": {"first_is_timestamp": False}}, "tokens"),
    ("max-initial-timestamp", "the first timestamp anywhere", {"rules": {"max_initial": False}}, "tokens"),
    ("timestamp-pairs", "timestamps not in pairs", {"rules": {"pairs": False}}, "tokens"),
    ("timestamps-rising", "timestamps may decrease", {"rules": {"rising": False}}, "tokens"),
    ("timestamp-mass", "no timestamp because all of them together are likely", {"rules": {"mass": False}}, "tokens"),
    ("single-ending", "goes on at the last timestamp where speech has ended", {"rules": {"single_ending_skips": False}}, "segments"),
    ("seek", "goes on at the end of the window always", {"rules": {"seek_by_timestamp": False}}, "segments"),
    ("dtw-median", "medians of 5 instead of 7", {"rules": {"median_width": 5}}, "times"),
    ("dtw-normalise", "attention not normalised over tokens", {"rules": {"normalise": False}}, "times"),
    ("dtw-heads", "all heads instead of the alignment heads", {"rules": {"heads": "all"}}, "times"),
    ("dtw-prompt", "attention normalised over the prompt's tokens too, as OpenAI does", {"rules": {"prompt_rows": True}}, "times"),
    ("dtw-crop", "scores cut before softmax, as OpenAI does", {"rules": {"crop": "before softmax"}}, "times"),
    ("dtw-jump", "the last position of a token instead of the first", {"rules": {"last_of_jump": True}}, "times"),
]  # fmt: skip


def mutated(change, weights, features):
    """Spec, rules, weights and features with the change applied."""
    spec = copy.deepcopy(SPEC) | change.get("spec", {})
    rules = RULES | change.get("rules", {})
    weights = dict(weights)
    for pattern, factor in change.get("weights", {}).items():
        for name in fnmatch.filter(weights, pattern):
            weights[name] = weights[name] * factor
    for pattern, source in change.get("bias", {}).items():
        for name in fnmatch.filter(weights, pattern + ".weight"):
            prefix = name.rsplit(".", 2)[0]
            weights[f"{prefix}.k_proj.bias"] = weights[f"{prefix}.{source}.bias"]
    cut, shift = change.get("features", {}).get("cut", 0), change.get("features", {}).get("shift", 0)
    if cut:
        features = features[:, :-cut]
    if shift:
        features = F.pad(features[:, shift:], (0, shift))
    return spec, rules, weights, features
