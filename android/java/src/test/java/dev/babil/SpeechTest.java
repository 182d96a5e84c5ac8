package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.FutureTask;
import org.junit.jupiter.api.Test;

/** Speech, on the small model of the repository. */
class SpeechTest extends GivesBack {
  private static final File RECIPE = Models.root("models/recipes/speech-en-tiny");

  private static Engine engine() {
    return Models.speech();
  }

  @Test
  void aRecordingIsWrittenDown() {
    try (Engine engine = engine()) {
      assertEquals(Engine.Kind.SPEECH, engine.kind());
      Transcriber transcriber = engine.transcriber(TranscriberOptions.builder().beam(1).build());
      List<Segment> segments = new ArrayList<>();
      try (Transcript transcript = transcriber.start(new File(RECIPE, "fixture/short.flac"))) {
        for (Segment segment; (segment = transcript.next()) != null; ) {
          segments.add(segment);
        }
        assertEquals(Finish.COMPLETE, transcript.finish());
      }
      assertTrue(segments.size() > 3, segments.toString());
      double last = 0;
      for (Segment segment : segments) {
        assertTrue(segment.start() >= last && segment.end() > segment.start() && segment.end() < 60);
        assertTrue(!segment.text().isEmpty());
        last = segment.start();
      }
    }
  }

  @Test
  void aTranscriptIsCancelled() {
    try (Engine engine = engine()) {
      Transcriber transcriber = engine.transcriber();
      try (Transcript transcript = transcriber.start(new File(RECIPE, "fixture/long.opus"))) {
        assertNotNull(transcript.next());
        transcript.cancel();
        assertNull(transcript.next());
        assertEquals(Finish.CANCELLED, transcript.finish());
      }
    }
  }

  static float[] samples(File file) {
    byte[] bytes = Testing.samples(Text.optional(file.getPath()));
    float[] samples = new float[bytes.length / 4];
    ByteBuffer.wrap(bytes).asFloatBuffer().get(samples);
    return samples;
  }

  /** Pushed while captions are read: what is said for good is what a file gives. */
  @Test
  void soundIsWrittenDownWhileItComes() throws Exception {
    File file = new File(RECIPE, "fixture/short.flac");
    try (Engine engine = engine()) {
      float[] sound = samples(file);
      Transcriber transcriber = engine.transcriber(TranscriberOptions.builder().beam(1).build());
      StringBuilder expected = new StringBuilder();
      try (Transcript transcript = transcriber.start(file)) {
        for (Segment segment; (segment = transcript.next()) != null; ) {
          expected.append(segment.text()).append(' ');
        }
      }
      StringBuilder said = new StringBuilder();
      try (LiveCaptions captions = transcriber.listen(LiveCaptions.WhenFull.WAIT)) {
        // What goes wrong in it is told by `get`, and ends the captions: nobody waits for sound that does not come.
        FutureTask<Void> recorder =
            new FutureTask<>(
                () -> {
                  try {
                    for (int start = 0; start < sound.length; start += 1600) {
                      assertTrue(captions.push(sound, start, Math.min(1600, sound.length - start)));
                    }
                  } finally {
                    captions.endOfSound();
                  }
                  return null;
                });
        new Thread(recorder).start();
        double last = 0;
        for (Caption caption; (caption = captions.next()) != null; ) {
          assertTrue(caption.start() >= last && caption.end() > caption.start());
          if (caption.isFinal()) {
            last = caption.start();
            assertEquals(0, caption.lost(), "who pushes waits");
            assertEquals("", caption.tail());
            said.append(caption.text()).append(caption.text().isEmpty() ? "" : " ");
          }
        }
        recorder.get();
        assertEquals(Finish.COMPLETE, captions.finish());
        assertThrows(IllegalStateException.class, () -> captions.push(sound, 0, 1), "the sound is over");
      }
      assertTrue(expected.length() > 50);
      assertEquals(expected.toString(), said.toString());
    }
  }

  /** Sound that comes faster than it is written down loses its oldest, and the next caption tells how much. */
  @Test
  void soundThatWasLostIsTold() {
    try (Engine engine = engine()) {
      float[] sound = samples(Models.recording());
      Transcriber transcriber = engine.transcriber(TranscriberOptions.builder().beam(1).build());
      double lost = 0;
      try (LiveCaptions captions = transcriber.listen(LiveCaptions.WhenFull.DROP_OLDEST)) {
        // More than there is room for, at once.
        for (int times = 0; times < 10; times++) {
          assertTrue(captions.push(sound, 0, sound.length));
        }
        captions.endOfSound();
        for (Caption caption; (caption = captions.next()) != null; ) {
          assertTrue(caption.lost() >= 0);
          lost += caption.lost();
        }
        assertEquals(Finish.COMPLETE, captions.finish());
      }
      double pushed = 10 * sound.length / 16000.0;
      assertTrue(lost > 0 && lost < pushed, lost + " of " + pushed + " seconds");
    }
  }

  @Test
  void liveCaptionsAreCancelledAndWhoPushesHearsOfIt() throws Exception {
    try (Engine engine = engine()) {
      LiveCaptions captions = engine.transcriber().listen(LiveCaptions.WhenFull.WAIT);
      float[] noise = new float[16000];
      Thread recorder =
          new Thread(
              () -> {
                while (captions.push(noise, 0, noise.length)) {
                  // More than there is room for: it waits.
                }
              });
      recorder.start();
      captions.cancel();
      assertNull(captions.next());
      assertEquals(Finish.CANCELLED, captions.finish());
      recorder.join();
      BabilException many =
          assertThrows(BabilException.class, () -> captions.push(noise, 1, noise.length));
      assertEquals(Code.BAD_ARGUMENT, many.code());
      assertThrows(BabilException.class, () -> captions.push(noise, -1, 1));
      assertThrows(BabilException.class, () -> captions.push(new short[1], 0, 2));
      assertThrows(BabilException.class, () -> captions.push(new float[] {Float.NaN}, 0, 1));
      assertThrows(BabilException.class, () -> captions.push((float[]) null, 0, 1));
      captions.close();
      captions.close();
      assertThrows(IllegalStateException.class, () -> captions.push(noise, 0, 1));
      // Closed while somebody pushes.
      LiveCaptions closed = engine.transcriber().listen(LiveCaptions.WhenFull.DROP_OLDEST);
      assertTrue(closed.push(new short[16000], 0, 16000));
      closed.close();
      assertThrows(IllegalStateException.class, closed::next);
    }
  }

  @Test
  void whatIsNoSoundIsATypedException() {
    try (Engine engine = engine()) {
      File[] files = {new File(RECIPE, "nothing.wav"), new File(RECIPE, "model/config.json")};
      Code[] codes = {Code.NOT_FOUND, Code.BAD_MODEL};
      for (int i = 0; i < files.length; i++) {
        try (Transcript transcript = engine.transcriber().start(files[i])) {
          BabilException error = assertThrows(BabilException.class, transcript::next);
          assertEquals(codes[i], error.code(), error.getMessage());
        }
      }
      TranscriberOptions unknown = TranscriberOptions.builder().language("xx").build();
      try (Transcript transcript = engine.transcriber(unknown).start(new File(RECIPE, "fixture/short.flac"))) {
        BabilException error = assertThrows(BabilException.class, transcript::next);
        assertEquals(Code.BAD_ARGUMENT, error.code(), error.getMessage());
      }
    }
  }
}
