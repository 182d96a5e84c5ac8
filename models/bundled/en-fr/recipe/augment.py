"""What train.py adds to the sentence pairs, so that the model also knows single words, greetings and careless lines.

Three things: `basics` reads words.tsv, a list written by hand; `lexicon` finds pairs of single words, and of words with
their article or possessive, in the sentence pairs themselves; `Variations` takes the final punctuation or the capital
letters from some of the lines. All of it is deterministic.
"""
import collections
import re

import numpy as np

WORD = re.compile(r"(?:aujourd'hui|[^\W\d_]+(?:-[^\W\d_]+)*(?:['’](?:s|t|ll|re|ve|m|d)\b|['’](?=\w))?|\d+|[^\w\s])")
END = re.compile(r"\s*[.!?…]+$")
ENGLISH = "the a an my your his her our their this these".split()
FRENCH = "le la l' les un une des du mon ma mes ton ta votre vos son sa ses notre nos leur leurs ce cet cette ces".split()


def basics(path):
    """The pairs of words.tsv, capitalised and without final punctuation unless they have it there."""
    with open(path, encoding="utf8") as f:
        return [tuple(line.rstrip("\n").split("\t")) for line in f if line.strip()]


def capital(text):
    return text[:1].upper() + text[1:]


class Truecase:
    """Whether a word that opens a line would keep its capital letter elsewhere in a line (Tom, I, Monday)."""

    def __init__(self, lines):
        self.lower, self.upper = collections.Counter(), collections.Counter()
        for line in lines:
            for word in WORD.findall(line)[1:]:
                (self.upper if word[:1].isupper() else self.lower)[word.lower()] += 1

    def keeps(self, word):
        return self.upper[word.lower()] > self.lower[word.lower()]

    def uncapital(self, line):
        """The line as it would stand in the middle of another."""
        first = WORD.match(line)
        return line if first is None or self.keeps(first.group()) else line[:1].lower() + line[1:]


def translation_table(links, given, rounds=5):
    """IBM model 1. links: [n, 3] of sentence, word, given word -> unique (word, given) and their probabilities."""
    keys, which = np.unique(links[:, 1] * given + links[:, 2], return_inverse=True)
    slot = np.unique(links[:, 0] * (1 << 32) + links[:, 1], return_inverse=True)[1]  # a word in its sentence
    t = np.ones(len(keys))
    for _ in range(rounds):
        p = t[which]
        p /= np.bincount(slot, p)[slot]
        counts = np.bincount(which, p, len(keys))
        t = counts / np.maximum(np.bincount(keys % given, counts, given), 1e-9)[keys % given]
    return keys, t


def lexicon(pairs, truecase, least=4, sure=0.25):
    """[(English, French)] of words that are each other's usual translation in `pairs`, and such words after the articles
    and possessives with which they stand."""
    sides = [[WORD.findall(p[i].lower()) for p in pairs] for i in (0, 1)]
    ids = [{w: i for i, w in enumerate(sorted({w for line in side for w in line}))} for side in sides]
    names = [list(x) for x in ids]
    links = np.array([(n, ids[0][e], ids[1][f]) for n, (en, fr) in enumerate(zip(*sides)) for e in set(en) for f in set(fr)],
                     np.int64)
    size = [len(x) for x in names]
    there, p = translation_table(links, size[1])  # English given French: keys e * size[1] + f
    back, q = translation_table(links[:, [0, 2, 1]], size[0])  # keys f * size[0] + e
    q = dict(zip((back % size[0] * size[1] + back // size[0]).tolist(), q.tolist()))
    count = np.bincount(np.searchsorted(there, links[:, 1] * size[1] + links[:, 2]), minlength=len(there))
    best = {}
    for key, probability, seen in zip(there.tolist(), p.tolist(), count.tolist()):
        both = probability * q[key]
        e, f = names[0][key // size[1]], names[1][key % size[1]]
        if seen >= least and min(probability, q[key]) > sure and len(e) > 1 and len(f) > 1 and (e + f).isalpha():
            best[e] = max(best.get(e, (0.0, "")), (both, f))
    words = {e: f for e, (_, f) in best.items()}
    phrases = collections.defaultdict(collections.Counter)
    for en, fr in zip(*sides):
        at = {f: i for i, f in enumerate(fr)}
        for i, e in enumerate(en):
            j = at.get(words.get(e), 0)
            if i and j and en[i - 1] in ENGLISH and fr[j - 1] in FRENCH:
                phrases[en[i - 1], e][fr[j - 1]] += 1
    case = lambda w: capital(w) if truecase.keeps(w) else w
    out = [(case(e), case(f)) for e, f in sorted(words.items())]
    for (a, e), seen in sorted(phrases.items()):
        b, n = seen.most_common(1)[0]
        if n >= 3 and n > 0.6 * seen.total():
            out.append((f"{a} {case(e)}", f"{b}{'' if b.endswith(chr(39)) else ' '}{case(words[e])}"))
    return out


class Variations:
    """Some of the examples without final punctuation, some in lower case; short ones more often.

    Both sides lose their punctuation together, and words without any get a full stop now and then. A source in lower case, or only without its capital, has a target without
    its capital: case follows the source at the start of a line and is right elsewhere. The pieces are decoded and encoded
    again, so that the examples need not be kept as text."""

    RATES = {True: (0.35, 0.25), False: (0.10, 0.10)}  # short or not: without punctuation, in lower case
    SHORT = 6  # pieces of the target

    def __init__(self, sp, truecase):
        self.sp, self.truecase = sp, truecase

    def __call__(self, x, y, draw):
        """x: tag, pieces, end; y: pieces, end -> the same, or a variation. `draw` is a random.Random."""
        bare, lower = self.RATES[len(y) <= self.SHORT]
        change, lower, whole = draw.random() < bare, draw.random() < lower, draw.random() < 0.6
        if not change and not lower:
            return x, y
        tag, end = x[:1], x[-1:]
        source, target = self.sp.decode([x[1:-1], y[:-1]])
        ends = END.search(source) is not None, END.search(target) is not None
        if change and ends == (True, True):
            source, target = END.sub("", source), END.sub("", target)
        elif change and ends == (False, False):
            source, target = source + ".", target + "."
        if lower:
            source = source.lower() if whole else self.truecase.uncapital(source)
            target = self.truecase.uncapital(target)
        source, target = self.sp.encode([source, target])
        return (tag + source + end, target + end) if source and target else (x, y)
