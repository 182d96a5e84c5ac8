"""A record as Markdown: the page of all that was measured, and the short tables of the repository's README."""

import statistics

from common import ROOT, read_record, spread

README = ROOT / "README.md"
# What stands between these lines of the README is written by `just bench-peers table --readme`.
BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
UNKNOWN = "–"


def number(values, digits):
    """Median, and in brackets the least and the most."""
    if not values:
        return UNKNOWN
    s = spread(values)
    if len(values) == 1:
        return f"{s['median']:.{digits}f}"
    return f"{s['median']:.{digits}f} ({s['min']:.{digits}f}-{s['max']:.{digits}f})"


def median(values, digits):
    return f"{statistics.median(values):.{digits}f}" if values else UNKNOWN


def markdown(head, rows):
    """A table. Numbers stand right; columns of text have a `<` before their name."""
    rule = ["---" if name.startswith("<") else "--:" for name in head]
    names = [name.removeprefix("<") for name in head]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [names, rule, *rows])


def speed_of(round, side, work):
    """[tokens per second, CPU seconds a token], or `None`."""
    return round["sides"].get(side, {}).get("speeds", {}).get(work)


class Language:
    """The rounds of a case of language models: speeds, memory and cold starts."""

    def __init__(self, key):
        self.model, self.quant, self.threads = key
        self.rounds, self.starts = [], []

    def works(self):
        """What was measured, in order: prefill before decode, short before long."""
        found = {work for r in self.rounds for side in r["sides"].values() for work in side["speeds"]}
        return sorted(found, key=lambda work: (work.split()[0] != "prefill", int(work.split()[1])))

    def speeds(self, side, work):
        """[tokens per second, CPU seconds a token] of each round that has them."""
        return [speed for r in self.rounds if (speed := speed_of(r, side, work))]

    def ratios(self, side, work):
        """babil's speed divided by that of another side in the same round."""
        pairs = [(speed_of(r, "babil", work), speed_of(r, side, work)) for r in self.rounds]
        return [ours[0] / theirs[0] for ours, theirs in pairs if ours and theirs]

    def shares(self, side, work):
        """Of what the machine could read, what generation read: weights, keys and values."""
        rounds = [r for r in self.rounds if work in r["bytes_per_token"] and speed_of(r, side, work)]
        return [speed_of(r, side, work)[0] * r["bytes_per_token"][work] / r["bytes_per_second"] for r in rounds]

    def anonymous(self, side):
        return max((r["sides"][side]["anonymous"] for r in self.rounds if side in r["sides"]), default=0)

    def seconds(self, start):
        return [s["seconds"][start] for s in self.starts if start in s["seconds"]]

    def start_ratios(self, start, side):
        seconds = [s["seconds"] for s in self.starts]
        return [s[start] / s[side] for s in seconds if start in s and side in s]


def language_cases(lines):
    cases = {}
    for line in lines:
        if line["part"] in ("language", "cold"):
            key = line["model"], line["quant"], line["threads"]
            case = cases.setdefault(key, Language(key))
            (case.rounds if line["part"] == "language" else case.starts).append(line)
    return sorted(cases.values(), key=lambda case: (case.model, case.quant, case.threads))


def peers_of(cases):
    """The other sides, in the order in which they were measured."""
    sides = [side for case in cases for r in case.rounds for side in r["sides"]]
    sides += [side for case in cases for start in case.starts for side in start["seconds"]]
    return [side for side in dict.fromkeys(sides) if not side.startswith("babil")]


def language_table(cases):
    peers = peers_of(cases)
    everyone = " / ".join(["babil", *peers])
    head = ["<model", "threads", "<", "babil"] + [column for peer in peers for column in (peer, "ratio")]
    head += [f"CPU ms a token, {everyone}", f"share of bandwidth, {everyone}"]
    rows = []
    for case in cases:
        first = [f"{case.model} {case.quant}", case.threads]
        for work in case.works():
            row = [*first, f"{work}, tokens/s", number([s[0] for s in case.speeds("babil", work)], 1)]
            for peer in peers:
                row += [number([s[0] for s in case.speeds(peer, work)], 1), number(case.ratios(peer, work), 2)]
            cpu = [median([s[1] * 1000 for s in case.speeds(side, work)], 1) for side in ("babil", *peers)]
            shares = [median([s * 100 for s in case.shares(side, work)], 0) for side in ("babil", *peers)]
            row.append(" / ".join(cpu))
            row.append(" / ".join(s if s == UNKNOWN else s + "%" for s in shares) if work.startswith("decode") else "")
            rows.append(row)
        if case.rounds:
            ours = case.anonymous("babil")
            row = [*first, "anonymous memory, MB", f"{ours / 1e6:.0f}"]
            for peer in peers:
                theirs = case.anonymous(peer)
                row += [f"{theirs / 1e6:.0f}", f"{ours / theirs:.2f}"] if theirs else [UNKNOWN, UNKNOWN]
            rows.append(row + ["", ""])
        if case.starts:
            for name, start in (("first start, s", "babil, first start"), ("later starts, s", "babil")):
                row = [*first, name, number(case.seconds(start), 3)]
                for peer in peers:
                    row += [number(case.seconds(peer), 3), number(case.start_ratios(start, peer), 2)]
                rows.append(row + ["", ""])
    return markdown(head, rows)


