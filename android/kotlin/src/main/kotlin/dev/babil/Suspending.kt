/**
 * The calls of the Java API that wait, as suspending functions. A member of a class hides an extension of its name, so these
 * have names of their own: `translate` waits, `awaitTranslation` suspends.
 */
@file:JvmName("Suspending")

package dev.babil

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/**
 * Opens a model, on [Dispatchers.IO]. One that was opened for a coroutine which is cancelled is closed.
 *
 * @throws BabilException as [Engine.open]
 */
public suspend fun ModelSource.open(options: EngineOptions = EngineOptions.DEFAULT): Engine {
    var engine: Engine? = null
    try {
        return withContext(Dispatchers.IO) { Engine.open(this@open, options).also { engine = it } }
    } catch (cancelled: CancellationException) {
        engine?.close()
        throw cancelled
    }
}

/**
 * What a model would need, on [Dispatchers.IO].
 *
 * @throws BabilException as [Engine.plan]
 */
public suspend fun ModelSource.plan(options: EngineOptions = EngineOptions.DEFAULT): MemoryPlan =
    withContext(Dispatchers.IO) { Engine.plan(this@plan, options) }

/**
 * The translation of [text]. Cancelling the coroutine cancels the computation.
 *
 * @throws BabilException [Code.CANCELLED] where the engine is closed meanwhile
 * @throws IllegalStateException the engine is closed
 */
public suspend fun Translator.awaitTranslation(text: String): String = withContext(Dispatchers.IO) {
    startBatches(text).use { it.whole() }
}

/**
 * The answer to [message], without thoughts. Cancelling the coroutine cancels the computation; what came so far is
 * remembered.
 *
 * @throws BabilException [Code.BUSY] while another answer is being made; [Code.CANCELLED] where the conversation is closed
 *     meanwhile
 * @throws IllegalStateException the conversation is closed
 */
public suspend fun Chat.awaitAnswer(message: String): String = withContext(Dispatchers.IO) {
    start(message).use { it.whole() }
}

/** All of a generation. */
private suspend fun Generation.whole(): String =
    try {
        cancelling(::cancel, ::rest)
    } catch (ended: BabilException) {
        // Where the coroutine was cancelled, that is why.
        currentCoroutineContext().ensureActive()
        throw ended
    }
