"""What a peer's side of a measurement says of its own process, as our examples do: a line of JSON for each round."""

import json
import resource
from pathlib import Path


def memory():
    """Bytes of this process now, or None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    names = {"anonymous": ("RssAnon", "RssShmem"), "resident": ("VmRSS",)}
    return {key: sum(int(fields[name].split()[0]) * 1024 for name in parts) for key, parts in names.items()}


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(**fields):
    print(json.dumps(fields), flush=True)
