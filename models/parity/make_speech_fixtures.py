"""Generates the tiny Whisper models in `speech/` and what transformers computes from them.

    pip install -r requirements.txt
    python make_speech_fixtures.py             # writes every variant and speech/MUTATIONS.json
    python make_speech_fixtures.py tiny        # one variant only

The models are random, and made so that an implementation's mistakes show: attention is peaked, every bias and LayerNorm
is random, the decoder's positions too, windows end in the middle of speech.
"""

import argparse
import json
import logging
import math
import warnings
from pathlib import Path

import torch
import transformers
from make_fixtures import compact, save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids
from transformers.models.whisper.tokenization_whisper import LANGUAGES

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4  # of a parity test, relative to a row's largest value
TARGET = 64  # positions of the decoder

# Every variant differs from the others in more than one way. `window` is the encoder's positions, 50 a second.
VARIANTS = {
    "tiny": dict(
        seed=1, d_model=32, heads=(4, 4), ffn=(64, 64), layers=(2, 2), mels=80, window=100, frames=460,
        languages=99, merges=65, dtype="float16",
    ),
}  # fmt: skip

# --- tokens ----------------------------------------------------------------------------------------------------------

# What merges are learned from.
TEXT = (
    "the train to the station leaves at nine and the other one at ten past nine, there and then; she said that this "
    "is the last one of the day. What are you asking for? I have not seen the other man in the street, and that is "
    "all there is to say. On the one hand it was late, on the other hand nobody was waiting for us at home. "
)
# OpenAI suppresses these when they are tokens of their own, and musical notes.
NON_SPEECH = list('"#()*+/:;<=>@[\\]^_`{|}~「」『』') + (
    "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()
)


def byte_tokens():
    """The 256 bytes as GPT-2 orders and writes them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def special_tokens(v):
    """What follows the text tokens, in Whisper's order, up to the timestamps."""
    # One language more is the last of transformers' list. English-only models keep the ids of their 99 languages.
    codes = list(LANGUAGES)[: v["languages"] or 99]
    return [
        "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in codes), "<|translate|>",
        "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>" if v["mels"] == 128 else "<|nocaptions|>",
        "<|notimestamps|>",
    ]  # fmt: skip


def tokenizer_of(v):
    """A byte-level BPE of few merges with Whisper's special tokens."""
    alphabet = byte_tokens()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = split
    trainer = trainers.BpeTrainer(vocab_size=256 + v["merges"], initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator([TEXT], trainer)
    merges = [tuple(m) for m in json.loads(learned.to_str())["model"]["merges"]]
    words = alphabet + ["".join(merge) for merge in merges]
    assert len(set(words)) == 256 + v["merges"]
    tokenizer = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    specials = special_tokens(v)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in specials])
    times = [f"<|{i * 0.02:.2f}|>" for i in range(v["window"] + 1)]
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in times])
    start = "<|startoftranscript|>"
    prefix = [start, "<|notimestamps|>"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*prefix, "$A", "<|endoftext|>"]),
        pair=" ".join([*prefix, "$A", "$B", "<|endoftext|>"]),
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in [*prefix, "<|endoftext|>"]],
    )
    assert tokenizer.get_vocab_size() == 256 + v["merges"] + len(specials) + v["window"] + 1
    return tokenizer


def ids_of(v):
    """Ids by what they are for."""
    start = 256 + v["merges"]
    specials = special_tokens(v)
    names = dict(
        eot="<|endoftext|>", sot="<|startoftranscript|>", translate="<|translate|>", transcribe="<|transcribe|>",
        prev="<|startofprev|>", nospeech=specials[-2], no_timestamps="<|notimestamps|>", lm="<|startoflm|>",
    )  # fmt: skip
    ids = {name: start + specials.index(token) for name, token in names.items()}
    ids["timestamps"] = start + len(specials)
    ids["vocab"] = ids["timestamps"] + v["window"] + 1
    return ids


def suppressed(v):
    """What is never generated: tokens that are no speech, as OpenAI picks them, and the special ones."""
    tokenizer, ids, found = tokenizer_of(v), ids_of(v), set()
    for text in [" -", " '"]:
        found.add(tokenizer.encode(text, add_special_tokens=False).ids[0])
    for symbol in [*NON_SPEECH, *"♩♪♫♬♭♮♯"]:
        for text in (symbol, " " + symbol):
            tokens = tokenizer.encode(text, add_special_tokens=False).ids
            if len(tokens) == 1 or symbol in "♩♪♫♬♭♮♯":
                found.add(tokens[0])
    found.discard(220)  # the space: in Whisper's vocabulary these symbols are tokens together with it
    specials = [ids[n] for n in ("sot", "translate", "transcribe", "lm", "prev", "nospeech")]
    return sorted(found) + sorted(specials)


# --- configuration ---------------------------------------------------------------------------------------------------


