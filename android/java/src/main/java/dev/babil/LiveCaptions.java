package dev.babil;

/**
 * What is said, while it is said. One thread records and calls {@link #push(float[], int, int)}, another one shows what
 * {@link #next()} returns:
 *
 * <pre>{@code
 * for (Caption c; (c = captions.next()) != null; ) {
 *   show(c.text() + c.tail());
 *   if (c.isFinal()) newLine();
 * }
 * }</pre>
 */
public final class LiveCaptions extends Pulled {
  /** What happens to sound for which there is no room. */
  public enum WhenFull {
    /** {@link LiveCaptions#push(float[], int, int)} waits: for sound that can wait, as that of a stream. */
    WAIT,
    /** The oldest is lost: for a microphone. It counts as silence, so that times stay right; {@link Caption#lost()} tells. */
    DROP_OLDEST
  }

  LiveCaptions(long handle) {
    super(handle);
  }

  /**
   * Adds sound.
   *
   * @param samples one channel at 16 kHz, from -1 to 1
   * @param start the first sample
   * @param count how many
   * @return false where nobody listens any more, because the captions were cancelled or have failed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where there are not so many, or one is no number
   * @throws IllegalStateException the sound is over, or the captions are closed
   */
  public boolean push(float[] samples, int start, int count) {
    return Native.push(handle, Text.notNull(samples, "the sound"), start, count);
  }

  /**
   * Adds sound, as Android's {@code AudioRecord} gives it.
   *
   * @param samples one channel at 16 kHz
   * @param start the first sample
   * @param count how many
   * @return as {@link #push(float[], int, int)}
   * @throws BabilException {@link Code#BAD_ARGUMENT} where there are not so many
   * @throws IllegalStateException the sound is over, or the captions are closed
   */
  public boolean push(short[] samples, int start, int count) {
    Text.notNull(samples, "the sound");
    if (start < 0 || count < 0 || start > samples.length - count) {
      throw new BabilException(
          Code.BAD_ARGUMENT, "samples " + start + " to " + start + " + " + count + " of an array of " + samples.length);
    }
    float[] sound = new float[count];
    for (int i = 0; i < count; i++) {
      sound[i] = samples[start + i] / 32768f;
    }
    return push(sound, 0, count);
  }

  /**
   * Says that the sound is over: the rest of the captions comes, and the end.
   *
   * @throws IllegalStateException the captions are closed
   */
  public void endOfSound() {
    Native.endOfSound(handle);
  }

  /**
   * Waits for the next caption.
   *
   * @return the caption, or null at the end
   * @throws BabilException what went wrong
   * @throws IllegalStateException the captions are closed
   */
  public Caption next() {
    return pull(Caption::new);
  }
}
