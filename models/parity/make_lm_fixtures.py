"""Generates the tiny decoder-only language models in `lm/` and what transformers computes from them.

    pip install -r requirements.txt
    python make_lm_fixtures.py                    # writes every model and lm/MUTATIONS.json
    python make_lm_fixtures.py llama              # one model only
    python make_lm_fixtures.py --check-llama-cpp LIB [--check-converter SOURCES]

The models are random, and made so that an implementation's mistakes show: attention is peaked, norms and biases are
random, norms' eps matters, sequences are longer than any window and any original length of stretched positions. The
script asserts it, and that each mutation of `lm_reference.py` moves the logits far beyond the tolerance of a parity test.

Every model is written twice, as a Hugging Face folder and as a GGUF file. Two implementations agree before anything is
written: transformers', and `lm_reference.run`. With `--check-llama-cpp`, llama.cpp has to load the GGUF files and agree as
well (needs llama-cpp-python; LIB is the folder of libllama.so), with `--check-converter` its converter has to write the
same file (SOURCES is its repository).
"""

import argparse
import copy
import json
import logging
import math
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from lm_gguf import LlamaCpp, converter_differences, write
from lm_reference import MUTATIONS, canonical, mutated, run, spec_of
from make_fixtures import compact, relative, save
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4  # of a parity test, relative to a row's largest logit
LENGTHS = [58, 27, 9]
NEW_TOKENS = 16
VOCAB = 80
CONTEXT = 96  # positions a session has to hold
STREAM = 0.03  # size of what flows through the residual stream: small, so that eps matters

COMMON = dict(
    vocab_size=VOCAB, max_position_embeddings=4096, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, hidden_act="silu",
    attention_dropout=0.0, initializer_range=0.02, torch_dtype="float32", use_cache=True,
)  # fmt: skip
# Heads of 8 features where a family wants heads * head_dim = hidden_size.
SQUARE = COMMON | dict(
    hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
)
OBLONG = COMMON | dict(
    hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16
)

