"""A decoder-only language model in plain torch, driven by a description: the second implementation that
`make_lm_fixtures.py` compares transformers with, and the one that mistakes can be made in on purpose.

- `spec_of` reads a config.json into the description: a flat dictionary for the model, one more for every layer;
- `canonical` gives weights one set of names (those of llama.cpp) and one layout, whatever family they come from;
- `run` computes logits.
"""

import copy
import fnmatch
import math
import re

import torch
from torch.nn import functional as F

ACTIVATIONS = {
    "silu": F.silu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x) ** 2,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


# --- the description -------------------------------------------------------------------------------------------------


def scaling_of(parameters, config, context):
    """How rotary frequencies are changed, of `rope_parameters` or `rope_scaling`."""
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return {"kind": "linear", "factor": parameters["factor"]}
    if kind == "llama3":
        return {
            "kind": "llama3",
            "factor": parameters["factor"],
            "low": parameters["low_freq_factor"],
            "high": parameters["high_freq_factor"],
            "original": parameters["original_max_position_embeddings"],
        }
    if kind == "yarn":

        def mscale(m):
            return 0.1 * m * math.log(parameters["factor"]) + 1.0

        both = parameters.get("mscale") and parameters.get("mscale_all_dim")
        return {
            "kind": "yarn",
            "factor": parameters["factor"],
            "original": parameters["original_max_position_embeddings"],
            "beta_fast": parameters.get("beta_fast", 32.0),
            "beta_slow": parameters.get("beta_slow", 1.0),
            "magnitude": mscale(parameters["mscale"]) / mscale(parameters["mscale_all_dim"]) if both else mscale(1.0),
            "truncate": True,
        }
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        stretch = config["max_position_embeddings"] / original
        return {
            "kind": "per_pair",
            "factors": parameters["long_factor" if context > original else "short_factor"],
            "magnitude": math.sqrt(1 + math.log(stretch) / math.log(original)),
        }
    if kind == "dynamic":  # Hunyuan: changes the base alone
        return None
    raise ValueError(kind)


def spec_of(config, context):
    """The model, and its `layers`."""
    family = config["model_type"]
    heads, dim = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or dim // heads
    count = config["num_hidden_layers"]
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = parameters.get("rope_theta", config.get("rope_theta"))
    if parameters.get("alpha"):
        theta *= parameters["alpha"] ** (head_dim / (head_dim - 2))
    eps = config.get("rms_norm_eps", config.get("norm_eps"))
    activation = config.get("hidden_activation", config.get("hidden_act", "silu"))
    kinds = config.get("layer_types") or ["full_attention"] * count
    if family == "gemma3_text":
        pattern = config["sliding_window_pattern"]
        kinds = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(count)]
    elif config.get("sliding_window") and family in ("mistral", "phi3"):
        kinds = ["sliding_attention"] * count
    layers = []
    for i, kind in enumerate(kinds):
        local = family == "gemma3_text" and kind == "sliding_attention"
        layers.append({
            "mixer": "conv" if kind == "conv" else "attention",
            "heads": heads,
            "kv_heads": config["num_key_value_heads"],
            "kv_groups": "blocked",
            "head_dim": head_dim,
            "scale": config.get("attention_multiplier", config.get("query_pre_attn_scalar", head_dim) ** -0.5),
            "rope": bool(config.get("no_rope_layers", [1] * count)[i]),
            "rope.dims": int(head_dim * config.get("partial_rotary_factor", 1.0)),
            "rope.theta": config["rope_local_base_freq"] if local else theta,
            "rope.pairing": "halves",
            "rope.scaling": None if local else scaling_of(parameters, config, context),
            "head_norm": {"qwen3": "before", "gemma3_text": "before", "lfm2": "before", "hunyuan_v1_dense": "after"}.get(family),
            "window": config["sliding_window"] if kind == "sliding_attention" else None,
            "ahead": 0,
            "temperature": parameters.get("llama_4_scaling_beta", 0.0),
            "temperature.every": parameters.get("original_max_position_embeddings"),
            "sub_norm": family == "bitnet",
            "post_norm": family == "gemma3_text",
            "activation": {"gelu_pytorch_tanh": "gelu_tanh"}.get(activation, activation),
            "residual_scale": config.get("residual_multiplier", 1.0),
            "eps": eps,
        })  # fmt: skip
    return {
        "embed_scale": config.get("embedding_multiplier", math.sqrt(dim) if family == "gemma3_text" else 1.0),
        "logit_scale": 1.0 / config.get("logits_scaling", 1.0),
        "softcap": config.get("final_logit_softcapping"),
        "tied": config["tie_word_embeddings"],
        "final_norm": True,
        "eps": eps,
        "layers": layers,
    }


