import com.android.build.api.variant.LibraryAndroidComponentsExtension
import org.gradle.process.ExecOperations
import javax.inject.Inject

plugins {
    alias(libs.plugins.android.library)
    `maven-publish`
}

description = "Translation, small language models and speech on the device itself, offline."
extra["title"] = "babil for Android"

android {
    namespace = "dev.babil"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    // The API is the same as on desktops.
    sourceSets["main"].java.srcDir("../../java/src/main/java")

    publishing {
        singleVariant("release") {
            withSourcesJar()
            withJavadocJar()
        }
    }
}

/** Builds libbabil_jni.so for arm64-v8a and x86_64 with cargo-ndk, for pages of 16 KB; or takes what is built already. */
abstract class NativeLibraries : DefaultTask() {
    @get:InputFile
    abstract val script: RegularFileProperty

    @get:Optional
    @get:InputDirectory
    abstract val prebuilt: DirectoryProperty

    @get:Internal
    abstract val ndk: DirectoryProperty

    @get:OutputDirectory
    abstract val folder: DirectoryProperty

    @get:Inject
    abstract val processes: ExecOperations

    @get:Inject
    abstract val files: FileSystemOperations

    @TaskAction
    fun build() {
        if (prebuilt.isPresent) {
            files.sync {
                from(prebuilt)
                into(folder)
            }
            return
        }
        processes.exec {
            environment("ANDROID_NDK_HOME", ndk.get().asFile.path)
            commandLine(script.get().asFile.path, folder.get().asFile.path)
        }
    }
}

val nativeLibraries = tasks.register<NativeLibraries>("nativeLibraries") {
    script = layout.projectDirectory.file("../../native.sh")
    prebuilt = layout.dir(providers.gradleProperty("babil.jniLibs").map { rootProject.file(it) })
    // Who brings the libraries needs no NDK.
    if (!prebuilt.isPresent) ndk = extensions.getByType<LibraryAndroidComponentsExtension>().sdkComponents.ndkDirectory
    // Cargo knows best what has changed.
    outputs.upToDateWhen { prebuilt.isPresent }
}

androidComponents {
    onVariants { variant ->
        variant.sources.jniLibs?.addGeneratedSourceDirectory(nativeLibraries, NativeLibraries::folder)
    }
}
