package dev.babil;

import java.io.IOException;

/** What is being said, or was said. */
public final class Caption {
  private final boolean last;
  private final double start;
  private final double end;
  private final String text;
  private final String tail;
  private final String translation;
  private final double lost;

  Caption(Text.Record record) throws IOException {
    record.readByte();
    last = record.readBoolean();
    start = record.readDouble();
    end = record.readDouble();
    text = record.text();
    tail = record.text();
    translation = record.text();
    lost = record.readDouble();
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

  /**
   * The translation of the sentences that this caption completes, where captions are translated. A sentence that goes on
   * after a pause is translated with a later caption; where that pause turns out to be long, with one that has no other
   * text.
   *
   * @return sentences; empty where none is complete
   */
  public String translation() {
    return translation;
  }

  /**
   * Sound for which there was no room, and which was lost since the caption before: see {@link
   * LiveCaptions.WhenFull#DROP_OLDEST}. It counts as silence.
   *
   * @return seconds
   */
  public double lost() {
    return lost;
  }

  @Override
  public String toString() {
    return text + tail;
  }
}
