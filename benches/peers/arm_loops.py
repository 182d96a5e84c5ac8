#!/usr/bin/env python3
"""Inner loops of one token's products on 64-bit ARM, babil's beside llama.cpp's, by a model of the processor (llvm-mca).

    benches/arm64.sh setup                                    once, as root, on Debian
    benches/peers/arm_loops.py LLAMA_CPP [--types q4_0,q8_0] [--json FILE] [--keep FOLDER]

LLAMA_CPP is a source tree of llama.cpp. Both sides are compiled to assembly, llama.cpp for each core, babil as it is
distributed (one build, whose kernels are chosen when it runs). Of either side the loop over blocks of the product that
this core would run for one token is cut out: babil's `gemm::multiply`, llama.cpp's `gemv` of repacked weights where
the core has one, its `vec_dot` otherwise. What a loop does for a row before and after its blocks is left out on both
sides.

A loop's iteration is one straight line: a loop inside it, as K types have, is written out as often as it runs. How much of
the weights it takes is counted, not assumed: int8 products are counted by instruction, and their number must be that of
whole blocks (`block_loop`). Bytes of weights are those of the GGUF file on both sides.

llvm-mca runs the line again and again, with every load in the first cache and every branch as predicted, so cycles are a lower
bound, and only ratios say something. `bound` names the units that are busiest, with their share of the cycles.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ARM64 = Path(__file__).resolve().parent.parent / "arm64.sh"
ITERATIONS = 300
ROWS = 16  # that babil's loop takes for one token: a tile's
MANGLING = ["-C", "symbol-mangling-version=v0"]


@dataclass
class Type:
    """A type of weights: its place in `BlockType::ALL`, and a block in GGUF."""

    index: int
    columns: int
    bytes: int


TYPES = {
    "q4_0": Type(0, 32, 18),
    "q5_0": Type(2, 32, 22),
    "q8_0": Type(4, 32, 34),
    "q4_k": Type(7, 256, 144),
    "q5_k": Type(8, 256, 176),
    "q6_k": Type(9, 256, 210),
    "iq4_nl": Type(10, 32, 18),
}


@dataclass
class Core:
    """A core: babil's instruction set on it, and llama.cpp's repacked product of each type, by the rows and columns that it
    interleaves (`ggml_repack_get_optimal_repack_type`); `vec_dot` where there is none."""

    isa: str
    repacked: dict


CORES = {
    "cortex-a72": Core("Neon", {}),
    "neoverse-n1": Core(
        "Dotprod",
        {"q4_0": "4x4", "q8_0": "4x4", "q4_k": "8x4", "q5_k": "8x4", "q6_k": "8x4", "iq4_nl": "4x4"},
    ),
    "neoverse-v2": Core(
        "I8mm",
        {"q4_0": "4x8", "q8_0": "4x8", "q4_k": "8x8", "q5_k": "8x8", "q6_k": "8x8", "iq4_nl": "4x4"},
    ),
}


def in_root(folder, command, **options):
    """Runs a command in the Debian root of `arm64.sh`, with `folder` as its working folder; returns what it prints."""
    return subprocess.run([ARM64, "root", folder, *command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


# Assembly.

INSTRUCTION = re.compile(r"\s+([a-z][a-z0-9.]*)(?:\s+(.*))?$")
LABEL = re.compile(r"([.\w$]+):")
CONDITION = "eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|any|none|first|last"
BRANCH = re.compile(rf"(b|b\.?(?:{CONDITION})|cbn?z|tbn?z)\s.*?([.\w$]+)$")


def functions(assembly):
    """Lines of each function, by name: labels and instructions."""
    found, lines = {}, None
    for line in assembly.splitlines():
        line = line.split("//")[0].rstrip()
        if label := LABEL.match(line):
            if not label[1].startswith(".L"):
                lines = found.setdefault(label[1], [])
            elif lines is not None:
                lines.append(label[1] + ":")
        elif lines is not None and (instruction := INSTRUCTION.match(line)):
            lines.append(" ".join(filter(None, instruction.groups())))
        elif lines is not None and line.startswith(("\t.size", "\t.cfi_endproc")):
            lines = None
    return found


def products(lines):
    """Products of two bytes in `lines`."""
    count = 0
    for line in lines:
        name, _, operands = line.partition(" ")
        if name.startswith(("smull", "smlal", "umull", "umlal")) and ".8h" in operands.split(",")[0]:
            count += 8
        elif name in ("sdot", "udot", "usdot"):
            count += 8 if ".2s" in operands else 16
        elif name in ("smmla", "ummla", "usmmla"):
            count += 32
    return count


@dataclass
class Loop:
    """The lines `first..last` of a function, of which the last jumps back to the first."""

    first: int
    last: int

    def holds(self, other):
        return self != other and self.first <= other.first and other.last <= self.last


def loops(lines):
    """The loops of a function."""
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    found = {}
    for i, line in enumerate(lines):
        branch = BRANCH.match(line)
        first = labels.get(branch[2], i) if branch else i
        if first < i:
            found[first] = Loop(first, i)
    return list(found.values())


def block_loop(lines, weights, most=None, marked=""):
    """One iteration of the loop over blocks: its instructions, in a line, and the weights it takes, a multiple of `weights`.
    Of several such loops, it is the one with the most products, but no more than `most` (those that have more are for
    several tokens), and with an instruction `marked`."""

    def body(loop):
        return lines[loop.first : loop.last + 1]

    candidates = [loop for loop in loops(lines) if products(body(loop))]
    innermost = [loop for loop in candidates if not any(loop.holds(other) for other in candidates)]
    innermost = [loop for loop in innermost if any(line.startswith(marked) for line in body(loop))]
    innermost = [loop for loop in innermost if most is None or products(body(loop)) <= most]
    if not innermost:
        raise ValueError("no loop with products")
    inner = max(innermost, key=lambda loop: products(body(loop)))
    line, count = body(inner), products(body(inner))
    if count % weights:
        # A loop inside of the loop over blocks, which runs as often as products are missing.
        outer = min((loop for loop in candidates if loop.holds(inner)), key=lambda loop: loop.last - loop.first)
        before, after = lines[outer.first : inner.first], lines[inner.last + 1 : outer.last + 1]
        times, rest = divmod(weights - products(before) - products(after), count)
        if rest or times < 2:
            raise ValueError(f"a loop of {count} products in one of {weights}")
        line, count = before + times * line + after, weights
    return [instruction for instruction in line if not instruction.endswith(":")], count


# The model of the processor.


def model(line, core):
    """Cycles of one iteration, and the busiest units with their share of the cycles."""
    command = ["llvm-mca", "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={ITERATIONS}", "-json"]
    report = json.loads(in_root(ARM64.parent, command, input="\n".join(line) + "\n"))
    region = report["CodeRegions"][0]
    cycles = region["SummaryView"]["TotalCycles"] / ITERATIONS
    # Units of one kind have one name, and a number of their own behind it.
    names = [name.split(".")[0] for name in report["TargetInfo"]["Resources"]]
    # The last row of the view is the sum over the instructions.
    units = {}
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if entry["InstructionIndex"] == len(line):
            units.setdefault(names[entry["ResourceIndex"]], []).append(entry["ResourceUsage"])
    shares = {name: sum(usage) / names.count(name) / cycles for name, usage in units.items()}
    busiest = sorted(shares, key=shares.get, reverse=True)[:2]
    return cycles, ", ".join(f"{name} {shares[name]:.0%}" for name in busiest)


# Both sides.


def babil_functions(assembly):
    """Our functions, by name."""
    if assembly:
        return functions(assembly.read_text())
    # Names in the form that says what a generic function is for.
    command = ["cargo", "rustc", "--release", "-p", "babil-runtime", "--lib", "--", "--emit=asm", *MANGLING]
    subprocess.run([ARM64, *command], check=True, cwd=ARM64.parent)
    folder = ARM64.parent.parent / "target/aarch64/aarch64-unknown-linux-gnu/release/deps"
    newest = max(folder.glob("babil_runtime-*.s"), key=lambda path: path.stat().st_mtime)
    return functions(newest.read_text())


def babil_loop(found, isa, name):
    """Our loop for one token. The function (`Simd::with::<Product<..>>`) also has those of several tokens, and of the last
    rows, which do not fetch ahead."""
    # Rust's mangling (v0) of `Type<INDEX>`, whose number is hexadecimal and nothing for 0, and of the instruction set.
    marks = f"4TypeKj{TYPES[name].index:x}_", f"{len(isa)}{isa}"
    named = [lines for symbol, lines in found.items() if all(mark in symbol for mark in marks) and products(lines)]
    if len(named) != 1:
        raise ValueError(f"{len(named)} functions of {name} on {isa}")
    line, count = block_loop(named[0], ROWS * TYPES[name].columns, ROWS * 32, "prfm")
    return line, count


def llama_cpp_functions(tree, core):
    """llama.cpp's functions of a core, by name."""
    includes = ["-Iggml/include", "-Iggml/src", "-Iggml/src/ggml-cpu"]
    options = ["-O3", "-DNDEBUG", "-D_GNU_SOURCE", f"-mcpu={core}", "-S", "-o", "-", *includes]
    folder = "ggml/src/ggml-cpu/arch/arm"
    c = in_root(tree, ["aarch64-linux-gnu-gcc", *options, f"{folder}/quants.c"])
    cpp = in_root(tree, ["aarch64-linux-gnu-g++", "-std=c++17", *options, f"{folder}/repack.cpp"])
    return functions(c) | functions(cpp)


