#!/usr/bin/env python3
"""Makes what runtime/tests/sentencepiece.rs checks, with SentencePiece and transformers themselves.

    python3 -m venv .venv
    .venv/bin/pip install sentencepiece==0.2.3 transformers==5.23.0

    make_vectors.py fixtures
        trains the small models and writes them and vectors.jsonl beside this script.
        Training is deterministic: the same versions give the same files.

    make_vectors.py large --model MODEL [--texts FILE] [--random N] --out FILE.jsonl
        writes vectors of a model of yours: the sentences of FILE (one a line, or the columns of a
        .tsv) and N random hostile strings. Check them with
        BABIL_SPM_VECTORS=FILE.jsonl cargo test -p babil-runtime --test sentencepiece -- --nocapture

A vectors file has one JSON value a line. {"model": PATH} or {"vocabulary": [MAP, SOURCE, TARGET]}
says what the following lines are about, paths being relative to the vectors file;
{"text", "ids", "pieces", "decoded"} is a text, its ids and their text; without "text", ids are only
decoded.
"""

import argparse
import json
import os
import random
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece as spm

HERE = Path(__file__).resolve().parent

WORDS = """the a little river runs past old houses and under stone bridges while children play with paper
boats near water they made from yesterday's news nobody knows where all of them go but every evening
some come back as stories told by light of lamps in kitchens full of bread smoke laughter and rain
une petite rivière coule près des vieilles maisons où les élèves jouent avec leurs bateaux déjà mouillés
ça être garçon œuvre noël français naïve größe straße mañana señor łódź český αβγδ привет мир こんにちは 世界
안녕하세요 세계 2024 1,000 3.14 (yes) "no" don't we'll""".split()

# Strings that break tokenizers: each stands for a class.
HOSTILE = [
    "", " ", "  ", "\t", "\n", "\r\n", " a ", "  a  b  ", "a\tb\nc", "a" * 300, " " * 300, "\t \n" * 50, "▁", "▁▁a▁", " ▁ ",
    "a▁b", "\0", "a\0b", "\0\0 \0", "\x01\x02\x1f\x7f\x80\x9f", "\ufeff", "a\ufeffb", "\u00ad", "\u200b\u200c\u200d\u2060",
    "\u00a0a\u00a0", "\u3000\u2003\u2009\u205f\u1680", "e\u0301", "é", "e\u0301\u0301\u0323", "a\u0323\u0307", "a\u0307\u0323",
    "\u0301", " \u0301a", "q\u0307\u0323", "\u1e9b\u0323", "\u212b\u2126", "ﬁ ﬂ ﬃ ﬀ", "ﬁ\u0301", "Ａｂｃ１２３！", "ｱｲｳﾞｶﾞﾊﾟ", "½ ¼ ² ³ ① ㈱ ㎏ ℡ ™ …",
    "\u1100\u1161\u11a8", "한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u1100\u1161\u0301", "\uac00\u11a8", "\u1100 \u1161",
    "שלום עולם", "مرحبا بالعالم", "\u202eabc\u202c", "\ufdfa", "ﷲ", "हिन्दी", "ไทย", "ทำ", "བོད", "ক্ষ",
    "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇫🇷🇩🇪", "1\ufe0f\u20e3", "😀😀 😀",
    "\ud7ff\ue000", "\ud7fb", "\ufffd", "\ufffe\uffff", "\ufdd0\ufdef", "\U0001fffe\U0010ffff", "\U00010000", "\U000e0001\U000e0041",
    "\U000f0000\U00100000", "\U00050000\U000abcde", "𝒜𝓫𝔠", "𠀀𪚥", "\U0002f800", "\u2028\u2029\x85\x0b\x0c", "<unk>", "<s></s>", "<s> a </s>",
    "<pad>", "<0x41>", "<0xE2><0x96><0x81>", " ⁇ ", "⁇", "~ \u301c ～", "--−–—", "\u2018a\u2019 \u201cb\u201d", "«a»", "a. b! c?",
    "<sep>", "a<sep>b", "<sep><sep>", " <sep> ", "<se", "<sep2>", "<sep2>>", "ﬁx", "[NL]", "a[NL] b", "@@@@", "@@@", "[ﬁ]", "x[ﬁ]ﬁ",
    "the river", "The river runs.", "une rivière où l'élève", "İstanbul ıI", "ǅ ǆ", "ſt ß ẞ", "aaaa bbbb", "ab" * 200, "́" * 100,
    "\u0f71\u0f72\u0f74", "\u0344", "\u0958", "\u2adc", "\ufb1d\ufb2a", "\U0001d15e", "\U0001d1bb\U0001d165", "\u1fbf\u0301", "\u0041\u030a\u0301",
]

