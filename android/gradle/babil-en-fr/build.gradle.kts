plugins {
    alias(libs.plugins.android.library)
    `maven-publish`
}

android {
    namespace = "dev.babil.model.enfr"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig { minSdk = libs.versions.minSdk.get().toInt() }
    publishing { singleVariant("release") { withSourcesJar() } }
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

publishing {
    publications.register<MavenPublication>("release") {
        artifactId = "babil-en-fr"
        afterEvaluate { from(components["release"]) }
        pom {
            name = "babil's translator between English and French"
            description = "The model as an asset, which babil maps where it lies in the app's package."
        }
    }
}
