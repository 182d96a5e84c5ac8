package dev.babil;

import java.util.Collections;
import java.util.List;

/**
 * A conversation with a language model. It holds the messages, and what the model remembers of them; when the context is
 * full, the oldest are forgotten, the system prompt is not. Safe to use from any thread, but one answer at a time.
 */
public final class Chat implements AutoCloseable {
  private final long handle;

  Chat(long handle) {
    this.handle = handle;
  }

  /**
   * Says something; the answer comes piece by piece. Of an answer that is cancelled, what came so far stays in the
   * conversation.
   *
   * @param message what is said
   * @return the answer, to be closed
   * @throws BabilException {@link Code#BUSY} while another answer is being made, {@link Code#BAD_ARGUMENT}
   * @throws IllegalStateException the conversation or its engine is closed
   */
  public Generation start(String message) {
    return new Generation(Native.say(handle, Text.of(message, "the message")));
  }

  /**
   * Says something, and waits for the whole answer.
   *
   * @param message what is said
   * @return the answer, without thoughts
   * @throws BabilException as {@link #start(String)}; {@link Code#CANCELLED} where the conversation is closed meanwhile
   * @throws IllegalStateException the conversation or its engine is closed
   */
  public String say(String message) {
    try (Generation generation = start(message)) {
      return generation.rest();
    }
  }

  /**
   * What was said so far, the system prompt included.
   *
   * @return the messages, oldest first
   * @throws BabilException {@link Code#BUSY} while an answer is being made
   * @throws IllegalStateException the conversation or its engine is closed
   */
  public List<Message> history() {
    return Collections.unmodifiableList(Text.list(Native.history(handle), Message::new));
  }

  /**
   * Forgets everything but the system prompt.
   *
   * @throws BabilException {@link Code#BUSY} while an answer is being made
   * @throws IllegalStateException the conversation or its engine is closed
   */
  public void clear() {
    Native.clear(handle);
  }

  /**
   * Ends the answer that is being made, and forgets the conversation. It waits for one layer of the model at most. From any
   * thread, any number of times.
   */
  @Override
  public void close() {
    Native.close(handle);
  }
}