def translation_cases(lines):
    """The newest of each case."""
    keys = "model", "beam", "batch", "threads", "sentences", "forced_tokens"
    return list({tuple(line[key] for key in keys): line for line in lines if line["part"] == "translation"}.values())


def beam_of(case):
    return case["beam"] if case["beam"] > 1 else "greedy"


def translation_table(cases):
    def speed(values, digits=0):
        return number([values["min"], values["median"], values["max"]], digits)

    def cpu(side):
        return UNKNOWN if side["cpu_seconds_per_1000"] is None else f"{side['cpu_seconds_per_1000']:.2f}"

    def megabytes(side):
        return f"{side['anonymous'] / 1e6:.0f} ({(side['anonymous_at_start'] or 0) / 1e6:.0f})"

    head = ["<model", "beam", "batch", "threads", "rounds", "babil, sentences/s", "CTranslate2, sentences/s"]
    head += ["<its setting", "ratio", "CPU s per 1000, babil / CTranslate2", "tokens, babil / CTranslate2"]
    head += ["same output", "anonymous MB (before loading), babil / CTranslate2"]
    rows = []
    for case in cases:
        ours, peer = case["ours"], case["peer"]
        length = f", {case['forced_tokens']} tokens each" if case["forced_tokens"] else ""
        row = [f"{case['model']}, {case['sentences']} sentences{length}", beam_of(case)]
        row += [case["batch"], case["threads"], case["rounds"]]
        row += [speed(ours["sentences_per_second"]), speed(peer["sentences_per_second"]), peer["setting"]]
        row += [speed(case["ratio"], 2), f"{cpu(ours)} / {cpu(peer)}", f"{ours['tokens']} / {peer['tokens']}"]
        row += [f"{case['same_translations']:.0%}", f"{megabytes(ours)} / {megabytes(peer)}"]
        rows.append(row)
    return markdown(head, rows)


class Speech:
    """A case of speech models: what each side needed, with the better setting of a peer for each number."""

    def __init__(self, line):
        self.model, self.threads, self.tokens, self.rounds = (line[k] for k in ("model", "threads", "tokens", "rounds"))
        self.sides = line["sides"]

    def best(self, peer, time):
        """A peer's side with the best median of a time; `None` if it does not do this."""
        sides = [side for side in self.sides if side["peer"] == peer and time in side["seconds"]]
        return min(sides, key=lambda side: statistics.median(side["seconds"][time]), default=None)

    def peers(self):
        return [peer for peer in dict.fromkeys(side["peer"] for side in self.sides) if peer != "babil"]

    def ratios(self, peer, time):
        """A peer's seconds divided by babil's in the same round."""
        ours, theirs = (self.best(side, time)["seconds"][time] for side in ("babil", peer))
        return [b / a for a, b in zip(ours, theirs, strict=True)]

    def shown(self, seconds, time):
        """Seconds as what is shown: milliseconds, or tokens per second."""
        return [self.tokens / s if time == "decode" else s * 1000 for s in seconds]


SPEECH_SIDES = {"babil": "babil", "whisper.cpp": "whisper.cpp", "ctranslate2": "CTranslate2"}
SPEECH_SIDES |= {"onnxruntime": "ONNX Runtime"}
SPEECH_TIMES = {"encode": "encoder, ms", "decode": "decoder, tokens/s", "window": "window in all, ms"}


def speech_cases(lines):
    """The newest of each case."""
    found = {(line["model"], line["threads"]): Speech(line) for line in lines if line["part"] == "speech"}
    return list(found.values())


