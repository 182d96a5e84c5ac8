#!/usr/bin/env python3
"""Write the trained weights as a Hugging Face directory that transformers loads as Whisper.

    export.py --data DATA --run RUN --out DIR

DIR receives config.json, generation_config.json, preprocessor_config.json, tokenizer.json, tokenizer_config.json and
model.safetensors (float16). Then the directory is loaded with transformers, and the logits of a window are compared
with those of model.py.
"""
import argparse
import json
import os

import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

import tokens
from audio import RATE, LogMel
from model import ALIGNMENT, CONFIG, Whisper


def configuration():
    c = CONFIG
    return {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "activation_function": "gelu",
        "vocab_size": tokens.VOCABULARY, "num_mel_bins": 80, "d_model": c["d_model"],
        "encoder_layers": c["encoder_layers"], "encoder_attention_heads": c["heads"], "encoder_ffn_dim": c["ffn"],
        "decoder_layers": c["decoder_layers"], "decoder_attention_heads": c["heads"], "decoder_ffn_dim": c["ffn"],
        "num_hidden_layers": c["encoder_layers"], "max_source_positions": c["source_positions"],
        "max_target_positions": c["target_positions"], "dropout": 0.0, "attention_dropout": 0.0,
        "activation_dropout": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "init_std": 0.02,
        "is_encoder_decoder": True, "scale_embedding": False, "tie_word_embeddings": True, "use_cache": True,
        "bos_token_id": tokens.EOT, "eos_token_id": tokens.EOT, "pad_token_id": tokens.EOT,
        "decoder_start_token_id": tokens.SOT, "median_filter_width": 7, "torch_dtype": "float16",
    }


def generation(space):
    """Whisper's generation_config.json with this vocabulary's ids. `space` is the id of a lone space."""
    return {
        "alignment_heads": ALIGNMENT, "begin_suppress_tokens": [space, tokens.EOT],
        "suppress_tokens": [tokens.SOT, tokens.TRANSLATE, tokens.TRANSCRIBE, tokens.LM, tokens.PREV, tokens.NOSPEECH],
        "bos_token_id": tokens.EOT, "eos_token_id": tokens.EOT, "pad_token_id": tokens.EOT,
        "decoder_start_token_id": tokens.SOT, "prev_sot_token_id": tokens.PREV,
        "no_timestamps_token_id": tokens.NOTIMESTAMPS, "is_multilingual": True,
        "lang_to_id": {"<|en|>": tokens.EN, "<|fr|>": tokens.FR},
        "task_to_id": {"transcribe": tokens.TRANSCRIBE, "translate": tokens.TRANSLATE},
        # It was trained with speech that begins anywhere in the window, not only in its first second.
        "max_initial_timestamp_index": tokens.TIMES - 1,
        "max_length": CONFIG["target_positions"], "return_timestamps": False,
    }


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", required=True)
    args.add_argument("--run", required=True)
    args.add_argument("--out", required=True)
    args = args.parse_args()
    os.makedirs(args.out, exist_ok=True)

    weights = torch.load(f"{args.run}/ema.pt")
    tensors = {f"model.{name}": w.to(torch.float16).contiguous() for name, w in weights.items()
               if not name.startswith("phoneme.")}
    save_file(tensors, f"{args.out}/model.safetensors", metadata={"format": "pt"})
    tokenizer = tokenizers.Tokenizer.from_file(f"{args.data}/tokenizer.json")
    tokenizer.save(f"{args.out}/tokenizer.json", pretty=False)
    files = {
        "config": configuration(),
        "generation_config": generation(tokenizer.token_to_id("\u0120")),
        "tokenizer_config": {"tokenizer_class": "WhisperTokenizer", "bos_token": "<|endoftext|>",
                             "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
                             "add_prefix_space": False, "model_max_length": CONFIG["target_positions"]},
    }
    for name, content in files.items():
        with open(f"{args.out}/{name}.json", "w", encoding="utf-8") as out:
            json.dump(content, out, indent=2)
            out.write("\n")
    WhisperFeatureExtractor(chunk_length=tokens.WINDOW).save_pretrained(args.out)

    theirs = WhisperForConditionalGeneration.from_pretrained(args.out, dtype=torch.float32).eval()
    ours = Whisper(len(weights["phoneme.bias"])).eval()
    ours.load_state_dict({name: w.to(torch.float16).float() for name, w in weights.items()})
    mel = LogMel()(torch.tensor(np.random.default_rng(0).standard_normal((1, 10 * RATE)).astype(np.float32)) * 0.1)
    ids = torch.tensor([[tokens.SOT, tokens.EN, tokens.TRANSCRIBE, tokens.TIME, 300, 400]])
    with torch.no_grad():
        difference = (theirs(mel, decoder_input_ids=ids).logits - ours.decoder(ids, ours.encoder(mel))[0]).abs().max()
    processor = WhisperProcessor.from_pretrained(args.out)
    text = " Where is the station? It's 7:30."
    assert processor.tokenizer.decode(processor.tokenizer(text, add_special_tokens=False).input_ids) == text
    assert processor.tokenizer(text, add_special_tokens=False).input_ids == tokenizer.encode(text).ids
    print(f"logits equal to transformers' within {difference:.1e}; "
          f"{os.path.getsize(f'{args.out}/model.safetensors') / 1e6:.2f} MB of weights")
    assert difference < 1e-3


if __name__ == "__main__":
    main()
