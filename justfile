# Recipes of babil; `just` lists them. Those of the first part are what CI runs.

set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# The checks that must pass before a change is merged.
check: fmt clippy doc test deny

# Formatting; `cargo fmt --all` repairs it.
fmt:
    cargo fmt --all --check

# Lints of all crates, tests and examples.
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation, without broken links.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# All tests. `just test NAME` runs those whose names contain NAME.
test *ARGS:
    cargo test {{ARGS}}

# Tokenizers of all vocabularies of DIR (llama.cpp's `models`), and COUNT texts beside the `tokenizers` crate.
vocabularies DIR COUNT="1000":
    BABIL_VOCAB_DIR="$(realpath "{{DIR}}")" BABIL_VOCAB_TEXTS={{COUNT}} cargo test -p babil-runtime --test tokenizer -- --nocapture

# Licences, unwanted crates and sources of dependencies (needs cargo-deny).
deny:
    cargo deny check licenses bans sources

# The Java side: builds the native library and the jar, and runs its tests on this machine's JVM (installs what is missing,
# on Debian).
jni *ARGS:
    android/test.sh {{ARGS}}

# The C API, used wrongly and from many threads, at full speed and under valgrind.
c-check:
    android/c_check.sh

# The header of the C API, from its source.
header:
    BABIL_WRITE_HEADER=1 cargo test -p babil-jni --no-default-features --test header

# The Kotlin side and the logic of the sample app, with their tests, after `just jni`: over the library that it has built.
# Fetches Kotlin's compiler with pip.
kotlin *ARGS:
    android/kotlin/test.sh {{ARGS}}

# The Android archives, built without Gradle and checked: with an NDK, or on Debian without one (after `just arm-setup`).
android *ARGS:
    python3 android/check_aar_test.py
    android/aar.sh {{ARGS}}

# Encoders and prompts on devices of ONNX Runtime: its own provider for CPUs, and OpenVINO's plugin (needs a C compiler on
# CPUs that are not Intel's).
npu *ARGS: _venv
    .venv/bin/pip install --quiet onnxruntime==1.31.1 onnxruntime-ep-openvino==1.8.1
    @mkdir -p target/npu
    cc -O2 -Wall -Wextra -Werror -shared -fPIC -o target/npu/libany_cpu.so runtime/tests/npu/any_cpu.c -ldl
    packages="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')" && \
        plugin="$packages/onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so" && \
        BABIL_ONNXRUNTIME="$packages/onnxruntime/capi" BABIL_TEST_PLUGIN="$plugin" \
        BABIL_ONNXRUNTIME_PLUGINS="$(grep -qm1 GenuineIntel /proc/cpuinfo && echo "$plugin" || realpath target/npu/libany_cpu.so)" \
        cargo test -p babil-models -p babil --features babil/npu --test npu {{ARGS}}

# Everything without the bundled model, candle and the network.
lean:
    cargo check -p babil-runtime -p babil-models -p babil-jni -p babil --no-default-features

# The example of how to embed babil.
example *ARGS:
    cargo run --release -p babil-models --example translate {{ARGS}}

# Damaged and hostile files through every reader, for SECONDS each; the short form is one of the tests.
fuzz SECONDS="120":
    BABIL_FUZZ_SECONDS={{SECONDS}} BABIL_FUZZ_SEED="$(date +%s)000000" \
        cargo test -p babil-models --no-default-features --features audio --test fuzz -- --nocapture

# The same, guided by coverage, until something breaks (needs cargo-fuzz): gguf, safetensors, tokenizer, template, session,
# model, subtitles, whisper or sound. Coverage takes compiler flags that are not stable.
fuzz-coverage NAME *ARGS:
    BABIL_FUZZ_SEEDS="$PWD/fuzz/corpus" BABIL_FUZZ_ONLY={{NAME}} \
        cargo test -p babil-models --no-default-features --features audio --test fuzz
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{NAME}} -- -max_len=262144 -rss_limit_mb=2048 {{ARGS}}

# Everything that CI does, on this machine.
ci:
    .ci/run

# Once, as root, on Debian: an arm64 toolchain and emulator.
arm-setup:
    benches/arm64.sh setup

# The tests of the engine and of the models on arm64, emulated: Cortex-A72, Cortex-A76 and the newest. Hours; `just arm NAME`
# runs those whose names contain NAME.
arm *ARGS:
    benches/arm64.sh test {{ARGS}}

# A part of them that takes minutes, on a Cortex-A72.
arm-quick:
    benches/arm64.sh quick

# 200 sentences, translated by the programs that `just dist` has built, with every instruction set here and on arm64: no byte
# may differ.
arm-sentences:
    benches/sentences.py "${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/babil" \
        target/aarch64/aarch64-unknown-linux-gnu/release/babil

# The tests of the Java side on an arm64 JVM, emulated as these CPUs.
arm-jni *ARGS:
    benches/arm64.sh jni {{ARGS}}

# Packages and archives of the program for x86-64 and arm64 in target/dist; `just dist check` runs what is in them.
dist *ARGS:
    cli/dist/dist.sh {{ARGS}}

