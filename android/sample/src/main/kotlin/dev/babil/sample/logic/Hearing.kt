package dev.babil.sample.logic

import dev.babil.Caption
import dev.babil.Transcriber
import dev.babil.Translator
import dev.babil.captions
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.filterNotNull
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.merge
import kotlinx.coroutines.flow.onCompletion
import kotlinx.coroutines.flow.takeWhile
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

    /** Ends the sound of [job]. */
    private var ending = CompletableDeferred<Unit>()

    val state: StateFlow<State> = current.asStateFlow()

    /** Begins anew with [sound], blocks at 16 kHz; until it ends, or [stop]. Gives what runs until all is written down. */
    fun begin(sound: Flow<FloatArray>): Job {
        current.value = State(running = true)
        val ended = CompletableDeferred<Unit>()
        ending = ended
        return scope.after(job) {
            current.value = State(running = !ended.isCompleted)
            try {
                val transcriber = transcriber()
                if (transcriber == null) {
                    current.value = State(noModel = true)
                    return@after
                }
                transcriber.captions(sound.until(ended), translator()).collect(::show)
                current.update { it.copy(running = false, now = "") }
            } catch (cancelled: CancellationException) {
                throw cancelled
            } catch (error: Exception) {
                current.update { it.copy(running = false, now = "", error = error.message ?: error.toString()) }
            }
        }.also { job = it }
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

    /** Ends the sound; what was said until now still comes. */
    fun stop() {
        ending.complete(Unit)
        current.update { it.copy(running = false) }
    }

    /** This flow, which ends when [end] comes. */
    private fun <T : Any> Flow<T>.until(end: Deferred<Unit>): Flow<T> {
        val ended = flow<T?> {
            end.await()
            emit(null)
        }
        val all = map<T, T?> { it }.onCompletion { if (it == null) emit(null) }
        return merge(all, ended).takeWhile { it != null }.filterNotNull()
    }
}
