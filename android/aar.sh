#!/usr/bin/env bash
# Assembles the Android artifacts without Gradle, and checks them: target/android/babil-android.aar, with the native library
# that native.sh builds, and target/android/babil-en-fr.aar, the translator between English and French as an asset.
#
#   aar.sh              builds all of it
#   aar.sh --packed     takes the libraries that are in target/android/jni already
#
# Needs a JDK and Python; native.sh says what else.
set -euo pipefail
cd "$(dirname "$0")"

out=../target/android
[ "${1:-}" = --packed ] || ./native.sh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' ../Cargo.toml | head -1)
work=$out/aar
rm -rf "$work"
mkdir -p "$work"/{classes,phone,babil/META-INF/com/android/build/gradle}

# archive NAME FOLDER OPTIONS...: the same bytes from the same files.
archive() {
  local name=$1 folder=$2
  shift 2
  jar --create --no-manifest --date=1980-01-01T00:00:02Z --file "$name" "$@" -C "$folder" .
}

manifest() {
  cat <<XML
<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="$1">
    <uses-sdk android:minSdkVersion="24" />
</manifest>
XML
}

metadata() {
  printf '%s=%s\n' aarFormatVersion 1.0 aarMetadataVersion 1.0 minCompileSdk 24 coreLibraryDesugaringEnabled false
}

# The archive of an app's library: what Gradle's module of the same sources makes. What needs Android's classes is compiled
# against those that phone/ simulates, which are not in it.
mapfile -t sources < <(find java/src/main -name '*.java')
javac --release 8 -Xlint:-options -g -d "$work/classes" "${sources[@]}"
mapfile -t sources < <(find gradle/babil/src/main/java phone/android -name '*.java')
javac --release 8 -Xlint:-options -g -cp "$work/classes" -d "$work/phone" "${sources[@]}"
cp -r "$work/phone/dev" "$work/classes/"
archive "$work/babil/classes.jar" "$work/classes"
manifest dev.babil >"$work/babil/AndroidManifest.xml"
metadata >"$work/babil/META-INF/com/android/build/gradle/aar-metadata.properties"
cp gradle/babil/consumer-rules.pro "$work/babil/proguard.txt"
: >"$work/babil/R.txt"
cp -r "$out/jni" "$work/babil/jni"
archive "$out/babil-android.aar" "$work/babil"

# The model: a folder in an archive that compresses nothing.
mkdir -p "$work"/{model/en-fr,empty,en-fr/assets/babil,en-fr/META-INF/com/android/build/gradle}
cp ../models/bundled/en-fr/*.{json,spm,safetensors} "$work/model/en-fr/"
archive "$work/en-fr/assets/babil/en-fr.zip" "$work/model" --no-compress
archive "$work/en-fr/classes.jar" "$work/empty"
manifest dev.babil.model.enfr >"$work/en-fr/AndroidManifest.xml"
metadata >"$work/en-fr/META-INF/com/android/build/gradle/aar-metadata.properties"
: >"$work/en-fr/R.txt"
archive "$out/babil-en-fr.aar" "$work/en-fr"

grep -q "^babil.version=$version$" gradle/gradle.properties || { echo "gradle.properties has another version" >&2; exit 1; }
python3 check_aar.py --report "$out/babil-android.aar"
python3 check_aar.py --model "$out/babil-en-fr.aar"
rm -rf "$work"
echo "babil-android.aar and babil-en-fr.aar $version are in target/android"
