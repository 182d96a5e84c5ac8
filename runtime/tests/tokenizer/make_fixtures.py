#!/usr/bin/env python3
"""Makes the small vocabularies that runtime/tests/tokenizer.rs checks, and what other tokenizers make of texts.

    python3 -m venv .venv        (Python 3.11 or later)
    .venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0
    .venv/bin/python make_fixtures.py

NAME.json is a tokenizer of the `tokenizers` library, with the pre-tokenizer that models of the kind NAME have; NAME.gguf
is the same vocabulary as llama.cpp's converter writes it. llama.gguf is a BPE model of SentencePiece, which has no JSON.
texts.json holds texts, and ids.json the ids of each of them: as text, and with marks such as `<|im_end|>` parsed.
Training is deterministic: the same versions give the same files.
"""

import json
import random
import tempfile
from pathlib import Path

import sentencepiece as spm
from gguf import GGUFWriter, TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent

CORPUS = """A little river runs past old houses and under stone bridges, while children play with paper boats near the
water. They've made them from yesterday's news; nobody knows where all of them go, but every evening some come back.
"It isn't far," she said, "we'll be there by 10:30 -- or 11:45 at the latest!" THE END. HTTPServer, camelCaseWord.
for (int i = 0; i < 100; ++i) { printf("%d\\n", value[i]); }   // 3.14159, 1,000,000 and 2024-12-31
def main(path: str) -> None:\n\tif not path:\n\t\treturn\n\n\n        print(f"{path!r}")
Une petite rivière coule près des vieilles maisons où les élèves jouent avec leurs bateaux déjà mouillés. Noël, ça va ?
Größe, Straße, mañana, señor, łódź, český; αβγδ και ΑΒΓΔ; привет, МИР! Шла Саша по шоссе и сосала сушку.
こんにちは、世界。日本語のテキストです。你好，世界！今天天气很好。 안녕하세요 세계. สวัสดีชาวโลก नमस्ते दुनिया مرحبا بالعالم שלום עולם
😀 😃 👩‍👩‍👧 🦙🦙 ♥ € £ ½ ² Ⅷ ٣٤٥
"""

TEXTS = [
    "", " ", "  ", "\n", "\n\n", "\t\n \n  x", "a", " a", "a ", "The river's old bridge", "they've WE'LL I'M it'S 'tis",
    "1 12 123 1234 12345 1234567 3.14 ٣٤٥ ½²", "camelCase HTTPServer ÉTÉ Été éÉ", "x=y+z; a<=b && c->d!=e",
    "日本語 テキスト 你好，世界！", "안녕 세계", "नमस्ते สวัสดี", "Привет, МИР", "e\u0301a\u0308 \u0301x", "a\u00a0b\u3000c\u2003d\u0085e",
    "a\r\nb\r\n\r\nc", "   leading and trailing   ", "😀👩‍👩‍👧🦙", "\u0000\u0001\u007f\ufeff\ufffd", "don\u017ft 'ſ", "/path/to//file\n/x",
    "<|im_end|>", "a<|im_end|> b", "<|endoftext|><|im_end|>\n", "a <tool>b</tool> <tool>", "<|im_end", "▁a ▁▁ a▁",
    "    if x:\n        return  1\n", "aaaaaaaaaaaaaaaaaaaaaaaa", "!!!!????....,,,,", "word" * 30,
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(7)
    pieces = CORPUS.split() + list(" \n\t'.,!?0123456789") + ["'s", "'LL", "  ", "\r\n", "\u0301", "\u200d", "中", "é", "ǅ", "😀", "<tool>"]
    def character() -> str:
        while True:
            point = rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x3000, 0xA000), rng.randrange(0x110000)])
            if not 0xD800 <= point < 0xE000:
                return chr(point)
    return ["".join(rng.choice(pieces) if rng.random() < 0.8 else character() for _ in range(rng.randrange(1, 14))) for _ in range(count)]


CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def cased(contractions: str, numbers: str):
    return split(f"{BEFORE}{UPPER}*{LOWER}+{contractions}|{BEFORE}{UPPER}+{LOWER}*{contractions}|{numbers}"
                 rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}")


CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ"
    "-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK"
    "-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-"
    "𐳲𑢠-𑣟𞤀-𞥃"
)
GPT2 = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
KINDS = {
    "gpt-2": GPT2,
    "smollm": [pre_tokenizers.Digits(individual_digits=True), *GPT2],
    "llama-bpe": [split(rf"{CONTRACTIONS}|{BEFORE}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"), BYTES],
    "qwen2": [split(rf"{CONTRACTIONS}|{BEFORE}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"), BYTES],
    "qwen35": [split(rf"{CONTRACTIONS}|{BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"), BYTES],
    "tekken": [cased("", r"\p{N}"), BYTES],
    "gpt-4o": [cased(CONTRACTIONS + "?", r"\p{N}{1,3}"), BYTES],
    "hunyuan-dense": [
        split(r"\p{N}{1,3}"),
        split("[一-龥\u3040-ゟ゠-ヿ]+"),
        split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
              "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
        BYTES,
    ],
    "deepseek-llm": [
        split("[\r\n]"), split(rf"\s?[{CASED_LETTERS}]+"),
        split("\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"), split(r"\s+$"), split("[一-龥\u0800-一가-\ud7ff]+"),
        pre_tokenizers.Digits(individual_digits=False), BYTES,
    ],
    "deepseek-coder": [
        split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥\u0800-一가-\ud7ff]+"),
        pre_tokenizers.Digits(individual_digits=True), BYTES,
    ],
    "falcon": [pre_tokenizers.Punctuation("contiguous"), *GPT2, split("[0-9][0-9][0-9]")],
}
MARKS = [AddedToken("<|endoftext|>", special=True), AddedToken("<|im_end|>", special=True), AddedToken("<tool>", special=False, normalized=False)]
WHOLE_WORDS = {"llama-bpe", "tekken"}


def byte_level(name: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=name in WHOLE_WORDS))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(KINDS[name])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator([CORPUS], trainer)
    tokenizer.add_tokens(MARKS)
    return tokenizer


def characters(prepend: bool) -> Tokenizer:
    """Gemma's kind: BPE over characters, byte tokens for others; or Llama's, with a space before every text."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    alphabet = sorted({c for c in CORPUS.replace(" ", "▁") if ord(c) < 0x500 and c != "\t"} | {"▁"})
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + 150, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False)
    # The library learns no merges across lines here, but within words and across spaces.
    trained.train_from_iterator([word for line in CORPUS.split("\n") for word in line.split(", ")], trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for token in sorted(model["vocab"], key=model["vocab"].get):
        vocab[token] = len(vocab)
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prepend else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * prepend)
    tokenizer.add_tokens([AddedToken("<unk>", special=True), *MARKS])
    return tokenizer


def writer(name: str, model: str) -> GGUFWriter:
    out = GGUFWriter(HERE / f"{name}.gguf", "llama")
    out.add_tokenizer_model(model)
    return out


def finish(out: GGUFWriter):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()


def write_gguf(name: str, tokenizer: Tokenizer):
    content = json.loads(tokenizer.to_str())
    ids = dict(content["model"]["vocab"])
    types = {}
    for token in content["added_tokens"]:
        ids[token["content"]] = token["id"]
        types[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    tokens = sorted(ids, key=ids.get)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    for token, index in ids.items():
        if name == "gemma4" and token.startswith("<0x"):
            types[index] = TokenType.BYTE
    out = writer(name, "gemma4" if name == "gemma4" else "gpt2")
    out.add_tokenizer_pre(name)
    out.add_token_list(tokens)
    out.add_token_types([types.get(index, TokenType.NORMAL) for index in range(len(tokens))])
    out.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in content["model"]["merges"]])
    out.add_eos_token_id(ids["<|endoftext|>"])
    finish(out)


def sentencepiece_model() -> spm.SentencePieceProcessor:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpus").write_text(CORPUS)
        spm.SentencePieceTrainer.train(
            input=f"{folder}/corpus", model_prefix=f"{folder}/m", model_type="bpe", vocab_size=560, byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<tool>"],
            character_coverage=0.98, minloglevel=2, num_threads=1,
        )
        model = spm.SentencePieceProcessor(model_file=f"{folder}/m.model")
    out = writer("llama", "llama")
    out.add_tokenizer_pre("default")
    ids = range(model.vocab_size())
    def kind(index: int) -> TokenType:
        if model.is_unknown(index): return TokenType.UNKNOWN
        if model.is_control(index): return TokenType.CONTROL
        if model.is_byte(index): return TokenType.BYTE
        return TokenType.USER_DEFINED if model.id_to_piece(index) == "<tool>" else TokenType.NORMAL
    out.add_token_list([model.id_to_piece(index) for index in ids])
    out.add_token_scores([model.get_score(index) for index in ids])
    out.add_token_types([kind(index) for index in ids])
    out.add_bos_token_id(model.bos_id())
    out.add_eos_token_id(model.eos_id())
    out.add_unk_token_id(model.unk_id())
    finish(out)
    return model


def main():
    texts = TEXTS + random_texts(30)
    ids = {}
    tokenizers = {name: byte_level(name) for name in KINDS} | {"gemma4": characters(False), "prepend": characters(True)}
    for name, tokenizer in tokenizers.items():
        (HERE / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))
        if name != "prepend":
            write_gguf(name, tokenizer)
        made = {}
        for key, as_text in [("text", True), ("marked", False)]:
            tokenizer.encode_special_tokens = as_text
            made[key] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        ids[name] = made
    model = sentencepiece_model()
    # llama.cpp puts a space before what follows an added word, SentencePiece does not.
    ids["llama"] = {"text": [None if "<tool>" in text or "\0" in text else model.encode(text) for text in texts]}
    (HERE / "texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0))
    lines = [f"{json.dumps(name)}: {json.dumps(made, separators=(',', ':'))}" for name, made in ids.items()]
    (HERE / "ids.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
