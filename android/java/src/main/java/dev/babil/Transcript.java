package dev.babil;

/**
 * What is said, segment by segment. As a {@link Generation}: it ends exactly once, and after {@link #cancel()} or {@link
 * #close()} nothing comes any more.
 */
public final class Transcript implements AutoCloseable {
  private final long handle;

  Transcript(long handle) {
    this.handle = handle;
  }

  /**
   * Waits for the next segment.
   *
   * @return the segment, or null at the end
   * @throws BabilException what is wrong with the sound ({@link Code#BAD_ARGUMENT} where there is none, {@link
   *     Code#UNSUPPORTED} where it cannot be decoded, {@link Code#NOT_FOUND}), or with the options
   * @throws IllegalStateException the transcript is closed
   */
  public Segment next() {
    byte[] record = Native.next(handle);
    return record == null ? null : Text.read(record, Segment::new);
  }

  /**
   * Ends the transcript. Waits for nothing, from any thread.
   *
   * @throws IllegalStateException the transcript is closed
   */
  public void cancel() {
    Native.cancel(handle);
  }

  /**
   * Why it ended: {@link Finish#COMPLETE} or {@link Finish#CANCELLED}.
   *
   * @return the reason
   * @throws BabilException what it failed with
   * @throws IllegalStateException the last segment has not been read, or the transcript is closed
   */
  public Finish finish() {
    return Text.read(Native.stats(handle), Stats::new).finish();
  }

  /** Cancels, and waits for the layer that is being computed. From any thread, any number of times. */
  @Override
  public void close() {
    Native.close(handle);
  }
}
