#!/usr/bin/env python3
"""Instructions that a token takes on 64-bit ARM, counted under emulation (qemu): not time, but no noise either.

    benches/arm64.sh setup                        once, as root, on Debian
    benches/arm_instructions.py MODEL.gguf...     [--json FILE]

A model generates a few tokens with one thread, and then some more; what the second run has more of, divided by its
additional tokens, is what a token takes. qemu logs each block of instructions when it translates it, with its
instructions, and each time it enters it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARM64 = HERE / "arm64.sh"
PROGRAM = HERE.parent / "target/aarch64/aarch64-unknown-linux-gnu/release/examples/generation"
CPUS = ["cortex-a72", "cortex-a76", "max"]
TOKENS = 2, 6

ENTERED = re.compile(r"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")
INSTRUCTION = re.compile(r"0x([0-9a-f]+):  ")


def generate(cpu, model, tokens, environment):
    """The command that generates `tokens` tokens, and its environment."""
    command = [ARM64, "run", cpu, PROGRAM, model, "--threads", "1", "--depth", "0", "--generate", str(tokens), "--rounds", "1"]
    return command, os.environ | environment


def instructions(cpu, model, tokens, environment):
    """Instructions of a run that generates `tokens` tokens."""
    reader, writer = os.pipe()
    # Blocks are entered by way of qemu's main loop, which is what logs them.
    log = {"QEMU_LOG": "in_asm,exec,nochain", "QEMU_LOG_FILENAME": f"/proc/self/fd/{writer}"}
    command, environment = generate(cpu, model, tokens, environment | log)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, pass_fds=[writer]) as process:
        os.close(writer)
        lengths, entered = {}, Counter()
        block = None
        with open(reader) as lines:
            for line in lines:
                if match := ENTERED.match(line):
                    entered[int(match[1], 16)] += 1
                elif line.startswith("IN:"):
                    block = None
                elif match := INSTRUCTION.match(line):
                    address = int(match[1], 16)
                    block = address if block is None else block
                    lengths[block] = (address - block) // 4 + 1
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return sum(times * lengths[address] for address, times in entered.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="GGUF files of small models")
    parser.add_argument("--cpus", default=",".join(CPUS), help="as qemu knows them [%(default)s]")
    parser.add_argument("--json", type=Path, help="writes the results there, too")
    args = parser.parse_args()

    subprocess.run([ARM64, "cargo", "build", "--release", "-p", "babil-benches", "--example", "generation"],
                   check=True, cwd=HERE)
    results = []
    print("| model | CPU | instructions per token |")
    print("|---|---|--:|")
    with tempfile.TemporaryDirectory() as cache:
        environment = {"BABIL_CACHE": cache}
        for model in args.models:
            for cpu in args.cpus.split(","):
                # The first start packs the weights, which is not to be counted.
                command, packing = generate(cpu, model, 1, environment)
                subprocess.run(command, env=packing, stdout=subprocess.DEVNULL, check=True)
                few, more = (instructions(cpu, model, tokens, environment) for tokens in TOKENS)
                count = (more - few) // (TOKENS[1] - TOKENS[0])
                results.append({"model": model.stem, "cpu": cpu, "instructions": count})
                print(f"| {model.stem} | {cpu} | {count / 1e6:.2f} million |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
