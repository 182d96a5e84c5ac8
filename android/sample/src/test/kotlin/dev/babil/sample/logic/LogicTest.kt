package dev.babil.sample.logic

import dev.babil.Engine
import dev.babil.EngineOptions
import dev.babil.ModelSource
import dev.babil.ModelStore
import dev.babil.Testing
import dev.babil.TranscriberOptions
import java.io.File
import java.nio.ByteBuffer
import java.nio.file.Files
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The logic of the sample app, without Android, on the native library and real models. */
internal class LogicTest {
    private val scope = CoroutineScope(Dispatchers.Default)
    private val root = File(System.getenv("BABIL_ROOT"))
    private val options = EngineOptions.builder().threads(2).packedFolder(temporary()).build()
    private val bundled = lazy { Engine.open(ModelSource.bundled(), options) }
    private val speech = lazy {
        Engine.open(ModelSource.file(File(root, "models/recipes/speech-en-tiny/model")), options)
    }

    private fun temporary(): File = Files.createTempDirectory("sample").toFile()

    @AfterEach
    fun close() {
        scope.cancel()
        listOf(bundled, speech).filter { it.isInitialized() }.forEach { it.value.close() }
    }

    private fun <T> StateFlow<T>.wait(condition: (T) -> Boolean): T =
        runBlocking { withTimeout(120_000) { first(condition) } }

    @Test
    fun theLastTextIsTranslated() {
        val translating = Translating(scope) { bundled.value }
        val typed = "Where is the station?"
        for (length in 1..typed.length) translating.type(typed.take(length))
        val state = translating.state.wait { !it.running && it.translation.isNotEmpty() }
        assertEquals(bundled.value.translator("en", "fr").translate(typed), state.translation)
        assertNull(state.error)
        translating.swap()
        val back = translating.state.wait { !it.running && it.translation.isNotEmpty() }
        assertEquals("fr" to "en", back.from to back.to)
        assertEquals(state.translation, back.text)
        translating.type("  ")
        assertEquals("", translating.state.wait { !it.running && it.translation.isEmpty() }.error.orEmpty())
    }

    @Test
    fun whatGoesWrongIsShown() {
        val translating = Translating(scope) { Engine.open(ModelSource.file("/nowhere")) }
        translating.type("Hello.")
        val state = translating.state.wait { it.error != null }
        assertTrue(state.error!!.contains("/nowhere"), state.error)
        assertFalse(state.running)
    }

    @Test
    fun speechIsWrittenDownAndTranslated() {
        val hearing = Hearing(
            scope,
            { speech.value.transcriber(TranscriberOptions.builder().beam(1).build()) },
            { bundled.value.translator("en", "fr") },
        )
        // Silence; and a sound that ends.
        hearing.begin(flow { repeat(20) { emit(FloatArray(1600)) } })
        val silent = hearing.state.wait { !it.running }
        assertEquals(emptyList<String>(), silent.lines)
        assertNull(silent.error)
        // A microphone that never ends is stopped.
        hearing.begin(flow { awaitCancellation() })
        hearing.state.wait { it.running }
        hearing.stop()
        hearing.state.wait { !it.running }
        // A microphone that fails.
        hearing.begin(flow { throw java.io.IOException("no microphone") })
        assertEquals("no microphone", hearing.state.wait { !it.running }.error)
    }

    /** What is said before somebody stops is written down to its end. */
    @Test
    fun stoppingLosesNoWords() {
        val words = { end: Boolean ->
            val hearing = Hearing(
                scope,
                { speech.value.transcriber(TranscriberOptions.builder().beam(1).build()) },
                { null },
            )
            val pushed = CompletableDeferred<Unit>()
            val job = hearing.begin(
                flow {
                    recording().asList().chunked(1600).forEach { emit(it.toFloatArray()) }
                    pushed.complete(Unit)
                    if (!end) awaitCancellation()
                },
            )
            runBlocking { withTimeout(120_000) { pushed.await() } }
            if (!end) hearing.stop()
            runBlocking { withTimeout(120_000) { job.join() } }
            assertNull(hearing.state.value.error)
            hearing.state.value.lines
        }
        val whole = words(true)
        assertTrue(whole.isNotEmpty())
        assertEquals(whole, words(false), "stopped, not ended")
    }

    /** A sentence, and the beginning of the next one. */
    private fun recording(): FloatArray {
        val file = File(root, "models/recipes/speech-en-tiny/fixture/short.flac")
        val bytes = Testing.samples(file.path.toByteArray())
        val samples = FloatArray(bytes.size / Float.SIZE_BYTES)
        ByteBuffer.wrap(bytes).asFloatBuffer().get(samples)
        return samples.copyOf(10 * 16_000)
    }

    /** Whoever was stopped before it began does not begin when its turn comes. */
    @Test
    fun listenStopListenStop() = runBlocking {
        val entered = CompletableDeferred<Unit>()
        val leave = CompletableDeferred<Unit>()
        val first = scope.after(null) {
            withContext(NonCancellable) {
                entered.complete(Unit)
                leave.await()
            }
        }
        entered.await()
        var begun = 0
        val second = scope.after(first) { begun++ }
        second.cancel()
        val third = scope.after(second) { begun += 10 }
        leave.complete(Unit)
        third.join()
        assertEquals(10, begun)
    }

    @Test
    fun withoutAModelThatIsSaid() {
        val hearing = Hearing(scope, { null }, { null })
        hearing.begin(flow { awaitCancellation() })
        assertTrue(hearing.state.wait { !it.running }.noModel)
    }

    @Test
    fun modelsAreListedAndNothingIsFetchedUnasked() = runBlocking {
        val picking = Picking(scope, ModelStore.`in`(temporary()), options)
        picking.refresh().join()
        val items = picking.state.value.items
        assertTrue(items.size > 3 && items.none { it.here }, items.toString())
        assertTrue(items.any { it.name == "whisper-base" })
        picking.choose("whisper-base")
        assertNull(picking.state.value.chosen, "it is not here")
        picking.delete("whisper-base").join()
        assertTrue(picking.state.value.error != null)
        assertNull(picking.state.value.fetching)
    }

    @Test
    fun memoryIsChecked() {
        val plan = Engine.plan(ModelSource.bundled(), options)
        assertEquals(Picking.Fit.FITS, Picking.fit(plan))
    }
}
