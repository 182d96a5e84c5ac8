"""Speech models beside whisper.cpp and CTranslate2 (which faster-whisper runs on), alternating.

Random models at the shapes of whisper-tiny and whisper-base, from the same float16 weights, and a random window of 30 s,
all 1500 positions. Each side encodes it and decodes a prompt of 4 tokens and 8 + 128 tokens greedily, the end of the text
never being chosen. What is timed:

- `encode`: the encoder. babil and whisper.cpp then also have the decoder's keys and values of it, CTranslate2 computes
  them with the first token.
- `decode`: the last 128 tokens.
- `window`: everything.

ONNX Runtime runs the encoder and the decoder's keys and values, generated from the same file, with its own provider for
CPUs and with OpenVINO, in float32 and with weights of 8 bits. `encode` is all that is recorded of it: the decoder is ours,
and so is most of the memory. Sound and text are not in the time. whisper.cpp runs its float16 file and the same
quantised to 8 bits, each with and without flash attention; CTranslate2 in int8 with either matrix library and 1 thread or
all. Settings that are clearly slower than the best of a peer in all of their times are left out after a first look; for
each number the best of the others counts. Every process loads its model once, runs once to warm up, and then the processes take turns, one at a time.
"""

import dataclasses
import sys

from common import HERE, WORK, Side, note, run
from peers import OURS, WHISPER_CPP, onnxruntime_devices
from speech_model import FILES, SHAPES
from translation import LIBRARIES

FOLDER = WORK / "speech"
TOKENS = 128
# In the first look.
LOOK = 16
TIMES = ("encode", "decode", "window")
# A setting that takes so many times as long as the best one is not measured further.
SLOWER = 1.2


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    peer: str
    name: str
    command: list
    environment: dict
    # What of it is the peer's own.
    times: tuple = TIMES


def prepare(models):
    for model in models:
        if not (FOLDER / model / "frames").exists():
            note(f"{model}: making random models")
            run(sys.executable, HERE / "speech_model.py", model, FOLDER / model)


def models():
    """Those that have been prepared."""
    return [model for model in SHAPES if (FOLDER / model / "frames").exists()]


def settings(model, threads, peers):
    """babil's, and all of the peers'; their commands lack the number of tokens."""
    folder = FOLDER / model
    common = ["--frames", folder / "frames"]
    ours = [OURS / "speech", folder / "f16.bin", "--on-request", "--threads", threads, *common]
    found = [Setting("babil", "q8_0", ours, {"BABIL_CACHE": str(FOLDER / "cache")})]
    peer = [sys.executable, HERE / "speech_run.py"]
    if "whisper.cpp" in peers:
        for kind in FILES:
            for flash in (False, True):
                command = [*peer, folder / f"{kind}.bin", "--library", WHISPER_CPP, "--threads", threads, *common]
                command += ["--flash-attention"] if flash else []
                found.append(Setting("whisper.cpp", f"{kind}{', flash attention' if flash else ''}", command, {}))
    if "onnxruntime" in peers:
        for name, environment in onnxruntime_devices().items():
            npu = [*ours, "--npu"]
            found.append(Setting("onnxruntime", name, npu, environment | found[0].environment, times=("encode",)))
    if "ctranslate2" in peers:
        for mkl, library in LIBRARIES.items():
            for count in sorted({1, threads}):
                command = [*peer, folder / "ctranslate2", "--threads", count, *common]
                found.append(Setting("ctranslate2", f"{library}, {count} threads", command, {"CT2_USE_MKL": mkl}))
    return found


def times(report):
    """Seconds of each of `TIMES`."""
    decode = report["decode_seconds"]
    return {
        "encode": report["encode_seconds"],
        "decode": decode,
        "window": report["encode_seconds"] + report["start_seconds"] + decode,
    }


def worth_measuring(looks):
    """Of {setting: seconds of each time}, those settings that are near their peer's best in any of the times."""
    best = {}
    for setting, look in looks.items():
        for name in setting.times:
            key = setting.peer, name
            best[key] = min(best.get(key, look[name]), look[name])
    return [
        setting
        for setting, look in looks.items()
        if any(look[name] < SLOWER * best[setting.peer, name] for name in setting.times)
    ]


def warmed_up(setting, tokens):
    """A side that has warmed up."""
    side = Side(f"{setting.peer}, {setting.name}", [*setting.command, "--tokens", tokens], setting.environment)
    side.repeat()
    return side


def measure(record, model, threads, rounds, peers):
    """Adds a case to the record."""
    note(f"{model}, threads {threads}")
    all_settings = settings(model, threads, peers)
    looks = {}
    for setting in all_settings:
        side = warmed_up(setting, LOOK)
        looks[setting] = times(side.repeat())
        side.close()
    sides = {setting: warmed_up(setting, TOKENS) for setting in worth_measuring(looks)}
    order = list(sides)
    for i in range(rounds):
        # A different one begins each time.
        first = i % len(order)
        for setting in order[first:] + order[:first]:
            sides[setting].measure()
    memory = {setting: side.peak_memory() for setting, side in sides.items()}
    results = []
    for setting, side in sides.items():
        side.close()
        start = side.ready["memory_at_start"]
        whole = "window" in setting.times
        rows = [times(report) for report in side.reports]
        results.append(
            {
                "peer": setting.peer,
                "setting": setting.name,
                "seconds": {name: [row[name] for row in rows] for name in setting.times},
                "anonymous": memory[setting] if whole else None,
                "anonymous_at_start": start["anonymous"] if start and whole else None,
                "mel_seconds": side.ready.get("mel_seconds"),
                "tokens": len(side.reports[-1]["tokens"]),
                "first_tokens": side.reports[-1]["tokens"][:4],
            }
        )
    record.add("speech", model=model, threads=threads, tokens=TOKENS, rounds=rounds, sides=results)
