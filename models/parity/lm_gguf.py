"""GGUF files of the models of `make_lm_fixtures.py`, as llama.cpp's converter writes them, and two checks of that:
`converter_differences` runs the converter itself, `llama_cpp_logits` the library. Neither is needed to make fixtures.
"""

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch

# Architectures, and those whose queries and keys llama.cpp turns in neighbouring pairs: their rows are permuted.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "smollm3": "smollm3",
    "phi3": "phi3",
    "granite": "granite",
    "ministral3": "mistral3",
    "lfm2": "lfm2",
    "hunyuan_v1_dense": "hunyuan-dense",
    "bitnet": "bitnet-b1.58",
}
NEIGHBOURS = {"llama", "smollm3", "granite", "mistral3"}


def vocabulary(size):
    """Pieces, scores and types of a SentencePiece vocabulary that knows no language."""
    pieces = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijklmnopqrstuvwxyz", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    pieces += [a + b for a in "\u2581etao" for b in "nihsrdluet"]
    assert len(set(pieces)) == len(pieces) >= size
    kinds = gguf.TokenType
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.NORMAL] * (size - 3)
    return pieces[:size], [-float(i) for i in range(size)], types


def add_vocabulary(writer, size):
    pieces, scores, types = vocabulary(size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def add_metadata(writer, config, spec, architecture):
    """What the model is, by the keys that the converter writes."""
    family = config["model_type"]
    heads, dim = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or dim // heads
    layer = next(l for l in reversed(spec["layers"]) if l["mixer"] == "attention")
    writer.add_block_count(len(spec["layers"]))
    # Hunyuan's configurations name a length that the converter knows to be wrong.
    writer.add_context_length(256 * 1024 if family == "hunyuan_v1_dense" else config["max_position_embeddings"])
    writer.add_embedding_length(dim)
    writer.add_feed_forward_length(ffn_of(config))
    writer.add_head_count(heads)
    kv_heads = config["num_key_value_heads"]
    writer.add_head_count_kv([0 if l["mixer"] == "conv" else kv_heads for l in spec["layers"]] if family == "lfm2" else kv_heads)
    writer.add_rope_freq_base(layer["rope.theta"])
    writer.add_layer_norm_rms_eps(spec["eps"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if config.get("head_dim") or family == "llama":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture in NEIGHBOURS | {"phi3"} or architecture == "bitnet-b1.58":
        writer.add_rope_dimension_count(layer["rope.dims"])
    if architecture in NEIGHBOURS | {"lfm2", "bitnet-b1.58"}:
        writer.add_vocab_size(config["vocab_size"])

    scaling = layer["rope.scaling"] or {"kind": None}
    if scaling["kind"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif scaling["kind"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original"])
        parameters = config.get("rope_parameters") or config["rope_scaling"]
        if "beta_fast" in parameters:
            writer.add_rope_scaling_yarn_beta_fast(parameters["beta_fast"])
        if "beta_slow" in parameters:
            writer.add_rope_scaling_yarn_beta_slow(parameters["beta_slow"])

    if family == "gemma3_text":
        writer.add_sliding_window(config["sliding_window"])
        writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    elif family == "phi3":
        writer.add_sliding_window(config.get("sliding_window") or 0)
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(scaling["magnitude"])
    elif family == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    elif family == "ministral3":
        writer.add_rope_scaling_yarn_log_mul(config["rope_parameters"]["mscale_all_dim"])
        writer.add_attn_temperature_scale(config["rope_parameters"]["llama_4_scaling_beta"])
    elif family == "lfm2":
        writer.add_shortconv_l_cache(config["conv_L_cache"])
    elif family == "hunyuan_v1_dense":
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_rope_scaling_factor(1.0)
        writer.add_rope_scaling_orig_ctx_len(256 * 1024)
    elif family == "bitnet":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(1.0)


def ffn_of(config):
    """Features of the feed-forward. LFM2's `block_ff_dim` is what it would be without a gate."""
    if config["model_type"] == "lfm2" and config["block_auto_adjust_ff_dim"]:
        multiple = config["block_multiple_of"]
        hidden = int(config["block_ffn_dim_multiplier"] * int(2 * config["block_ff_dim"] / 3))
        return multiple * -(-hidden // multiple)
    return config.get("intermediate_size", config.get("block_ff_dim"))


def tensors_of(config, spec, weights, architecture):
    """The tensors of the file, of `weights` by canonical names."""
    out = {}
    for name, tensor in weights.items():
        if architecture == "lfm2" and name == "output_norm.weight":
            name = "token_embd_norm.weight"
        if architecture in NEIGHBOURS and (".attn_q." in name or ".attn_k." in name):
            heads = config["num_attention_heads"] if ".attn_q." in name else config["num_key_value_heads"]
            tensor = tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
        if ".shortconv.conv." in name:
            tensor = tensor.squeeze(1)
        out[name] = tensor
    if architecture == "phi3":
        for i in range(len(spec["layers"])):
            block = f"blk.{i}"
            out[f"{block}.attn_qkv.weight"] = torch.cat([out.pop(f"{block}.attn_{p}.weight") for p in "qkv"])
            out[f"{block}.ffn_up.weight"] = torch.cat([out.pop(f"{block}.ffn_{p}.weight") for p in ("gate", "up")])
        for length in ("long", "short"):
            out[f"rope_factors_{length}.weight"] = torch.tensor(config["rope_scaling"][f"{length}_factor"])
    scaling = spec["layers"][0]["rope.scaling"]
    if scaling and scaling["kind"] == "llama3":
        out["rope_freqs.weight"] = llama3_divisors(spec["layers"][0]["rope.theta"], spec["layers"][0]["rope.dims"], scaling)
    return out


def llama3_divisors(theta, dims, scaling):
    divisors = []
    for frequency in 1.0 / theta ** (torch.arange(0, dims, 2, dtype=torch.float32) / dims):
        turns = scaling["original"] / (2 * math.pi / frequency)
        smooth = min(max((turns - scaling["low"]) / (scaling["high"] - scaling["low"]), 0.0), 1.0)
        divisors.append(1.0 / ((1.0 - smooth) / scaling["factor"] + smooth))
    return torch.tensor(divisors, dtype=torch.float32)


def write(path, config, spec, weights, architecture=None):
    architecture = architecture or ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Tiny random model")
    add_metadata(writer, config, spec, architecture)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_vocabulary(writer, config["vocab_size"])
    for tensor_name, tensor in sorted(tensors_of(config, spec, weights, architecture).items()):
        writer.add_tensor(tensor_name, np.ascontiguousarray(tensor.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- checks ----------------------------------------------------------------------------------------------------------


def contents(path):
    """Metadata without what only names the file, and tensors."""
    reader = gguf.GGUFReader(path)
    ignored = ("GGUF.", "general.")
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith(ignored)}
    fields["general.architecture"] = reader.fields["general.architecture"].contents()
    return fields, {t.name: np.array(t.data) for t in reader.tensors}


def converter_differences(sources, folder):
    """What llama.cpp's converter (`sources`: its repository) makes different of the model in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        copy, made = Path(scratch) / "model", Path(scratch) / "converted.gguf"
        shutil.copytree(folder, copy)
        (copy / "tokenizer.model").touch()
        environment = os.environ | {"PYTHONPATH": f"{sources}:{sources}/gguf-py"}  # the converter's own gguf
        subprocess.run([sys.executable, __file__, copy, made], env=environment, check=True)
        fields, tensors = contents(made)
    our_fields, our_tensors = contents(folder / "model.gguf")
    out = [f"{key}: {fields.get(key)!r}, ours {our_fields.get(key)!r}" for key in sorted({*fields, *our_fields})
           if fields.get(key) != our_fields.get(key)]  # fmt: skip
    for name in sorted({*tensors, *our_tensors}):
        if name not in tensors or name not in our_tensors:
            out.append(f"{name}: {'only ours' if name in our_tensors else 'missing'}")
        elif tensors[name].shape != our_tensors[name].shape or np.abs(tensors[name] - our_tensors[name]).max() > 1e-6:
            out.append(f"{name}: other values")
    return out


def convert(folder, made):
    """Runs llama.cpp's converter with our vocabulary in place of one from files."""
    from conversion import get_model_class
    from conversion.base import ModelBase, TextModel

    hparams = ModelBase.load_hparams(Path(folder), False)
    converter = get_model_class(hparams["architectures"][0])
    size = hparams["vocab_size"]

    def patch(cls):
        if "set_vocab" in cls.__dict__ and not cls.__name__.startswith("Mistral3"):
            cls.set_vocab = lambda self: add_vocabulary(self.gguf_writer, size)
        for child in cls.__subclasses__():
            patch(child)

    patch(TextModel)
    TextModel._create_vocab_sentencepiece = lambda self: vocabulary(size)
    logging.disable(logging.WARNING)
    converter(Path(folder), gguf.LlamaFileType.ALL_F32, Path(made)).write()


class LlamaCpp:
    """llama.cpp through llama-cpp-python's bindings, with the library in the folder `library`."""

    def __init__(self, library):
        os.environ["LLAMA_CPP_LIB_PATH"] = str(library)
        from llama_cpp import llama_cpp

        self.api = llama_cpp
        self.silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.silent, None)
        llama_cpp.llama_backend_init()

    def logits(self, path, tokens, context):
        """Logits of all positions, float32 throughout, without flash attention."""
        api = self.api
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = 0
        model = api.llama_model_load_from_file(str(path).encode(), parameters)
        assert model, f"llama.cpp does not load {path}"
        parameters = api.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = context
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.type_k = parameters.type_v = int(gguf.GGMLQuantizationType.F32)
        parameters.swa_full = True
        ctx = api.llama_init_from_model(model, parameters)
        assert ctx, f"llama.cpp makes no context for {path}"
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        assert api.llama_decode(ctx, batch) == 0
        vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        rows = np.ctypeslib.as_array(api.llama_get_logits(ctx), (len(tokens), vocab)).copy()
        api.llama_batch_free(batch)
        api.llama_free(ctx)
        api.llama_model_free(model)
        return torch.from_numpy(rows)


if __name__ == "__main__":
    convert(*sys.argv[1:])
