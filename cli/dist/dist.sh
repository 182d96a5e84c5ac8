#!/usr/bin/env bash
# Makes what people install, in target/dist: for x86-64 and arm64 a .deb and a .tar.gz, and their SHA256SUMS.
#
#   dist.sh [x86_64] [aarch64]   builds and packs (both by default on x86-64), and checks what programs ask of a system
#   dist.sh check                unpacks what is there and runs it: on this machine, and the arm64 one in an emulator as
#                                three CPUs (benches/arm64.sh), which must write the same texts
#
# Without candle, which two of the families need and which makes builds long, and without `mic`, because then it would not
# start on a system that has no ALSA. Glibc is linked dynamically: how names of hosts are resolved is the system's matter.
# So a program runs where glibc is as new as cli/Cargo.toml says, in what the package depends on, or newer.
#
# arm64 is built by benches/arm64.sh on other machines; needs cargo-deb (`cargo install cargo-deb --locked`).
set -euo pipefail
cd "$(dirname "$0")/../.."

features=standard
here=$(uname -m)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
glibc=$(sed -n 's/^depends = .*libc6 (>= \([0-9.]*\)).*/\1/p' cli/Cargo.toml)
dist=$PWD/target/dist
arm64=$PWD/benches/arm64.sh
# Archives of the same sources are the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# The folder in which cargo puts what it builds for a machine.
target_folder() {
  if [ "$1" = "$here" ]; then echo "${CARGO_TARGET_DIR:-$PWD/target}"; else echo "$PWD/target/$1"; fi
}

build() {
  local machine=$1 arguments
  arguments=(--release --locked -p babil --bin babil --no-default-features --features "$features")
  # Only the program itself is stripped: what it is made of is shared with other builds.
  if [ "$machine" = "$here" ]; then
    cargo rustc --target "$machine-unknown-linux-gnu" "${arguments[@]}" -- -C strip=symbols
  elif [ "$machine" = aarch64 ]; then
    "$arm64" program "${arguments[@]}"
  else
    echo "do not know how to build for $machine on $here" >&2
    return 1
  fi
}

# What the dynamic linker will look for: the C library and the unwinder, and of the C library nothing too new.
check_elf() {
  local needed newest
  needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
  newest=$(readelf -W --version-info "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
  echo "$1: needs $needed, $newest"
  for library in $needed; do
    case $library in
      libc.so.6 | libm.so.6 | libgcc_s.so.1 | ld-linux-*) ;;
      *) echo "$1 needs $library, which the package does not depend on" >&2; return 1 ;;
    esac
  done
  if [ "$(printf '%s\n' "${newest#GLIBC_}" "$glibc" | sort -V | tail -1)" != "$glibc" ]; then
    echo "$1 needs $newest, and the package says that $glibc is enough" >&2
    readelf -W --dyn-syms "$1" | grep -F "$newest" >&2
    return 1
  fi
}

pack() {
  local machine=$1 target=$1-unknown-linux-gnu folder name
  folder=$(target_folder "$machine")
  name=babil-$version-$machine-linux
  build "$machine"
  check_elf "$folder/$target/release/babil"

  # cargo-deb takes them from beside the program.
  local share=$folder/$target/release/share
  rm -rf "$share"
  mkdir -p "$share"
  cp -r "$dist/man" "$dist/completions" "$share/"
  gzip -9n "$share"/man/*
  cli/dist/licences.py "$target" "$features" >"$share/THIRD-PARTY.txt"
  CARGO_TARGET_DIR=$folder cargo deb --quiet --no-build --no-strip -p babil --target "$target" --output "$dist/"

  rm -rf "${dist:?}/$name"
  mkdir -p "$dist/$name/docs"
  cp "$folder/$target/release/babil" README.md CHANGELOG.md LICENSE-* "$share/THIRD-PARTY.txt" "$dist/$name/"
  cp docs/*.md "$dist/$name/docs/"
  cp models/bundled/en-fr/README.md "$dist/$name/docs/bundled-model.md"
  cp -r "$share/man" "$share/completions" "$dist/$name/"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$dist" "$name" | gzip -9n >"$dist/$name.tar.gz"
  rm -rf "${dist:?}/$name"
}

# Manual pages and completions are written by the program itself, which must be able to run here.
pages() {
  local program
  program=$(target_folder "$here")/$here-unknown-linux-gnu/release/babil
  rm -rf "$dist"/{man,completions}
  mkdir -p "$dist/completions"
  "$program" --quiet man --dir "$dist/man"
  "$program" completions bash >"$dist/completions/babil.bash"
  "$program" completions zsh >"$dist/completions/_babil"
  "$program" completions fish >"$dist/completions/babil.fish"
}

# One text of each kind: a translation, an answer, a transcript. BABIL_STORIES is the folder of stories260K; without it the
# language model is a random one.
texts() {
  local model=models/parity/lm/llama/model.gguf
  [ -z "${BABIL_STORIES:-}" ] || model=$BABIL_STORIES/stories260K.gguf
  "$@" translate "Where is the station?" --to fr
  "$@" run "$model" --raw --temperature 0 --max-tokens 64 "Once upon a time"
  "$@" transcribe --model models/recipes/speech-en-tiny/model models/recipes/speech-en-tiny/fixture/short.flac
}

check() {
  local expected="" found
  for deb in "$dist"/*.deb; do
    local unpacked=$dist/check commands=("")
    rm -rf "$unpacked"
    dpkg-deb -x "$deb" "$unpacked"
    case "$(dpkg-deb -f "$deb" Architecture)-$here" in
      amd64-x86_64 | arm64-aarch64) ;;
      arm64-*) commands=("$arm64 run cortex-a72" "$arm64 run cortex-a76" "$arm64 run max") ;;
      *) echo "$deb cannot run here"; continue ;;
    esac
    for command in "${commands[@]}"; do
      read -ra command <<<"$command"
      found=$(texts "${command[@]}" "$unpacked/usr/bin/babil" --quiet)
      echo "== $(basename "$deb") ${command[*]:1}"
      "${command[@]}" "$unpacked/usr/bin/babil" doctor | grep instructions
      [ -n "$expected" ] || { expected=$found; echo "$found"; }
      [ "$found" = "$expected" ] || { echo "other texts:"; echo "$found"; return 1; }
    done
  done
  (cd "$dist" && sha256sum --check --quiet SHA256SUMS)
  echo "the same texts everywhere"
}

if [ "${1:-}" = check ]; then
  check
  exit
fi
machines=("$@")
if [ $# = 0 ]; then
  machines=("$here")
  [ "$here" != x86_64 ] || machines+=(aarch64)
fi
mkdir -p "$dist"
build "$here"
pages
for machine in "${machines[@]}"; do
  pack "$machine"
done
rm -rf "$dist"/{man,completions}
(cd "$dist" && sha256sum -- *.deb *.tar.gz >SHA256SUMS && cat SHA256SUMS)
