"""Measures babil beside CTranslate2 (int8), alternating in one run, and records the result.

    pip install -r benches/peers/requirements.txt
    python benches/peers/run.py VALID.tsv

VALID.tsv has sentences of --from in its first column. Two models are measured:

- the translator that ships with babil, on these sentences, each side decoding to its own end of sentence;
- opus-mt's shape with random weights, on random tokens as long as these sentences, exactly --force tokens each.

Both sides read the same weights (babil's file, converted to float32, then by `ctranslate2_model.py`), get the same
token ids, in batches of the same size, made of sentences of similar length, with the same beam and threads. Making
tokens from text and text from tokens is not in the time. Every process loads its model once, runs once to warm up, and
then the processes take turns, one at a time. CTranslate2 runs with its threads within a batch (intra_threads) and with
one thread for each batch (inter_threads), and with the better of its matrix libraries (`CT2_USE_MKL`; with both where
they are close); the fastest counts.

A ratio is babil's sentences per second divided by CTranslate2's in the same round: above 1, babil is faster.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# After a run its threads may wait for more work for a while, and take time from the next process.
PAUSE = 0.4
# What CTranslate2 multiplies matrices with, by the value of CT2_USE_MKL.
LIBRARIES = {"0": "oneDNN", "1": "MKL"}


class Side:
    """A process that has loaded a model and repeats its work on request."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.reports = []
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        self.ready = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} has ended: exit status {self.process.wait()}")
        return json.loads(line)

    def repeat(self):
        time.sleep(PAUSE)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def measure(self):
        self.reports.append(self.repeat())

    def peak_memory(self):
        """The most anonymous memory seen while it works once more."""
        status = Path(f"/proc/{self.process.pid}/status")
        peak, done = 0, threading.Event()

        def watch():
            nonlocal peak
            while not done.wait(0.005):
                for line in status.read_text(encoding="utf-8").splitlines():
                    if line.startswith("RssAnon:"):
                        peak = max(peak, int(line.split()[1]) * 1024)

        if not status.exists():
            return None
        watcher = threading.Thread(target=watch)
        watcher.start()
        end = self.repeat()["memory"]
        done.set()
        watcher.join()
        return max(peak, end["anonymous"] if end else 0)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"{self.name} has failed: exit status {self.process.returncode}")

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


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def build(example):
    """Builds an example of ours and returns the program."""
    command = ["cargo", "build", "--release", "-p", "babil-benches", "--example", example]
    command += ["--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in reversed(messages) if m.get("executable"))


def python(script, *arguments):
    subprocess.run([sys.executable, str(HERE / script), *map(str, arguments)], check=True)


def prepare(args, program):
    """The two models in both formats, and their sentences as token ids."""
    work = args.work
    work.mkdir(parents=True, exist_ok=True)
    sentences = work / "bundled.tokens"
    own = ["--model", args.model] if args.model else []
    text = ["--text", f"{args.data}:1", "--from", args.source, "--to", args.target, "--limit", args.limit]
    command = [program, *own, *text, "--write-tokens", sentences, "--rounds", 0]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    command = [program, *own, "--write-float", work / "bundled-float"]
    subprocess.run([str(part) for part in command], check=True)
    python("ctranslate2_model.py", "convert", work / "bundled-float", work / "bundled-ctranslate2")

    random_folder = work / "opus-mt-random"
    if not (random_folder / "vocab.json").exists():
        python("ctranslate2_model.py", "random", random_folder)
    if not (work / "opus-mt-ctranslate2" / "shared_vocabulary.json").exists():
        python("ctranslate2_model.py", "convert", random_folder, work / "opus-mt-ctranslate2")
    vocabulary = json.loads((random_folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    generator = random.Random(1)
    lengths = [len(line.split()) for line in sentences.read_text(encoding="utf-8").splitlines()]
    lines = [
        " ".join([str(generator.randrange(2, vocabulary - 1)) for _ in range(length - 1)] + ["0"])
        for length in lengths[: args.random_limit]
    ]
    random_sentences = work / "opus-mt.tokens"
    random_sentences.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    bundled = {"name": "bundled", "ours": own, "peer": work / "bundled-ctranslate2", "tokens": sentences}
    opus = {"name": "opus-mt, random", "ours": ["--model", random_folder], "peer": work / "opus-mt-ctranslate2"}
    return [bundled | {"force": None}, opus | {"tokens": random_sentences, "force": args.force}]


def peer_command(model):
    return [sys.executable, HERE / "ctranslate2_run.py", "--model", model["peer"]]


def matrix_libraries(model):
    """The values of CT2_USE_MKL that are worth measuring here: one may be several times slower than the other."""
    seconds = {}
    for mkl in LIBRARIES:
        command = [*peer_command(model), "--tokens", model["tokens"], "--beam", 1, "--limit", 16, "--on-request"]
        command += ["--force", 10]
        side = Side(LIBRARIES[mkl], command, {"CT2_USE_MKL": mkl})
        side.repeat()
        seconds[mkl] = min(side.repeat()["seconds"] for _ in range(3))
        side.close()
    return [mkl for mkl in LIBRARIES if seconds[mkl] < 1.5 * min(seconds.values())]


def measure(args, program, model, batch, beam, threads):
    common = ["--tokens", model["tokens"], "--batch", batch, "--beam", beam, "--threads", threads]
    if model["force"]:
        common += ["--force", model["force"]]
    outputs = args.work / "ours.out", args.work / "peer.out"
    environment = {"BABIL_CACHE": str(args.work / "cache")}
    ours = Side("babil", [program, *model["ours"], *common, "--on-request", "--write-output", outputs[0]], environment)
    peers = []
    for workers in sorted({1, threads}):
        for mkl in model["mkl"]:
            name = f"intra {threads // workers}, inter {workers}, {LIBRARIES[mkl]}"
            command = [*peer_command(model), *common, "--workers", workers, "--on-request"]
            command += ["--write-output", f"{outputs[1]}.{len(peers)}"]
            peers.append(Side(name, command, {"CT2_USE_MKL": mkl}))
    sides = [ours, *peers]
    for side in sides:
        side.repeat()
    for i in range(args.rounds):
        # A different one begins each time.
        first = i % len(sides)
        for side in sides[first:] + sides[:first]:
            side.measure()
    peer = min(sides[1:], key=Side.seconds)
    memory = [side.peak_memory() for side in (ours, peer)]
    for side in sides:
        side.close()
    peer_output = Path(f"{outputs[1]}.{peers.index(peer)}")
    translations = [path.read_text(encoding="utf-8").splitlines() for path in (outputs[0], peer_output)]
    same = sum(a == b for a, b in zip(*translations, strict=True)) / len(translations[0])

    def result(side, peak):
        start = side.ready["memory_at_start"]
        return {
            "setting": side.name,
            "sentences_per_second": spread(side.speeds()),
            "cpu_seconds_per_1000": side.cpu_per_1000(),
            "tokens": side.reports[-1]["tokens"],
            "anonymous_at_start": start["anonymous"] if start else None,
            "anonymous_peak": peak,
            "memory_at_end": side.reports[-1]["memory"],
            "load_seconds": side.ready["load_seconds"],
            "isa": side.ready["isa"],
            "version": side.ready["version"],
        }

    ratios = [a / b for a, b in zip(ours.speeds(), peer.speeds(), strict=True)]
    return {
        "model": model["name"],
        "beam": beam,
        "batch": batch,
        "threads": threads,
        "forced_tokens": model["force"],
        "sentences": ours.ready["sentences"],
        "ours": result(ours, memory[0]),
        "peer": result(peer, memory[1]),
        "peer_settings": {side.name: spread(side.speeds()) for side in peers},
        "ratio": spread(ratios),
        "same_translations": same,
    }


def table(cases):
    def number(values, digits):
        return f"{values['median']:.{digits}f} ({values['min']:.{digits}f}-{values['max']:.{digits}f})"

    def megabytes(side):
        if side["anonymous_peak"] is None:
            return "?"
        return f"{side['anonymous_peak'] / 1e6:.0f} ({side['anonymous_at_start'] / 1e6:.0f})"

    def cpu(side):
        return "?" if side["cpu_seconds_per_1000"] is None else f"{side['cpu_seconds_per_1000']:.2f}"

    def length(case):
        return f", {case['forced_tokens']} tokens each" if case["forced_tokens"] else ""

    lines = [
        "| model | beam | batch | threads | babil, sentences/s | CTranslate2, sentences/s | its threads | ratio "
        "| CPU s per 1000, babil / CTranslate2 | tokens, babil / CTranslate2 | same output "
        "| anonymous MB at most (before loading), babil / CTranslate2 |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for case in cases:
        ours, peer = case["ours"], case["peer"]
        cells = [
            f"{case['model']}, {case['sentences']} sentences{length(case)}",
            case["beam"] if case["beam"] > 1 else "greedy",
            case["batch"],
            case["threads"],
            number(ours["sentences_per_second"], 0),
            number(peer["sentences_per_second"], 0),
            peer["setting"],
            number(case["ratio"], 2),
            f"{cpu(ours)} / {cpu(peer)}",
            f"{ours['tokens']} / {peer['tokens']}",
            f"{case['same_translations']:.0%}",
            f"{megabytes(ours)} / {megabytes(peer)}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory_size():
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):
        return "unknown"


def commit():
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None


def this_machine():
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory": memory_size(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(args, machine, cases):
    name = f"{machine['date']}-{args.machine or slug(machine['processor'])}"
    args.record.mkdir(parents=True, exist_ok=True)
    numbers, page = args.record / f"{name}.json", args.record / f"{name}.md"
    numbers.write_text(json.dumps({"machine": machine, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    facts = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in machine.items())
    text = f"""# babil beside CTranslate2, {machine['date']}

{facts}

Medians of {machine['rounds']} rounds, in which the programs take turns; in brackets the least and the most. A ratio is
babil's speed divided by CTranslate2's in the same round: above 1, babil is faster. The same weights, token ids, batch
size, beam and threads on both sides; time without tokenisation; CTranslate2 with the fastest of its settings. Its
memory includes Python: what either process had before it opened the model is in brackets.

{table(cases)}

All numbers are in [{numbers.name}]({numbers.name}).
"""
    page.write_text(text, encoding="utf-8")
    print(f"\nrecorded in {page} and {numbers}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="tab-separated sentences; the first column is read")
    parser.add_argument("--from", dest="source", default="en")
    parser.add_argument("--to", dest="target", default="fr")
    parser.add_argument("--model", type=Path, help="folder of a model in place of the bundled one")
    parser.add_argument("--only", choices=["bundled", "opus-mt"], help="measure one of the models")
    parser.add_argument("--limit", type=int, default=1000, help="sentences of the data (default: 1000)")
    parser.add_argument("--random-limit", type=int, default=64, help="sentences for random weights (default: 64)")
    parser.add_argument("--force", type=int, default=20, help="tokens decoded with random weights (default: 20)")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32], help="for the bundled model")
    parser.add_argument("--beam", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a short look: 2 rounds, few sentences, not recorded")
    parser.add_argument("--program", help="our side, already built (default: build it with cargo)")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "peers", help="folder for models")
    parser.add_argument("--record", type=Path, default=HERE.parent / "record", help="folder for the record")
    parser.add_argument("--machine", help="name of this machine in the record's name (default: its processor)")
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.limit, args.random_limit, args.rounds = min(args.limit, 64), 16, 2
        args.batch, args.threads, args.no_record = args.batch[:1], args.threads[:1], True
    if min(args.rounds, args.limit, args.random_limit, *args.batch, *args.beam, *args.threads) < 1:
        parser.error("all numbers must be at least 1")

    program = args.program or build("translation")
    bundled, opus = prepare(args, program)
    plan = [(bundled, batch, beam, threads) for beam in args.beam for batch in args.batch for threads in args.threads]
    plan += [(opus, 16, beam, threads) for beam in args.beam for threads in args.threads]
    if args.only:
        plan = [step for step in plan if step[0]["name"].startswith(args.only)]
    for model in {id(step[0]): step[0] for step in plan}.values():
        model["mkl"] = matrix_libraries(model)
    cases = []
    for i, (model, batch, beam, threads) in enumerate(plan):
        what = f"{model['name']}, beam {beam}, batch {batch}, threads {threads}"
        print(f"[{i + 1}/{len(plan)}] {what}", file=sys.stderr)
        cases.append(measure(args, program, model, batch, beam, threads))
    print(table(cases))
    options = ["--limit", str(args.limit), "--batch", *map(str, args.batch), "--beam", *map(str, args.beam)]
    options += ["--threads", *map(str, args.threads), "--rounds", str(args.rounds)]
    weights = (args.model or ROOT / "models" / "bundled" / "en-fr") / "model.safetensors"
    machine = {
        **this_machine(),
        "babil": f"{cases[0]['ours']['version']}, commit {commit()}, kernels {cases[0]['ours']['isa']}",
        "ctranslate2": f"{cases[0]['peer']['version']}, compute_type int8",
        "sha256_of_the_weights": digest(weights),
        "languages": f"{args.source} -> {args.target}",
        "rounds": args.rounds,
        "command": " ".join(["python benches/peers/run.py", args.data.name, *options]),
    }
    if not args.no_record:
        record(args, machine, cases)


if __name__ == "__main__":
    main()
