#!/usr/bin/env bash
# Builds the native library and the jar, runs the example of C, and the Java tests on this machine's JVM with -Xcheck:jni.
# Installs a JDK and JUnit 5 where they are missing (Debian, as root or with sudo). Arguments go to JUnit, such as
# `--include-classname=.*Stress.*`.
#
# `latency [MODEL [TIMES]]` measures how long cancelling and closing take instead.
#
#   BABIL_STRESS_CALLS=200000 BABIL_STRESS_RACES=10000   the long form of the stress test
#   BABIL_JNI_LIBRARY=FILE                               that library (features `audio bundled pull testing`), not built here
#   BABIL_JAVA="COMMAND..."                              that JVM, also one of another architecture in an emulator
set -euo pipefail
cd "$(dirname "$0")"

packages() {
  local missing=()
  command -v javac >/dev/null || missing+=(default-jdk-headless)
  [ -e /usr/share/java/junit-platform-console-standalone.jar ] || missing+=(junit5)
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  [ ${#missing[@]} -gt 0 ] || return 0
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

packages
target=${CARGO_TARGET_DIR:-../target}
if [ -z "${BABIL_JNI_LIBRARY:-}" ]; then
  cargo build -p babil-jni --no-default-features --features audio,bundled,pull,testing
  BABIL_JNI_LIBRARY=$target/debug/libbabil_jni.so
fi

# The machine as the JVM names it; the library is for the same one.
read -ra java <<<"${BABIL_JAVA:-java}"
machine=$("${java[@]}" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *os\.arch = //p' | sed 's/amd64/x86_64/')

example=$(mktemp -d)
trap 'rm -rf "$example"' EXIT
# The example of C, which also uses what is closed.
if [ "$machine" = "$(uname -m)" ]; then
  libraries=$(realpath "$(dirname "$BABIL_JNI_LIBRARY")")
  cc -std=c99 -Wall -Wextra -Wpedantic -Werror -I include examples/translate.c "$BABIL_JNI_LIBRARY" \
    -o "$example/translate"
  LD_LIBRARY_PATH=$libraries "$example/translate" "Where is the station?" "Thank you." | tee "$example/output"
  [ "$(wc -l <"$example/output")" = 2 ] && grep -q gare "$example/output"
fi

out=$target/java
rm -rf "$out"
mkdir -p "$out"/{classes,test-classes,phone-classes,doc,jar}
# The oldest bytecode that Android's tools and every JVM in use take.
mapfile -t sources < <(find java/src/main -name '*.java')
javac --release 8 -Xlint:all,-options -Werror -d "$out/classes" "${sources[@]}"
javadoc -quiet -Xdoclint:all -Werror -d "$out/doc" "${sources[@]}"

# The jar as it is shipped: the library lies where `Library` looks for it.
native=$out/jar/natives/linux-$machine
mkdir -p "$native"
cp "$BABIL_JNI_LIBRARY" "$native/libbabil_jni.so"
jar --create --file "$out/babil.jar" -C "$out/classes" . -C "$out/jar" .

jars=/usr/share/java
junit=$jars/junit-jupiter-api.jar:$jars/junit-jupiter-params.jar:$jars/junit-jupiter-engine.jar
junit=$junit:$jars/junit-platform-commons.jar:$jars/junit-platform-engine.jar:$jars/junit-platform-launcher.jar
junit=$junit:$jars/junit-platform-reporting.jar:$jars/junit-platform-console.jar
junit=$junit:$jars/opentest4j.jar:$jars/apiguardian-api.jar:$jars/picocli.jar
mapfile -t tests < <(find java/src/test -name '*.java')
javac --release 11 -Xlint:all,-options,-classfile,-try -cp "$out/babil.jar:$junit" -d "$out/test-classes" "${tests[@]}"

# What only Android has, against as much of Android's classes as it uses, which phone/ simulates.
mapfile -t sources < <(find gradle/babil/src/main/java phone/android -name '*.java')
mapfile -t tests < <(find phone/dev -name '*.java')
javac --release 8 -Xlint:all,-options -Werror -cp "$out/babil.jar" -d "$out/phone-classes" "${sources[@]}"
javac --release 11 -Xlint:all,-options,-classfile -cp "$out/babil.jar:$out/phone-classes:$junit" -d "$out/test-classes" \
  "${tests[@]}"

export BABIL_ROOT BABIL_CACHE
BABIL_ROOT=$(realpath ..) BABIL_CACHE=$(realpath "$out")/cache
if [ "${1:-}" = latency ]; then
  "${java[@]}" -cp "$out/babil.jar:$out/test-classes" dev.babil.Latency "${@:2}"
  exit
fi

# What -Xcheck:jni finds it prints, and goes on: here it is a failure. A heap of fixed size leaves the native memory to see.
log=$example/log
status=0
path=$out/babil.jar:$out/test-classes:$out/phone-classes:$junit
"${java[@]}" -Xcheck:jni -Xms256m -Xmx256m -XX:+AlwaysPreTouch -cp "$path" \
  org.junit.platform.console.ConsoleLauncher --disable-banner --details=tree --scan-class-path "$out/test-classes" "$@" \
  2>&1 | tee "$log" || status=$?
if grep -E "^(WARNING|FATAL ERROR) in native method|^WARNING: JNI" "$log"; then
  echo "-Xcheck:jni found something"
  status=1
fi
exit "$status"
