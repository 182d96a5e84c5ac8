package dev.babil.sample.logic

import dev.babil.Caption
import dev.babil.Transcriber
import dev.babil.Translator
import dev.babil.captions
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update

/** Writes down what is said, and translates it where there is a translator: dictation and live captions. */
class Hearing(
    private val scope: CoroutineScope,
    /** What hears; null where no speech model was chosen. */
    private val transcriber: suspend () -> Transcriber?,
    private val translator: suspend () -> Translator?,
) {
    /** What is to be seen. */
    data class State(
        /** What was said and is certain, a line for each time somebody spoke. */
        val lines: List<String> = emptyList(),
        /** What is being said, as far as it goes. */
        val now: String = "",
        /** The translations of complete sentences. */
        val translations: List<String> = emptyList(),
        val running: Boolean = false,
        val noModel: Boolean = false,
        val error: String? = null,
    )

    private val current = MutableStateFlow(State())
    private var job: Job? = null

    val state: StateFlow<State> = current.asStateFlow()

    /** Begins anew with [sound], blocks at 16 kHz; until it ends, or [stop]. */
    fun begin(sound: Flow<FloatArray>) {
        current.value = State(running = true)
        job = scope.after(job) {
            current.value = State(running = true)
            try {
                val transcriber = transcriber()
                if (transcriber == null) {
                    current.value = State(noModel = true)
                    return@after
                }
                transcriber.captions(sound, translator()).collect(::show)
                current.update { it.copy(running = false) }
            } catch (cancelled: CancellationException) {
                throw cancelled
            } catch (error: Exception) {
                current.update { it.copy(running = false, now = "", error = error.message ?: error.toString()) }
            }
        }
    }

    private fun show(caption: Caption) = current.update { state ->
        val said = listOf(caption.text()).filter { it.isNotEmpty() }
        val translated = listOf(caption.translation()).filter { it.isNotEmpty() }
        when {
            !caption.isFinal -> state.copy(now = caption.text() + caption.tail())
            else -> state.copy(
                lines = state.lines + said,
                now = "",
                translations = state.translations + translated,
            )
        }
    }

    /** Ends it; what is certain stays. */
    fun stop() {
        job?.cancel()
        current.update { it.copy(running = false, now = "") }
    }
}
