"""Measures babil beside other engines, alternating in one run, prints a table and records it.

    just bench-peers prepare --text VALID.tsv       everything that must be downloaded, built and made: an hour or two
    just bench-peers --text VALID.tsv               the same where it is missing, and then all measurements: hours
    just bench-peers --prepared --only language --models qwen2.5-0.5b --rounds 2     a portion of them
    just bench-peers --prepared --quick             a look that takes three minutes and is not recorded
    just bench-peers table RECORD.jsonl.. --readme  the pages of records, and their short forms in README.md

Portions of one day and of the same programs add to one record. Parts: `language` and `cold` (cold starts) beside
llama.cpp, candle and mistral.rs; `translation` beside CTranslate2, of the bundled model with --text, whose first column
has English sentences, and of opus-mt's shape; `speech` beside whisper.cpp and CTranslate2.
"""

import argparse
from pathlib import Path

import cold
import language
import models
import peers
import report
import speech
import speech_model
import translation
from common import ROOT, Record, note, read_record, slug, this_machine

RECORDS = ROOT / "benches" / "record"
PARTS = ["language", "cold", "translation", "speech"]


def arguments():
    parser = argparse.ArgumentParser(
        "just bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("command", nargs="?", choices=["measure", "prepare", "table"], default="measure")
    add("records", nargs="*", type=Path, metavar="RECORD.jsonl", help="for `table`")
    add("--readme", action="store_true", help="with `table`: also put the short tables into README.md")
    add("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--peers", nargs="+", choices=peers.NAMES, default=peers.NAMES, metavar="PEER", help=", ".join(peers.NAMES))
    add("--models", nargs="+", choices=models.MODELS, default=models.MODELS, metavar="M", help=", ".join(models.MODELS))
    add("--types", nargs="+", choices=models.TYPES, default=models.TYPES, metavar="T", help=", ".join(models.TYPES))
    shapes = list(speech_model.SHAPES)
    add("--speech-models", nargs="+", choices=shapes, default=shapes, metavar="M", help=", ".join(shapes))
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--prompt", nargs="*", type=int, default=[128, 512], help="tokens of prompts (default: 128 512)")
    add("--depth", nargs="*", type=int, default=[0, 512, 4096], help="tokens before generation (default: 0 512 4096)")
    add("--text", type=Path, metavar="VALID.tsv", help="sentences for the bundled translator")
    add("--limit", type=int, default=1000, help="most of those sentences (default: 1000)")
    add("--beam", nargs="+", type=int, default=[1, 4], help="of translations (default: 1 4)")
    add("--batch", nargs="+", type=int, default=[16, 32], help="of the bundled translator (default: 16 32)")
    add("--rounds", type=int, default=5)
    add("--quick", action="store_true", help="two rounds of little, not recorded")
    add("--prepared", action="store_true", help="build and make nothing: measure what `prepare` has left")
    add("--record", type=Path, help="file to add to (default: benches/record/DATE-MACHINE.jsonl)")
    add("--no-record", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.only = [part for part in args.only if part in ("language", "cold")] or args.only
        args.models, args.types, args.threads = args.models[:1], args.types[:2], [max(args.threads)]
        args.speech_models = args.speech_models[:1]
        args.prompt, args.depth, args.beam, args.batch = args.prompt[:1], args.depth[:1], args.beam[:1], args.batch[:1]
        args.limit, args.rounds, args.no_record = min(args.limit, 64), min(args.rounds, 2), True
    least = min(args.rounds, args.limit, *args.threads, *args.prompt, *args.beam, *args.batch)
    if least < 1 or min(args.depth, default=0) < 0:
        parser.error("numbers must be at least 1, depths at least 0")
    return args


def prepare(args):
    peers.prepare(args.peers)
    if {"language", "cold"} & set(args.only):
        models.prepare(args.models, args.types)
    if "translation" in args.only and "ctranslate2" in args.peers:
        translation.prepare(args.text)
    if "speech" in args.only:
        speech.prepare(args.speech_models)


def measure(args):
    if not args.prepared:
        prepare(args)
    versions = peers.versions()
    if "babil" not in versions:
        raise SystemExit("nothing has been prepared: run `just bench-peers prepare`")
    for name in args.peers:
        if name not in versions:
            note(f"{name} is left out: it has not been prepared")
    args.peers = [name for name in args.peers if name in versions]
    facts = this_machine() | versions
    path = args.record or RECORDS / f"{facts['date']}-{slug(facts['processor'])}.jsonl"
    record = Record(None if args.no_record else path, facts)
    before = len(record.lines)
    kinds = [(model, quant) for model in args.models for quant in models.types_of(model) if quant in args.types]
    cases = [language.Case(*kind, threads) for kind in kinds for threads in args.threads]
    if "language" in args.only:
        for case in cases:
            language.measure(record, case, args.prompt, args.depth, args.rounds, args.peers)
    if "cold" in args.only:
        for case in cases:
            if case.threads == max(args.threads):
                cold.measure(record, case, args.rounds, args.peers)
    if "translation" in args.only and "ctranslate2" in args.peers:
        for model in translation.models():
            libraries = translation.matrix_libraries(model)
            batches = args.batch if model is translation.BUNDLED else args.batch[:1]
            for beam in args.beam:
                for batch in batches:
                    for threads in args.threads:
                        translation.measure(record, model, libraries, batch, beam, threads, args.rounds, args.limit)
    if "speech" in args.only:
        for model in speech.models():
            for threads in args.threads:
                if model in args.speech_models:
                    speech.measure(record, model, threads, args.rounds, args.peers)
    print(report.page([record.lines[0], *record.lines[before:]]))
    if record.path:
        note(f"recorded in {record.path} and {report.write_page(record.path)}")


def table(args):
    for path in args.records:
        report.write_page(path)
        print(report.page(read_record(path)))
    if args.readme:
        report.write_readme(args.records)


def main():
    args = arguments()
    {"measure": measure, "prepare": prepare, "table": table}[args.command](args)


if __name__ == "__main__":
    main()
