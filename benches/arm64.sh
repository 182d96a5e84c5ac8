#!/usr/bin/env bash
# Builds and tests aarch64 code on an x86-64 Debian machine (as root), with Debian's packages alone.
#
#   arm64.sh setup               once: a Debian root with rustc, cargo, the arm64 standard library and qemu
#   arm64.sh cargo ARGS...       cargo for aarch64-unknown-linux-gnu, in the current workspace (target/aarch64)
#   arm64.sh program ARGS...     `cargo rustc ARGS` for a program that is to run elsewhere: stripped, and linked against
#                                the C library of an older Debian
#   arm64.sh root FOLDER COMMAND...  runs a command of the Debian root (a C compiler for arm64, llvm-mca) in a folder of
#                                this machine; what it needs must be in that folder
#   arm64.sh run CPU PROGRAM...  runs an arm64 program under qemu; CPU is cortex-a72 (Raspberry Pi 4: no dot products),
#                                cortex-a76 (Raspberry Pi 5: dot products) or max (everything qemu knows)
#   arm64.sh java CPU ARGS...    Debian's arm64 JVM under qemu; it is fetched when it is not there
#   arm64.sh test [FILTER...]    the tests of engine and models as each of these CPUs, all or those whose names contain
#                                a FILTER
#   arm64.sh quick               a part of them that takes minutes: see `quick` below
#   arm64.sh jni [ARGS...]       the tests of the Java side as each of these CPUs: android/test.sh ARGS
#
#   ARM64_CPUS="cortex-a72 ..."  these CPUs instead
#   ARM64_ROOT=FOLDER ARM64_JVM=FOLDER  where the Debian root and the JVM are
#
# Where rustup has the target (`rustup target add aarch64-unknown-linux-gnu`) and an arm64 linker is installed, plain
# cargo does the same: CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{LINKER,RUNNER}.
set -euo pipefail

root=${ARM64_ROOT:-/opt/forky}
jvm=${ARM64_JVM:-/opt/arm64jvm}
suite=forky
# A program asks for as new a C library as it was linked against, so those that are to run elsewhere are linked against
# that of an older Debian, in this folder of the root.
old_suite=bookworm
old_glibc=/glibc
target=aarch64-unknown-linux-gnu
# The root's own, a static program that also runs outside of it: where a machine's Debian is older, so is its qemu (7.2 takes
# 1.8 times as long as 11.1 for a translation on a Cortex-A72, 1.1 times on max).
emulator=/usr/bin/qemu-aarch64
read -ra cpus <<<"${ARM64_CPUS:-cortex-a72 cortex-a76 max}"

setup() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq debootstrap >/dev/null
  # An older debootstrap does not know the suite by name; all recent ones are made alike.
  [ -e "/usr/share/debootstrap/scripts/$suite" ] || ln -s sid "/usr/share/debootstrap/scripts/$suite"
  [ -d "$root/etc/apt" ] || debootstrap --variant=minbase "$suite" "$root" >/dev/null
  # A mirror may lag behind by more than the week that a list of packages is valid; signatures are checked all the same.
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99valid"
  if [ ! -x "$root/usr/bin/cargo" ] || [ ! -x "$root/usr/bin/llvm-mca" ] || [ ! -x "$root$emulator" ]; then
    chroot "$root" dpkg --add-architecture arm64
    chroot "$root" apt-get update -qq
    chroot "$root" apt-get install -y -qq --no-install-recommends \
      rustc cargo libstd-rust-dev:arm64 gcc libc6-dev gcc-aarch64-linux-gnu g++-aarch64-linux-gnu \
      libc6-dev-arm64-cross llvm qemu-user ca-certificates >/dev/null
  fi
  [ -d "$root/$old_glibc/usr" ] || fetch_old_glibc
  # Whatever certificates this machine trusts, the root trusts too.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  chroot "$root" rustc --version
}