RANGES = [
    (0x00, 0x20), (0x20, 0x7F), (0x20, 0x7F), (0x61, 0x7B), (0x61, 0x7B), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x780),
    (0x900, 0xE80), (0xF00, 0xFD0), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2600), (0x3000, 0x3400),
    (0x4E00, 0x5200), (0xAC00, 0xD7B0), (0xD7F0, 0xD800), (0xE000, 0xE010), (0xF900, 0xFB50), (0xFB50, 0xFFFF + 1),
    (0x10000, 0x10100), (0x1D100, 0x1D800), (0x1F000, 0x1FB00), (0x20000, 0x20100), (0x2F800, 0x2FA20), (0xE0000, 0xE0200), (0x40000, 0x110000),
]


def hostile(rng, words):
    """A random string of characters and words of all kinds."""
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 21, 40])):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(words))
        elif kind < 0.35:
            parts.append(rng.choice(HOSTILE))
        elif kind < 0.50:
            parts.append(rng.choice([" ", " ", "  ", "   ", "\t", "\n", "\u3000", "▁", "\u00a0", "\u200b"]))
        elif kind < 0.60:
            parts.append(rng.choice("aeiouAEIOUnsq") + "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.randrange(1, 4))))
        else:
            low, high = rng.choice(RANGES)
            run = (chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 6)))
            parts.append("".join(character for character in run if not 0xD800 <= ord(character) < 0xE000))
    return "".join(parts)


def line(value):
    return json.dumps(value, separators=(",", ":")) + "\n"


def text_vector(model, text):
    ids = model.encode(text)
    return {"text": text, "ids": ids, "pieces": model.encode(text, out_type=str), "decoded": model.decode(ids)}


def id_vectors(model, rng, count):
    """Random ids, which no text need have; bytes come in runs where the model has them."""
    size = model.get_piece_size()
    byte_ids = [id for id in range(size) if model.is_byte(id)]
    special = [id for id in range(size) if model.is_control(id) or model.is_unknown(id)]
    for _ in range(count):
        ids = []
        while not ids or rng.random() < 0.8:
            kind = rng.random()
            if byte_ids and kind < 0.3:
                ids += rng.choices(byte_ids, k=rng.randrange(1, 6))
            elif byte_ids and kind < 0.5:
                bytes_ = chr(rng.choice([0xE9, 0x20AC, 0x1F600])).encode()[: rng.randrange(1, 5)]
                ids += [model.piece_to_id(f"<0x{byte:02X}>") for byte in bytes_]
            elif kind < 0.6:
                ids.append(rng.choice(special))
            elif kind < 0.7:
                ids.append(model.piece_to_id("▁"))
            else:
                ids.append(rng.randrange(size))
        yield {"ids": ids, "decoded": model.decode(ids)}


def corpus(rng):
    for _ in range(3000):
        yield " ".join(rng.choices(WORDS, k=rng.randrange(3, 15)))


def own_rules(path):
    """A character map of our own: a part of NFKC, and rules that overlap."""
    rules = {"ab": "x", "abab": "yy", "ababa": "z z", "q\u0307": "Q", "q\u0307\u0323": " q ", "\t": " ", "\u00ad": "", "漢": "字字字"}
    for low, high in [(0xFB00, 0xFB07), (0xFF01, 0xFF5F), (0x2460, 0x2480)]:
        rules |= {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(low, high)}
    with open(path, "w") as file:
        for source, replacement in rules.items():
            hexes = (" ".join(f"{ord(character):X}" for character in part) for part in (source, replacement))
            file.write("\t".join(hexes) + "\n")


