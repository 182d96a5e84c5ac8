#!/usr/bin/env bash
# Builds and tests aarch64 code on an x86-64 Debian machine (as root), with Debian's packages alone.
#
#   arm64.sh setup               once: qemu-user, and a Debian root with rustc, cargo and the arm64 standard library
#   arm64.sh cargo ARGS...       cargo for aarch64-unknown-linux-gnu, in the current workspace (target/aarch64)
#   arm64.sh root FOLDER COMMAND...  runs a command of the Debian root (a C compiler for arm64, llvm-mca) in a folder of
#                                this machine; what it needs must be in that folder
#   arm64.sh run CPU PROGRAM...  runs an arm64 program under qemu; CPU is cortex-a72 (Raspberry Pi 4: no dot products),
#                                cortex-a76 (Raspberry Pi 5: dot products) or max (everything qemu knows)
#   arm64.sh test                builds the engine's unit tests and runs them as each of these CPUs
#
# Where rustup has the target (`rustup target add aarch64-unknown-linux-gnu`) and an arm64 linker is installed, plain
# cargo does the same: CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{LINKER,RUNNER}.
set -euo pipefail

root=${ARM64_ROOT:-/opt/forky}
suite=forky
target=aarch64-unknown-linux-gnu
cpus=(cortex-a72 cortex-a76 max)

setup() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq debootstrap qemu-user-static >/dev/null
  # An older debootstrap does not know the suite by name; all recent ones are made alike.
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || ln -s sid "/usr/share/debootstrap/scripts/$suite"
  [ -d "$root/etc/apt" ] || debootstrap --variant=minbase "$suite" "$root" >/dev/null
  if [ ! -x "$root/usr/bin/cargo" ] || [ ! -x "$root/usr/bin/llvm-mca" ]; then
    chroot "$root" dpkg --add-architecture arm64
    chroot "$root" apt-get update -qq
    chroot "$root" apt-get install -y -qq --no-install-recommends \
      rustc cargo libstd-rust-dev:arm64 gcc libc6-dev gcc-aarch64-linux-gnu g++-aarch64-linux-gnu \
      libc6-dev-arm64-cross llvm ca-certificates >/dev/null
  fi
  # Whatever certificates this machine trusts, the root trusts too.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  chroot "$root" rustc --version
}

# A command inside the root, with a folder bound into it. The mounts are private to this process and end with it.
in_root() {
  [ -x "$root/usr/bin/cargo" ] || { echo "no Debian root at $root: run \`$0 setup\` first" >&2; exit 1; }
  mkdir -p "$root/workspace" "$root/proc"
  unshare --mount sh -c '
    root=$1 workspace=$2; shift 2
    mount --bind "$workspace" "$root/workspace" && mount -t proc proc "$root/proc" &&
    exec chroot "$root" env --chdir=/workspace "$@"
  ' sh "$root" "$(realpath "$1")" HOME=/root "${@:2}"
}

cargo_in_root() {
  in_root "$(git rev-parse --show-toplevel)" \
    CARGO_HOME=/root/.cargo CARGO_TARGET_DIR=/workspace/target/aarch64 \
    CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo "$@"
}

run() {
  cpu=$1; shift
  qemu-aarch64-static -cpu "$cpu" -L "$root/usr/aarch64-linux-gnu" "$@"
}

# The tests' binary is named by cargo's last message about it.
tests() {
  local binary
  binary=$(cargo_in_root test --target "$target" -p babil-runtime --lib --no-run --message-format=json-render-diagnostics |
    sed -n 's|.*"executable":"/workspace/\([^"]*\)".*|\1|p' | tail -1)
  for cpu in "${cpus[@]}"; do
    echo "== $cpu"
    # The binary looks for snapshots where the root has the workspace, unless it is told.
    (cd runtime && INSTA_WORKSPACE_ROOT=$PWD/.. run "$cpu" "../$binary" "$@")
  done
}

case "${1:-}" in
  setup) setup ;;
  cargo) shift; cargo_in_root "$1" --target "$target" "${@:2}" ;;
  root) shift; in_root "$@" ;;
  run) shift; run "$@" ;;
  test) shift; cd "$(git rev-parse --show-toplevel)"; tests "$@" ;;
  *) sed -n '2,14p' "$0"; exit 2 ;;
esac
