#!/usr/bin/env python3
"""The model's vocabulary, in Whisper's layout.

    tokens.py --data DATA

A byte-level BPE of TEXT pieces is trained on the training sentences (with the space before a sentence that Whisper's
texts have); Whisper's special tokens and the timestamps <|0.00|> ... <|10.00|> follow in Whisper's order. Written to
DATA/tokenizer.json. The ids are constants, below.
"""
import argparse

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = 1024
WINDOW = 10  # seconds
STEP = 0.02  # seconds, of timestamps and of encoder positions
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|fr|>", "<|translate|>", "<|transcribe|>",
           "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
EOT, SOT, EN, FR, TRANSLATE, TRANSCRIBE, LM, PREV, NOSPEECH, NOTIMESTAMPS = range(TEXT, TEXT + len(SPECIAL))
TIME = TEXT + len(SPECIAL)  # <|0.00|>
TIMES = round(WINDOW / STEP) + 1
VOCABULARY = TIME + TIMES


def build(sentences):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=TEXT, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator((" " + s for s in sentences), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    # Timestamps are tokens that decoding without special tokens leaves in place, as in Whisper.
    tokenizer.add_tokens([AddedToken(f"<|{i * STEP:.2f}|>", special=False, normalized=False) for i in range(TIMES)])
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    assert [tokenizer.token_to_id(t) for t in SPECIAL] == list(range(TEXT, TIME))
    assert tokenizer.token_to_id(f"<|{WINDOW:.2f}|>") == VOCABULARY - 1
    return tokenizer


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", required=True)
    args = args.parse_args()
    with open(f"{args.data}/sentences.tsv", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    tokenizer = build([text for split, _, text in rows if split == "train"])
    tokenizer.save(f"{args.data}/tokenizer.json")
    lengths = [len(tokenizer.encode(" " + text).ids) / len(text.split()) for split, _, text in rows if split == "test"]
    print(f"{VOCABULARY} tokens; {sum(lengths) / len(lengths):.2f} per word of the test sentences")


if __name__ == "__main__":
    main()
