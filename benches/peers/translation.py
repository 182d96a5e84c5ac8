"""Translation models beside CTranslate2 (int8), alternating.

Two models are measured:

- the translator that ships with babil, on sentences (`--text`), each side decoding to its own end of sentence;
- opus-mt's shape with random weights, on random tokens, exactly so many decoded for each sentence.

Both sides read the same weights (babil's file, converted to float32, then by `ctranslate2_model.py`), get the same
token ids, in batches of the same size, made of sentences of similar length, with the same beam and threads. Making
tokens from text and text from tokens is not in the time. Every process loads its model once, runs once to warm up, and
then the processes take turns, one at a time. CTranslate2 runs with its threads within a batch (intra_threads) and with
one thread for each batch (inter_threads), and with the better of its matrix libraries (`CT2_USE_MKL`; with both where
they are close); the fastest counts.
"""

import dataclasses
import json
import random
import statistics
import sys
from pathlib import Path

from common import HERE, WORK, Side, note, run, spread
from peers import OURS

PROGRAM = OURS / "translation"
FOLDER = WORK / "translation"
SENTENCES = FOLDER / "bundled.tokens"
RANDOM_SENTENCES = FOLDER / "opus-mt.tokens"
# Sentences of random tokens, and tokens decoded for each.
RANDOM, FORCED = 64, 20
# What CTranslate2 multiplies matrices with, by the value of CT2_USE_MKL.
LIBRARIES = {"0": "oneDNN", "1": "MKL"}


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    # Options of our example.
    ours: list
    # Folder of the converted model.
    peer: Path
    # Sentences as token ids.
    tokens: Path
    forced: int | None


BUNDLED = Model("bundled", [], FOLDER / "bundled-ctranslate2", SENTENCES, None)
OPUS_MT = Model(
    "opus-mt, random",
    ["--model", FOLDER / "opus-mt"],
    FOLDER / "opus-mt-ctranslate2",
    RANDOM_SENTENCES,
    FORCED,
)


def prepare(text):
    """The two models in both formats, and their sentences as token ids; without `text` (English sentences in the first
    column) those of the bundled model are not there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = HERE / "ctranslate2_model.py"
    if not (OPUS_MT.peer / "shared_vocabulary.json").exists():
        run(sys.executable, model, "random", FOLDER / "opus-mt")
        run(sys.executable, model, "convert", FOLDER / "opus-mt", OPUS_MT.peer)
    vocabulary = json.loads((FOLDER / "opus-mt" / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    generator = random.Random(1)
    lines = []
    for _ in range(RANDOM):
        tokens = [generator.randrange(2, vocabulary - 1) for _ in range(generator.randrange(4, 16))]
        lines.append(" ".join(map(str, [*tokens, 0])) + "\n")
    RANDOM_SENTENCES.write_text("".join(lines), encoding="utf-8")
    if text:
        options = ["--text", f"{text}:1", "--from", "en", "--to", "fr", "--rounds", 0]
        run(PROGRAM, *options, "--write-tokens", SENTENCES)
        run(PROGRAM, "--write-float", FOLDER / "bundled-float")
        run(sys.executable, model, "convert", FOLDER / "bundled-float", BUNDLED.peer)


def models():
    """Those that have been prepared."""
    if not SENTENCES.exists():
        note("the bundled translator is left out: prepare with --text FILE")
        return [OPUS_MT]
    return [BUNDLED, OPUS_MT]


class Translating(Side):
    def speeds(self):
        return [report["sentences_per_second"] for report in self.reports]

    def seconds(self):
        return statistics.median(report["seconds"] for report in self.reports)

    def cpu_per_1000(self):
        """CPU seconds for 1000 sentences."""
        seconds = [report["cpu_seconds"] for report in self.reports]
        if None in seconds:
            return None
        return statistics.median(seconds) * 1000 / self.ready["sentences"]


def peer_command(model):
    return [sys.executable, HERE / "ctranslate2_run.py", "--model", model.peer]


def matrix_libraries(model):
    """The values of CT2_USE_MKL that are worth measuring here: one may be several times slower than the other."""
    seconds = {}
    for mkl in LIBRARIES:
        command = [*peer_command(model), "--tokens", model.tokens, "--beam", 1, "--limit", 16, "--on-request"]
        command += ["--force", 10]
        side = Translating(LIBRARIES[mkl], command, {"CT2_USE_MKL": mkl})
        side.repeat()
        seconds[mkl] = min(side.repeat()["seconds"] for _ in range(3))
        side.close()
    return [mkl for mkl in LIBRARIES if seconds[mkl] < 1.5 * min(seconds.values())]


def measure(record, model, libraries, batch, beam, threads, rounds, limit):
    """Adds a case to the record: `libraries` are those of CTranslate2 that count, `limit` the most sentences."""
    note(f"{model.name}, beam {beam}, batch {batch}, threads {threads}")
    common = ["--tokens", model.tokens, "--limit", limit, "--batch", batch, "--beam", beam, "--threads", threads]
    common += ["--on-request"]
    if model.forced:
        common += ["--force", model.forced]
    outputs = FOLDER / "ours.out", FOLDER / "peer.out"
    environment = {"BABIL_CACHE": str(FOLDER / "cache")}
    ours = Translating("babil", [PROGRAM, *model.ours, *common, "--write-output", outputs[0]], environment)
    peers = []
    for workers in sorted({1, threads}):
        for mkl in libraries:
            name = f"intra {threads // workers}, inter {workers}, {LIBRARIES[mkl]}"
            command = [*peer_command(model), *common, "--workers", workers]
            command += ["--write-output", f"{outputs[1]}.{len(peers)}"]
            peers.append(Translating(name, command, {"CT2_USE_MKL": mkl}))
    sides = [ours, *peers]
    for side in sides:
        side.repeat()
    for i in range(rounds):
        # A different one begins each time.
        first = i % len(sides)
        for side in sides[first:] + sides[:first]:
            side.measure()
    peer = min(peers, key=Translating.seconds)
    memory = {side: side.peak_memory() for side in (ours, peer)}
    for side in sides:
        side.close()
    peer_output = Path(f"{outputs[1]}.{peers.index(peer)}")
    translations = [path.read_text(encoding="utf-8").splitlines() for path in (outputs[0], peer_output)]
    same = sum(a == b for a, b in zip(*translations, strict=True)) / len(translations[0])

    def result(side):
        start = side.ready["memory_at_start"]
        return {
            "setting": side.name,
            "sentences_per_second": spread(side.speeds()),
            "cpu_seconds_per_1000": side.cpu_per_1000(),
            "tokens": side.reports[-1]["tokens"],
            "anonymous_at_start": start["anonymous"] if start else None,
            "anonymous": memory[side],
            "load_seconds": side.ready["load_seconds"],
        }

    ratios = [a / b for a, b in zip(ours.speeds(), peer.speeds(), strict=True)]
    record.add(
        "translation",
        model=model.name,
        beam=beam,
        batch=batch,
        threads=threads,
        forced_tokens=model.forced,
        sentences=ours.ready["sentences"],
        rounds=rounds,
        ours=result(ours),
        peer=result(peer),
        peer_settings={side.name: spread(side.speeds()) for side in peers},
        ratio=spread(ratios),
        same_translations=same,
    )
