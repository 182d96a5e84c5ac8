import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
    `maven-publish`
}

description = "Flows and suspending functions for babil, on Android and on desktops."
extra["title"] = "babil for Kotlin"

kotlin {
    explicitApi()
    compilerOptions {
        jvmTarget = JvmTarget.JVM_1_8
        allWarningsAsErrors = true
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
    withSourcesJar()
    withJavadocJar()
}

sourceSets.main { kotlin.setSrcDirs(listOf("../../kotlin/src/main/kotlin")) }

dependencies {
    api(libs.coroutines.core)
    // The API comes with babil-android in an app, and with babil on a desktop: it is the same.
    compileOnly(project(":babil-java"))
}