# --- weights ---------------------------------------------------------------------------------------------------------

PARTS = {
    "input_layernorm": "attn_norm",
    "operator_norm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "ffn_norm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up",
    "feed_forward.w2": "ffn_down",
    "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
}
GEMMA_PARTS = PARTS | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "model.embedding_norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def canonical(weights, config):
    """Weights by llama.cpp's names; fused matrices split, Gemma's norms with their 1, everything else as it is."""
    gemma = config["model_type"] == "gemma3_text"
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    out = {}
    for name, tensor in weights.items():
        if gemma and name.endswith("norm.weight"):
            tensor = tensor + 1.0
        if name in OUTSIDE:
            out[OUTSIDE[name]] = tensor
            continue
        layer, part, kind = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name).groups()
        block = f"blk.{layer}"
        if part == "self_attn.qkv_proj":
            rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
            for piece, projection in zip(tensor.split(rows), "qkv"):
                out[f"{block}.attn_{projection}.{kind}"] = piece
        elif part == "mlp.gate_up_proj":
            out[f"{block}.ffn_gate.{kind}"], out[f"{block}.ffn_up.{kind}"] = tensor.chunk(2)
        else:
            out[f"{block}.{(GEMMA_PARTS if gemma else PARTS)[part]}.{kind}"] = tensor
    return out


# --- the forward pass ------------------------------------------------------------------------------------------------


