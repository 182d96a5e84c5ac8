package dev.babil;

/**
 * Translates text of any length, sentence by sentence; line breaks and what stands between sentences stay. Safe to use from
 * any thread.
 */
public final class Translator {
  private final long engine;
  private final byte[] from;
  private final byte[] to;

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
    try (Generation generation = begin(text, false)) {
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

  private Generation begin(String text, boolean live) {
    return new Generation(Native.translate(engine, from, to, Text.of(text, "the text"), live));
  }
}
