"""Cold start: seconds from the start of a process to the first byte of its answer.

The answer is one token after a short prompt. babil is started twice in each round: with an empty cache folder, which
is its first start, in which it packs the weights; and again, as all later starts. The file itself is in the system's
cache, for all sides. mistral.rs answers in a chat only, and is not measured.
"""

import dataclasses
import os
import shutil
import subprocess
import time

from common import PAUSE, note
from language import CACHE
from models import path
from peers import CANDLE, OURS, llama_cpp_builds

PROMPT = "The quick brown fox jumps over the lazy dog and then"
# Tokens for which both sides make room.
CONTEXT = 2048


def first_byte(command, environment):
    """Seconds until the first byte of standard output, or until its end if it is empty; `None` if the program fails."""
    time.sleep(PAUSE)
    command = [str(part) for part in command]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    start = time.perf_counter()
    with subprocess.Popen(command, env=os.environ | environment, **pipes) as process:
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
    return seconds if process.returncode == 0 else None


def commands(case, peers):
    """{name: (command, environment)}; the order is that of a round."""
    file = path(case.model, case.quant)
    run = ["run", file, "--raw", "--temperature", 0, "--max-tokens", 1, "--ctx", CONTEXT, "--threads", case.threads]
    cache = {"BABIL_CACHE": str(CACHE)}
    found = {name: ([OURS / "babil", *run, PROMPT], cache) for name in ("babil, first start", "babil")}
    if "llama.cpp" in peers:
        options = ["-m", file, "-p", PROMPT, "-n", 1, "--temp", 0, "-c", CONTEXT, "-t", case.threads]
        options += ["-no-cnv", "--no-display-prompt", "--no-warmup"]
        for name, folder in llama_cpp_builds().items():
            found[name] = ([folder / "llama-completion", *options], {})
    if "candle" in peers:
        command = [CANDLE / "babil", *run, "--backend", "candle", PROMPT]
        found["candle"] = (command, {"RAYON_NUM_THREADS": str(case.threads)})
    return found


def measure(record, case, rounds, peers):
    """Adds rounds of cold starts to the record."""
    for i in range(rounds):
        note(f"{case}: cold start {i + 1} of {rounds}")
        shutil.rmtree(CACHE, ignore_errors=True)
        seconds = {name: first_byte(*command) for name, command in commands(case, peers).items()}
        seconds = {name: value for name, value in seconds.items() if value is not None}
        record.add("cold", **dataclasses.asdict(case), seconds=seconds)
    shutil.rmtree(CACHE, ignore_errors=True)
