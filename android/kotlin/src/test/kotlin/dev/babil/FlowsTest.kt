package dev.babil

import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

private const val ENGLISH = "Where is the station? I would like two coffees, please.\nThank you. The train is late. We have seen the sea."

/** Flows and suspending functions on the native library; after each test everything is closed and has ended once. */
internal class FlowsTest : GivesBack() {
    private fun <T> test(body: suspend () -> T): T = runBlocking { withTimeout(120_000) { body() } }

    private fun translates(body: suspend (Translator) -> Unit) = test {
        Models.translator().use { body(it.translator("en", "fr")) }
    }

    /** A model whose answers would never end. */
    private fun talks(body: suspend (Engine, Chat) -> Unit) = test {
        Models.language().use { engine -> Models.chat(engine).use { body(engine, it) } }
    }

    private inline fun <reified E : Throwable> throws(crossinline body: suspend () -> Unit): E =
        assertThrows(E::class.java) { test { body() } }

    @Test
    fun nothingIsLostAndEverythingIsInOrder() = translates { translator ->
        val expected = buildList {
            translator.start(ENGLISH).use { for (chunk in generateSequence { it.next() }) add(chunk.text()) }
        }
        assertTrue(expected.size > 8, "$expected")
        assertEquals(expected, translator.flow(ENGLISH).map { it.text() }.toList())
        // A slow collector on other threads.
        val slow = translator.flow(ENGLISH).onEach { delay(1) }.map { it.text() }
        assertEquals(expected, withContext(Dispatchers.Default) { slow.toList() })
        translator.start(ENGLISH).use { generation ->
            val first = generation.flow().take(3).map { it.text() }.toList()
            assertEquals(expected.take(3), first)
            assertNull(generation.next(), "whoever has enough cancels the rest")
            assertEquals(Finish.CANCELLED, generation.stats().finish())
        }
    }

    @Test
    fun aGenerationIsOpenAfterItsFlow() = translates { translator ->
        translator.start(ENGLISH).use { generation ->
            generation.flow().collect()
            assertEquals(Finish.COMPLETE, generation.stats().finish())
            assertTrue(generation.stats().tokensWritten() > 10)
            assertEquals(0, generation.flow().toList().size, "there is no more")
        }
    }

    @Test
    fun cancellingTheCollectorCancelsTheComputation() = talks { _, chat ->
        val generation = chat.start("who are you")
        generation.use {
            runBlocking {
                val pieces = CountDownLatch(3)
                val collector = launch(Dispatchers.Default) { generation.flow().collect { pieces.countDown() } }
                withContext(Dispatchers.IO) { assertTrue(pieces.await(60, TimeUnit.SECONDS)) }
                collector.cancelAndJoin()
            }
            assertNull(generation.next(), "nothing comes any more")
            assertEquals(Finish.CANCELLED, generation.stats().finish())
        }
        // The conversation goes on.
        assertNotNull(chat.start("and now").use { it.next() })
    }

    @Test
    fun aCollectorThatWaitsInNativeCodeIsCancelled() = test {
        Speech.engine().use { engine ->
            // No sound ever comes: `next` would wait for good.
            engine.transcriber().listen(LiveCaptions.WhenFull.WAIT).use { captions ->
                runBlocking {
                    val collector = launch(Dispatchers.Default) { captions.flow().collect() }
                    repeat(100) { yield() }
                    delay(50)
                    collector.cancelAndJoin()
                }
                assertNull(captions.next())
            }
        }
    }

    @Test
    fun moreCollectorsThanThreadsAreCancelled() = test {
        Speech.engine().use { engine ->
            // `Dispatchers.IO` has 64 threads, and all of them wait in native code.
            val captions = List(80) { engine.transcriber().listen(LiveCaptions.WhenFull.WAIT) }
            runBlocking {
                val collectors = captions.map { launch(Dispatchers.Default) { it.flow().collect() } }
                delay(200)
                collectors.forEach { it.cancel() }
                collectors.forEach { it.join() }
            }
            captions.forEach { it.close() }
        }
    }

    @Test
    fun aCollectorThatFailsCancelsTheComputation() = talks { _, chat ->
        val generation = chat.start("who are you")
        generation.use {
            throws<IllegalArgumentException> { generation.flow().collect { throw IllegalArgumentException("enough") } }
            assertNull(generation.next())
            assertEquals(Finish.CANCELLED, generation.stats().finish())
        }
    }

    @Test
    fun exceptionsCross() = translates { translator ->
        Testing.panicNext()
        val error = throws<BabilException> { translator.flow(ENGLISH).collect() }
        assertEquals(Code.INTERNAL, error.code())
        var caught: Throwable? = null
        Testing.panicNext()
        translator.flow(ENGLISH).catch { caught = it }.collect()
        assertEquals(Code.INTERNAL, (caught as BabilException).code())
        assertTrue(translator.awaitTranslation(ENGLISH).contains("gare"), "the engine is usable")
        val closed = Models.translator()
        val other = closed.translator("en", "fr")
        closed.close()
        throws<IllegalStateException> { other.flow("Hello.").collect() }
        throws<IllegalStateException> { other.awaitTranslation("Hello.") }
    }

    @Test
    fun charactersAreWhole() = translates { translator ->
        val text = "Hello 😀👩‍👩‍👧 𝔘𝔫𝔦𝔠𝔬𝔡𝔢!\u0000Thank you 🎉."
        val chunks = translator.flow(text).map { it.text() }.toList()
        for (chunk in chunks) {
            assertFalse(chunk.first().isLowSurrogate() || chunk.last().isHighSurrogate(), chunk)
        }
        assertEquals(translator.translate(text), chunks.joinToString(""))
        assertTrue(chunks.joinToString("").contains("\u0000"))
    }