def config_of(v):
    """config.json of a variant, in the manner of OpenAI's repositories."""
    ids = ids_of(v)
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "d_model": v["d_model"],
        "encoder_attention_heads": v["heads"][0],
        "decoder_attention_heads": v["heads"][1],
        "encoder_ffn_dim": v["ffn"][0],
        "decoder_ffn_dim": v["ffn"][1],
        "encoder_layers": v["layers"][0],
        "decoder_layers": v["layers"][1],
        "num_hidden_layers": v["layers"][0],
        "num_mel_bins": v["mels"],
        "vocab_size": ids["vocab"],
        "max_source_positions": v["window"],
        "max_target_positions": TARGET,
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "use_cache": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "init_std": 0.02,
        "median_filter_width": 7,
        "torch_dtype": v["dtype"],
        "bos_token_id": ids["eot"],
        "eos_token_id": ids["eot"],
        "pad_token_id": ids["eot"],
        "decoder_start_token_id": ids["sot"],
        "begin_suppress_tokens": [220, ids["eot"]],
    }


def alignment_heads(v):
    """Of the last decoder layer all heads but the second, of the first the second."""
    last, heads = v["layers"][1] - 1, v["heads"][1]
    return sorted([[0, 1]] + [[last, h] for h in range(heads) if h != 1])


def generation_config_of(v):
    ids = ids_of(v)
    config = {
        "alignment_heads": alignment_heads(v),
        "begin_suppress_tokens": [220, ids["eot"]],
        "bos_token_id": ids["eot"],
        "decoder_start_token_id": ids["sot"],
        "eos_token_id": ids["eot"],
        "is_multilingual": bool(v["languages"]),
        "max_initial_timestamp_index": v["window"] // 2,
        "max_length": TARGET,
        "no_timestamps_token_id": ids["no_timestamps"],
        "pad_token_id": ids["eot"],
        "prev_sot_token_id": ids["prev"],
        "return_timestamps": False,
        "suppress_tokens": suppressed(v),
    }
    if v["languages"]:
        start = ids["sot"] + 1
        config["lang_to_id"] = {f"<|{c}|>": start + i for i, c in enumerate(list(LANGUAGES)[: v["languages"]])}
        config["task_to_id"] = {"transcribe": ids["transcribe"], "translate": ids["translate"]}
    return config


def preprocessor_config_of(v):
    return {
        "chunk_length": v["window"] // 50,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": v["mels"],
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": v["window"] * 320,
        "nb_max_frames": v["window"] * 2,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }


# --- weights ---------------------------------------------------------------------------------------------------------


def random_weights(v, gain, cross_gain):
    """Tensors by their Hugging Face names, with float16's precision. The gains scale queries and keys."""
    rng = torch.Generator().manual_seed(v["seed"])
    d, ids = v["d_model"], ids_of(v)
    weights = {}

    def normal(name, *shape, std):
        weights[name] = torch.randn(*shape, generator=rng) * std

    def linear(name, inputs, outputs, scale=1.0, bias=True):
        normal(f"{name}.weight", outputs, inputs, std=scale / math.sqrt(inputs))
        if bias:
            normal(f"{name}.bias", outputs, std=0.3)

    def norm(name, scale=1.0):
        # Signs vary, or the residual stream would make every token predict itself (embeddings are tied).
        signs = torch.randint(2, (d,), generator=rng) * 2 - 1
        weights[f"{name}.weight"] = (torch.rand(d, generator=rng) + 0.5) * signs * scale
        normal(f"{name}.bias", d, std=0.2 * scale)

    def attention(name, scale):
        linear(f"{name}.q_proj", d, d, scale)
        linear(f"{name}.k_proj", d, d, scale, bias=False)
        linear(f"{name}.v_proj", d, d, 1.2)
        linear(f"{name}.out_proj", d, d, 0.8)

    def convolution(name, inputs, scale):
        normal(f"{name}.weight", d, inputs, 3, std=scale / math.sqrt(3 * inputs))
        normal(f"{name}.bias", d, std=0.3)

    convolution("model.encoder.conv1", v["mels"], 3.0)
    convolution("model.encoder.conv2", d, 2.0)
    weights["model.encoder.embed_positions.weight"] = sinusoids(v["window"], d)
    normal("model.decoder.embed_tokens.weight", ids["vocab"], d, std=1.0)
    normal("model.decoder.embed_positions.weight", TARGET, d, std=0.8)
    for side, stack in enumerate(("encoder", "decoder")):
        for layer in range(v["layers"][side]):
            name = f"model.{stack}.layers.{layer}"
            attention(f"{name}.self_attn", gain)
            norm(f"{name}.self_attn_layer_norm")
            if side == 1:
                attention(f"{name}.encoder_attn", cross_gain)
                norm(f"{name}.encoder_attn_layer_norm")
            linear(f"{name}.fc1", d, v["ffn"][side], 1.5)
            linear(f"{name}.fc2", v["ffn"][side], d, 1.5)
            norm(f"{name}.final_layer_norm")
    norm("model.encoder.layer_norm")
    norm("model.decoder.layer_norm", 0.8)
    # Long embeddings are sometimes very likely: the end, and less so what makes readable text. Bytes of no character
    # are unlikely.
    embeddings = weights["model.decoder.embed_tokens.weight"]
    embeddings[ids["eot"]] *= 1.2
    for i, token in enumerate(byte_tokens()):
        if not (token.isascii() and token.isalnum()):
            embeddings[i] *= 0.5
    return {name: tensor.half().float() for name, tensor in weights.items()}