def train(folder):
    rng = random.Random(7)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        text, rules = os.path.join(scratch, "corpus.txt"), os.path.join(scratch, "rules.tsv")
        Path(text).write_text("\n".join(corpus(rng)))
        own_rules(rules)
        variants = {
            "nmt_nfkc": dict(normalization_rule_name="nmt_nfkc", user_defined_symbols=["<sep>", "<sep2>", "[ﬁ]"]),
            "identity": dict(normalization_rule_name="identity"),
            "bytes": dict(normalization_rule_name="identity", byte_fallback=True, vocab_size=700),
            "verbatim": dict(
                normalization_rule_name="identity", byte_fallback=True, vocab_size=700, add_dummy_prefix=False,
                remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "[NL]", "  ", "@@", "@@@@", "ﬁ"],
            ),
            "symbols": dict(
                normalization_rule_tsv=rules, user_defined_symbols=["<sep>", "<sep2>", "[NL]", "[ﬁ]", "river", "aa"],
                control_symbols=["<pad>", "<ctl>"], remove_extra_whitespaces=False, unk_surface=" ? ", pad_id=3, pad_piece="<fill>",
            ),
            "suffix": dict(normalization_rule_tsv=rules, treat_whitespace_as_suffix=True, bos_id=-1, eos_id=0, unk_id=1),
            "no_prefix": dict(normalization_rule_name="identity", add_dummy_prefix=False, vocab_size=300),
        }
        for name, options in variants.items():
            options = dict(vocab_size=400, character_coverage=0.98, hard_vocab_limit=False, num_threads=1, minloglevel=2) | options
            spm.SentencePieceTrainer.train(input=text, model_prefix=os.path.join(scratch, name), **options)
            Path(folder, f"{name}.model").write_bytes(Path(scratch, f"{name}.model").read_bytes())
        spm.SentencePieceTrainer.train(
            input=text, model_prefix=os.path.join(scratch, "bpe"), model_type="bpe", vocab_size=200, character_coverage=0.98,
            normalization_rule_name="identity", num_threads=1, minloglevel=2,
        )
        Path(folder, "bpe.model").write_bytes(Path(scratch, "bpe.model").read_bytes())
    return list(variants)


def mapped_vectors(folder, rng):
    """Vectors of the Marian tokenizer of transformers."""
    from transformers import MarianTokenizer

    source, target = folder / "identity.model", folder / "symbols.model"
    pieces = set()
    for path in (source, target):
        model = spm.SentencePieceProcessor(model_file=str(path))
        pieces |= {model.id_to_piece(id) for id in range(model.get_piece_size())}
    pieces -= {"<unk>", "<s>", "</s>", "<pad>"}
    known = rng.sample(sorted(pieces), len(pieces) * 9 // 10)
    ordered = ["</s>", "<unk>", *known, "漢字", "▁漢", ">>fra<<", ">>deu<<", "a▁b", "<pad>"]
    vocab = folder / "vocab.json"
    vocab.write_text(json.dumps({piece: id for id, piece in enumerate(ordered)}, indent=0) + "\n")
    tokenizer = MarianTokenizer(str(source), str(target), str(vocab))
    languages = ["", "", ">>fra<<", ">>fra<< ", ">>deu<<", ">>xxx<<", " >>fra<<", ">>", "<<", ">>a", ">><<"]
    texts = ["", " ", "漢字", "a 漢字 b", "<<a>>", ">>fra<<>>deu<< a"]
    texts += [rng.choice(languages) + hostile(rng, WORDS) for _ in range(120)]
    yield {"vocabulary": ["vocab.json", source.name, target.name]}
    for text in texts:
        tokens = tokenizer._tokenize(text)
        ids = tokenizer.convert_tokens_to_ids(tokens)
        decoded = tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
        yield {"text": text, "ids": ids, "decoded": decoded}
    for _ in range(80):
        ids = rng.choices(range(len(ordered)), k=rng.randrange(1, 20))
        yield {"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)}


def fixtures():
    rng = random.Random(11)
    names = train(HERE)
    texts = HOSTILE + [hostile(rng, WORDS) for _ in range(60)]
    with open(HERE / "vectors.jsonl", "w") as out:
        for name in names:
            model = spm.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))
            out.write(line({"model": f"{name}.model"}))
            for text in texts:
                out.write(line(text_vector(model, text)))
            for vector in id_vectors(model, rng, 60):
                out.write(line(vector))
        for vector in mapped_vectors(HERE, rng):
            out.write(line(vector))


def large(arguments):
    rng = random.Random(arguments.seed)
    model = spm.SentencePieceProcessor(model_file=arguments.model)
    texts = []
    if arguments.texts:
        with open(arguments.texts, encoding="utf-8") as file:
            texts = [column for row in file for column in row.rstrip("\n").split("\t")]
    words = sorted({word for text in texts for word in text.split()}) or WORDS
    texts += HOSTILE
    texts += ["a" * 100_000, " " * 100_000, "a " * 50_000, "é漢😀\u0301" * 10_000]
    texts += [hostile(rng, words) for _ in range(arguments.random)]
    with open(arguments.out, "w") as out:
        out.write(line({"model": os.path.abspath(arguments.model)}))
        for text in texts:
            out.write(line(text_vector(model, text)))
        for vector in id_vectors(model, rng, arguments.random // 5):
            out.write(line(vector))
    print(f"{len(texts)} texts in {arguments.out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("fixtures").set_defaults(run=lambda _: fixtures())
    command = commands.add_parser("large")
    command.add_argument("--model", required=True)
    command.add_argument("--texts")
    command.add_argument("--random", type=int, default=10_000)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--out", required=True)
    command.set_defaults(run=large)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
