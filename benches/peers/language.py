"""Measures language models beside llama.cpp, alternating in one run, and records the result.

    python benches/peers/language.py MODEL.gguf... --llama-bench PATH

Each file is run by both sides as it is: prompts (`--prompt`), and generation after so many tokens (`--depth`), with the
same threads and float16 keys and values. Speed does not depend on the values of weights, so files of random weights at
real shapes will do. Our side is the example `generation`; llama.cpp's is its own `llama-bench`, without and with flash
attention (`-fa`): the faster counts, for each number. Every process loads its model, runs once to warm up, and measures
once; the sides take turns, `--rounds` times.

A ratio is babil's tokens per second divided by llama.cpp's in the same round: above 1, babil is faster. The share of
bandwidth is that of what generation must read (the file without its token embedding, unless that is the output matrix,
and the cache) in what the same threads read of the same mapped file in a plain loop.
"""

import argparse
import collections
import json
import statistics
import subprocess
from pathlib import Path

from run import ROOT, build, commit, slug, spread, this_machine

# Tokens that are generated at each depth.
GENERATED = 32


def ours(program, model, threads, args):
    """{what: tokens per second} of babil, and its whole report."""
    command = [program, model, "--threads", threads, "--rounds", 1, "--bandwidth", "--generate", GENERATED]
    for name in ("prompt", "depth"):
        for value in getattr(args, name):
            command += [f"--{name}", value]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout)
    speeds = {("prompt", p["tokens"]): p["tokens_per_second"] for p in report["prompts"]}
    speeds |= {("depth", d["depth"]): d["tokens_per_second"] for d in report["generation"]}
    return speeds, report


def theirs(program, model, threads, args):
    """{what: tokens per second} of llama.cpp with its better attention, and its version."""
    speeds, version = {}, "?"
    for attention in (0, 1):
        common = [program, "-m", model, "-t", threads, "-fa", attention, "-r", 1, "-o", "jsonl"]
        prompts = ["-p", ",".join(map(str, args.prompt)), "-n", 0]
        depths = ["-p", 0, "-n", GENERATED, "-d", ",".join(map(str, args.depth))]
        for what in ([prompts] if args.prompt else []) + ([depths] if args.depth else []):
            command = [str(part) for part in common + what]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            for line in done.stdout.splitlines():
                row = json.loads(line)
                key = ("prompt", row["n_prompt"]) if row["n_prompt"] else ("depth", row["n_depth"])
                speeds[key] = max(speeds.get(key, 0), row["avg_ts"])
                version = row["build_commit"]
    return speeds, version


def measure(model, threads, program, args):
    """A list of rows, one for each prompt and depth."""
    sides = collections.defaultdict(lambda: ([], []))
    reports, version = [], "?"
    for _ in range(args.rounds):
        own, report = ours(program, model, threads, args)
        other, version = theirs(args.llama_bench, model, threads, args)
        reports.append(report)
        for key, speed in own.items():
            sides[key][0].append(speed)
            sides[key][1].append(other[key])
    bandwidth = statistics.median(report["bytes_per_second"] for report in reports)
    rows = []
    for (kind, tokens), (own, other) in sides.items():
        row = {
            "model": Path(model).name,
            "threads": threads,
            "what": f"prompt of {tokens}" if kind == "prompt" else f"generation after {tokens}",
            "babil": spread(own),
            "llama.cpp": spread(other),
            "ratio": spread([a / b for a, b in zip(own, other)]),
        }
        if kind == "depth":
            found = [d for report in reports for d in report["generation"] if d["depth"] == tokens]
            row["cpu_ms"] = 1000 * statistics.median(d["cpu_seconds_per_token"] for d in found)
            row["bandwidth_share"] = row["babil"]["median"] * found[0]["bytes_per_token"] / bandwidth
        rows.append(row)
    summary = {
        "model": Path(model).name,
        "threads": threads,
        "bytes_per_second": bandwidth,
        "first_token_seconds": statistics.median(report["first_token_seconds"] for report in reports),
        "anonymous_bytes": max(report["memory"]["anonymous"] for report in reports),
    }
    return rows, summary, version


def table(rows):
    head = "| model | threads | | babil, tokens/s | llama.cpp, tokens/s | ratio | CPU ms a token | share of bandwidth |"
    lines = [head, "|---|--:|---|--:|--:|--:|--:|--:|"]
    show = lambda value, digits: "{median:.{d}f} ({min:.{d}f}-{max:.{d}f})".format(d=digits, **value)
    for row in rows:
        cpu = f"{row['cpu_ms']:.1f}" if "cpu_ms" in row else ""
        share = f"{row['bandwidth_share']:.0%}" if "bandwidth_share" in row else ""
        speeds = f"{show(row['babil'], 1)} | {show(row['llama.cpp'], 1)} | {show(row['ratio'], 2)}"
        lines.append(f"| {row['model']} | {row['threads']} | {row['what']} | {speeds} | {cpu} | {share} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--llama-bench", required=True, help="llama.cpp's program, of its best build for this CPU")
    parser.add_argument("--program", help="our side, already built")
    parser.add_argument("--prompt", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--depth", type=int, nargs="*", default=[0, 512, 4096])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="language", help="in the record's name (default: language)")
    parser.add_argument("--record", type=Path, default=ROOT / "benches" / "record")
    args = parser.parse_args()

    program = args.program or build("generation")
    rows, summaries, version = [], [], "?"
    for model in args.models:
        for threads in args.threads:
            print(f"{Path(model).name}, {threads} threads", flush=True)
            found, summary, version = measure(model, threads, program, args)
            rows += found
            summaries.append(summary)
            print(table(found), flush=True)
    facts = this_machine() | {"babil": f"commit {commit()}", "llama.cpp": version, "rounds": args.rounds}
    name = f"{facts['date']}-{args.name}-{slug(facts['processor'])}"
    args.record.mkdir(parents=True, exist_ok=True)
    results = {"facts": facts, "rows": rows, "models": summaries}
    (args.record / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    head = [f"# Language models beside llama.cpp, {facts['date']}", ""]
    head += [f"- {key}: {value}" for key, value in facts.items()] + [""]
    lines = ["| model | threads | read of the file, GB/s | start to first token, s | anonymous MB |", "|---|--:|--:|--:|--:|"]
    for s in summaries:
        numbers = f"{s['bytes_per_second'] / 1e9:.1f} | {s['first_token_seconds']:.2f} | {s['anonymous_bytes'] / 1e6:.0f}"
        lines.append(f"| {s['model']} | {s['threads']} | {numbers} |")
    text = "\n".join(head) + "\n" + table(rows) + "\n\n" + "\n".join(lines) + "\n"
    (args.record / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"recorded in {args.record / name}.md")


if __name__ == "__main__":
    main()
