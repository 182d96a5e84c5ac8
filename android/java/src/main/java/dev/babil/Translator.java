package dev.babil;

import java.io.File;

/**
 * Translates text of any length, sentence by sentence; line breaks and what stands between sentences stay. Safe to use from
 * any thread.
 */
public final class Translator {
  final long engine;
  final byte[] from;
  final byte[] to;

  Translator(long engine, byte[] from, byte[] to) {
    this.engine = engine;
    this.from = from;
    this.to = to;
  }

  /**
   * Translates, and waits for all of it.
   *
   * @param text any text, without a limit of length; half of a surrogate pair counts as U+FFFD
   * @return the translation
   * @throws BabilException {@link Code#CANCELLED} where the engine is closed meanwhile, {@link Code#BAD_ARGUMENT}
   * @throws IllegalStateException the engine is closed
   */
  public String translate(String text) {
    try (Generation generation = startBatches(text)) {
      return generation.rest();
    }
  }

  /**
   * Begins to translate; the translation comes word by word.
   *
   * @param text as in {@link #translate}
   * @return the translation, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT}
   * @throws IllegalStateException the engine is closed
   */
  public Generation start(String text) {
    return begin(text, true);
  }

  /**
   * Begins to translate for whoever waits for all of it: sentences are translated in batches, as by {@link #translate}, and
   * come when they are complete. Of a long text that is several times as fast as {@link #start}, and begins later.
   *
   * @param text as in {@link #translate}
   * @return the translation, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT}
   * @throws IllegalStateException the engine is closed
   */
  public Generation startBatches(String text) {
    return begin(text, false);
  }

  /**
   * Begins to translate a file of subtitles, SRT or WebVTT: sentences whole, cut again where they were cut, with the same
   * times. Damage in the file is passed over.
   *
   * @param file the file
   * @param options the form of the translation
   * @return the subtitles, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where one is null. What is wrong with the file comes from {@link
   *     Subtitles#next()}.
   * @throws IllegalStateException the engine is closed
   */
  public Subtitles subtitles(File file, SubtitleOptions options) {
    Text.notNull(options, "the options of subtitles");
    byte[] path = Text.of(Text.notNull(file, "the file").getPath(), "the file");
    return new Subtitles(
        Native.translateSubtitles(engine, from, to, path, options.format, options.columns, options.lines));
  }

  /**
   * As {@link #subtitles(File, SubtitleOptions)}, with {@link SubtitleOptions#DEFAULT}.
   *
   * @param file the file
   * @return the subtitles, to be closed
   */
  public Subtitles subtitles(File file) {
    return subtitles(file, SubtitleOptions.DEFAULT);
  }

  private Generation begin(String text, boolean live) {
    return new Generation(Native.translate(engine, from, to, Text.of(text, "the text"), live));
  }
}