    @Test
    fun waitingIsSuspended() = translates { translator ->
        val texts = listOf(ENGLISH, "Thank you.", "", "The children are playing in the garden.")
        val expected = texts.map { translator.translate(it) }
        val found = runBlocking { texts.map { async { translator.awaitTranslation(it) } }.awaitAll() }
        assertEquals(expected, found)
    }

    @Test
    fun whoeverNoLongerWaitsCancels() = talks { engine, chat ->
        runBlocking {
            val answer = async(Dispatchers.Default) { chat.awaitAnswer("who are you") }
            delay(50)
            answer.cancelAndJoin()
            assertTrue(runCatching { answer.await() }.exceptionOrNull() is CancellationException)
        }
        val closing = runBlocking(Dispatchers.Default) {
            val answer = async { runCatching { chat.awaitAnswer("who are you") } }
            while (Testing.begun() == Testing.ended()) delay(1)
            engine.close()
            answer.await()
        }
        assertEquals(Code.CANCELLED, (closing.exceptionOrNull() as BabilException).code())
    }

    @Test
    fun modelsAreOpenedAndPlanned() = test {
        val plan = ModelSource.bundled().plan()
        assertTrue(plan.total() > 9_000_000 && plan.weights() <= plan.total())
        ModelSource.bundled().open().use { assertEquals(Engine.Kind.TRANSLATOR, it.kind()) }
        val missing = throws<BabilException> { ModelSource.file("/nowhere").open() }
        assertEquals(Code.NOT_FOUND, missing.code())
        // Whoever has no use for the engine any more leaves none behind: `GivesBack` counts.
        runBlocking {
            val opening = async(Dispatchers.Default) { ModelSource.bundled().open() }
            opening.cancel()
            opening.join()
            if (!opening.isCancelled) opening.await().close()
        }
    }

    @Test
    fun answersAreFlows() = talks { engine, _ ->
        engine.chat(ChatOptions.builder().temperature(0f).maxTokens(12).build()).use { chat ->
            val pieces = chat.flow("who are you").map { it.text() }.toList()
            chat.clear()
            assertEquals(chat.awaitAnswer("who are you"), pieces.joinToString(""))
        }
    }

    @Test
    fun recordingsAndSubtitlesAreFlows() = test {
        val file = Models.root("models/recipes/speech-en-tiny/fixture/short.flac")
        Speech.engine().use { engine ->
            val transcriber = engine.transcriber(TranscriberOptions.builder().beam(1).build())
            val expected = transcriber.start(file).use { all -> generateSequence { all.next() }.map { it.text() }.toList() }
            assertEquals(expected, transcriber.flow(file).map { it.text() }.toList())
            val cues = transcriber.subtitlesFlow(file).toList()
            assertTrue(cues.size >= expected.size)
            val said = transcriber.captions(Speech.sound(file), whenFull = LiveCaptions.WhenFull.WAIT).toList()
            val final = said.filter { it.isFinal && it.text().isNotEmpty() }.map { it.text() }
            assertEquals(expected.joinToString(" "), final.joinToString(" "))
            Models.translator().use { bundled ->
                val translator = bundled.translator("en", "fr")
                val both = transcriber.captions(Speech.sound(file), translator, LiveCaptions.WhenFull.WAIT).toList()
                assertTrue(both.count { it.translation().isNotEmpty() } > 3)
                assertEquals(expected.joinToString(" "), both.filter { it.isFinal }.map { it.text() }
                    .filter { it.isNotEmpty() }.joinToString(" "))
            }
        }
    }

    @Test
    fun soundThatFailsIsTheFailureOfItsCaptions() = test {
        Speech.engine().use { engine ->
            val sound = flow {
                emit(FloatArray(1600))
                throw java.io.IOException("no microphone")
            }
            val error = throws<java.io.IOException> { engine.transcriber().captions(sound).collect() }
            assertEquals("no microphone", error.message)
            // A microphone that is silent, and a collector that goes.
            runBlocking {
                val endless = flow<FloatArray> { awaitCancellation() }
                val collector = launch(Dispatchers.Default) { engine.transcriber().captions(endless).collect() }
                delay(50)
                collector.cancelAndJoin()
            }
        }
    }

    @Test
    fun transfersAreFlows() = test {
        val store = ModelStore.`in`(Models.temporary("store"))
        val unknown = throws<BabilException> { store.pullFlow("no such model").collect() }
        assertEquals(Code.NOT_FOUND, unknown.code())
        Hub(Models.chatModel()).use { hub ->
            val store = hub.store(Models.temporary("store"))
            val news = store.pullFlow(Hub.MODEL).toList()
            assertEquals(Models.chatModel().length(), news.last().done())
            assertTrue(news.zipWithNext().all { (a, b) -> a.done() <= b.done() })
            val verified = store.verifyFlow(Hub.MODEL).toList()
            assertEquals(Models.chatModel().length(), verified.last().total())
            assertEquals(1, store.list().count { it.isAvailable && it.name() == "owner/repo" })
        }
    }

    /** The small speech model of the repository. */
    private object Speech {
        fun engine(): Engine {
            val source = ModelSource.file(Models.root("models/recipes/speech-en-tiny/model"))
            return Engine.open(source, EngineOptions.builder().threads(2).build())
        }

        fun sound(file: File) = samples(file).asIterable().chunked(1600).map { it.toFloatArray() }.asFlow()

        private fun samples(file: File): FloatArray {
            val bytes = Testing.samples(file.path.toByteArray())
            return FloatArray(bytes.size / 4).also { java.nio.ByteBuffer.wrap(bytes).asFloatBuffer().get(it) }
        }
    }
}
