package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Speech, on the small model of the repository. */
class SpeechTest {
  private static final File RECIPE = Models.root("models/recipes/speech-en-tiny");

  private static Engine engine() {
    ModelSource source = ModelSource.file(new File(RECIPE, "model"));
    return Engine.open(source, EngineOptions.builder().threads(2).build());
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
