plugins {
    alias(libs.plugins.android.library)
    `maven-publish`
}

description = "The model as an asset, which babil maps where it lies in the app's package."
extra["title"] = "babil's translator between English and French"

android {
    namespace = "dev.babil.model.enfr"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig { minSdk = libs.versions.minSdk.get().toInt() }
    publishing {
        singleVariant("release") {
            withSourcesJar()
            withJavadocJar()
        }
    }
}

/** The folder of the model as one file that can be mapped. */
abstract class ModelArchive : Zip() {
    @get:OutputDirectory
    abstract val assets: DirectoryProperty
}

val archive = tasks.register<ModelArchive>("modelArchive") {
    assets = layout.buildDirectory.dir("model-assets")
    from("../../../models/bundled/en-fr") {
        include("*.json", "*.spm", "*.safetensors")
        into("en-fr")
    }
    entryCompression = ZipEntryCompression.STORED
    isPreserveFileTimestamps = false
    isReproducibleFileOrder = true
    archiveFileName = "en-fr.zip"
    destinationDirectory = assets.dir("babil")
}

androidComponents {
    onVariants { variant ->
        variant.sources.assets?.addGeneratedSourceDirectory(archive, ModelArchive::assets)
    }
}
