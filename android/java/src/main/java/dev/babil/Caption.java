package dev.babil;

import java.io.IOException;

/** What is being said, or was said. */
public final class Caption {
  private final boolean last;
  private final double start;
  private final double end;
  private final String text;
  private final String tail;

  Caption(Text.Record record) throws IOException {
    record.readByte();
    last = record.readBoolean();
    start = record.readDouble();
    end = record.readDouble();
    text = record.text();
    tail = record.text();
  }

  /**
   * Whether it is over: this caption replaces those since the last one that was final.
   *
   * @return false while somebody speaks
   */
  public boolean isFinal() {
    return last;
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
   * What was said. While somebody speaks, what will stay until the final caption: it only grows.
   *
   * @return the text; empty where it was no speech after all
   */
  public String text() {
    return text;
  }

  /**
   * What follows, and may be something else next time.
   *
   * @return the text to put behind {@link #text()} as it is; empty of final captions
   */
  public String tail() {
    return tail;
  }

  @Override
  public String toString() {
    return text + tail;
  }
}
