// The Android and JVM artifacts of babil, and the sample app. Needs Gradle 8.13 or later, JDK 17, the Android SDK, and for
// the native library Rust, an NDK and cargo-ndk; see ../README.md.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "babil-android"

include(":babil-java", ":babil-android", ":babil-kotlin", ":babil-en-fr", ":sample")

project(":babil-android").projectDir = file("babil")

project(":sample").projectDir = file("../sample")