# Packages of the older suite, unpacked and not installed; apt is not to remember that suite.
fetch_old_glibc() {
  chroot "$root" sh -euc '
    mkdir -p "$1/lists/partial"
    cd "$1"
    sed "s/ [a-z]* main/ $2 main/" /etc/apt/sources.list >sources.list
    older="-o Dir::Etc::SourceList=$1/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$1/lists"
    older="$older -o Dir::State::Status=/dev/null -o APT::Sandbox::User=root"
    older="$older -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache="
    apt-get $older update -qq
    apt-get $older download -qq libc6-arm64-cross libc6-dev-arm64-cross
    for package in *.deb; do dpkg -x "$package" .; done
    rm -r ./*.deb lists sources.list
  ' sh "$old_glibc" "$old_suite"
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
    CARGO_HOME=/root/.cargo CARGO_TARGET_DIR=/workspace/target/aarch64 CARGO_INCREMENTAL=0 \
    CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt PROPTEST_CASES="${PROPTEST_CASES:-32}" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo "$@"
}

# The linker has a folder of its own for the C library, before that of `--sysroot`: -B comes before both.
program() {
  cargo_in_root rustc --target "$target" "$@" -- -C strip=symbols -C "link-arg=--sysroot=$old_glibc" \
    -C "link-arg=-B$old_glibc/usr/aarch64-linux-gnu/lib" -C "link-arg=-L$old_glibc/usr/aarch64-linux-gnu/lib"
}

run() {
  cpu=$1; shift
  "$root$emulator" -cpu "$cpu" -L "$root/usr/aarch64-linux-gnu" "$@"
}

# Optimised more than other tests, since each instruction is emulated. Overflow is checked as elsewhere; the engine's debug
# assertions, also those of the standard library's raw pointers, are not: with them its kernels take longer to compile than to
# test.
profile=(--config profile.dev.opt-level=3 --config profile.dev.debug=false
  --config profile.dev.package.babil-runtime.debug-assertions=false)

# The engine and the models. candle is not ours, and is left out.
crates=("${profile[@]}" -p babil-runtime -p babil-models --no-default-features
  --features "babil-models/audio,babil-models/bundled,babil-models/grammar,babil-models/pull")

# Left out, by name: what takes hours here and is about bytes, not about CPUs, and what an emulator cannot do.
left_out=(
  # The emulator makes up its own /proc/self/stat, in which a process never gets any time.
  --skip processor_time_grows
  # It starts no arm64 programs, and who starts one that is not there does not hear of it.
  --skip what_is_no_sound_is_refused
  --skip a_counter_that_may_not_be_read_says_how_to_grant_it
  --skip a_board_that_is_another_process
  # How much processor time something takes.
  --skip sampling_costs_at_most_half_a_percent_of_a_core
  # Every reader of files, on some 60,000 damaged ones.
  --skip no_file_makes_a_reader_panic_or_take_memory
  # Thousands of simulated measurements.
  --skip energy::tests::
)

# Cargo runs the tests itself, inside of the root, where the paths are those that were compiled in.
tests() {
  local failed=()
  for cpu in "${cpus[@]}"; do
    echo "== $cpu"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator -cpu $cpu -L /usr/aarch64-linux-gnu" \
      cargo_in_root test --target "$target" "${crates[@]}" --no-fail-fast "$@" || failed+=("$cpu")
  done
  [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; return 1; }
}

# The kernels against definitions and against the bits of other architectures, one model of each kind, and the bundled
# translator, on the CPU that is least like the machine's own.
quick() {
  read -ra cpus <<<"${ARM64_CPUS:-cortex-a72}"
  tests --lib --test bundled --test parity --test parity_lm -- kernels:: it_translates_both_ways \
    logits_and_greedy_tokens_are_those_of_transformers quantised_models_compute_the_same_bits_on_every_instruction_set
}

# The JVM lies in a folder of its own, unpacked and not installed: its architecture is not that of the root.
java() {
  local cpu=$1 home=$jvm/usr/lib/jvm/java-21-openjdk-arm64
  shift
  if [ ! -e "$home/bin/java" ]; then
    mkdir -p "$jvm"
    in_root "$jvm" sh -euc '
      apt-get update -qq
      apt-get -o APT::Sandbox::User=root download -qq openjdk-21-jre-headless:arm64 libc6:arm64 zlib1g:arm64 \
        libgcc-s1:arm64 libstdc++6:arm64 libjpeg62-turbo:arm64 liblcms2-2:arm64
      for package in *.deb; do dpkg -x "$package" .; done
      rm ./*.deb
      # Links into /etc would be followed on this machine.
      find usr/lib/jvm -type l -lname "/etc/*" | while read -r link; do ln -sfr ".$(readlink "$link")" "$link"; done
      # An old path that the loader asks for.
      [ -e lib ] || ln -s usr/lib lib
    ' >&2
  fi
  # The program that a JVM starts others with is one for arm64, which this machine does not start by itself.
  exec "$root$emulator" -cpu "$cpu" -L "$jvm" "$home/bin/java" -Djdk.lang.Process.launchMechanism=FORK "$@"
}

# The library is built once; the tests find it and the JVM by variables.
jni() {
  cargo_in_root build --target "$target" "${profile[@]}" -p babil-jni --no-default-features \
    --features audio,bundled,pull,testing
  local here failed=()
  here=$(git rev-parse --show-toplevel)
  for cpu in "${cpus[@]}"; do
    echo "== $cpu"
    BABIL_JNI_LIBRARY=$here/target/aarch64/$target/debug/libbabil_jni.so \
      BABIL_JAVA="$here/benches/arm64.sh java $cpu" "$here/android/test.sh" "$@" || failed+=("$cpu")
  done
  [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; return 1; }
}

case "${1:-}" in
  setup) setup ;;
  cargo) shift; cargo_in_root "$1" --target "$target" "${@:2}" ;;
  program) shift; program "$@" ;;
  root) shift; in_root "$@" ;;
  run) shift; run "$@" ;;
  java) shift; java "$@" ;;
  test) shift; tests --lib --tests -- "${left_out[@]}" "$@" ;;
  quick) quick ;;
  jni) shift; jni "$@" ;;
  *) sed -n '2,23p' "$0"; exit 2 ;;
esac
