package dev.babil.sample.logic

import dev.babil.Chunk
import dev.babil.Engine
import dev.babil.flow
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update

/** Translates what is typed, while it is typed: a translation ends when there is another text for it. */
class Translating(private val scope: CoroutineScope, private val engine: suspend () -> Engine) {
    /** What is to be seen. */
    data class State(
        val from: String = "en",
        val to: String = "fr",
        val text: String = "",
        val translation: String = "",
        val running: Boolean = false,
        val error: String? = null,
    )

    private val current = MutableStateFlow(State())
    private var job: Job? = null

    val state: StateFlow<State> = current.asStateFlow()

    /** Takes another text. */
    fun type(text: String) {
        current.update { it.copy(text = text) }
        begin()
    }

    /** Translates the translation back. */
    fun swap() {
        current.update { State(from = it.to, to = it.from, text = it.translation.ifEmpty { it.text }) }
        begin()
    }

    private fun begin() {
        val (from, to, text) = current.value
        current.update { it.copy(translation = "", running = text.isNotBlank(), error = null) }
        job = scope.after(job) {
            // What the one before has shown meanwhile.
            current.update { it.copy(translation = "") }
            if (text.isBlank()) return@after
            try {
                engine().translator(from, to).flow(text).collect(::show)
                current.update { it.copy(running = false) }
            } catch (error: RuntimeException) {
                fail(error)
            }
        }
    }

    private fun show(chunk: Chunk) = current.update { it.copy(translation = it.translation + chunk.text()) }

    private fun fail(error: Throwable) {
        if (error is CancellationException) throw error
        current.update { it.copy(running = false, error = error.message ?: error.toString()) }
    }
}
