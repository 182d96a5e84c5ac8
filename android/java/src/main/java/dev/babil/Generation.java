package dev.babil;

/**
 * Text that is being made. Call {@link #next()} until it returns null:
 *
 * <pre>{@code
 * try (Generation g = chat.start("Where is the station?")) {
 *   for (Chunk c; (c = g.next()) != null; ) show(c.text());
 *   Stats stats = g.stats();
 * }
 * }</pre>
 *
 * <p>A generation ends exactly once: complete, cancelled, or with an exception of {@link #next()}. After {@link #cancel()}
 * or {@link #close()} no chunk comes any more. Safe to use from any thread; a chunk goes to one of those that wait for it.
 */
public final class Generation extends Pulled {
  Generation(long handle) {
    super(handle);
  }

  /**
   * Waits for the next piece of text. A few pieces are computed ahead; then the computation waits for its reader.
   *
   * @return whole characters, or null at the end, also of a generation that was cancelled
   * @throws BabilException what the computation failed with, once all pieces before that are read
   * @throws IllegalStateException the generation is closed
   */
  public Chunk next() {
    return pull(Chunk::new);
  }

  /**
   * Why and how the generation ended. Of one that was just cancelled it waits for the layer that is being computed.
   *
   * @return the statistics
   * @throws BabilException what the computation failed with
   * @throws IllegalStateException the last piece has not been read, or the generation is closed
   */
  public Stats stats() {
    return statistics();
  }

  /**
   * Waits for all that is still to come.
   *
   * @return the text, without thoughts
   * @throws BabilException what the computation failed with; {@link Code#CANCELLED} where it was cancelled or closed
   */
  public String rest() {
    StringBuilder text = new StringBuilder();
    try {
      for (Chunk chunk; (chunk = next()) != null; ) {
        if (chunk.kind() == Chunk.Kind.ANSWER) {
          text.append(chunk.text());
        }
      }
      if (finish() != Finish.CANCELLED) {
        return text.toString();
      }
    } catch (IllegalStateException closed) {
      // That is how it was ended.
    }
    throw new BabilException(Code.CANCELLED, "cancelled, or closed meanwhile");
  }
}
