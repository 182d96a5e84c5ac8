#!/usr/bin/env python3
"""Whether translations are the same on every CPU: 200 sentences into French, greedily, and their French into English.

    benches/sentences.py BABIL_X86 BABIL_ARM64

The first program runs with each instruction set that this machine has, the second one under qemu (benches/arm64.sh run)
as each CPU and with each of its instruction sets. babil computes the same bits everywhere, so every byte must be equal:
prints a table, and the sentences that differ, and fails when there are any. Other engines do mistranslate on ARM only.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SENTENCES = HERE / "sentences.txt"
CPUS = ["cortex-a72", "cortex-a76", "max"]


def babil(command, isa, source, target, text):
    """A finished `babil translate`, which read `text` and wrote a translation of each of its lines."""
    arguments = ["translate", "--from", source, "--to", target, "--beam", "1", "-"]
    # `env` sets the variable on both sides of an emulator.
    return subprocess.run(["env", f"BABIL_ISA={isa}", *command, *arguments], input=text, capture_output=True, text=True)


def instruction_sets(command, foreign):
    """What this CPU can run: said when it is asked for what no CPU of its kind can."""
    refused = babil(command, foreign, "en", "fr", "No.")
    if not (able := re.search(r"on this CPU, which can run ([\w, ]+)", refused.stderr)):
        raise SystemExit(f"{' '.join(map(str, command))}: {refused.stderr}")
    return able[1].split(", ")


def translations(command, isa):
    """The sentences in French, and those in English again."""
    lines = []
    text = SENTENCES.read_text()
    for source, target in [("en", "fr"), ("fr", "en")]:
        done = babil(command, isa, source, target, text)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}, {isa}: {done.stderr}")
        text = done.stdout
        lines.append(text.splitlines())
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("x86", type=Path, help="babil for this machine")
    parser.add_argument("arm64", type=Path, help="babil for arm64")
    options = parser.parse_args()

    machines = [("this machine", [options.x86.resolve()], "neon")]
    machines += [(cpu, [HERE / "arm64.sh", "run", cpu, options.arm64.resolve()], "avx2") for cpu in CPUS]

    expected, differing, total = None, [], len(SENTENCES.read_text().splitlines())
    print(f"{total} sentences, greedy; beside {machines[0][0]}, scalar.\n")
    print("| CPU | instructions | French: differing | English again: differing |\n|---|---|--:|--:|")
    for cpu, command, foreign in machines:
        # The portable table is slow in an emulator, and the same code on all CPUs: once is enough.
        portable = cpu in (machines[0][0], CPUS[0])
        for isa in [isa for isa in instruction_sets(command, foreign) if isa != "scalar" or portable]:
            found = translations(command, isa)
            expected = expected or found
            counts = []
            for ours, theirs in zip(expected, found):
                if len(theirs) != total:
                    raise SystemExit(f"{cpu}, {isa}: {len(theirs)} lines of {total}")
                pairs = [(a, b) for a, b in zip(ours, theirs) if a != b]
                differing += [(cpu, isa, *pair) for pair in pairs]
                counts.append(len(pairs))
            print(f"| {cpu} | {isa} | {counts[0]} | {counts[1]} |", flush=True)
    for cpu, isa, ours, theirs in differing:
        print(f"\n{cpu}, {isa}:\n- {ours}\n+ {theirs}")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
