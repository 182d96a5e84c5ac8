package dev.babil;

/**
 * What is said, segment by segment. As a {@link Generation}: it ends exactly once, and after {@link #cancel()} or {@link
 * #close()} nothing comes any more.
 */
public final class Transcript extends Pulled {
  Transcript(long handle) {
    super(handle);
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
    return pull(Segment::new);
  }
}