def frequencies(layer):
    """The angle per position of every pair, and the magnitude of sine and cosine."""
    dims, theta, scaling = layer["rope.dims"], layer["rope.theta"], layer["rope.scaling"]
    plain = 1.0 / theta ** (torch.arange(0, dims, 2, dtype=torch.float32) / dims)
    if scaling is None:
        return plain, 1.0
    if scaling["kind"] == "per_pair":
        return plain / torch.tensor(scaling["factors"]), scaling["magnitude"]
    divided = plain / scaling["factor"]
    if scaling["kind"] == "linear":
        return divided, 1.0
    if scaling["kind"] == "llama3":
        wavelength = 2 * math.pi / plain
        low, high, original = scaling["low"], scaling["high"], scaling["original"]
        kept = ((original / wavelength - low) / (high - low)).clamp(0, 1)
        return divided * (1 - kept) + plain * kept, 1.0

    def pair(turns):
        return dims * math.log(scaling["original"] / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair(scaling["beta_fast"]), pair(scaling["beta_slow"])
    if scaling["truncate"]:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dims - 1)
    part = ((torch.arange(dims // 2) - first) / max(last - first, 0.001)).clamp(0, 1)
    return divided * part + plain * (1 - part), scaling["magnitude"]


def rotate(x, layer):
    """`x`: [heads, positions, head_dim]."""
    angles, magnitude = frequencies(layer)
    angles = torch.arange(x.shape[1])[:, None] * angles
    cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
    dims = layer["rope.dims"]
    if layer["rope.pairing"] == "halves":
        a, b = x[..., : dims // 2], x[..., dims // 2 : dims]
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    else:
        a, b = x[..., 0:dims:2], x[..., 1:dims:2]
        turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., dims:]], -1)


def run(spec, weights, tokens):
    """Logits `[tokens, vocab]`."""

    def norm(name, x, eps):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weights[f"{name}.weight"]

    def linear(name, x):
        bias = weights.get(f"{name}.bias", 0.0)
        return x @ weights[f"{name}.weight"].T + bias

    def attention(block, layer, x):
        n, head_dim = len(x), layer["head_dim"]
        q, k, v = (linear(f"{block}.attn_{p}", x).reshape(n, -1, head_dim).transpose(0, 1) for p in "qkv")

        def head_norms(q, k):
            return norm(f"{block}.attn_q_norm", q, layer["eps"]), norm(f"{block}.attn_k_norm", k, layer["eps"])

        if layer["head_norm"] == "before":
            q, k = head_norms(q, k)
        if layer["rope"]:
            q, k = rotate(q, layer), rotate(k, layer)
        if layer["head_norm"] == "after":
            q, k = head_norms(q, k)
        if layer["temperature"]:
            steps = torch.arange(n) // layer["temperature.every"]
            q = q * (1 + layer["temperature"] * torch.log(1 + steps))[:, None]
        groups = layer["heads"] // layer["kv_heads"]
        owner = torch.arange(layer["heads"])
        owner = owner // groups if layer["kv_groups"] == "blocked" else owner % layer["kv_heads"]
        scores = q @ k[owner].transpose(1, 2) * layer["scale"]
        behind = torch.arange(n)[:, None] - torch.arange(n)
        visible = behind >= -layer["ahead"]
        if layer["window"] is not None:
            visible &= behind < layer["window"]
        mixed = scores.masked_fill(~visible, -math.inf).softmax(-1) @ v[owner]
        mixed = mixed.transpose(0, 1).reshape(n, -1)
        if layer["sub_norm"]:
            mixed = norm(f"{block}.attn_sub_norm", mixed, layer["eps"])
        return linear(f"{block}.attn_output", mixed)

    def convolution(block, layer, x):
        b, c, x = linear(f"{block}.shortconv.in_proj", x).chunk(3, -1)
        kernel = weights[f"{block}.shortconv.conv.weight"]
        kernel = kernel.reshape(len(kernel), -1)
        padded = torch.cat([torch.zeros(kernel.shape[1] - 1, x.shape[1]), b * x])
        y = sum(padded[i : i + len(x)] * kernel[:, i] for i in range(kernel.shape[1]))
        return linear(f"{block}.shortconv.out_proj", c * y)

    def feed_forward(block, layer, x):
        hidden = ACTIVATIONS[layer["activation"]](linear(f"{block}.ffn_gate", x)) * linear(f"{block}.ffn_up", x)
        if layer["sub_norm"]:
            hidden = norm(f"{block}.ffn_sub_norm", hidden, layer["eps"])
        return linear(f"{block}.ffn_down", hidden)

    x = weights["token_embd.weight"][tokens] * spec["embed_scale"]
    for i, layer in enumerate(spec["layers"]):
        block = f"blk.{i}"
        mix = convolution if layer["mixer"] == "conv" else attention
        for sublayer, before, after in ((mix, "attn_norm", "post_attention_norm"), (feed_forward, "ffn_norm", "post_ffw_norm")):
            y = sublayer(block, layer, norm(f"{block}.{before}", x, layer["eps"]))
            if layer["post_norm"]:
                y = norm(f"{block}.{after}", y, layer["eps"])
            x = x + y * layer["residual_scale"]
    if spec["final_norm"]:
        x = norm("output_norm", x, spec["eps"])
    logits = x @ weights["token_embd.weight" if spec["tied"] else "output.weight"].T * spec["logit_scale"]
    return logits if spec["softcap"] is None else spec["softcap"] * torch.tanh(logits / spec["softcap"])


# --- mistakes on purpose ---------------------------------------------------------------------------------------------

SILU, GELU_TANH, RELU2 = ({"activation": kind} for kind in ("silu", "gelu_tanh", "relu2"))

# name, what, change. A change is made of `layer` and `model`, keys of the description with what becomes of their values,
# and of `weights`, patterns of names with what becomes of the tensors. A dictionary is an operation: `times`, `add`,
# `swap` of two values, `spread` from a layer that has it to those that have not, and for tensors also `shift` (a convolution's kernel, towards the past), `reverse` and `roll` (rows, by a third). `where` chooses layers.
MUTATIONS = [
    ("rope-pairing", "neighbours turned together instead of halves", {"layer": {"rope.pairing": "interleaved"}}),
    ("rope-theta", "half the base", {"layer": {"rope.theta": {"times": 0.5}}}),
    ("rope-theta-full", "half the base where there is no window", {"layer": {"rope.theta": {"times": 0.5}}, "where": "full"}),
    ("rope-theta-window", "half the base where there is a window", {"layer": {"rope.theta": {"times": 0.5}}, "where": "window"}),
    ("rope-missing", "nothing turned", {"layer": {"rope": False}}),
    ("rope-everywhere", "turned in the layers without RoPE too", {"layer": {"rope": {"spread": True}}}),
    ("rope-scaling", "frequencies not scaled", {"layer": {"rope.scaling": None}}),
    ("rope-scaling-everywhere", "windowed layers scaled too", {"layer": {"rope.scaling": {"spread": True}}}),
    ("rope-scaling-factor", "twice the factor", {"layer": {"rope.scaling.factor": {"times": 2.0}}}),
    ("rope-scaling-original", "twice the original length", {"layer": {"rope.scaling.original": {"times": 2.0}}}),
    ("rope-scaling-low", "twice the border of low frequencies", {"layer": {"rope.scaling.low": {"times": 2.0}}}),
    ("rope-scaling-high", "twice the border of high frequencies", {"layer": {"rope.scaling.high": {"times": 2.0}}}),
    ("rope-scaling-beta-slow", "four times the border of slow turns", {"layer": {"rope.scaling.beta_slow": {"times": 4.0}}}),
    ("rope-scaling-truncate", "borders not rounded", {"layer": {"rope.scaling.truncate": False}}),
    ("rope-scaling-magnitude", "sine and cosine not magnified", {"layer": {"rope.scaling.magnitude": 1.0}}),
    ("rope-scaling-factors", "divisors in the wrong order", {"layer": {"rope.scaling.factors": {"reverse": True}}}),
    ("window-longer", "one position more", {"layer": {"window": {"add": 1}}}),
    ("window-shorter", "one position less", {"layer": {"window": {"add": -1}}}),
    ("window-missing", "everything visible", {"layer": {"window": None}}),
    ("window-everywhere", "all layers windowed", {"layer": {"window": {"spread": True}}}),
    ("causal-ahead", "one position ahead visible", {"layer": {"ahead": 1}}),
    ("kv-groups", "query head h reads head h mod kv_heads", {"layer": {"kv_groups": "interleaved"}}),
    ("attention-scale", "scores an eighth too large", {"layer": {"scale": {"times": 1.125}}}),
    ("attention-temperature", "queries not scaled by position", {"layer": {"temperature": 0.0}}),
    ("head-norm-missing", "heads not normalised", {"layer": {"head_norm": None}}),
    ("head-norm-order", "heads normalised on the other side of RoPE", {"layer": {"head_norm": {"swap": ["before", "after"]}}}),
    ("sub-norm", "no norm before the last projections", {"layer": {"sub_norm": False}}),
    ("post-norm", "outputs of sublayers not normalised", {"layer": {"post_norm": False}}),
    ("eps", "eps ten times too small", {"layer": {"eps": {"times": 0.1}}, "model": {"eps": {"times": 0.1}}}),
    ("activation-gelu", "exact GELU", {"layer": {"activation": "gelu"}}),
    ("activation-relu", "ReLU", {"layer": {"activation": "relu"}}),
    ("residual-scale", "outputs of sublayers not scaled", {"layer": {"residual_scale": 1.0}}),
    ("embed-scale", "embeddings not scaled", {"model": {"embed_scale": 1.0}}),
    ("logit-scale", "logits not scaled", {"model": {"logit_scale": 1.0}}),
    ("softcap", "logits not capped", {"model": {"softcap": None}}),
    ("final-norm", "no final norm", {"model": {"final_norm": False}}),
    ("head-tied", "the embedding as output matrix", {"model": {"tied": True}}),
    ("norm-plus-one", "1 added to the norms", {"weights": {"*norm.weight": {"add": 1.0}}}),
    ("bias-q", "no bias of queries", {"weights": {"*.attn_q.bias": {"times": 0.0}}}),
    ("bias-k", "no bias of keys", {"weights": {"*.attn_k.bias": {"times": 0.0}}}),
    ("bias-v", "no bias of values", {"weights": {"*.attn_v.bias": {"times": 0.0}}}),
    ("bias-output", "no bias of attention's output", {"weights": {"*.attn_output.bias": {"times": 0.0}}}),
    ("bias-gate", "no bias of the gate", {"weights": {"*.ffn_gate.bias": {"times": 0.0}}}),
    ("bias-up", "no bias of the feed-forward's first projection", {"weights": {"*.ffn_up.bias": {"times": 0.0}}}),
    ("bias-down", "no bias of the feed-forward's last projection", {"weights": {"*.ffn_down.bias": {"times": 0.0}}}),
    ("conv-shift", "the convolution one position late", {"weights": {"*.shortconv.conv.weight": {"shift": 1}}}),
    ("conv-reverse", "its kernel in the wrong order", {"weights": {"*.shortconv.conv.weight": {"reverse": True}}}),
    ("conv-gates", "its gates in another order", {"weights": {"*.shortconv.in_proj.weight": {"roll": 3}}}),
]  # fmt: skip


def changed(value, operation, layers, key):
    """What an operation makes of a value of the description."""
    if not isinstance(operation, dict):
        return operation
    ((name, argument),) = operation.items()
    if name == "spread":
        return value or next((other[key] for other in layers if other[key]), value)
    if value is None:
        return None
    if name == "swap":
        return argument[1 - argument.index(value)]
    return {"times": lambda: value * argument, "add": lambda: value + argument, "reverse": lambda: value[::-1]}[name]()


def changed_tensor(tensor, operation):
    ((name, argument),) = operation.items()
    if name == "shift":
        rolled = tensor.roll(-argument, -1)
        rolled[..., -argument:] = 0
        return rolled
    return {
        "times": lambda: tensor * argument,
        "add": lambda: tensor + argument,
        "reverse": lambda: tensor.flip(-1),
        "roll": lambda: tensor.roll(len(tensor) // argument, 0),
    }[name]()


def mutated(change, spec, weights):
    """Spec and weights with the change applied, or None where it changes nothing."""
    spec, weights = copy.deepcopy(spec), dict(weights)
    before = copy.deepcopy(spec)
    hit = False
    for key, operation in change.get("model", {}).items():
        spec[key] = changed(spec[key], operation, None, key)
    for layer in spec["layers"]:
        windowed = layer["window"] is not None
        if change.get("where") and (layer["mixer"] == "conv" or windowed != (change["where"] == "window")):
            continue
        for key, operation in change.get("layer", {}).items():
            if key.startswith("rope.scaling."):
                inner = key.removeprefix("rope.scaling.")
                if layer["rope.scaling"] and inner in layer["rope.scaling"]:
                    scaling = layer["rope.scaling"]
                    scaling[inner] = changed(scaling[inner], operation, None, inner)
            elif key == "kv_groups" and layer["kv_heads"] in (1, layer["heads"]):
                pass
            else:
                layer[key] = changed(layer[key], operation, before["layers"], key)
    for pattern, operation in change.get("weights", {}).items():
        for name in fnmatch.filter(weights, pattern):
            weights[name] = changed_tensor(weights[name], operation)
            hit = True
    if spec["tied"] and not before["tied"]:
        weights = {name: tensor for name, tensor in weights.items() if name != "output.weight"}
    return (spec, weights) if hit or spec != before else None
