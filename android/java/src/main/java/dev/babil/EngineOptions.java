package dev.babil;

import java.io.File;

/** How to open a model. */
public final class EngineOptions {
  /** Threads, memory and context as the machine has them. */
  public static final EngineOptions DEFAULT = builder().build();

  final int threads;
  final long memoryLimit;
  final int context;
  final byte[] packedFolder;

  private EngineOptions(Builder builder) {
    threads = builder.threads;
    memoryLimit = builder.memoryLimit;
    context = builder.context;
    packedFolder = Text.optional(builder.packedFolder);
  }

  /**
   * Options that can be changed.
   *
   * @return a builder with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /** Makes {@link EngineOptions}. */
  public static final class Builder {
    private int threads;
    private long memoryLimit;
    private int context;
    private String packedFolder;

    private Builder() {}

    private static void atLeastOne(long number, String what) {
      if (number < 1) {
        throw new BabilException(Code.BAD_ARGUMENT, what + " of " + number + ": at least 1");
      }
    }

    /**
     * Threads to compute with; by default one for each fast core.
     *
     * @param threads how many, at least 1; no more run than there are cores
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} where it is less than 1
     */
    public Builder threads(int threads) {
      atLeastOne(threads, "a number of threads");
      this.threads = threads;
      return this;
    }

    /**
     * The most memory that the model may need, weights included; by default there is no limit. A model that needs more is
     * refused with {@link Code#TOO_LARGE} before it is loaded.
     *
     * @param bytes how much, at least 1
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} where it is less than 1
     */
    public Builder memoryLimit(long bytes) {
      atLeastOne(bytes, "a memory limit");
      memoryLimit = bytes;
      return this;
    }

    /**
     * The most tokens that a conversation may have; by default what model and memory allow.
     *
     * @param tokens how many, at least 1
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} where it is less than 1
     */
    public Builder context(int tokens) {
      atLeastOne(tokens, "a context");
      context = tokens;
      return this;
    }

    /**
     * Where copies of weights are kept that are packed for this processor, as large as the model itself; models that are
     * packed already, such as those of babil's own, have none. On Android, a folder below {@code Context.getCacheDir()}; by default the user's cache folder.
     *
     * @param folder the folder; it is created where it does not exist
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
     */
    public Builder packedFolder(File folder) {
      packedFolder = Text.notNull(folder, "the folder of packed weights").getPath();
      return this;
    }

    /**
     * The options.
     *
     * @return what was said so far
     */
    public EngineOptions build() {
      return new EngineOptions(this);
    }
  }
}
