#!/usr/bin/env python3
"""How many of the 40 short inputs of short.tsv come out right.

    short.py --program target/release/babil [--model DIR] [--model DIR ...]

short.tsv: direction, input, right answers separated by slashes. Each model named translates them with a beam of 4; prints
a Markdown table and the number of right answers, where case and final punctuation do not count.
"""
import argparse
import os
import re
import subprocess


def plain(text):
    return re.sub(r"\s*[.!?…]*$", "", text.replace("’", "'")).lower()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--program", default="babil", help="the program babil (%(default)s)")
    ap.add_argument("--model", action="append", help="folder of a model (default: the bundled one)")
    a = ap.parse_args()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "short.tsv"), encoding="utf8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    results = []
    for model in a.model or [None]:
        out = {}
        for direction in ("en-fr", "fr-en"):
            lines = [text for d, text, _ in rows if d == direction]
            command = [a.program, "translate", "--quiet", "--from", direction[:2], "--to", direction[3:], "--beam", "4"]
            done = subprocess.run(command + (["--model", model] if model else []), input="".join(x + "\n" for x in lines),
                                  capture_output=True, text=True, check=True, encoding="utf8")
            out.update({(direction, x): y for x, y in zip(lines, done.stdout.removesuffix("\n").split("\n"), strict=True)})
        results.append(out)
    right = [0] * len(results)
    print("| | input | " + " | ".join(a.model or ["babil"]) + " |\n|---|---|" + "---|" * len(results))
    for direction, text, answers in rows:
        cells = []
        for k, out in enumerate(results):
            good = plain(out[direction, text]) in map(plain, answers.split("/"))
            right[k] += good
            cells.append(out[direction, text] + ("" if good else " ✗"))
        print(f"| {direction} | {text} | " + " | ".join(cells) + " |")
    print(f"\nright, of {len(rows)}: " + ", ".join(map(str, right)))


if __name__ == "__main__":
    main()
