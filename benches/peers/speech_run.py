"""The side of whisper.cpp or of CTranslate2 in `speech.py`: the lines of JSON of the example `speech`, on request.

whisper.cpp is called through its library, as its own programs do: the encoder, and the decoder token by token, of which
the largest logit is taken. CTranslate2 decodes by itself; the few tokens and all of them are decoded separately, and the
difference counts.
"""

import argparse
import ctypes
import sys
import time
from pathlib import Path

import numpy as np
from process import memory, report
from speech_model import END, MELS, PROMPT, VOCAB, WINDOW

# Tokens that are not counted, as in the example.
START = 8


class WhisperParameters(ctypes.Structure):
    """`whisper_context_params` of whisper.cpp 1.8.5."""

    _fields_ = [
        ("use_gpu", ctypes.c_bool), ("flash_attn", ctypes.c_bool), ("gpu_device", ctypes.c_int),
        ("dtw_token_timestamps", ctypes.c_bool), ("dtw_aheads_preset", ctypes.c_int), ("dtw_n_top", ctypes.c_int),
        ("n_heads", ctypes.c_size_t), ("heads", ctypes.c_void_p), ("dtw_mem_size", ctypes.c_size_t),
    ]  # fmt: skip


class WhisperCpp:
    def __init__(self, args, frames):
        self.threads = args.threads
        self.library = library = ctypes.CDLL(str(args.library))
        library.whisper_version.restype = ctypes.c_char_p
        library.whisper_print_system_info.restype = ctypes.c_char_p
        library.whisper_context_default_params_by_ref.restype = ctypes.POINTER(WhisperParameters)
        library.whisper_init_from_file_with_params.restype = ctypes.c_void_p
        library.whisper_init_from_file_with_params.argtypes = [ctypes.c_char_p, WhisperParameters]
        library.whisper_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        library.whisper_log_set(silent, None)
        parameters = library.whisper_context_default_params_by_ref().contents
        parameters.use_gpu, parameters.flash_attn = False, args.flash_attention
        self.context = ctypes.c_void_p(library.whisper_init_from_file_with_params(str(args.model).encode(), parameters))
        if not self.context:
            raise SystemExit(f"whisper.cpp does not open {args.model}")
        self.version = f"{library.whisper_version().decode()}, {library.whisper_print_system_info().decode().strip()}"
        values = frames.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        self.check(library.whisper_set_mel(self.context, values, frames.shape[1], frames.shape[0]))

    def check(self, status):
        if status != 0:
            raise SystemExit(f"whisper.cpp has failed: {status}")

    def encode(self):
        self.check(self.library.whisper_encode(self.context, 0, self.threads))

    def step(self, tokens, position):
        array = (ctypes.c_int * len(tokens))(*tokens)
        self.check(self.library.whisper_decode(self.context, array, len(tokens), position, self.threads))
        logits = np.ctypeslib.as_array(self.library.whisper_get_logits(self.context), (len(tokens), VOCAB))[-1]
        logits[END] = -np.inf
        return int(logits.argmax())

    def decode(self, count):
        start = time.perf_counter()
        tokens = [self.step(PROMPT, 0)]
        while len(tokens) < START + count:
            if len(tokens) == START:
                middle = time.perf_counter()
            tokens.append(self.step(tokens[-1:], len(PROMPT) + len(tokens) - 1))
        return tokens, middle - start, time.perf_counter() - middle


class CTranslate2:
    def __init__(self, args, frames):
        import ctranslate2

        self.library, self.version = ctranslate2, ctranslate2.__version__
        options = {"compute_type": args.compute_type, "intra_threads": args.threads, "inter_threads": 1}
        self.model = ctranslate2.models.Whisper(str(args.model), device="cpu", **options)
        self.frames = ctranslate2.StorageView.from_array(frames[None])

    def encode(self):
        self.encoded = self.model.encode(self.frames)

    def generate(self, count):
        # At most half of this length is generated.
        options = {"beam_size": 1, "max_length": 2 * count, "suppress_tokens": [END], "suppress_blank": False}
        (result,) = self.model.generate(self.encoded, [PROMPT], **options)
        tokens = result.sequences_ids[0]
        if len(tokens) != count:
            raise SystemExit(f"CTranslate2 has decoded {len(tokens)} tokens in place of {count}")
        return tokens

    def decode(self, count):
        start = time.perf_counter()
        self.generate(START)
        middle = time.perf_counter()
        tokens = self.generate(START + count)
        end = time.perf_counter()
        return tokens, middle - start, (end - middle) - (middle - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a file of whisper.cpp, or a folder of CTranslate2")
    parser.add_argument("--library", type=Path, help="libwhisper.so; CTranslate2 where it is not given")
    parser.add_argument("--flash-attention", action="store_true", help="of whisper.cpp")
    parser.add_argument("--compute-type", default="int8", help="of CTranslate2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=Path, required=True, help="a window's frames, as float32")
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()
    memory_at_start = memory()
    frames = np.fromfile(args.frames, "<f4").reshape(MELS, 2 * WINDOW)
    start = time.perf_counter()
    model = WhisperCpp(args, frames) if args.library else CTranslate2(args, frames)
    seconds = time.perf_counter() - start
    report(version=model.version, load_seconds=seconds, memory_at_start=memory_at_start)
    for _ in sys.stdin:
        start = time.perf_counter()
        model.encode()
        encode_seconds = time.perf_counter() - start
        tokens, start_seconds, decode_seconds = model.decode(args.tokens)
        times = {"encode_seconds": encode_seconds, "start_seconds": start_seconds, "decode_seconds": decode_seconds}
        report(**times, start_tokens=START, tokens=tokens, memory=memory())


if __name__ == "__main__":
    main()
