package dev.babil;

import java.io.IOException;

/** A piece of text: whole characters, never half of a surrogate pair. */
public final class Chunk {
  /** What a piece belongs to. */
  public enum Kind {
    /** The answer. */
    ANSWER,
    /** What the model thinks before it answers. */
    THOUGHT
  }

  private final Kind kind;
  private final String text;

  Chunk(Text.Record record) throws IOException {
    kind = record.readByte() == 1 ? Kind.THOUGHT : Kind.ANSWER;
    text = record.text();
  }

  /**
   * What it belongs to.
   *
   * @return its kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * The text to append.
   *
   * @return at least one character
   */
  public String text() {
    return text;
  }

  @Override
  public String toString() {
    return text;
  }
}