def speech_table(cases):
    peers = list(dict.fromkeys(peer for case in cases for peer in case.peers()))
    head = ["<model", "threads", "rounds", "<", "babil"]
    head += [column for peer in peers for column in (peer, "<its setting", "ratio")]
    rows = []
    for case in cases:
        first = [case.model, case.threads, case.rounds]
        for time, name in SPEECH_TIMES.items():
            digits = 0 if time != "decode" else 1
            row = [*first, name, number(case.shown(case.best("babil", time)["seconds"][time], time), digits)]
            for peer in peers:
                if side := case.best(peer, time):
                    row += [number(case.shown(side["seconds"][time], time), digits), side["setting"]]
                    row += [number(case.ratios(peer, time), 2)]
                else:
                    row += [UNKNOWN] * 3
            rows.append(row)
        row = [*first, "anonymous memory (before loading), MB", memory_of(case.best("babil", "window"))]
        for peer in peers:
            if side := case.best(peer, "window"):
                ratio = case.best("babil", "window")["anonymous"] / side["anonymous"]
                row += [memory_of(side), side["setting"], f"{ratio:.2f}"]
            else:
                row += [UNKNOWN] * 3
        rows.append(row)
    return markdown(head, rows)


def memory_of(side):
    return f"{side['anonymous'] / 1e6:.0f} ({(side['anonymous_at_start'] or 0) / 1e6:.0f})"


def page(lines):
    """Everything that a record has."""
    facts = {key: value for key, value in lines[0].items() if key != "part"}
    text = [f"# babil beside other engines, {facts['date']}", ""]
    text += [f"- {key}: {value}" for key, value in facts.items()]
    text.append(
        """
Medians of rounds in which the sides take turns; in brackets the least and the most. A ratio is babil's number
divided by the other side's in the same round: speeds above 1, memory and times below 1 are better for babil.
"""
    )
    cases = language_cases(lines)
    if cases:
        rounds = listed(len(case.rounds) for case in cases)
        starts = listed(len(case.starts) for case in cases)
        text.append(
            f"""## Language models

Random weights at real shapes; {rounds} rounds, {starts} starts. Prefill is a prompt of so many tokens, decode is
generation after so many. CPU time is that of all threads. The share of bandwidth is what generation reads (weights,
keys and values) in what a plain loop on the same threads reads from memory; what fits the caches can be read faster
than that. Anonymous memory, shared memory included, is the most in a process's life; a side that does not run the
deepest context needs none for it. A start is the time from starting the process to the first byte of its answer,
one token after a short prompt; at its first start babil packs the weights. {UNKNOWN}: the side does not do this.

{language_table(cases)}
"""
        )
    cases = translation_cases(lines)
    if cases:
        text.append(
            f"""## Translation

The same weights, token ids, batches, beams and threads; time without tokenisation; CTranslate2 with the fastest of
its settings. Its memory includes Python: what each process had before it opened the model is in brackets.

{translation_table(cases)}
"""
        )
    cases = speech_cases(lines)
    if cases:
        text.append(
            f"""## Speech

Random weights at real shapes, a window of 30 s, all 1500 positions; then a prompt of 4 tokens and 8 + {cases[0].tokens}
tokens, greedily, of which the last {cases[0].tokens} are the decoder's speed. CTranslate2's encoder does not include the
decoder's keys and values of the window, the others' does; "in all" has everything. ONNX Runtime has an encoder alone.
Ratios are of speed: above 1 is better for babil. For each number, and each other side, its fastest setting; memory is
that of the fastest for the window in all, and includes Python, whose own is in brackets.

{speech_table(cases)}
"""
        )
    return "\n".join(text)


def listed(counts):
    """The different counts but zero: "5", "3 or 5"."""
    return " or ".join(map(str, sorted(set(counts) - {0}))) or "no"


