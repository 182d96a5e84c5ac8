package dev.babil;

import java.io.IOException;

/**
 * A model that is being fetched or verified. Call {@link #next()} until it returns null. After {@link #cancel()} or {@link
 * #close()} nothing comes any more.
 */
public final class Transfer extends Pulled {
  Transfer(long handle) {
    super(handle);
  }

  /**
   * Waits for news. Who asks rarely hears only the latest.
   *
   * @return how far it is, or null at the end
   * @throws BabilException what went wrong
   * @throws IllegalStateException the transfer is closed
   */
  public Progress next() {
    return pull(Progress::new);
  }

  /** Waits for the end, whatever the news. */
  public void await() {
    while (next() != null) {
      // The news are not wanted.
    }
  }

  /**
   * Cancels, and waits for nothing: a server that is silent is left for good some seconds later. From any thread, any number
   * of times.
   */
  @Override
  public void close() {
    super.close();
  }

  /** How far a transfer is. */
  public static final class Progress {
    private final long done;
    private final long total;
    private final String file;

    Progress(Text.Record record) throws IOException {
      record.readByte();
      done = record.readLong();
      total = record.readLong();
      file = record.text();
    }

    /**
     * What is done.
     *
     * @return bytes, of all files
     */
    public long done() {
      return done;
    }

    /**
     * What there is to do.
     *
     * @return bytes, of all files
     */
    public long total() {
      return total;
    }

    /**
     * What it is about.
     *
     * @return the file that arrives, or the model that is verified
     */
    public String file() {
      return file;
    }
  }
}
