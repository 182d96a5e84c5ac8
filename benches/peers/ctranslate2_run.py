"""CTranslate2's side of `translation.py`: the options and the lines of JSON of the example `translation`."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import ctranslate2
from process import cpu_seconds, memory, report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a CTranslate2 model")
    parser.add_argument("--tokens", type=Path, required=True, help="sentences as token ids")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--force", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on-request", action="store_true")
    parser.add_argument("--write-output", type=Path)
    args = parser.parse_args()

    memory_at_start = memory()
    start = time.perf_counter()
    translator = ctranslate2.Translator(
        args.model,
        device="cpu",
        compute_type=args.compute_type,
        intra_threads=args.threads // args.workers,
        inter_threads=args.workers,
    )
    load_seconds = time.perf_counter() - start
    vocabulary = json.loads((Path(args.model) / "shared_vocabulary.json").read_text(encoding="utf-8"))
    ids = {token: i for i, token in enumerate(vocabulary)}
    lines = args.tokens.read_text(encoding="utf-8").splitlines()[: args.limit]
    sources = [[vocabulary[int(i)] for i in line.split()] for line in lines]
    options = {
        "max_batch_size": args.batch,
        "beam_size": args.beam,
        "max_decoding_length": 255,
        "max_input_length": 0,
        "return_scores": False,
    }
    if args.force:
        options.update(min_decoding_length=args.force, max_decoding_length=args.force)
    report(
        version=ctranslate2.__version__,
        isa=os.environ.get("CT2_FORCE_CPU_ISA", "detected"),
        threads=args.threads,
        workers=args.workers,
        load_seconds=load_seconds,
        sentences=len(sources),
        source_tokens=sum(map(len, sources)),
        memory_at_start=memory_at_start,
    )

    results = []

    def repeat(counted):
        nonlocal results
        start, cpu = time.perf_counter(), cpu_seconds()
        results = translator.translate_batch(sources, **options)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        if counted:
            report(
                seconds=seconds,
                cpu_seconds=cpu,
                sentences_per_second=len(sources) / seconds,
                tokens=sum(len(result.hypotheses[0]) for result in results),
                memory=memory(),
            )

    if args.on_request:
        for _ in sys.stdin:
            repeat(True)
    else:
        for i in range(args.rounds + 1):
            repeat(i > 0)
    if args.write_output:
        lines = [" ".join(str(ids[token]) for token in result.hypotheses[0]) for result in results]
        args.write_output.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
