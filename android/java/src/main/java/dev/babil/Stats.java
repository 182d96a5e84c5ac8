package dev.babil;

import java.io.IOException;

/** Why and how a generation ended. Times are in seconds, and include waiting for the reader. */
public final class Stats {
  private final Finish finish;
  private final long tokensRead;
  private final long tokensReused;
  private final long tokensWritten;
  private final double readingSeconds;
  private final double firstChunkSeconds;
  private final double writingSeconds;

  Stats(Text.Record record) throws IOException {
    finish = Finish.values()[record.readByte()];
    tokensRead = record.readLong();
    tokensReused = record.readLong();
    tokensWritten = record.readLong();
    readingSeconds = record.readDouble();
    firstChunkSeconds = record.readDouble();
    writingSeconds = record.readDouble();
  }

  /**
   * Why it ended.
   *
   * @return the reason
   */
  public Finish finish() {
    return finish;
  }

  /**
   * Tokens of the prompt or of the source text; 0 of a translation that was cancelled.
   *
   * @return tokens
   */
  public long tokensRead() {
    return tokensRead;
  }

  /**
   * Tokens of the prompt that the model remembered.
   *
   * @return tokens, part of {@link #tokensRead()}
   */
  public long tokensReused() {
    return tokensReused;
  }

  /**
   * Tokens that were written; 0 of a translation that was cancelled.
   *
   * @return tokens
   */
  public long tokensWritten() {
    return tokensWritten;
  }

  /**
   * How long the prompt took.
   *
   * @return seconds; 0 of translations, which do not tell it apart
   */
  public double readingSeconds() {
    return readingSeconds;
  }

  /**
   * How long it took until the first piece of text was there.
   *
   * @return seconds, or -1 where none came
   */
  public double firstChunkSeconds() {
    return firstChunkSeconds;
  }

  /**
   * How long writing took.
   *
   * @return seconds
   */
  public double writingSeconds() {
    return writingSeconds;
  }

  /**
   * The speed of writing.
   *
   * @return tokens in a second; 0 where nothing was written
   */
  public double tokensPerSecond() {
    return writingSeconds > 0 ? tokensWritten / writingSeconds : 0;
  }
}
