"""BLEU and chrF of the bundled translator, as its users get it, in both directions.

    pip install sacrebleu
    python benches/bleu.py TEST.tsv

TEST.tsv has English in its first column and French in its second. Each side is translated by the program `babil`, in
one run, a line of output for each line of input, with the quantised weights and a beam of 4. Prints a Markdown table;
scores are sacrebleu's, tokenizer 13a.

The program splits lines into sentences and translates one after the other. `--sentence` also scores each line
translated as a whole, which is how the model was trained and how reference implementations are scored.

Translations by another program, to see what quantisation costs, are given as `--reference-hyp en-fr=FILE`, one line
for each line of TEST.tsv; they can be given for both directions.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sacrebleu

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "fr")


def read(path):
    # Only \n ends a line: other separators may stand inside a sentence.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_pairs(path, limit):
    rows = [line.split("\t") for line in read(path)]
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None:
        sys.exit(f"line {short} of {path} does not have two columns")
    rows = rows[:limit]
    return [row[0] for row in rows], [row[1] for row in rows]


def run(command, source, what):
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, input="".join(line + "\n" for line in source).encode(), stdout=subprocess.PIPE
    )
    if done.returncode != 0:
        sys.exit(f"{what} has failed with exit status {done.returncode}")
    print(f"{what}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return done.stdout.decode()


def check(lines, source, what):
    if len(lines) != len(source):
        sys.exit(f"{what}: {len(lines)} lines for {len(source)} of input")
    return lines


def by_lines(args, source, pair):
    """What the program makes of the lines."""
    program = [args.program] if args.program else ["cargo", "run", "--release", "--quiet", "-p", "babil", "--"]
    command = [*program, "translate", "--quiet", "--from", pair[0], "--to", pair[1], "--beam", str(args.beam)]
    command += ["--model", args.model] if args.model else []
    command += ["--threads", str(args.threads)] if args.threads else []
    what = f"{pair[0]} -> {pair[1]}"
    return check(run(command, source, what).removesuffix("\n").split("\n"), source, what)


def by_sentences(args, source, pair):
    """What the model makes of each line as one sentence."""
    program = [args.example] if args.example else None
    program = program or "cargo run --release --quiet -p babil-benches --example translation --".split()
    what = f"{pair[0]} -> {pair[1]}, each line as one sentence"
    with tempfile.TemporaryDirectory() as folder:
        text, output = Path(folder) / "source", Path(folder) / "output"
        text.write_text("".join(line + "\n" for line in source), encoding="utf-8")
        command = [*program, "--text", str(text), "--from", pair[0], "--to", pair[1], "--beam", str(args.beam)]
        command += ["--model", args.model] if args.model else []
        command += ["--threads", str(args.threads)] if args.threads else []
        # On request: one line of input, one repetition, and none to warm up.
        run([*command, "--on-request", "--write-output", str(output)], [""], what)
        return check(read(output), source, what)


def scores(hypotheses, references):
    bleu = sacrebleu.metrics.BLEU(tokenize="13a")
    chrf = sacrebleu.metrics.CHRF()
    result = bleu.corpus_score(hypotheses, [references]), chrf.corpus_score(hypotheses, [references])
    return result, (bleu.get_signature(), chrf.get_signature())


def reference(argument):
    pair, separator, path = argument.partition("=")
    if not separator or pair.split("-") not in ([*LANGUAGES], [*LANGUAGES[::-1]]):
        raise argparse.ArgumentTypeError("must look like en-fr=FILE or fr-en=FILE")
    return tuple(pair.split("-")), Path(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="English and French sentences, separated by a tab")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--limit", type=int, help="only the first lines")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--model", help="name or folder of a model in place of the bundled one")
    parser.add_argument("--program", help="the program `babil`, already built (default: cargo run --release)")
    parser.add_argument("--sentence", action="store_true", help="also score each line as one sentence")
    parser.add_argument("--example", help="the example `translation` of benches, already built, for --sentence")
    parser.add_argument(
        "--reference-hyp", type=reference, action="append", default=[], metavar="EN-FR=FILE",
        help="translations by another program, one line for each of DATA",
    )
    parser.add_argument("--output", type=Path, help="folder for the translations")
    args = parser.parse_args()
    if not args.data.is_file():
        sys.exit(f"there is no file {args.data}: give a file of English and French sentences, separated by a tab")
    # The programs run in the repository's folder.
    for name in ("program", "example", "model"):
        value = getattr(args, name)
        if value and Path(value).exists():
            setattr(args, name, str(Path(value).resolve()))

    columns = read_pairs(args.data, args.limit)
    if not columns[0]:
        sys.exit(f"{args.data} is empty")
    references = dict(args.reference_hyp)
    rows, signatures = [], ()
    for pair, source, target in ((LANGUAGES, *columns), (LANGUAGES[::-1], *columns[::-1])):
        name = "-".join(pair)
        results = {"babil": by_lines(args, source, pair)}
        if args.sentence:
            results["babil, lines not split"] = by_sentences(args, source, pair)
        if pair in references:
            lines = read(references[pair])[: args.limit]
            results["reference"] = check(lines, source, str(references[pair]))
        for what, hypotheses in results.items():
            (bleu, chrf), signatures = scores(hypotheses, target)
            rows.append(f"| {pair[0]} -> {pair[1]} | {what} | {bleu.score:.2f} | {chrf.score:.2f} |")
            if args.output and what != "reference":
                args.output.mkdir(parents=True, exist_ok=True)
                suffix = ".whole" if what != "babil" else ""
                path = args.output / f"{name}{suffix}.{pair[1]}"
                path.write_text("".join(line + "\n" for line in hypotheses), encoding="utf-8")
    print(f"{len(columns[0])} lines, beam {args.beam}\n")
    print("| direction | by | BLEU | chrF |\n|---|---|--:|--:|")
    print("\n".join(rows))
    print("\n" + "\n".join(map(str, signatures)))


if __name__ == "__main__":
    main()
