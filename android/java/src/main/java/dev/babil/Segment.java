package dev.babil;

import java.io.IOException;

/** Something that was said. */
public final class Segment {
  private final double start;
  private final double end;
  private final String language;
  private final String text;

  Segment(Text.Record record) throws IOException {
    record.readByte();
    start = record.readDouble();
    end = record.readDouble();
    language = record.text();
    text = record.text();
  }

  /**
   * When it begins.
   *
   * @return seconds from the beginning of the sound
   */
  public double start() {
    return start;
  }

  /**
   * When it ends.
   *
   * @return seconds from the beginning of the sound
   */
  public double end() {
    return end;
  }

  /**
   * The language that is spoken.
   *
   * @return its code; empty where the model knows only one
   */
  public String language() {
    return language;
  }

  /**
   * What is said.
   *
   * @return the text
   */
  public String text() {
    return text;
  }

  @Override
  public String toString() {
    return text;
  }
}
