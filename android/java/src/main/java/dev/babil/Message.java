package dev.babil;

import java.io.IOException;

/** Something that was said in a conversation. */
public final class Message {
  private final String role;
  private final String text;
  private final String thought;

  Message(Text.Record record) throws IOException {
    role = record.text();
    text = record.text();
    thought = record.text();
  }

  /**
   * Who said it.
   *
   * @return {@code system}, {@code user} or {@code assistant}
   */
  public String role() {
    return role;
  }

  /**
   * What was said.
   *
   * @return the text
   */
  public String text() {
    return text;
  }

  /**
   * What the model thought before.
   *
   * @return its thoughts; empty where there were none
   */
  public String thought() {
    return thought;
  }

  @Override
  public String toString() {
    return role + ": " + text;
  }
}
