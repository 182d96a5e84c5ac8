package dev.babil.sample

import android.Manifest
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import androidx.annotation.RequiresPermission
import java.io.IOException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.isActive

private const val RATE = 16_000

/** Samples of a block: a tenth of a second. */
private const val BLOCK = RATE / 10

/** The microphone as blocks of one channel at 16 kHz, for as long as somebody collects them. */
@RequiresPermission(Manifest.permission.RECORD_AUDIO)
fun microphone(): Flow<FloatArray> = flow {
    val format = AudioFormat.ENCODING_PCM_16BIT
    val least = AudioRecord.getMinBufferSize(RATE, AudioFormat.CHANNEL_IN_MONO, format)
    val source = MediaRecorder.AudioSource.VOICE_RECOGNITION
    val recorder = AudioRecord(source, RATE, AudioFormat.CHANNEL_IN_MONO, format, maxOf(least, 8 * BLOCK))
    try {
        if (recorder.state != AudioRecord.STATE_INITIALIZED) throw IOException("the microphone cannot be used")
        recorder.startRecording()
        val samples = ShortArray(BLOCK)
        while (currentCoroutineContext().isActive) {
            val count = recorder.read(samples, 0, BLOCK)
            if (count < 0) throw IOException("the microphone has failed ($count)")
            emit(FloatArray(count) { samples[it] / 32768f })
        }
    } finally {
        recorder.release()
    }
}.flowOn(Dispatchers.IO)