def short(lines):
    """The README's tables: translation, and language models on most threads, mainly beside llama.cpp's best build."""
    facts = lines[0]
    text = [
        f"""
{facts["cores"]} cores of {facts["processor"]}, {facts["date"]}; babil {facts["babil"]}. Medians of alternating
rounds on the same files. Ratios are taken round by round, babil's number divided by the other's; memory is anonymous
memory at most, CTranslate2's with Python's.
"""
    ]
    cases = translation_cases(lines)
    if cases:
        head = ["<Model", "<Beam", "Batch", "Threads", "babil", "CTranslate2", "Ratio", "Memory, MB"]
        rows = []
        for case in cases:
            ours, peer = case["ours"], case["peer"]
            row = [case["model"], beam_of(case), case["batch"], case["threads"]]
            row += [f"{side['sentences_per_second']['median']:.0f}" for side in (ours, peer)]
            row += [f"{case['ratio']['median']:.2f}"]
            rows.append(row + [" / ".join(f"{side['anonymous'] / 1e6:.0f}" for side in (ours, peer))])
        text += [f"Sentences per second beside CTranslate2 ({facts['ctranslate2']}):", ""]
        text += [markdown(head, rows), ""]
    cases = speech_cases(lines)
    if cases:
        sides = {time: [s for s in SPEECH_SIDES if any(case.best(s, time) for case in cases)] for time in SPEECH_TIMES}
        head = ["<Model", "Threads"]
        for time, name in (("encode", "Encoder, ms"), ("decode", "Decoder, tokens/s")):
            head += [f"{name}: babil", *(SPEECH_SIDES[side] for side in sides[time][1:]), "Ratios of speed"]
        head.append(f"Memory, MB: {' / '.join(SPEECH_SIDES[side] for side in sides['window'])}")
        rows = []
        for case in cases:
            row = [case.model, case.threads]
            for time in ("encode", "decode"):
                for side in sides[time]:
                    best = case.best(side, time)
                    row.append(median(case.shown(best["seconds"][time], time), 0) if best else UNKNOWN)
                peers = [peer for peer in sides[time][1:] if case.best(peer, time)]
                row.append(" / ".join(median(case.ratios(peer, time), 2) for peer in peers))
            best = [case.best(side, "window") for side in sides["window"]]
            rows.append(row + [" / ".join(f"{side['anonymous'] / 1e6:.0f}" for side in best if side)])
        text += ["Speech models, random weights, a window of 30 s and 128 tokens of it, beside whisper.cpp"]
        text += [f"({facts.get('whisper.cpp', 'not measured')})"]
        also = f"; the encoder also beside {facts['onnxruntime']}" if "onnxruntime" in sides["encode"] else ""
        text += [f"and CTranslate2 ({facts.get('ctranslate2', 'not measured')}), each in the best of its settings{also}:"]
        text.append("")
        text += [markdown(head, rows), ""]
    cases = language_cases(lines)
    if cases:
        most = max(case.threads for case in cases)
        head = ["<Model", "<Type", "Prefill 512: babil", "llama.cpp", "Ratio", "Decode: babil", "llama.cpp", "Ratio"]
        others = [peer for peer in peers_of(cases) if peer != "llama.cpp"]
        decodes = {peer: any(case.speeds(peer, "decode 0") for case in cases) for peer in others}
        names = {peer: "Decode" if decodes[peer] else "Prefill 512" for peer in others}
        head += ["Ratio after 4096", *(f"{name}: ratio to {peer}" for peer, name in names.items())]
        head += ["Start, s: first, later / llama.cpp", "Memory, MB: babil / llama.cpp"]
        rows = []
        for case in cases:
            if case.threads != most or not case.rounds:
                continue
            row = [case.model, case.quant]
            for work in ("prefill 512", "decode 0"):
                row += [median([s[0] for s in case.speeds(side, work)], 0) for side in ("babil", "llama.cpp")]
                row += [median(case.ratios("llama.cpp", work), 2)]
            starts = [median(case.seconds(side), 2) for side in ("babil, first start", "babil", "llama.cpp")]
            memory = [f"{case.anonymous(side) / 1e6:.0f}" for side in ("babil", "llama.cpp")]
            row += [median(case.ratios("llama.cpp", "decode 4096"), 2)]
            works = {peer: "decode 0" if decodes[peer] else "prefill 512" for peer in others}
            row += [median(case.ratios(peer, work), 2) for peer, work in works.items()]
            start = f"{starts[0]}, {starts[1]} / {starts[2]}" if case.seconds("babil") else "–"
            rows.append(row + [start, " / ".join(memory)])
        text += [f"Tokens per second beside llama.cpp ({facts['llama.cpp']}), random weights, {most} threads:", ""]
        text += [markdown(head, rows), ""]
    return "\n".join(text)


def write_page(path):
    """Writes the page of a record beside it."""
    output = path.with_suffix(".md")
    output.write_text(page(read_record(path)), encoding="utf-8")
    return output


def write_readme(paths):
    """Puts the short tables of records into the README."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README} has no lines {BEGIN} and {END}")
    tables = "".join(short(read_record(path)) for path in paths)
    README.write_text(f"{before}{begin}{tables}{end}{after}", encoding="utf-8")
