package dev.babil.sample.logic

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** Cancels [before], and does [work] once it has ended: so no two of them change the same state. */
internal fun CoroutineScope.after(before: Job?, work: suspend () -> Unit): Job {
    before?.cancel()
    return launch {
        // Also of one that is cancelled itself by now: whoever waits for it waits for both.
        withContext(NonCancellable) { before?.join() }
        // Leaving it does not look whether this one was cancelled meanwhile.
        ensureActive()
        work()
    }
}
