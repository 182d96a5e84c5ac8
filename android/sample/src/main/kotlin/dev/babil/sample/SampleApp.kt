package dev.babil.sample

import android.app.Application
import androidx.lifecycle.AndroidViewModel
import androidx.lifecycle.viewModelScope
import dev.babil.Engine
import dev.babil.ModelStore
import dev.babil.TranscriberOptions
import dev.babil.Translator
import dev.babil.android.Assets
import dev.babil.open
import dev.babil.sample.logic.Hearing
import dev.babil.sample.logic.Picking
import dev.babil.sample.logic.Translating
import java.io.File
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/** The engines of the app, opened when they are first needed: they outlive the screen. */
class SampleApp : Application() {
    private val lock = Mutex()
    private var translating: Engine? = null
    private var hearing: Pair<String, Engine>? = null

    val store: ModelStore by lazy { ModelStore.`in`(File(filesDir, "models")) }

    /** The translator of the package, mapped where it lies in it. */
    suspend fun translation(): Engine = lock.withLock {
        translating ?: withContext(Dispatchers.IO) {
            Assets.open(this@SampleApp, Assets.EN_FR, Assets.options(this@SampleApp).build())
        }.also { translating = it }
    }

    /** The speech model of this name; the one before is closed. */
    suspend fun speech(name: String): Engine = lock.withLock {
        hearing?.takeIf { it.first == name }?.second ?: run {
            hearing?.let { withContext(Dispatchers.IO) { it.second.close() } }
            hearing = null
            store.model(name).open(Assets.options(this).build()).also { hearing = name to it }
        }
    }
}

/** The logic of the screens, with the app's engines; it survives rotations. */
class AppModel(application: Application) : AndroidViewModel(application) {
    private val app = application as SampleApp

    val picking = Picking(viewModelScope, app.store, Assets.options(app).build())
    val translating = Translating(viewModelScope) { app.translation() }
    val dictation = Hearing(viewModelScope, { transcriber(null) }, { null })
    val captions = Hearing(viewModelScope, { transcriber("en") }, { translator() })

    private suspend fun transcriber(language: String?) = picking.state.value.chosen?.let { name ->
        // The fastest search: who waits for a caption does not wait for the best one.
        app.speech(name).transcriber(TranscriberOptions.builder().language(language).beam(1).build())
    }

    private suspend fun translator(): Translator = app.translation().translator("en", "fr")

    init {
        picking.refresh()
    }
}
