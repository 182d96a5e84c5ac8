/**
 * Coroutines and flows over the Java API: what is pulled there, by a call that waits, is collected here.
 *
 * Every flow is lossless, comes in order, and pulls on [Dispatchers.IO] only when its collector is ready for more. When the
 * collector is cancelled, fails or has enough, so is the computation, wherever it is; nothing waits for it but `close`.
 */
@file:JvmName("Flows")

package dev.babil

import java.io.File
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.flow.takeWhile
import kotlinx.coroutines.launch

/**
 * The pieces of this generation, which stays open for [Generation.stats] and has to be closed. A second collector would get
 * what the first has left.
 */
public fun Generation.flow(): Flow<Chunk> = pulled(::next, ::cancel)

/** The segments of this transcript, which has to be closed. */
public fun Transcript.flow(): Flow<Segment> = pulled(::next, ::cancel)

/** These captions, which have to be closed. */
public fun LiveCaptions.flow(): Flow<Caption> = pulled(::next, ::cancel)

/** The cues of these subtitles, which have to be closed. */
public fun Subtitles.flow(): Flow<Cue> = pulled(::next, ::cancel)

/** How far this transfer is, which has to be closed. A slow collector gets only the latest news. */
public fun Transfer.flow(): Flow<Transfer.Progress> = pulled(::next, ::cancel)

/** The translation of [text], word by word; each collector begins one. */
public fun Translator.flow(text: String): Flow<Chunk> = begun({ start(text) }, Generation::flow)

/** The cues of a translated file of subtitles; each collector begins anew. */
public fun Translator.subtitlesFlow(file: File, options: SubtitleOptions = SubtitleOptions.DEFAULT): Flow<Cue> =
    begun({ subtitles(file, options) }, Subtitles::flow)

/** The answer to [message], piece by piece; each collector says it again. What came before a cancellation is remembered. */
public fun Chat.flow(message: String): Flow<Chunk> = begun({ start(message) }, Generation::flow)

/** What is said in [file]; each collector begins anew. */
public fun Transcriber.flow(file: File): Flow<Segment> = begun({ start(file) }, Transcript::flow)

/** Subtitles of [film], translated where there is a [translator]; each collector begins anew. */
public fun Transcriber.subtitlesFlow(
    film: File,
    options: SubtitleOptions = SubtitleOptions.DEFAULT,
    translator: Translator? = null,
): Flow<Cue> =
    begun(
        { if (translator == null) subtitles(film, options) else subtitles(film, options, translator) },
        Subtitles::flow,
    )

/**
 * What is said in [sound], blocks of one channel at 16 kHz from -1 to 1, while it comes; translated where there is a
 * [translator]. The end of [sound] is the end of the captions, and its failure theirs.
 *
 * @param whenFull what happens to sound that comes faster than it is written down
 */
public fun Transcriber.captions(
    sound: Flow<FloatArray>,
    translator: Translator? = null,
    whenFull: LiveCaptions.WhenFull = LiveCaptions.WhenFull.DROP_OLDEST,
): Flow<Caption> =
    begun({ if (translator == null) listen(whenFull) else listen(whenFull, translator) }) { captions ->
        flow {
            coroutineScope {
                val recorder = launch(Dispatchers.IO) {
                    sound.takeWhile { captions.push(it, 0, it.size) }.collect()
                    captions.endOfSound()
                }
                emitAll(captions.flow())
                recorder.cancel()
            }
        }
    }

/** Fetches what is missing of a model, and tells how far it is; cancelled, it goes on another time. */
public fun ModelStore.pullFlow(name: String): Flow<Transfer.Progress> = begun({ pull(name) }, Transfer::flow)

/** Reads all files of a model again; damage is an exception of the flow. */
public fun ModelStore.verifyFlow(name: String): Flow<Transfer.Progress> = begun({ verify(name) }, Transfer::flow)

/** Begins something for each collector, and closes it after its flow. */
private fun <G : AutoCloseable, T> begun(begin: () -> G, flow: (G) -> Flow<T>): Flow<T> =
    flow { begin().use { emitAll(flow(it)) } }.onIo()

/** What [next] gives until it gives null. */
private fun <T : Any> pulled(next: () -> T?, cancel: () -> Unit): Flow<T> =
    flow { cancelling(cancel) { while (true) emit(next() ?: break) } }.onIo()

/** Does [work], which waits in native code, and calls [cancel] when the coroutine is cancelled meanwhile. */
internal suspend fun <T> cancelling(cancel: () -> Unit, work: suspend () -> T): T = coroutineScope {
    // Unconfined: whoever cancels the coroutine calls it at once, also while all threads wait in native code.
    val watch = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
        try {
            awaitCancellation()
        } finally {
            cancelUnlessClosed(cancel)
        }
    }
    // What has ended is not changed by a cancellation.
    work().also { watch.cancel() }
}

private fun cancelUnlessClosed(cancel: () -> Unit) {
    try {
        cancel()
    } catch (_: IllegalStateException) {
        // Closed, and so cancelled.
    }
}

/** Without a buffer: what is computed ahead waits in native code, where a cancellation finds it. */
private fun <T> Flow<T>.onIo(): Flow<T> = flowOn(Dispatchers.IO).buffer(Channel.RENDEZVOUS)
