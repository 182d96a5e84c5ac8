"""Language models beside llama.cpp, candle and mistral.rs: how fast, how much processor time, how much memory.

All sides run the same GGUF files with the same threads: prompts (prefill), and tokens generated one by one after a
prompt of so many (decode). In each round every side has its turn: its process loads the model, warms up, and measures
once.

- babil and candle: our example `generation`, candle's models behind our trait. candle's sequences end at 4096 tokens.
- llama.cpp: its `llama-bench`. Both ways to compute attention (`-fa`) run in the first round, for each number; the
  faster one runs in the others too.
- ONNX Runtime and OpenVINO: prompts alone, by the same example with `--npu`, in chunks of fixed size. Each runs once
  before it is timed, because it is compiled then; where our CPU code computed a part, nothing is recorded. Neither is
  what would be generated, which is our own code, nor the memory, of which most is ours.
- mistral.rs: its `bench`, which generates after a prompt of 4 tokens, and nothing deeper.

Keys and values are float16 for babil and llama.cpp, and what candle and mistral.rs choose. Processor time is that of
all threads between the beginning and the end of what is timed, memory the most that a process had at any moment of its
life. How fast the machine reads memory is measured in each round, too.
"""

import dataclasses
import json
import re
import shutil

from common import WORK, note, watch
from models import path
from peers import CANDLE, MISTRALRS, OURS, llama_cpp_builds, onnxruntime_devices

# Tokens that are generated at each depth.
GENERATED = 32
# Where babil keeps its packed copies of the weights.
CACHE = WORK / "cache"
CANDLE_POSITIONS = 4096
# Prompts of 128 and 512 tokens need three sessions of ONNX Runtime, each with the weights in float32: 12 GB at 1B.
SMALL = ["smollm2-135m", "qwen2.5-0.5b"]


@dataclasses.dataclass(frozen=True)
class Work:
    """A prompt of so many tokens, or tokens generated after so many."""

    kind: str  # prefill or decode
    tokens: int

    def __str__(self):
        return f"{self.kind} {self.tokens}"


@dataclasses.dataclass(frozen=True)
class Case:
    model: str
    quant: str
    threads: int

    def __str__(self):
        return f"{self.model} {self.quant}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Side:
    """What one side has measured in one round: {work: [tokens per second, CPU seconds a token]}, bytes of memory."""

    def __init__(self):
        self.speeds, self.anonymous = {}, 0

    def add(self, work, tokens_per_second, cpu_seconds):
        """The faster of two ways to do the same."""
        if tokens_per_second > self.speeds.get(str(work), [0])[0]:
            self.speeds[str(work)] = [tokens_per_second, cpu_seconds]

    def saw(self, watched):
        self.anonymous = max(self.anonymous, watched.anonymous)


def arguments(option, works):
    return [part for work in works for part in (option, work.tokens)]


def split(works):
    return [w for w in works if w.kind == "prefill"], [w for w in works if w.kind == "decode"]


def generation(program, case, works, options, environment):
    """Our example: the side, and its whole report."""
    prompts, depths = split(works)
    command = [program, path(case.model, case.quant), "--threads", case.threads, "--rounds", 1, "--generate", GENERATED]
    command += [*options, *arguments("--prompt", prompts), *arguments("--depth", depths)]
    watched = watch(*command, environment=environment)
    if watched is None:
        return None, None
    side, report = Side(), watched.json()[-1]
    side.saw(watched)
    for work, speed in zip(prompts + depths, report["prompts"] + report["generation"], strict=True):
        side.add(work, speed["tokens_per_second"], speed["cpu_seconds_per_token"])
    return side, report


class Babil:
    def __init__(self, case):
        self.case, self.bytes_per_token = case, {}

    def measure(self, works):
        program, environment = OURS / "generation", {"BABIL_CACHE": str(CACHE)}
        side, report = generation(program, self.case, works, [], environment)
        if side is None:
            raise SystemExit(f"babil cannot run {self.case}")
        for speed in report["generation"]:
            work = Work("decode", speed["tokens"])
            self.bytes_per_token[str(work)] = report["weight_bytes"] + speed["state_bytes"]
        return side


class Candle:
    def __init__(self, case):
        self.case = case

    def measure(self, works):
        works = [work for work in works if work.tokens + GENERATED <= CANDLE_POSITIONS]
        # candle gives a longer prompt in pieces to its model token by token.
        options = ["--backend", "candle", "--chunk", CANDLE_POSITIONS]
        environment = {"RAYON_NUM_THREADS": str(self.case.threads)}
        return generation(CANDLE / "generation", self.case, works, options, environment)[0]


