#!/usr/bin/env bash
# Uses the C API wrongly and from many threads (tests/stress.c), first at full speed, then under valgrind, which must
# find neither an access out of place nor memory that nobody holds any more. Needs a C compiler, Python and valgrind
# (Debian: `gcc libc6-dev python3 valgrind`).
#
#   BABIL_JNI_LIBRARY=FILE          that library (features `audio bundled`), not built here
#   BABIL_C_CALLS=N                 calls of each of 8 threads at full speed (20000)
#   BABIL_C_CHECKED_CALLS=N         calls of each of 4 threads under valgrind (100)
set -euo pipefail
cd "$(dirname "$0")"

if [ -z "${BABIL_JNI_LIBRARY:-}" ]; then
  cargo build -p babil-jni --no-default-features --features audio,bundled,pull,testing
  BABIL_JNI_LIBRARY=${CARGO_TARGET_DIR:-../target}/debug/libbabil_jni.so
fi
library=$(realpath "$BABIL_JNI_LIBRARY")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The small random Llama with a chat template: one more key before the others of its GGUF file, of a length that leaves
# the tensors where they were aligned.
python3 - "$folder/chat.gguf" <<'PYTHON'
import struct, sys
from pathlib import Path

plain = Path("../models/parity/lm/llama/model.gguf").read_bytes()
key = b"tokenizer.chat_template"
template = b"{% for m in messages %}{{ m.content }}{% endfor %}"
template += b" " * (-(8 + len(key) + 4 + 8 + len(template)) % 32)
entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template
keys = struct.unpack_from("<Q", plain, 16)[0]
Path(sys.argv[1]).write_bytes(plain[:16] + struct.pack("<Q", keys + 1) + entry + plain[24:])
PYTHON

# Two seconds of a tone that comes and goes, and two cues.
python3 - "$folder" <<'PYTHON'
import math, struct, sys, wave
from pathlib import Path

folder = Path(sys.argv[1])
with wave.open(str(folder / "sound.wav"), "wb") as sound:
    sound.setparams((1, 2, 16000, 0, "NONE", ""))
    samples = (8000 * math.sin(i / 8) * (i // 4000 % 2) for i in range(32000))
    sound.writeframes(b"".join(struct.pack("<h", int(sample)) for sample in samples))
cue = "{0}\n00:00:0{0},000 --> 00:00:0{0},900\nWhere is the station?\n\n"
(folder / "film.srt").write_text(cue.format(1) + cue.format(2))
PYTHON

cc -std=c11 -g -Wall -Wextra -Wpedantic -Werror -pthread -I include tests/stress.c "$library" -o "$folder/stress"
export LD_LIBRARY_PATH BABIL_CACHE=$folder/cache
LD_LIBRARY_PATH=$(dirname "$library")
with=("$folder/chat.gguf" ../models/recipes/speech-en-tiny/model "$folder/sound.wav" "$folder/film.srt")
"$folder/stress" "${with[@]}" 8 "${BABIL_C_CALLS:-20000}"
# What lives until the end is no leak: constants made on first use, of which some (hash tables) are held by pointers
# into their middle, which valgrind takes for possible leaks.
leaks=definite,indirect
valgrind --quiet --error-exitcode=1 --fair-sched=yes \
  --leak-check=full --show-leak-kinds=$leaks --errors-for-leak-kinds=$leaks \
  "$folder/stress" "${with[@]}" 4 "${BABIL_C_CHECKED_CALLS:-100}"