# Once, as root, on Debian: an emulator of a CPU with AVX-VNNI, AVX-512 and AMX, built from source.
amx-setup:
    benches/x86_emulated.sh setup

# The tests of the kernels on that CPU, emulated.
amx *ARGS:
    benches/x86_emulated.sh test {{ARGS}}

# Speed of the matrix products of every instruction set of this machine.
bench-kernels *ARGS:
    cargo run --release -p babil-benches --example kernels {{ARGS}}

# Inner loops on ARM beside llama.cpp's (LLAMA_CPP is its source tree), by a model of the cores, and how many instructions
# a token of MODELS (GGUF files, none by default) takes.
bench-arm LLAMA_CPP *MODELS:
    python3 benches/peers/arm_loops.py "{{LLAMA_CPP}}"
    @[ -z "{{MODELS}}" ] || python3 benches/arm_instructions.py {{MODELS}}

# Speed, memory and cold start beside other engines, in one table: `prepare`, `--quick`, `--help`; benches/README.md.
bench-peers *ARGS: _venv
    .venv/bin/pip install --quiet -r benches/peers/requirements.txt
    .venv/bin/python benches/peers/bench.py {{ARGS}}

# The page of the reports in benches/record/boards.
leaderboard *ARGS:
    cargo run --release -- bench --leaderboard benches/record/boards benches/record/boards/index.html --force {{ARGS}}

# That page in a headless browser (needs node, and chromium or CHROMIUM): nothing is fetched, all plots are there. SCREENSHOT
# is a file for a picture of it.
leaderboard-check SCREENSHOT="":
    cd benches/leaderboard && npm install --silent --no-audit --no-fund
    node benches/leaderboard/check.mjs benches/record/boards/index.html {{SCREENSHOT}}

# llama.cpp's comparison of benchmarks (LLAMA_CPP is its source tree) on reports of `babil bench` or of llama-bench:
# `just compare-llama-bench LLAMA_CPP -i a.json -i b.json -b COMMIT -c COMMIT`.
compare-llama-bench LLAMA_CPP *ARGS: _venv
    .venv/bin/pip install --quiet GitPython==3.2.1 tabulate==0.10.0
    .venv/bin/python "{{LLAMA_CPP}}/scripts/compare-llama-bench.py" --tool llama-bench {{ARGS}}

# Logits of quantised models beside llama.cpp's, held against float32.
accuracy *ARGS: _venv
    .venv/bin/pip install --quiet -r benches/peers/requirements.txt
    .venv/bin/python benches/peers/accuracy.py {{ARGS}}

# BLEU and chrF of the bundled model, both directions.
bleu *ARGS: _venv
    .venv/bin/pip install --quiet -r benches/peers/requirements.txt
    .venv/bin/python benches/bleu.py {{ARGS}}

# The fixtures of models/parity and of runtime/tests, from transformers, tokenizers, SentencePiece and gguf-py themselves.
fixtures: _venv
    .venv/bin/pip install --quiet -r models/parity/requirements.txt tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0 jinja2==3.1.6
    cd models/parity && ../../.venv/bin/python make_fixtures.py && ../../.venv/bin/python make_lm_fixtures.py
    cd models/parity && ../../.venv/bin/python make_speech_fixtures.py && ../../.venv/bin/python speech_ggml.py
    cd runtime/tests/sentencepiece && ../../../.venv/bin/python make_vectors.py fixtures
    cd runtime/tests/tokenizer && ../../../.venv/bin/python make_fixtures.py
    cd runtime/tests/gguf && ../../../.venv/bin/python make_fixture.py
    .venv/bin/python runtime/tests/templates/make_vectors.py runtime/tests/templates
    .venv/bin/python runtime/tests/templates/make_vectors.py runtime/tests/templates/language

# whisper.cpp's logits and texts beside transformers', of the files that models/parity writes for it.
whisper-cpp *SEEDS: _venv
    .venv/bin/pip install --quiet -r models/parity/requirements.txt pywhispercpp==1.5.1
    .venv/bin/python models/parity/speech_ggml.py --check-whisper-cpp {{SEEDS}}

# Chat templates of a folder against transformers' rendering of them; in it, `expected.json` is made anew.
templates DIR: _venv
    .venv/bin/pip install --quiet -r models/parity/requirements.txt jinja2==3.1.6
    .venv/bin/python runtime/tests/templates/make_vectors.py "{{DIR}}"
    BABIL_TEMPLATE_DIR="{{DIR}}" cargo test -p babil-runtime --test templates

# Trains the bundled translator, or continues; see models/bundled/en-fr/recipe.
train *ARGS: _venv
    .venv/bin/pip install --quiet -r models/bundled/en-fr/recipe/requirements.txt
    .venv/bin/python models/bundled/en-fr/recipe/train.py {{ARGS}}

# Quantises a folder of float weights into models/bundled/en-fr.
bundle DIR TYPE="q7_128":
    rm -rf target/bundle
    cargo run --release -- quantize "{{DIR}}" target/bundle --type {{TYPE}}
    cp target/bundle/* models/bundled/en-fr/
    sha256sum models/bundled/en-fr/model.safetensors

_venv:
    @[ -x .venv/bin/python ] || python3 -m venv .venv
