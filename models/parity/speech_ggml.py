"""Writes whisper.cpp's `.bin` files, and asks whisper.cpp itself whether they say what transformers' folder says.

    python speech_ggml.py                        # writes speech/tiny/model.bin and a quantised one
    python speech_ggml.py --check-whisper-cpp    # needs pywhispercpp 1.5.1: logits, and the texts of larger models

whisper.cpp loads the small models and computes their logits, but it knows the ids of special tokens from the size of the
vocabulary, so it generates nothing with them: the check makes random models with OpenAI's 51865 tokens and 1500
positions, which are not kept.

Its flash attention, which is on unless switched off, reads keys of zeros that fill the positions up to a multiple of 256;
the check switches it off.
"""

import argparse
import ctypes
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

import whisper_file

HERE = Path(__file__).resolve().parent
def mel_filters(bins):
    """librosa's filters, `[bins, 201]`, from transformers."""
    return transformers.WhisperFeatureExtractor(feature_size=bins).mel_filters.T.astype(np.float32)


def token_bytes(folder):
    """Text tokens in the order of their ids."""
    alphabet = {}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    for i, byte in enumerate([b for b in range(256) if b not in printable]):
        alphabet[chr(256 + i)] = byte
    alphabet |= {chr(b): b for b in printable}
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return [bytes(alphabet[c] for c in word) for word, _ in sorted(vocabulary.items(), key=lambda item: item[1])]


def write(path, config, weights, tokens, kind):
    """`weights` are tensors by their Hugging Face names."""
    arrays = {name: tensor.float().numpy() for name, tensor in weights.items()}
    whisper_file.write(path, config, arrays, tokens, mel_filters(config["num_mel_bins"]), kind)


def write_folder(folder, out, kinds):
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    for kind in kinds:
        name = "model.bin" if kind == "f16" else f"model-{kind}.bin"
        write(out / name, config, weights, token_bytes(folder), kind)


# --- the checks with whisper.cpp --------------------------------------------------------------------------------------

class ContextParams(ctypes.Structure):
    _fields_ = [
        ("use_gpu", ctypes.c_bool), ("flash_attn", ctypes.c_bool), ("gpu_device", ctypes.c_int),
        ("dtw_token_timestamps", ctypes.c_bool), ("dtw_aheads_preset", ctypes.c_int), ("dtw_n_top", ctypes.c_int),
        ("n_heads", ctypes.c_size_t), ("heads", ctypes.c_void_p), ("dtw_mem_size", ctypes.c_size_t),
    ]  # fmt: skip


def check_logits(folder):
    """The largest difference of whisper.cpp's logits to transformers', relative to a row's largest, by file."""
    import pywhispercpp

    (path,) = (Path(pywhispercpp.__file__).parent.parent / "pywhispercpp.libs").glob("libwhisper-*")
    library = ctypes.CDLL(str(path))
    library.whisper_context_default_params_by_ref.restype = ctypes.POINTER(ContextParams)
    library.whisper_init_from_file_with_params.restype = ctypes.c_void_p
    library.whisper_init_from_file_with_params.argtypes = [ctypes.c_char_p, ContextParams]
    library.whisper_get_logits.restype = ctypes.POINTER(ctypes.c_float)
    parameters = library.whisper_context_default_params_by_ref().contents
    parameters.use_gpu = parameters.flash_attn = False
    tensors = load_file(folder / "expected.safetensors")
    expected = json.loads((folder / "expected.json").read_text())["window"]
    features = tensors["features"][:, slice(*expected["frames"])].float().contiguous()
    for file in sorted(folder.glob("*.bin")):
        context = ctypes.c_void_p(library.whisper_init_from_file_with_params(str(file).encode(), parameters))
        values = (ctypes.c_float * features.numel())(*features.flatten().tolist())
        assert library.whisper_set_mel(context, values, features.shape[1], features.shape[0]) == 0
        assert library.whisper_encode(context, 0, 1) == 0
        worst = 0.0
        for i, forced in enumerate(expected["forced"]):
            for row, right in zip(forced["rows"], tensors[f"logits.{i}"]):
                tokens = forced["tokens"][: row + 1]
                assert library.whisper_decode(context, (ctypes.c_int * len(tokens))(*tokens), len(tokens), 0, 1) == 0
                size = len(right)
                found = torch.tensor(library.whisper_get_logits(context)[row * size : (row + 1) * size])
                worst = max(worst, ((found - right).abs().max() / right.abs().max()).item())
        library.whisper_free(context)
        limit = 5e-3 if file.name == "model.bin" else 0.5
        assert worst < limit, f"{file.name}: whisper.cpp differs by {worst:.2g}"
        print(f"{file.name}: whisper.cpp's logits differ by {worst:.2g}", flush=True)