def llama_cpp_loop(found, core, name):
    """llama.cpp's loop, and the name of its function."""
    kind = TYPES[name]
    ggml = re.sub("_k$", "_K", name)
    activations = "q8_K" if kind.columns == 256 else "q8_0"
    if layout := CORES[core].repacked.get(name):
        function = f"ggml_gemv_{ggml}_{layout}_{activations}"
        rows = int(layout.split("x")[0])
    else:
        function, rows = f"ggml_vec_dot_{ggml}_{activations}", 1
    line, count = block_loop(found[function], rows * kind.columns)
    return line, count, function


def measure(core, name, line, count):
    """What is reported of a loop."""
    cycles, bound = model(line, core)
    kind = TYPES[name]
    size = count * kind.bytes / kind.columns
    return {"instructions": len(line), "weights": count, "bytes": size, "cycles": cycles, "bytes_per_cycle": size / cycles,
            "bound": bound}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_cpp", type=Path, help="a source tree of llama.cpp")
    parser.add_argument("--types", default="q4_0,q8_0,q4_k,q5_0", help=f"of {', '.join(TYPES)} [%(default)s]")
    parser.add_argument("--cores", default=",".join(CORES), help="[%(default)s]")
    parser.add_argument("--assembly", type=Path, help="babil-runtime's assembly, instead of compiling it")
    parser.add_argument("--json", type=Path, help="writes the results there, too")
    parser.add_argument("--keep", type=Path, help="writes the loops into this folder, for a look at them")
    args = parser.parse_args()

    our_functions = babil_functions(args.assembly)
    results = []
    print("| type | core | babil, bytes/cycle | llama.cpp, bytes/cycle | ratio | babil is bound by | llama.cpp's loop |")
    print("|---|---|--:|--:|--:|---|---|")
    for core in args.cores.split(","):
        their_functions = llama_cpp_functions(args.llama_cpp, core)
        for name in args.types.split(","):
            our_line, our_count = babil_loop(our_functions, CORES[core].isa, name)
            their_line, their_count, function = llama_cpp_loop(their_functions, core, name)
            ours = measure(core, name, our_line, our_count)
            theirs = measure(core, name, their_line, their_count) | {"function": function}
            ratio = ours["bytes_per_cycle"] / theirs["bytes_per_cycle"]
            results.append({"type": name, "core": core, "babil": ours, "llama.cpp": theirs, "ratio": ratio})
            print(f"| {name} | {core} | {ours['bytes_per_cycle']:.2f} | {theirs['bytes_per_cycle']:.2f} | {ratio:.2f} | "
                  f"{ours['bound']} | `{function}` |", flush=True)
            for side, line in (("babil", our_line), ("llama.cpp", their_line)) if args.keep else ():
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / f"{name}-{core}-{side}.s").write_text("\n".join(line) + "\n")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