def load(folder):
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def log_mel(v):
    """Smooth random features `[mels, frames]` of the size that real ones have, with pauses; float16's precision."""
    rng = torch.Generator().manual_seed(500 + v["seed"])
    frames = v["frames"]

    def smooth(bins, steps, width):
        coarse = torch.randn(1, 1, bins, steps, generator=rng)
        return torch.nn.functional.interpolate(coarse, (v["mels"], width), mode="bicubic", align_corners=True)[0, 0]

    value = 0.45 * smooth(10, frames // 12, frames) + 0.25 * smooth(v["mels"] // 2, frames // 3, frames)
    loud = smooth(2, frames // 25, frames).mean(0)
    value = value + 0.5 * loud - torch.linspace(0, 0.5, v["mels"])[:, None]
    return value.clamp(value.max() - 2.0).half().float()


# --- one variant -----------------------------------------------------------------------------------------------------


def targets(v):
    """Inputs of the decoder for teacher forcing: a prompt, text and timestamps, and once nearly all positions."""
    rng = torch.Generator().manual_seed(900 + v["seed"])
    ids = ids_of(v)

    def text(n):
        return torch.randint(33, 256 + v["merges"], (n,), generator=rng).tolist()

    task = [ids["sot"] + 1 + 3, ids["transcribe"]] if v["languages"] else []
    time = ids["timestamps"]
    return [
        [ids["sot"], *task, ids["no_timestamps"], *text(9)],
        [ids["prev"], *text(19), ids["sot"], *task, time, *text(7), time + 31, time + 31, *text(TARGET - 40), time + 49],
    ]


def attention_peaks(model, features, tokens):
    """The mean over heads and queries of the largest weight, of the three kinds of attention."""
    out = model(input_features=features, decoder_input_ids=torch.tensor([tokens]), output_attentions=True)
    kinds = dict(encoder=out.encoder_attentions, decoder=out.decoder_attentions, cross=out.cross_attentions)
    first = {"encoder": 0, "decoder": 8, "cross": 0}
    return {k: torch.stack([a[0, :, first[k] :].amax(-1) for a in attn]).mean().item() for k, attn in kinds.items()}


def peaked_weights(v, config, features):
    model = WhisperForConditionalGeneration(WhisperConfig(**config, attn_implementation="eager")).eval()
    gain = cross = 1.0
    while True:
        weights = random_weights(v, gain, cross)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert set(missing) <= {"proj_out.weight"} and not unexpected, (missing, unexpected)
        model.tie_weights()
        peaks = attention_peaks(model, features, targets(v)[1])
        if min(peaks.values()) > 0.33:
            return weights, peaks
        if min(peaks["encoder"], peaks["decoder"]) <= 0.33:
            gain *= 1.08
        if peaks["cross"] <= 0.33:
            cross *= 1.08


def make(name, v, folder):
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(v)
    features = log_mel(v)
    window = 2 * v["window"]
    weights, peaks = peaked_weights(v, config, features[None, :, :window])
    for file, value in [
        ("config", config), ("generation_config", generation_config_of(v)),
        ("preprocessor_config", preprocessor_config_of(v)),
    ]:  # fmt: skip
        (folder / f"{file}.json").write_text(json.dumps(value, indent=2) + "\n")
    tokenizer_of(v).save(str(folder / "tokenizer.json"))
    save(
        {n: t.to(getattr(torch, v["dtype"])) for n, t in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    model = load(folder)
    tensors = {"features": features.half()}
    segment = features[None, :, :window]
    tensors["encoder"] = model.model.encoder(segment).last_hidden_state[0]
    forced = []
    for i, tokens in enumerate(targets(v)):
        logits = model(input_features=segment, decoder_input_ids=torch.tensor([tokens])).logits[0]
        tensors[f"logits.{i}"] = logits.contiguous()
        forced.append(tokens)
    save(tensors, folder / "expected.safetensors")
    expected = {
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
        "tolerance": TOLERANCE,
        "attention_peaks": {k: round(p, 3) for k, p in peaks.items()},
        "forced": forced,
    }
    (folder / "expected.json").write_text(compact(expected) + "\n")
    print(name, peaks, {n: tuple(t.shape) for n, t in tensors.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="default: all")
    parser.add_argument("--out", type=Path, default=HERE / "speech", help="folder to write to")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name in args.variants or VARIANTS:
        make(name, VARIANTS[name], args.out / name)


if __name__ == "__main__":
    main()
