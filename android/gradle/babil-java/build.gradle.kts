plugins {
    `java-library`
    `maven-publish`
}

description = "Translation, small language models and speech on the device itself: the API for desktop JVMs."
extra["title"] = "babil"

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
    withSourcesJar()
    withJavadocJar()
}

sourceSets.main { java.setSrcDirs(listOf("../../java/src/main/java")) }

// The libraries of desktops, as natives/{linux,macos,windows}-{x86_64,aarch64}/, where they have been built.
providers.gradleProperty("babil.natives").orNull?.let { folder ->
    tasks.processResources { from(rootProject.file(folder)) { into("natives") } }
}
