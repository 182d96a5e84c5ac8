package dev.babil.sample

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.os.Bundle
import android.text.format.Formatter
import androidx.activity.ComponentActivity
import androidx.activity.compose.rememberLauncherForActivityResult
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.activity.result.contract.ActivityResultContracts
import androidx.activity.viewModels
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.items
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Scaffold
import androidx.compose.material3.Tab
import androidx.compose.material3.TabRow
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableIntStateOf
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.remember
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import dev.babil.sample.logic.Hearing
import dev.babil.sample.logic.Picking
import dev.babil.sample.logic.Translating

class MainActivity : ComponentActivity() {
    private val model: AppModel by viewModels()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        enableEdgeToEdge()
        setContent { MaterialTheme { App(model) } }
    }
}

private val TABS = listOf(R.string.translate, R.string.dictate, R.string.captions, R.string.models)

@Composable
private fun App(model: AppModel) {
    var tab by rememberSaveable { mutableIntStateOf(0) }
    Scaffold { space ->
        Column(Modifier.padding(space)) {
            TabRow(tab) {
                TABS.forEachIndexed { i, title ->
                    Tab(tab == i, onClick = { tab = i }, text = { Text(stringResource(title)) })
                }
            }
            when (tab) {
                0 -> TranslateScreen(model.translating)
                1 -> HearingScreen(model.dictation)
                2 -> HearingScreen(model.captions)
                else -> ModelsScreen(model.picking)
            }
        }
    }
}

@Composable
private fun TranslateScreen(translating: Translating) {
    val state by translating.state.collectAsStateWithLifecycle()
    Page {
        TextButton(translating::swap) { Text("${state.from} → ${state.to} · ${stringResource(R.string.swap)}") }
        OutlinedTextField(
            value = state.text,
            onValueChange = translating::type,
            label = { Text(stringResource(R.string.type_here)) },
            modifier = Modifier.fillMaxWidth(),
            minLines = 3,
        )
        if (state.running) LinearProgressIndicator(Modifier.fillMaxWidth())
        Text(state.translation, style = MaterialTheme.typography.titleLarge)
        Problem(state.error)
    }
}

@Composable
private fun HearingScreen(hearing: Hearing) {
    val state by hearing.state.collectAsStateWithLifecycle()
    val context = LocalContext.current
    var refused by remember { mutableStateOf(false) }
    val ask = rememberLauncherForActivityResult(ActivityResultContracts.RequestPermission()) { allowed ->
        refused = !allowed
        if (allowed) hearing.listen(context)
    }
    Page {
        Button(onClick = {
            if (state.running) hearing.stop() else if (!hearing.listen(context)) ask.launch(Manifest.permission.RECORD_AUDIO)
        }) {
            Text(stringResource(if (state.running) R.string.stop else R.string.listen))
        }
        if (refused) Problem(stringResource(R.string.needs_microphone))
        if (state.noModel) Problem(stringResource(R.string.no_speech_model))
        Problem(state.error)
        Text(state.lines.joinToString("\n"))
        Text(state.now, color = MaterialTheme.colorScheme.outline)
        Text(state.translations.joinToString("\n"), style = MaterialTheme.typography.titleLarge)
    }
}

/** Begins to listen to the microphone; false where that was not allowed yet. */
private fun Hearing.listen(context: Context): Boolean {
    val permission = context.checkSelfPermission(Manifest.permission.RECORD_AUDIO)
    if (permission != PackageManager.PERMISSION_GRANTED) return false
    begin(microphone())
    return true
}

@Composable
private fun ModelsScreen(picking: Picking) {
    val state by picking.state.collectAsStateWithLifecycle()
    val context = LocalContext.current
    LazyColumn(
        Modifier.fillMaxSize().padding(16.dp),
        verticalArrangement = Arrangement.spacedBy(12.dp),
    ) {
        state.error?.let { error -> item { Problem(error) } }
        state.fetching?.let { fetching ->
            item {
                val part = if (fetching.total > 0) fetching.done.toFloat() / fetching.total else 0f
                LinearProgressIndicator({ part }, Modifier.fillMaxWidth())
                Row {
                    val done = Formatter.formatShortFileSize(context, fetching.done)
                    val total = Formatter.formatShortFileSize(context, fetching.total)
                    Text("${fetching.name}: ${stringResource(R.string.progress, done, total)}", Modifier.weight(1f))
                    TextButton(picking::stopFetching) { Text(stringResource(R.string.cancel)) }
                }
            }
        }
        items(state.items, key = { it.name }) { ModelRow(it, state, picking) }
    }
}

@Composable
private fun ModelRow(item: Picking.Item, state: Picking.State, picking: Picking) {
    val context = LocalContext.current
    val size = { bytes: Long -> Formatter.formatShortFileSize(context, bytes) }
    Column {
        Text(item.name, style = MaterialTheme.typography.titleMedium)
        if (item.description.isNotEmpty()) Text(item.description)
        val facts = listOfNotNull(
            item.bytes.takeIf { it > 0 }?.let { stringResource(R.string.size, size(it)) },
            item.memory?.let { stringResource(R.string.needs, size(it)) },
            item.fit?.let { stringResource(it.label) },
        )
        Text(facts.joinToString(" · "), color = MaterialTheme.colorScheme.outline)
        Row {
            when {
                !item.here -> TextButton({ picking.fetch(item.name) }, enabled = state.fetching == null) {
                    Text(stringResource(R.string.get))
                }
                state.chosen == item.name -> TextButton({}, enabled = false) { Text(stringResource(R.string.in_use)) }
                else -> TextButton({ picking.choose(item.name) }) { Text(stringResource(R.string.use)) }
            }
            if (item.bytes > 0) TextButton({ picking.delete(item.name) }) { Text(stringResource(R.string.delete)) }
        }
    }
}

private val Picking.Fit.label: Int
    get() = when (this) {
        Picking.Fit.FITS -> R.string.fits
        Picking.Fit.TIGHT -> R.string.tight
        Picking.Fit.TOO_LARGE -> R.string.too_large
    }

@Composable
private fun Page(content: @Composable () -> Unit) {
    Column(
        Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp),
        verticalArrangement = Arrangement.spacedBy(12.dp),
    ) { content() }
}

@Composable
private fun Problem(text: String?) {
    if (text != null) Text(text, color = MaterialTheme.colorScheme.error)
}
