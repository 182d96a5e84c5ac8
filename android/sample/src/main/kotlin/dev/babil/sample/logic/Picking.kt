package dev.babil.sample.logic

import dev.babil.BabilException
import dev.babil.Code
import dev.babil.EngineOptions
import dev.babil.MemoryPlan
import dev.babil.ModelStore
import dev.babil.plan
import dev.babil.pullFlow
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** The speech models of a store: which are here, whether they fit, which one is used. Nothing is fetched unasked. */
class Picking(
    private val scope: CoroutineScope,
    private val store: ModelStore,
    private val options: EngineOptions,
    private val io: CoroutineDispatcher = Dispatchers.IO,
) {
    /** Whether there is memory for a model. */
    enum class Fit { FITS, TIGHT, TOO_LARGE }

    /** A model of the list. */
    data class Item(
        val name: String,
        val description: String,
        /** Bytes on disk, unfinished transfers included. */
        val bytes: Long,
        val here: Boolean,
        /** What it needs; null of models that are not here. */
        val memory: Long? = null,
        val fit: Fit? = null,
    )

    /** A model that is being fetched. */
    data class Fetching(val name: String, val done: Long = 0, val total: Long = 0)

    /** What is to be seen. */
    data class State(
        val items: List<Item> = emptyList(),
        val chosen: String? = null,
        val fetching: Fetching? = null,
        val error: String? = null,
    )

    private val current = MutableStateFlow(State())
    private var transfer: Job? = null

    val state: StateFlow<State> = current.asStateFlow()

    /** Looks at the store again. */
    fun refresh(): Job = guarded {
        val models = withContext(io) { store.list() }
        val items = models.filter { it.kind() == "speech" }.map { model ->
            val plan = if (model.isAvailable) planOf(model.name()) else null
            Item(model.name(), model.description(), model.bytes(), model.isAvailable, plan?.total(), plan?.let(::fit))
        }
        val here = items.filter { it.here }.map { it.name }
        current.update { it.copy(items = items, chosen = it.chosen.takeIf(here::contains)) }
    }

    /** Uses a model from now on, unless it is too large. */
    fun choose(name: String) {
        val item = current.value.items.find { it.name == name && it.here } ?: return
        if (item.fit == Fit.TOO_LARGE) {
            current.update { it.copy(error = "$name needs ${item.memory} bytes of memory, which are not free") }
        } else {
            current.update { it.copy(chosen = name, error = null) }
        }
    }

    /** Fetches a model: the only thing here that uses the network. */
    fun fetch(name: String): Job? {
        if (current.value.fetching != null) return null
        current.update { it.copy(fetching = Fetching(name), error = null) }
        return guarded {
            try {
                store.pullFlow(name).collect { progress ->
                    current.update { it.copy(fetching = Fetching(name, progress.done(), progress.total())) }
                }
            } finally {
                current.update { it.copy(fetching = null) }
                // Also of a part that has arrived.
                refresh()
            }
        }.also { transfer = it }
    }

    /** Stops fetching; what has arrived is kept. */
    fun stopFetching() {
        transfer?.cancel()
    }

    /** Deletes a model. */
    fun delete(name: String): Job = guarded {
        withContext(io) { store.delete(name) }
        refresh()
    }

    /** Does something that may fail, and shows why it has. */
    private fun guarded(work: suspend () -> Unit): Job = scope.launch {
        try {
            work()
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (error: BabilException) {
            val again = if (error.retryable()) " (it may work later)" else ""
            current.update { it.copy(error = error.message + again) }
        }
    }

    /** What a model would need; null where its files are not what they should be. */
    private suspend fun planOf(name: String): MemoryPlan? =
        try {
            store.model(name).plan(options)
        } catch (error: BabilException) {
            if (error.code() == Code.INTERNAL) throw error
            null
        }

    companion object {
        /** Weights can be read again from their file when memory is short, what is computed cannot. */
        fun fit(plan: MemoryPlan): Fit = when {
            plan.fits() -> Fit.FITS
            plan.working() < plan.available() -> Fit.TIGHT
            else -> Fit.TOO_LARGE
        }
    }
}