# Keys in the manner of the repositories of their time: `rope_scaling` beside `rope_theta`, or `rope_parameters`.
MODELS = {
    "llama": dict(seed=1, config=OBLONG | dict(
        model_type="llama", architectures=["LlamaForCausalLM"], tie_word_embeddings=False, attention_bias=False,
        mlp_bias=False, rope_theta=10000.0, rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    )),
    "llama-biases": dict(seed=1, config=SQUARE | dict(
        model_type="llama", architectures=["LlamaForCausalLM"], tie_word_embeddings=True, attention_bias=True,
        mlp_bias=True, rope_theta=1000.0, rope_scaling=dict(type="linear", factor=4.0),
    )),
    "qwen2": dict(seed=2, config=SQUARE | dict(
        model_type="qwen2", architectures=["Qwen2ForCausalLM"], tie_word_embeddings=True, use_sliding_window=False,
        sliding_window=16, max_window_layers=2, rope_theta=100.0,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=50),
    )),
    "qwen3": dict(seed=1, config=OBLONG | dict(
        model_type="qwen3", architectures=["Qwen3ForCausalLM"], tie_word_embeddings=False, attention_bias=False,
        use_sliding_window=False, sliding_window=None, max_window_layers=3, rope_theta=100000.0, rope_scaling=None,
    )),
    "gemma3": dict(seed=1, config=OBLONG | dict(
        model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], intermediate_size=32,
        num_hidden_layers=6, head_dim=12, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
        attention_bias=False, query_pre_attn_scalar=12, sliding_window=10, sliding_window_pattern=6,
        final_logit_softcapping=6.0, attn_logit_softcapping=None, rope_theta=20000.0, rope_local_base_freq=1000.0,
        rope_scaling=dict(rope_type="linear", factor=8.0), pad_token_id=0,
    )),
    "smollm3": dict(seed=1, config=SQUARE | dict(
        model_type="smollm3", architectures=["SmolLM3ForCausalLM"], num_hidden_layers=5, tie_word_embeddings=True,
        attention_bias=False, mlp_bias=False, no_rope_layers=[1, 1, 1, 0, 1], no_rope_layer_interval=4, rope_theta=50000.0, rope_scaling=None,
        use_sliding_window=False, sliding_window=None, layer_types=["full_attention"] * 5, pad_token_id=2,
    )),
    "phi3": dict(seed=1, config=SQUARE | dict(
        model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=48, tie_word_embeddings=True,
        original_max_position_embeddings=256, partial_rotary_factor=0.7, rope_theta=10000.0, sliding_window=None,
        pad_token_id=2, rope_scaling=dict(
            type="longrope", short_factor=[1.0, 1.5, 2.5, 4.0], long_factor=[1.0, 3.0, 9.0, 25.0],
        ),
    )),
    "phi3-long": dict(seed=1, config=SQUARE | dict(
        model_type="phi3", architectures=["Phi3ForCausalLM"], num_key_value_heads=4, tie_word_embeddings=False,
        original_max_position_embeddings=8, rope_theta=100.0, sliding_window=12, pad_token_id=2, rope_scaling=dict(
            type="longrope", short_factor=[1.0, 1.5, 2.5, 4.0], long_factor=[1.0, 2.0, 3.0, 5.0],
        ),
    )),
    "granite": dict(seed=1, config=SQUARE | dict(
        model_type="granite", architectures=["GraniteForCausalLM"], tie_word_embeddings=True, attention_bias=False,
        mlp_bias=False, attention_multiplier=0.25, embedding_multiplier=12.0, residual_multiplier=0.22,
        logits_scaling=8.0, rope_theta=10000.0, rope_scaling=None,
    )),
    "ministral3": dict(seed=2, config=OBLONG | dict(
        model_type="ministral3", architectures=["Ministral3ForCausalLM"], tie_word_embeddings=False, sliding_window=None,
        rope_parameters=dict(
            type="yarn", rope_type="yarn", rope_theta=10000.0, factor=16.0, original_max_position_embeddings=16,
            max_position_embeddings=4096, beta_fast=2.0, beta_slow=0.3, mscale=1.0, mscale_all_dim=1.0,
            llama_4_scaling_beta=0.2,
        ),
    )),
    "lfm2": dict(seed=1, config=SQUARE | dict(
        model_type="lfm2", architectures=["Lfm2ForCausalLM"], num_hidden_layers=4, tie_word_embeddings=True,
        norm_eps=1e-5, conv_bias=False, conv_L_cache=3, block_auto_adjust_ff_dim=True, block_dim=32, block_ff_dim=61,
        block_ffn_dim_multiplier=1.0, block_multiple_of=8, rope_theta=10000.0, conv_dim=32,
        layer_types=["conv", "full_attention", "conv", "conv"], pad_token_id=0,
    )),
    "hunyuan-dense": dict(seed=1, config=OBLONG | dict(
        model_type="hunyuan_v1_dense", architectures=["HunYuanDenseV1ForCausalLM"], tie_word_embeddings=True,
        attention_bias=False, max_position_embeddings=32768, rope_theta=10000.0,
        rope_scaling=dict(type="dynamic", alpha=1000.0, factor=1.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0),
    )),
    "bitnet": dict(seed=3, config=SQUARE | dict(
        model_type="bitnet", architectures=["BitNetForCausalLM"], hidden_act="relu2", tie_word_embeddings=True,
        attention_bias=False, rope_theta=10000.0,
    )),
}  # fmt: skip
for unused, families in {
    "rms_norm_eps": ["lfm2"], "hidden_act": ["lfm2", "gemma3"], "intermediate_size": ["lfm2"],
    "attention_dropout": ["lfm2"],
}.items():  # fmt: skip
    for name in families:
        del MODELS[name]["config"][unused]


# --- weights ---------------------------------------------------------------------------------------------------------


