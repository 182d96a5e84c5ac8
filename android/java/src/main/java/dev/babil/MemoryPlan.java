package dev.babil;

import java.io.IOException;

/** What a model would need, in bytes. */
public final class MemoryPlan {
  private final long weights;
  private final long working;
  private final long disk;
  private final long context;
  private final long available;

  MemoryPlan(Text.Record record) throws IOException {
    weights = record.readLong();
    working = record.readLong();
    disk = record.readLong();
    context = record.readLong();
    available = record.readLong();
  }

  /**
   * Weights: mapped from a file, which the system may drop and read again when memory is short.
   *
   * @return bytes
   */
  public long weights() {
    return weights;
  }

  /**
   * Memory of the program: of a language model with one conversation of the full context, of a translator with the longest
   * sentence, of a speech model with one window of sound. The vocabulary of the last two, some megabytes, is not in it.
   *
   * @return bytes
   */
  public long working() {
    return working;
  }

  /**
   * All together: what a memory limit is compared with.
   *
   * @return bytes
   */
  public long total() {
    return weights + working;
  }

  /**
   * Whether there is room for it now. Weights that are mapped may exceed what is free: the system drops pages of files to
   * make room, and the model is slower then, not refused.
   *
   * @return false where it needs more than programs can still take; true also where the system does not say
   */
  public boolean fits() {
    return available == 0 || total() <= available;
  }

  /**
   * Copies of the weights on disk that have to be made: packed for this processor, and of a file of torch as safetensors.
   *
   * @return bytes
   */
  public long disk() {
    return disk;
  }

  /**
   * The tokens that a conversation can have.
   *
   * @return tokens; 0 of other models
   */
  public int context() {
    return (int) context;
  }

  /**
   * Memory that programs can still take now, as the system estimates it.
   *
   * @return bytes; 0 where the system does not say
   */
  public long available() {
    return available;
  }
}
