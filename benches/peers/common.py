"""What the parts of `bench.py` share: the machine, watched processes, medians, and records.

A record is a file of JSON lines, `record/DATE-MACHINE.jsonl`. Its first line has the facts: which engines, on which
machine. Each other line is what a part has measured, mostly one round of one case. So a measurement can be made in
portions: each adds lines, and `report.py` makes the page of all of them.
"""

import dataclasses
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# Everything that is built, installed or made: programs, models, caches. It takes 10 GB or so.
WORK = Path(os.environ.get("BABIL_PEERS", ROOT / "target" / "peers"))
# After a run, a program's threads may wait for more work for a while, and take time from the next one.
PAUSE = 0.4


def note(text):
    """Progress goes to stderr: stdout is for the tables."""
    print(text, file=sys.stderr, flush=True)


def run(*command, **options):
    """Runs a command to its end and returns its output; a failure ends the program with what it said."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
    if done.returncode != 0:
        said = done.stdout[-2000:] + done.stderr[-2000:]
        raise SystemExit(f"{' '.join(command)}\n{said}\nexit status {done.returncode}")
    return done.stdout


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def anonymous_memory(pid):
    """Bytes of resident memory that no file backs, shared memory included; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


class PeakMemory:
    """The most anonymous memory of a process between entering and leaving: looked at every few milliseconds."""

    def __init__(self, pid):
        self.pid, self.bytes, self.done = pid, 0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        while True:
            self.bytes = max(self.bytes, anonymous_memory(self.pid))
            if self.done.wait(0.005):
                return

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.watcher.join()


def cpu_seconds(pid):
    """Seconds that all threads of another process have computed so far: Linux has a clock for each process."""
    return time.clock_gettime((~pid << 3) | 2)


@dataclasses.dataclass
class Line:
    """A line that a program wrote, and the time and the processor time when it came."""

    text: str
    seconds: float
    cpu_seconds: float


@dataclasses.dataclass
class Watched:
    """A program that has run to its end."""

    lines: list[Line]
    anonymous: int

    def json(self):
        """The objects among the lines."""
        return [json.loads(line.text) for line in self.lines if line.text.startswith("{")]


def watch(*command, environment=None):
    """Runs a program and looks at it from outside: its lines (of both outputs) with the times, its memory.

    `None` if it fails; what it said last is noted.
    """
    time.sleep(PAUSE)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | (environment or {}),
    )
    start, lines = time.perf_counter(), []
    with PeakMemory(process.pid) as memory:
        for text in process.stdout:
            # The process has not been waited for: its clock is there even if it has ended.
            lines.append(Line(text.rstrip("\n"), time.perf_counter() - start, cpu_seconds(process.pid)))
    if process.wait() != 0:
        note(f"{Path(command[0]).name} has failed: " + " ".join(line.text for line in lines[-3:])[-500:])
        return None
    return Watched(lines, memory.bytes)


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
        """The most anonymous memory while it works once more."""
        with PeakMemory(self.process.pid) as memory:
            self.repeat()
        return memory.bytes

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"{self.name} has failed: exit status {self.process.returncode}")


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpu_has(flag):
    """Whether Linux lists a feature of this processor."""
    try:
        return re.search(rf"\b{flag}\b", Path("/proc/cpuinfo").read_text(encoding="utf-8")) is not None
    except OSError:
        return False


def memory_size():
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):
        return "unknown"


def commit():
    return run("git", "describe", "--always", "--dirty", "--exclude", "*", cwd=ROOT).strip()


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


class Record:
    """A file of results, to which a run adds. Without a path they are kept in memory alone."""

    def __init__(self, path, facts):
        self.path, self.lines = path, []
        known = {}
        if path and path.exists():
            self.lines = read_record(path)
            known = self.lines[0]
            other = [key for key in facts if key != "date" and known.get(key, facts[key]) != facts[key]]
            if other:
                raise SystemExit(f"{path} is of another {', '.join(other)}: name another file with --record")
        new = {key: value for key, value in facts.items() if key not in known}
        if new:
            self.add("facts", **new)
            self.lines = merge_facts(self.lines)

    def add(self, part, **fields):
        line = {"part": part, **fields}
        self.lines.append(line)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read_record(path):
    """The lines of a record: the facts, and the results."""
    return merge_facts([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])


def merge_facts(lines):
    """All facts in one line, the first: those of engines that were prepared later stand further down in the file."""
    facts = {}
    for line in lines:
        if line["part"] == "facts":
            facts |= {key: value for key, value in line.items() if key not in facts}
    return [facts, *(line for line in lines if line["part"] != "facts")]