LARGER = dict(
    d_model=32, heads=(2, 2), ffn=(128, 128), layers=(2, 3), mels=80, window=1500, frames=300, short=300,
    languages=99, merges=50257 - 256, dtype="float16", times=False, time_scale=0.7, end_scale=1.5, long=1,
)  # fmt: skip
COMMON = 320  # text tokens that are likely
GAP = 0.06  # between the logits of the best token and the next one, at every step


def chirp(seconds, seed):
    """Sound `[samples]`: gliding tones with pauses, and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16000 * seconds)) / 16000
    sound = np.zeros_like(t)
    for k in range(4):
        rate = 200 * 2 ** (k + rng.random()) * (1 + 0.3 * np.sin(2 * np.pi * (0.5 + rng.random()) * t))
        sound += 0.15 * np.sin(2 * np.pi * np.cumsum(rate) / 16000) * (np.sin(2 * np.pi * (0.7 + k) * t + k) > -0.3)
    return (sound + 0.003 * rng.standard_normal(len(t))).astype(np.float32)


def larger_model(seed):
    """A model of transformers with OpenAI's vocabulary, its configuration, weights, and tokens."""
    from make_speech_fixtures import config_of, generation_config_of, random_weights
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    import make_speech_fixtures

    v = LARGER | {"seed": seed}
    make_speech_fixtures.TARGET = 448
    make_speech_fixtures.suppressed = lambda v: specials(v)
    config, generation = config_of(v), generation_config_of(v)
    weights = random_weights(v, 1.2, 1.5)
    weights["model.decoder.embed_tokens.weight"][COMMON : 256 + v["merges"]] *= 0.3
    weights = {name: tensor.half().float() for name, tensor in weights.items()}
    model = WhisperForConditionalGeneration(WhisperConfig(**config, attn_implementation="eager")).eval()
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    model.generation_config = GenerationConfig(**generation)
    alphabet = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet += [b for b in range(256) if b not in alphabet]
    tokens = [bytes([b]) for b in alphabet] + [f" w{i}".encode() for i in range(v["merges"])]
    return v, model, config, weights, tokens


def specials(v):
    from make_speech_fixtures import ids_of

    ids = ids_of(v)
    return list(range(ids["sot"], ids["no_timestamps"] + 1))


def check_whisper_cpp(seeds):
    """Texts of both. whisper.cpp computes with float16 keys and values and a table of GELU's tanh approximation: compared
    are models whose every choice of a token is far from another one, and which end by themselves."""
    from make_speech_fixtures import ids_of
    from pywhispercpp.model import Model

    transformers.utils.logging.set_verbosity_error()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    results = []
    for seed in seeds:
        v, model, config, weights, tokens = larger_model(seed)
        ids, sound = ids_of(v), chirp(4.0, seed)
        extractor = transformers.WhisperFeatureExtractor(feature_size=80)
        features = extractor(sound, sampling_rate=16000, return_tensors="pt").input_features
        never = specials(v) + list(range(ids["timestamps"], ids["vocab"]))
        out = model.generate(
            features, language="de", task="transcribe", return_timestamps=False, suppress_tokens=never,
            max_new_tokens=60, force_unique_generate_call=True, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        generated = out["sequences"][0].tolist()
        found = [t for t in generated[4:] if t < ids["eot"]]
        gap = min((s[0].topk(2).values @ torch.tensor([1.0, -1.0])).item() for s in out["scores"])
        if generated[-1] != ids["eot"] or len(set(found)) < 5 or gap < GAP:
            continue
        text = b"".join(tokens[t] for t in found).decode(errors="replace").strip()
        row = {"seed": seed, "tokens": len(found), "gap": round(gap, 3), "transformers": text}
        with tempfile.TemporaryDirectory() as scratch:
            for kind in whisper_file.TYPES:
                path = Path(scratch) / f"{kind}.bin"
                write(path, config, weights, tokens, kind)
                peer = Model(
                    str(path), redirect_whispercpp_logs_to=None, n_threads=1, language="de", no_timestamps=True,
                    single_segment=True, temperature_inc=0.0, no_context=True, print_progress=False, suppress_blank=True,
                    context_params={"use_gpu": False, "flash_attn": False},
                )  # fmt: skip
                row[kind] = "".join(s.text for s in peer.transcribe(sound)).strip()
        results.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check-whisper-cpp", type=int, nargs="*", metavar="SEED", help="make larger models and compare")
    args = parser.parse_args()
    if args.check_whisper_cpp is not None:
        check_logits(HERE / "speech" / "tiny")
        check_whisper_cpp(args.check_whisper_cpp or range(1, 30))
    else:
        write_folder(HERE / "speech" / "tiny", HERE / "speech" / "tiny", ["f16", "q5_1"])


if __name__ == "__main__":
    main()
