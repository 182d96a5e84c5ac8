package dev.babil;

import java.io.IOException;

/** A text, and when it is shown. */
public final class Cue {
  /** Native code's number of what stands behind the last cue of a file. */
  private static final int END_OF_FILE = 6;

  private final boolean shown;
  private final double start;
  private final double end;
  private final String text;
  private final String written;

  Cue(Text.Record record) throws IOException {
    shown = record.readByte() != END_OF_FILE;
    start = record.readDouble();
    end = record.readDouble();
    text = record.text();
    written = record.text();
  }

  /** Whether this is a cue, and not only what stands behind the last one. */
  boolean isShown() {
    return shown;
  }

  /**
   * When it appears.
   *
   * @return seconds from the beginning
   */
  public double start() {
    return start;
  }

  /**
   * When it vanishes.
   *
   * @return seconds from the beginning
   */
  public double end() {
    return end;
  }

  /**
   * What is shown, without marks.
   *
   * @return lines, with {@code \n} between them
   */
  public String text() {
    return text;
  }

  /**
   * What stands for it in a file of the format that was asked for, number, times and marks included; and what stands there
   * before it, such as the header.
   *
   * @return a part of the file, which ends with an empty line
   */
  public String written() {
    return written;
  }

  @Override
  public String toString() {
    return text;
  }
}
