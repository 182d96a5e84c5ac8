plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.android.library) apply false
    alias(libs.plugins.kotlin.android) apply false
    alias(libs.plugins.kotlin.jvm) apply false
    alias(libs.plugins.kotlin.compose) apply false
}

// Where the project is published: `-Pbabil.url=https://...`, without which nothing is.
val home = providers.gradleProperty("babil.url")

// What all published artifacts are and say of themselves. A module gives its `description`, and a `title`.
subprojects {
    group = providers.gradleProperty("babil.group").get()
    version = providers.gradleProperty("babil.version").get()

    plugins.withId("maven-publish") {
        val module = this@subprojects
        afterEvaluate {
            extensions.configure<PublishingExtension> {
                publications.register<MavenPublication>("release") {
                    // Those for Android have a component for each variant.
                    from(module.components.findByName("release") ?: module.components["java"])
                    artifactId = module.name.removeSuffix("-java")
                    pom {
                        name = module.extra["title"] as String
                        description = module.description
                        url = home
                        licenses {
                            license {
                                name = "MIT"
                                url = "https://opensource.org/license/mit"
                            }
                            license {
                                name = "Apache-2.0"
                                url = "https://www.apache.org/licenses/LICENSE-2.0"
                            }
                        }
                        developers {
                            developer {
                                name = "The babil authors"
                                url = home
                            }
                        }
                        scm {
                            url = home
                            connection = home.map { "scm:git:$it.git" }
                            developerConnection = connection
                        }
                    }
                }
                // Signed and uploaded from here: `gradle publishAllPublicationsToStagingRepository`.
                repositories.maven(rootProject.layout.buildDirectory.dir("staging")) { name = "staging" }
            }
        }
    }
}