class LlamaCpp:
    def __init__(self, case, folder):
        self.case, self.folder = case, folder
        # The faster `-fa` of each work.
        self.attention = {}

    def measure(self, works):
        side = Side()
        for attention in (0, 1):
            prompts, depths = split([work for work in works if self.attention.get(work, attention) == attention])
            if prompts:
                tokens = ",".join(str(work.tokens) for work in prompts)
                if not self.run(side, attention, "-p", tokens, "-n", 0):
                    return None
            if depths:
                tokens = ",".join(str(work.tokens) for work in depths)
                if not self.run(side, attention, "-p", 0, "-n", GENERATED, "-d", tokens):
                    return None
        return side

    def run(self, side, attention, *options):
        common = ["-m", path(self.case.model, self.case.quant), "-t", self.case.threads, "-fa", attention]
        watched = watch(self.folder / "llama-bench", *common, "-r", 1, "-o", "jsonl", "--progress", *options)
        if watched is None:
            return False
        side.saw(watched)
        start = 0
        for line in watched.lines:
            if re.search(r" (prompt|generation) run \d", line.text):
                # What is timed begins.
                start = line.cpu_seconds
            if not line.text.startswith("{"):
                continue
            row = json.loads(line.text)
            prompt = row["n_prompt"]
            work = Work("prefill", prompt) if prompt else Work("decode", row["n_depth"])
            before = side.speeds.get(str(work), [0])[0]
            side.add(work, row["avg_ts"], (line.cpu_seconds - start) / (prompt or GENERATED))
            if side.speeds[str(work)][0] > before:
                self.attention[work] = attention
        return True


class MistralRs:
    def __init__(self, case):
        self.case = case

    def measure(self, works):
        side = Side()
        for work in works:
            if work.kind == "decode" and work.tokens > 0:
                continue
            prefill = work.kind == "prefill"
            lengths = (work.tokens, 0) if prefill else (0, GENERATED)
            file = path(self.case.model, self.case.quant)
            command = [MISTRALRS, "bench", "--cpu", "--format", "gguf", "-m", file.parent, "-f", file.name]
            command += ["--prompt-len", lengths[0], "--gen-len", lengths[1], "--iterations", 1, "--warmup", 1]
            watched = watch(*command, environment={"RAYON_NUM_THREADS": str(self.case.threads), "NO_COLOR": "1"})
            if watched is None:
                return None
            side.saw(watched)
            times = {}
            for line in watched.lines:
                if found := re.search(r"Iteration 1/1|Benchmark Results", line.text):
                    times[found[0]] = line.cpu_seconds
                if found := re.search(r"(?:Prefill|Decode) \(\d+ tokens\)\D+([\d.]+) ±", line.text):
                    cpu = times["Benchmark Results"] - times["Iteration 1/1"]
                    side.add(work, float(found[1]), cpu / (work.tokens if prefill else GENERATED))
        return side


class OnnxRuntime:
    """Prompts on a device that stands in for an NPU; what is generated is ours, and so is the memory."""

    def __init__(self, case, environment):
        self.case, self.environment = case, environment | {"BABIL_CACHE": str(CACHE)}

    def measure(self, works):
        prompts = split(works)[0]
        if not prompts:
            return Side()
        side = generation(OURS / "generation", self.case, prompts, ["--npu"], self.environment)[0]
        if side:
            side.anonymous = 0
        return side


def sides_of(case, peers):
    """{name: side} of a case."""
    sides = {"babil": Babil(case)}
    if "llama.cpp" in peers:
        sides |= {name: LlamaCpp(case, folder) for name, folder in llama_cpp_builds().items()}
    if "candle" in peers:
        sides["candle"] = Candle(case)
    if "onnxruntime" in peers and case.model in SMALL:
        sides |= {name: OnnxRuntime(case, environment) for name, environment in onnxruntime_devices().items()}
    if "mistral.rs" in peers:
        sides["mistral.rs"] = MistralRs(case)
    return sides


def read_speed(threads):
    """Bytes per second that this machine reads from memory now."""
    return watch(OURS / "bandwidth", "--threads", threads).json()[-1]["bytes_per_second"]


def measure(record, case, prompts, depths, rounds, peers):
    """Adds rounds of a case to the record."""
    works = [Work("prefill", tokens) for tokens in prompts] + [Work("decode", tokens) for tokens in depths]
    sides = sides_of(case, peers)
    # Packs the weights, so that the first round is like the others.
    Babil(case).measure([Work("decode", 0)])
    for i in range(rounds):
        note(f"{case}: round {i + 1} of {rounds}")
        names, results = list(sides), {}
        read = read_speed(case.threads)
        # A different one begins each time.
        first = i % len(names)
        for name in names[first:] + names[:first]:
            side = sides[name].measure(works)
            if side is None:
                note(f"{name} is left out of {case}")
                del sides[name]
            else:
                results[name] = {"speeds": side.speeds, "anonymous": side.anonymous}
        record.add(
            "language",
            **dataclasses.asdict(case),
            bytes_per_second=read,
            bytes_per_token=sides["babil"].bytes_per_token,
            sides=results,
        )
    shutil.rmtree(CACHE, ignore_errors=True)
