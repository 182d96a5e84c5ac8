#!/usr/bin/env python3
"""Choose the sentences: what the model reads aloud in training, and what is held out.

    text.py --pairs DIR --out DATA

DIR holds train.tsv.gz, valid.tsv and test.tsv (English, tab, another language). DATA/sentences.tsv receives one line
per sentence: split, source (tatoeba or pattern), sentence.

The vocabulary is the WORDS most frequent words of the training sentences and the words of PATTERNS below (travel,
numbers, times, dates), which also make sentences of their own. A sentence stays if all its words are in the vocabulary.
The splits have no sentence in common, also not with another punctuation or capitals: what occurs in test is dropped
from valid and train, what occurs in valid is dropped from train.
"""
import argparse
import collections
import gzip
import os
import random
import re

WORDS = 400
LONGEST = 10  # words of a sentence
WORD = re.compile(r"[a-z0-9]+(?:[':][a-z0-9]+)*")
PLAIN = re.compile(r"[A-Z][A-Za-z' ,]*[.?!]")

NUMBERS = [str(n) for n in range(2, 61)] + ["70", "75", "80", "90", "100"]
HOURS = [str(n) for n in range(1, 13)]
MINUTES = ["05", "10", "15", "20", "25", "30", "35", "40", "45", "50", "55"]
MONTHS = "January February March April May June July August September October November December".split()
LISTS = {
    "N": NUMBERS,
    "T": [f"{h}:{m}" for h in HOURS for m in MINUTES],
    "H": HOURS,
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "date": [f"{m} {d}" for m in MONTHS for d in range(1, 31)],
    "month": MONTHS,
    "city": "Boston Paris London Berlin Rome Madrid Tokyo".split(),
    "place": ["station", "airport", "hotel", "museum", "hospital", "restaurant", "bank", "post office",
              "beach", "market"],
    "ride": ["train", "bus", "plane", "boat", "taxi"],
    "thing": ["ticket", "room", "map", "table", "passport", "coffee", "suitcase", "key", "newspaper", "bicycle"],
    "what": ["water", "coffee", "tea", "bread", "milk", "wine", "soup", "fish", "fruit", "cheese"],
    "unit": ["dollars", "euros"],
    "span": ["minutes", "hours", "days", "weeks"],
}
PATTERNS = """
Where is the {place}?
Where's the nearest {place}?
How far is it to the {place}?
How do I get to the {place}?
Is there a {place} near here?
The {place} is closed on {day}.
The {place} opens at {T}.
Does this {ride} go to {city}?
Does this {ride} go to the {place}?
When does the {ride} to {city} leave?
The {ride} to {city} leaves at {T}.
The next {ride} leaves in {N} minutes.
The {ride} to {city} is {N} minutes late.
We'll arrive in {city} at {T}.
I'd like a ticket to {city}, please.
I'd like {N} tickets to {city}, please.
I'd like some {what}, please.
Could I have some {what} and some {what}?
A {thing} costs {N} {unit}.
That's {N} {unit}, please.
How much is this {thing}?
I've lost my {thing}.
I left my {thing} in the {ride}.
Can you show me the {thing}?
My room number is {N}.
I need a room for {N} nights.
We're staying in {city} for {N} {span}.
I'm going to {city} on {day}.
It is {T}.
It's {H} o'clock.
Let's meet at {T} at the {place}.
Let's meet on {day} at {H} o'clock.
I was born on {date}.
The meeting is on {date}.
The meeting is on {day} at {T}.
We leave on {date} and come back on {date}.
It's very cold in {city} in {month}.
He is {N} years old.
She has {N} books and {N} pictures.
There are {N} people in the {place}.
""".strip().splitlines()
PER_PATTERN = 150


def normal(sentence):
    """The words of a sentence, without capitals and punctuation: what the word error rate compares."""
    return WORD.findall(sentence.lower())


def read(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as lines:
        sentences = dict.fromkeys(line.split("\t")[0].strip() for line in lines)
    return [s for s in sentences if PLAIN.fullmatch(s) and len(s.split()) <= LONGEST]


def patterns(rng):
    """PER_PATTERN different sentences of each pattern, or as many as there are."""
    for pattern in PATTERNS:
        made = dict.fromkeys(
            re.sub(r"{(\w+)}", lambda m: rng.choice(LISTS[m[1]]), pattern) for _ in range(PER_PATTERN)
        )
        yield from made


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--pairs", required=True)
    args.add_argument("--out", required=True)
    args = args.parse_args()
    rng = random.Random(1)

    splits = {split: read(f"{args.pairs}/{split}.tsv" + ".gz" * (split == "train"))
              for split in ("test", "valid", "train")}
    made = list(patterns(rng))
    rng.shuffle(made)
    count = collections.Counter(w for s in splits["train"] for w in set(normal(s)))
    vocabulary = {w for w, _ in count.most_common(WORDS)} | {w for s in made for w in normal(s)}
    tenth = len(made) // 20
    made = {"test": made[:tenth], "valid": made[tenth : 2 * tenth], "train": made[2 * tenth :]}

    seen = set()
    os.makedirs(args.out, exist_ok=True)
    with open(f"{args.out}/sentences.tsv", "w", encoding="utf-8") as out:
        for split in ("test", "valid", "train"):
            here = set()
            for source, sentences in (("tatoeba", splits[split]), ("pattern", made[split])):
                kept = [s for s in sentences if set(normal(s)) <= vocabulary and tuple(normal(s)) not in seen]
                here |= {tuple(normal(s)) for s in kept}
                out.writelines(f"{split}\t{source}\t{s}\n" for s in kept)
                print(f"{split} {source}: {len(kept)} sentences, {sum(len(s.split()) for s in kept)} words")
            seen |= here
    print(len(vocabulary), "words in the vocabulary")


if __name__ == "__main__":
    main()