def random_weights(model, seed, gain, gemma):
    """Tensors by their Hugging Face names, with bfloat16's precision. `gain` scales queries and keys."""
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    tied = model.config.tie_word_embeddings
    for name, old in sorted(model.state_dict().items()):
        if name == "lm_head.weight" and tied:
            continue
        shape, part = old.shape, name.split(".")[-2]
        matrix = torch.randn(shape, generator=rng) / math.sqrt(shape[-1])
        sizes = torch.rand(shape, generator=rng) + 0.5
        signs = torch.randint(2, shape, generator=rng) * 2 - 1
        if name.endswith(".bias"):
            value = matrix * math.sqrt(shape[-1]) * (0.2 * STREAM if part in ("o_proj", "down_proj") else 0.4)
        elif part in ("norm", "embedding_norm"):
            # Signs vary, or tied embeddings would make every token predict itself. Logits of a size worth capping.
            value = sizes * signs * (3.0 if not tied else 2.0 / STREAM / math.sqrt(model.config.hidden_size))
        elif part in ("q_norm", "k_norm", "query_layernorm", "key_layernorm", "q_layernorm", "k_layernorm"):
            value = sizes * signs * gain
        elif gemma and part in ("post_attention_layernorm", "post_feedforward_layernorm"):
            value = sizes * signs * STREAM * 1.5
        elif "norm" in part:
            value = sizes * signs
        elif part == "embed_tokens":
            scale = EMBED_SCALES.get(model.config.model_type, lambda c: 1.0)(model.config)
            value = matrix * math.sqrt(shape[-1]) * STREAM / scale
        elif part in ("q_proj", "k_proj"):
            value = matrix * gain
        elif part == "qkv_proj":
            heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
            value = matrix
            value[: shape[0] * (heads + kv_heads) // (heads + 2 * kv_heads)] *= gain
        elif name.endswith("conv.conv.weight"):
            value = torch.randn(shape, generator=rng)
        elif part in ("o_proj", "out_proj", "down_proj", "w2"):
            value = matrix * 2.0 * STREAM / getattr(model.config, "residual_multiplier", 1.0)
        else:
            value = matrix * 1.6
        if gemma and "norm" in part:
            value = value - 1.0
        weights[name] = value.bfloat16().float()
    return weights


# What embeddings are multiplied by: their weights are that much smaller.
EMBED_SCALES = {"gemma3_text": lambda c: math.sqrt(c.hidden_size), "granite": lambda c: c.embedding_multiplier}


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def peaked(config, seed):
    """A model of transformers with weights whose attention is peaked, those weights, and the peak."""
    configuration = AutoConfig.for_model(**copy.deepcopy(config))  # which changes what it is given
    model = AutoModelForCausalLM.from_config(configuration, attn_implementation="eager").eval()
    gain = 1.0
    while True:
        weights = random_weights(model, seed, gain, config["model_type"] == "gemma3_text")
        model.load_state_dict(weights, strict=False)
        peak = attention_peak(model, sequences(seed)[0])
        if peak > 0.35:
            return model, weights, peak
        gain *= 1.06


def attention_peak(model, tokens):
    """The mean over all heads of the largest attention weight, of queries with at least 8 keys to choose from."""
    attentions = model(input_ids=torch.tensor([tokens]), output_attentions=True).attentions
    return torch.stack([a[0, :, 8:].amax(-1) for a in attentions if a is not None]).mean().item()


def sequences(seed):
    rng = torch.Generator().manual_seed(1000 + seed)
    return [[1, *(torch.randint(VOCAB - 3, (n - 1,), generator=rng) + 3).tolist()] for n in LENGTHS]


# --- one model -------------------------------------------------------------------------------------------------------


def greedy(model, tokens):
    """Continuation. The best logit is always better than the second best by a thousandth of the row's largest."""
    tokens, start = list(tokens), len(tokens)
    for _ in range(NEW_TOKENS):
        logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        best, second = logits.topk(2).values.tolist()
        assert best - second > 10 * TOLERANCE * logits.abs().max().item(), "greedy tokens hang on rounding"
        tokens.append(logits.argmax().item())
    return tokens[start:]


def make(name, seed, config, folder, checks):
    folder.mkdir(parents=True, exist_ok=True)
    _, weights, peak = peaked(config, seed)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save(weights, folder / "model.safetensors", metadata={"format": "pt"})
    spec = spec_of(config, CONTEXT)
    plain = canonical(weights, config)
    write(folder / "model.gguf", config, spec, plain)

    model = load(folder)
    long_enough = [s for s in sequences(seed) if len(s) > (8 if name == "phi3-long" else 0)]
    tensors, cases, agreement = {}, [], 0.0
    for i, tokens in enumerate(long_enough):
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
        agreement = max(agreement, relative(logits, run(spec, plain, tokens)).max().item())
        tensors[f"logits.{i}"] = logits.contiguous()
        cases.append({"tokens": tokens, "greedy": greedy(model, tokens)})
    assert agreement < 3e-5, f"{name}: the two implementations differ by {agreement:.2g}"
    assert peak > 0.3, peak
    distinct = [len(set(case["greedy"])) for case in cases]
    assert max(distinct) >= 8 and sum(distinct) >= 16, f"{name}: greedy output repeats: {distinct}"

    changes = {}
    for mutation, _, change in MUTATIONS:
        applied = mutated(change, spec, plain)
        if applied is None:
            continue
        rows = torch.cat([relative(tensors[f"logits.{i}"], run(*applied, c["tokens"])) for i, c in enumerate(cases)])
        largest = rows.max().item()
        changes[mutation] = {
            "largest": float(f"{largest:.3g}"),
            "rows_beyond_tolerance": round((rows > TOLERANCE).float().mean().item(), 3),
        }
        assert largest > 10 * TOLERANCE, f"{name}: {mutation} moves the logits by {largest:.2g} only"

    expected = {
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
        "tolerance": TOLERANCE,
        "context": CONTEXT,
        "attention_peak": round(peak, 3),
        "cases": cases,
    }
    (folder / "expected.json").write_text(compact(expected) + "\n")
    save(tensors, folder / "expected.safetensors")
    print(f"{name}: attention {peak:.2f}, implementations differ by {agreement:.1e}", end="")
    for check in checks:
        print(check(name, config, folder, tensors, cases), end="")
    print(flush=True)
    return changes


def find_seed(name, config, folder, checks):
    for seed in range(1, 200):
        try:
            changes = make(name, seed, config, folder, checks)
        except AssertionError as error:
            print(f"seed {seed}: {error}", flush=True)
            continue
        print(f"{name}: seed={seed}")
        return changes
    raise SystemExit(f"{name}: no seed found")


# --- checks with llama.cpp -------------------------------------------------------------------------------------------


def check_llama_cpp(library):
    llama = LlamaCpp(library)

    def check(name, config, folder, tensors, cases):
        path = folder / "model.gguf"
        scratch = tempfile.TemporaryDirectory()
        if config["model_type"] == "bitnet":
            # llama.cpp knows the architecture of before the official model, with SiLU.
            config = config | {"hidden_act": "silu"}
            path = Path(scratch.name) / "bitnet.gguf"
            weights = {k: v for k, v in load(folder).state_dict().items() if k != "lm_head.weight"}
            spec, plain = spec_of(config, CONTEXT), canonical(weights, config)
            write(path, config, spec, plain, "bitnet")
            tensors = {f"logits.{i}": run(spec, plain, case["tokens"]) for i, case in enumerate(cases)}
        worst = 0.0
        for i, case in enumerate(cases):
            expected = tensors[f"logits.{i}"]
            found = llama.logits(path, case["tokens"], CONTEXT)
            # It leaves out the windows of Phi 3.
            rows = (config["model_type"] == "phi3" and config["sliding_window"]) or len(expected)
            worst = max(worst, relative(expected[:rows], found[:rows]).max().item())
        # It takes GELU from a table of float16.
        limit = 5e-3 if config["model_type"] == "gemma3_text" else 1e-4
        assert worst < limit, f"{name}: llama.cpp differs by {worst:.2g}"
        return f", llama.cpp by {worst:.1e}"

    return check


def check_converter(sources):
    def check(name, config, folder, tensors, cases):
        if config["model_type"] == "bitnet":
            return ""  # the converter does not know the official model's names
        differences = converter_differences(sources, folder)
        return "; its converter writes " + ("\n    ".join(["", *differences]) if differences else "the same")

    return check


def print_table(results):
    names = list(results)
    print(f"{'largest relative change':24}" + "".join(f"{n[:9]:>10}" for n in names))
    for mutation, *_ in MUTATIONS:
        cells = [results[name].get(mutation, {}).get("largest") for name in names]
        print(f"{mutation:24}" + "".join(f"{'-' if c is None else f'{c:.2g}':>10}" for c in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="default: all")
    parser.add_argument("--out", type=Path, default=HERE / "lm", help="folder to write to")
    parser.add_argument("--find-seed", action="store_true", help="look for a seed that satisfies the assertions")
    parser.add_argument("--check-llama-cpp", type=Path, metavar="LIB", help="folder of libllama")
    parser.add_argument("--check-converter", type=Path, metavar="SOURCES", help="llama.cpp's repository")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    checks = [check_llama_cpp(args.check_llama_cpp)] if args.check_llama_cpp else []
    checks += [check_converter(args.check_converter)] if args.check_converter else []
    results = {}
    for name in args.models or MODELS:
        model = MODELS[name]
        if args.find_seed:
            results[name] = find_seed(name, model["config"], args.out / name, checks)
        else:
            results[name] = make(name, model["seed"], model["config"], args.out / name, checks)
    print_table(results)
    if not args.models:
        table = []
        for mutation, what, change in MUTATIONS:
            measured = {name: r[mutation] for name, r in results.items() if mutation in r}
            assert measured, f"{mutation} applies to no model"
            table.append({"name": mutation, "what": what, "change": change, "measured": measured})
        (args.out / "MUTATIONS.json").write_text(compact({"tolerance": TOLERANCE, "mutations": table}) + "\n")


if __name__ == "__main__":
    main()
