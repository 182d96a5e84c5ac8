#!/usr/bin/env bash
# Builds the native library for Android, stripped, into FOLDER/ABI/libbabil_jni.so (target/android/jni by default).
#
#   native.sh [FOLDER]
#   BABIL_ANDROID_FEATURES=npu native.sh [FOLDER]    with features that the published library does not have
#
# With an NDK (ANDROID_NDK_HOME and cargo-ndk): arm64-v8a and x86_64, as for any app. Without one, on Debian as root:
# arm64-v8a, with the root of `just arm-setup`. Rust's standard library is built from its source, and the linker sees
# libraries that define what bionic's define at API level 24 (`bionic/api24-arm64.txt`) and hold no code: a symbol that a
# phone would not have fails the build.
set -euo pipefail
cd "$(dirname "$0")/.."

api=24
# The bundled translator is an archive beside the library, so that apps with other models are without it.
features=audio,pull${BABIL_ANDROID_FEATURES:+,$BABIL_ANDROID_FEATURES}
# Pages of 16 KB, of newer phones. Relocations take a tenth of their size in Android's form, and functions of the same code
# are one. A file for each ABI, so nothing for searching libraries or for debuggers.
link="-zmax-page-size=16384 -zrelro -znow --pack-dyn-relocs=android --icf=all --gc-sections --hash-style=gnu"
out=${1:-target/android/jni}

# The library alone, without the one that Rust's tests link.
build=(rustc --profile android --locked -p babil-jni --lib --crate-type cdylib --no-default-features --features "$features")

with_ndk() {
  command -v cargo-ndk >/dev/null || { echo "ANDROID_NDK_HOME is set: \`cargo install cargo-ndk\` first" >&2; exit 1; }
  local flags="" argument
  for argument in $link; do flags="$flags -C link-arg=-Wl,$argument"; done
  CARGO_TARGET_DIR=target/android RUSTFLAGS="$flags" cargo ndk --platform "$api" -t arm64-v8a -t x86_64 "${build[@]}"
  local abi
  for abi in arm64-v8a:aarch64 x86_64:x86_64; do
    mkdir -p "$out/${abi%:*}"
    "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/llvm-strip --strip-unneeded \
      "target/android/${abi#*:}-linux-android/android/libbabil_jni.so" -o "$out/${abi%:*}/libbabil_jni.so"
  done
}

# A command of the Debian root, in this folder.
root() {
  benches/arm64.sh root . CARGO_HOME=/root/.cargo CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt \
    CARGO_TARGET_DIR=/workspace/target/android RUSTC_BOOTSTRAP=1 "$@"
}

# A library of the name and symbols of bionic's, for each that the list has.
stand_ins() {
  mkdir -p target/android/bionic
  for name in $(cut -d' ' -f1 android/bionic/api$api-arm64.txt | sort -u); do
    awk -v library="$name" '
      $1 == library { printf ".globl %s\n.type %s, %%function\n%s:\n", $2, $2, $2 }
      END { print ".section .note.GNU-stack, \"\", %progbits" }
    ' android/bionic/api$api-arm64.txt >"target/android/bionic/$name.s"
    root aarch64-linux-gnu-gcc -shared -nostdlib "target/android/bionic/$name.s" \
      "-Wl,-soname,$name.so,-z,max-page-size=16384" -o "target/android/bionic/$name.so"
  done
}

# The unwinder, as the library of which the standard library for Android asks for `_Unwind_*`: one object that shows nothing
# else, so that what it brings of Rust's core does not meet the library's own.
unwinder() {
  root sh -c 'cd android/unwinder && exec cargo build --release --locked --target aarch64-linux-android -Zbuild-std=core'
  root aarch64-linux-gnu-ld -r --whole-archive target/android/aarch64-linux-android/release/libbabil_unwinder.a \
    -o target/android/bionic/unwinder.o
  root aarch64-linux-gnu-objcopy --wildcard --keep-global-symbol='_Unwind_*' target/android/bionic/unwinder.o
  rm -f target/android/bionic/libunwind.a
  root aarch64-linux-gnu-ar rcs target/android/bionic/libunwind.a target/android/bionic/unwinder.o
  # The other name by which it may be asked for.
  cp target/android/bionic/libunwind.a target/android/bionic/libgcc.a
}

without_ndk() {
  root sh -c 'command -v ld.lld >/dev/null && [ -d /usr/lib/rustlib/src/rust/library ]' ||
    root apt-get install -y -qq --no-install-recommends lld rust-src
  stand_ins
  unwinder
  # What panics write, and where that was, goes to a stream that no phone shows.
  local flags="-C link-arg=-nostdlib -C link-arg=-fuse-ld=lld -L /workspace/target/android/bionic" argument
  flags="$flags -Z location-detail=none"
  for argument in $link --as-needed --no-undefined; do flags="$flags -C link-arg=-Wl,$argument"; done
  root CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_LINUX_ANDROID_RUSTFLAGS="$flags" \
    CC_aarch64_linux_android=aarch64-linux-gnu-gcc AR_aarch64_linux_android=aarch64-linux-gnu-ar \
    CFLAGS_aarch64_linux_android=-Os \
    cargo "${build[@]}" --target aarch64-linux-android \
    -Z build-std=std,panic_unwind -Z build-std-features=panic-unwind,optimize_for_size
  mkdir -p "$out/arm64-v8a"
  root llvm-objcopy --strip-all target/android/aarch64-linux-android/android/libbabil_jni.so target/android/libbabil_jni.so
  mv target/android/libbabil_jni.so "$out/arm64-v8a/"
}

if [ -n "${ANDROID_NDK_HOME:-}" ]; then with_ndk; else without_ndk; fi
