package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Subtitles in another language, subtitles of a recording, and translated live captions. */
class SubtitlesTest extends GivesBack {
  private static final File RECIPE = Models.root("models/recipes/speech-en-tiny");
  private static final File SOUND = new File(RECIPE, "fixture/short.flac");
  static final String SRT =
      "1\n00:00:01,000 --> 00:00:02,500\nWhere is the\n\n2\n00:00:02,600 --> 00:00:04,000\nstation?\n\n"
          + "3\n00:00:05,000 --> 00:00:06,000\n<i>Thank you.</i>\n\n";
  private static final String VTT =
      "WEBVTT - a film\n\nNOTE kept\n\n00:01.000 --> 00:02.500 line:0\nWhere is the station?\n\nNOTE last\n";

  private final File folder = Models.temporary("subtitles");

  private static Engine speech() {
    ModelSource source = ModelSource.file(new File(RECIPE, "model"));
    return Engine.open(source, EngineOptions.builder().threads(2).build());
  }

  private static Transcriber transcriber(Engine speech) {
    return speech.transcriber(TranscriberOptions.builder().beam(1).build());
  }

  private File file(String name, String content) throws IOException {
    File file = new File(folder, name);
    Files.write(file.toPath(), content.getBytes(StandardCharsets.UTF_8));
    return file;
  }

  private static String read(File file) throws IOException {
    return new String(Files.readAllBytes(file.toPath()), StandardCharsets.UTF_8);
  }

  private static List<Cue> all(Subtitles subtitles) {
    List<Cue> cues = new ArrayList<>();
    for (Cue cue; (cue = subtitles.next()) != null; ) {
      cues.add(cue);
    }
    assertNull(subtitles.next(), "the end stays");
    return cues;
  }

  private static void fails(Code code, Executable call) {
    BabilException error = assertThrows(BabilException.class, call);
    assertEquals(code, error.code(), error.getMessage());
  }

  @Test
  void subtitlesAreTranslatedWithTheirTimes() throws IOException {
    File source = file("film.srt", SRT);
    try (Engine engine = Models.translator()) {
      Translator translator = engine.translator("en", "fr");
      List<Cue> cues;
      try (Subtitles subtitles = translator.subtitles(source)) {
        cues = all(subtitles);
        assertEquals(Finish.COMPLETE, subtitles.finish());
      }
      assertEquals(3, cues.size());
      assertEquals(1.0, cues.get(0).start());
      assertEquals(2.5, cues.get(0).end());
      // A sentence of two cues is translated whole.
      String whole = translator.translate("Where is the station?");
      assertEquals(whole, (cues.get(0).text() + " " + cues.get(1).text()).replace('\n', ' '));
      assertTrue(cues.get(2).written().contains("<i>"), "marks stay: " + cues.get(2).written());
      assertFalse(cues.get(2).text().contains("<i>"));

      File target = new File(folder, "film.fr.srt");
      try (Subtitles subtitles = translator.subtitles(source)) {
        assertTrue(subtitles.writeTo(target));
      }
      StringBuilder pieces = new StringBuilder();
      cues.forEach(cue -> pieces.append(cue.written()));
      assertEquals(pieces.toString(), read(target));
      assertTrue(read(target).startsWith("1\n00:00:01,000 --> 00:00:02,500\n"), read(target));
      assertFalse(new File(folder, "film.fr.srt.part").exists());
    }
  }

  @Test
  void whatStandsAroundCuesIsWrittenToo() throws IOException {
    try (Engine engine = Models.translator()) {
      Translator translator = engine.translator("en", "fr");
      File target = new File(folder, "film.fr.vtt");
      try (Subtitles subtitles = translator.subtitles(file("film.vtt", VTT))) {
        assertTrue(subtitles.writeTo(target));
      }
      String written = read(target);
      assertTrue(written.startsWith("WEBVTT - a film\n\nNOTE kept\n\n"), written);
      assertTrue(written.contains("line:0") && written.trim().endsWith("NOTE last"), written);
      // As SRT, which has neither.
      SubtitleOptions srt = SubtitleOptions.builder().format(SubtitleOptions.Format.SRT).columns(20).lines(1).build();
      try (Subtitles subtitles = translator.subtitles(file("film.vtt", VTT), srt)) {
        List<Cue> cues = all(subtitles);
        assertTrue(cues.get(0).written().startsWith("1\n00:00:01,000 --> "), cues.get(0).written());
      }
    }
  }

  @Test
  void aRecordingGetsSubtitlesAlsoTranslated() throws IOException {
    try (Engine speech = speech();
        Engine bundled = Models.translator()) {
      StringBuilder said = new StringBuilder();
      try (Transcript transcript = transcriber(speech).start(SOUND)) {
        for (Segment segment; (segment = transcript.next()) != null; ) {
          said.append(segment.text()).append(' ');
        }
      }
      StringBuilder shown = new StringBuilder();
      double last = 0;
      try (Subtitles subtitles = transcriber(speech).subtitles(SOUND)) {
        for (Cue cue : all(subtitles)) {
          assertTrue(cue.start() >= last && cue.end() > cue.start() && cue.end() < 60);
          for (String line : cue.text().split("\n")) {
            assertTrue(line.length() <= 42, line);
          }
          last = cue.end();
          shown.append(cue.text().replace('\n', ' ')).append(' ');
        }
      }
      assertEquals(said.toString(), shown.toString());
      Translator translator = bundled.translator("en", "fr");
      SubtitleOptions webVtt = SubtitleOptions.builder().format(SubtitleOptions.Format.WEBVTT).build();
      File target = new File(folder, "short.fr.vtt");
      try (Subtitles subtitles = transcriber(speech).subtitles(SOUND, webVtt, translator)) {
        assertTrue(subtitles.writeTo(target));
      }
      assertTrue(read(target).startsWith("WEBVTT\n\n") && read(target).contains(" --> "), read(target));
      // What the model hears is English, and the translator has to read it.
      Transcriber english = speech.transcriber(TranscriberOptions.builder().language("en").build());
      Translator french = bundled.translator("fr", "en");
      fails(Code.BAD_ARGUMENT, () -> english.subtitles(SOUND, webVtt, french));
      fails(Code.BAD_ARGUMENT, () -> english.listen(LiveCaptions.WhenFull.WAIT, french));
      // A translator hears nothing, and a speech model does not translate.
      fails(Code.UNSUPPORTED, () -> bundled.transcriber().subtitles(SOUND));
      fails(Code.UNSUPPORTED, () -> speech.translator("en", "fr"));
    }
  }

