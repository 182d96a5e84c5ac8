#!/usr/bin/env python3
"""The weighted mean of two sets of weights: what one run has learned, with less of what it has forgotten.

    blend.py --start start.safetensors --end RUN/model.safetensors --part 0.7 --out model.safetensors
"""
import argparse

from safetensors.numpy import load_file, save_file


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--start", required=True, help="weights that the run began with")
    ap.add_argument("--end", required=True, help="weights that it ended with")
    ap.add_argument("--part", type=float, required=True, help="part of the end: 0 is the start, 1 the end")
    ap.add_argument("--out", required=True, help="file to write")
    a = ap.parse_args()
    start, end = load_file(a.start), load_file(a.end)
    save_file({k: (1 - a.part) * start[k] + a.part * end[k] for k in end}, a.out)


if __name__ == "__main__":
    main()
