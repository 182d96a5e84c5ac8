package dev.babil;

import java.io.File;

/** Writes down what is said. Safe to use from any thread; any number of transcripts can be under way. */
public final class Transcriber {
  private final long engine;
  private final TranscriberOptions options;

  Transcriber(long engine, TranscriberOptions options) {
    this.engine = engine;
    this.options = options;
  }

  /**
   * Begins to write down a file of any length and of any usual format.
   *
   * @param file the file, of sound or with a sound track
   * @return the transcript, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null, {@link Code#UNSUPPORTED} where the library is
   *     without sound. What is wrong with the file or the options comes from {@link Transcript#next()}.
   * @throws IllegalStateException the engine is closed
   */
  public Transcript start(File file) {
    byte[] path = Text.of(Text.notNull(file, "the file").getPath(), "the file");
    return new Transcript(Native.transcribe(engine, path, options.language, options.english, options.beam));
  }

  /**
   * Begins to write subtitles of a recording, a film for example, in the language that is spoken.
   *
   * @param film the file, of sound or with a sound track
   * @param options their form
   * @return the subtitles, to be closed
   * @throws BabilException as {@link #start(File)}; what is wrong with the file comes from {@link Subtitles#next()}
   * @throws IllegalStateException the engine is closed
   */
  public Subtitles subtitles(File film, SubtitleOptions options) {
    return subtitles(film, options, 0, null, null);
  }

  /**
   * As {@link #subtitles(File, SubtitleOptions)}, with {@link SubtitleOptions#DEFAULT}.
   *
   * @param film the file, of sound or with a sound track
   * @return the subtitles, to be closed
   */
  public Subtitles subtitles(File film) {
    return subtitles(film, SubtitleOptions.DEFAULT);
  }

  /**
   * Begins to write translated subtitles of a recording. Closing the translator's engine does not end them.
   *
   * @param film the file, of sound or with a sound track
   * @param options their form
   * @param translator what translates; its source language is taken to be the one that is spoken, unless the options say
   *     which one is
   * @return the subtitles, to be closed
   * @throws BabilException as {@link #subtitles(File, SubtitleOptions)}; {@link Code#BAD_ARGUMENT} where the translator
   *     does not read what would be written down
   * @throws IllegalStateException one of the engines is closed
   */
  public Subtitles subtitles(File film, SubtitleOptions options, Translator translator) {
    Text.notNull(translator, "the translator");
    return subtitles(film, options, translator.engine, translator.from, translator.to);
  }

  private Subtitles subtitles(File film, SubtitleOptions form, long translator, byte[] from, byte[] to) {
    Text.notNull(form, "the options of subtitles");
    byte[] path = Text.of(Text.notNull(film, "the film").getPath(), "the film");
    return new Subtitles(
        Native.subtitles(
            engine,
            path,
            options.language,
            options.english,
            options.beam,
            translator,
            from,
            to,
            form.format,
            form.columns,
            form.lines));
  }

  /**
   * Begins to write down sound while it comes, from a microphone or a stream: {@link LiveCaptions#push(float[], int, int)}
   * takes it.
   *
   * @param whenFull what happens to sound while thirty seconds of it wait already
   * @return the captions, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null, {@link Code#UNSUPPORTED} where the library is
   *     without sound
   * @throws IllegalStateException the engine is closed
   */
  public LiveCaptions listen(LiveCaptions.WhenFull whenFull) {
    return listen(whenFull, 0, null, null);
  }

  /**
   * As {@link #listen(LiveCaptions.WhenFull)}, with translations: {@link Caption#translation()}. Closing the translator's
   * engine does not end the captions.
   *
   * @param whenFull what happens to sound while thirty seconds of it wait already
   * @param translator what translates; its source language is taken to be the one that is spoken, unless the options say
   *     which one is
   * @return the captions, to be closed
   * @throws BabilException as {@link #listen(LiveCaptions.WhenFull)}; {@link Code#BAD_ARGUMENT} where the translator does
   *     not read what would be written down
   * @throws IllegalStateException one of the engines is closed
   */
  public LiveCaptions listen(LiveCaptions.WhenFull whenFull, Translator translator) {
    Text.notNull(translator, "the translator");
    return listen(whenFull, translator.engine, translator.from, translator.to);
  }

  private LiveCaptions listen(LiveCaptions.WhenFull whenFull, long translator, byte[] from, byte[] to) {
    boolean waits = Text.notNull(whenFull, "what happens to sound") == LiveCaptions.WhenFull.WAIT;
    return new LiveCaptions(
        Native.listen(engine, options.language, options.english, options.beam, waits, translator, from, to));
  }
}