  @Test
  void captionsAreTranslatedWhileTheyCome() throws Exception {
    try (Engine speech = speech();
        Engine bundled = Models.translator()) {
      Translator translator = bundled.translator("en", "fr");
      float[] sound = SpeechTest.samples(SOUND);
      // What was said until a translation came, and that translation.
      List<String> said = new ArrayList<>();
      List<String> translated = new ArrayList<>();
      StringBuilder since = new StringBuilder();
      try (LiveCaptions captions = transcriber(speech).listen(LiveCaptions.WhenFull.WAIT, translator)) {
        // The engine of the translator may go.
        bundled.close();
        Thread recorder =
            new Thread(
                () -> {
                  for (int start = 0; start < sound.length; start += 1600) {
                    captions.push(sound, start, Math.min(1600, sound.length - start));
                  }
                  captions.endOfSound();
                });
        recorder.start();
        for (Caption caption; (caption = captions.next()) != null; ) {
          if (!caption.isFinal()) {
            assertEquals("", caption.translation());
            continue;
          }
          since.append(since.length() > 0 && !caption.text().isEmpty() ? " " : "").append(caption.text());
          if (!caption.translation().isEmpty()) {
            said.add(since.toString());
            translated.add(caption.translation());
            since.setLength(0);
          }
        }
        recorder.join();
      }
      try (Engine again = Models.translator()) {
        Translator alone = again.translator("en", "fr");
        for (int i = 0; i < said.size(); i++) {
          // Words that a pause has cut off have no full stop, and are not given one.
          String whole = said.get(i).matches(".*[.!?]") ? said.get(i) : said.get(i) + ".";
          String expected = alone.translate(whole);
          assertEquals(expected.replaceFirst("[.]$", ""), translated.get(i).replaceFirst("[.]$", ""), said.get(i));
        }
      }
      assertTrue(translated.size() > 3, translated.toString());
      assertEquals("", since.toString(), "everything was translated");
    }
  }

  @Test
  void subtitlesAreCancelledAndNothingIsLeft() throws IOException {
    try (Engine speech = speech()) {
      File target = file("kept.srt", "as it was");
      try (Subtitles subtitles = transcriber(speech).subtitles(new File(RECIPE, "fixture/long.opus"))) {
        assertNotNull(subtitles.next());
        subtitles.cancel();
        assertNull(subtitles.next());
        assertEquals(Finish.CANCELLED, subtitles.finish());
        assertFalse(subtitles.writeTo(target));
      }
      assertEquals("as it was", read(target));
      assertFalse(new File(folder, "kept.srt.part").exists());
      Subtitles closed = transcriber(speech).subtitles(SOUND);
      closed.close();
      closed.close();
      assertThrows(IllegalStateException.class, closed::next);
      assertThrows(IllegalStateException.class, () -> closed.writeTo(target));
      assertEquals("as it was", read(target));
    }
  }

  @Test
  void whatAreNoSubtitlesIsATypedException() throws IOException {
    File nothing = new File(folder, "nothing.srt");
    try (Engine engine = Models.translator();
        Engine speech = speech()) {
      Translator translator = engine.translator("en", "fr");
      for (Object[] bad : new Object[][] {{nothing, Code.NOT_FOUND}, {file("no.srt", "no"), Code.BAD_ARGUMENT}}) {
        try (Subtitles subtitles = translator.subtitles((File) bad[0])) {
          fails((Code) bad[1], subtitles::next);
          fails((Code) bad[1], () -> subtitles.writeTo(new File(folder, "out.srt")));
          assertFalse(new File(folder, "out.srt.part").exists());
        }
      }
      try (Subtitles subtitles = translator.subtitles(file("empty.srt", "\n"))) {
        assertNull(subtitles.next());
      }
      fails(Code.BAD_ARGUMENT, () -> translator.subtitles(null));
      fails(Code.BAD_ARGUMENT, () -> translator.subtitles(nothing, null));
      fails(Code.BAD_ARGUMENT, () -> transcriber(speech).subtitles(SOUND, SubtitleOptions.DEFAULT, null));
      fails(Code.BAD_ARGUMENT, () -> SubtitleOptions.builder().columns(9));
      fails(Code.BAD_ARGUMENT, () -> SubtitleOptions.builder().lines(0));
      fails(Code.BAD_ARGUMENT, () -> transcriber(speech).listen(LiveCaptions.WhenFull.WAIT, null));
      engine.close();
      assertThrows(IllegalStateException.class, () -> translator.subtitles(nothing));
      SubtitleOptions form = SubtitleOptions.DEFAULT;
      assertThrows(IllegalStateException.class, () -> transcriber(speech).subtitles(SOUND, form, translator));
    }
  }
}
