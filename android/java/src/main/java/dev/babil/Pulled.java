package dev.babil;

/** What is computed by the library and pulled from it, piece by piece: what all of these have in common. */
abstract class Pulled implements AutoCloseable {
  final long handle;

  Pulled(long handle) {
    this.handle = handle;
  }

  /** Waits for the next piece; null at the end. */
  final <T> T pull(Text.Item<T> item) {
    byte[] record = Native.next(handle);
    return record == null ? null : Text.read(record, item);
  }

  /** Why and how it ended. */
  final Stats statistics() {
    return Text.read(Native.stats(handle), Stats::new);
  }

  /**
   * Ends it: nothing comes any more, also where somebody is waiting for it. Waits for nothing, from any thread; what is being
   * computed ends within one layer of the model.
   *
   * @throws IllegalStateException it is closed
   */
  public void cancel() {
    Native.cancel(handle);
  }

  /**
   * Why it ended. Of what was just cancelled it waits for the layer that is being computed.
   *
   * @return the reason
   * @throws BabilException what it failed with
   * @throws IllegalStateException the last piece has not been read, or it is closed
   */
  public Finish finish() {
    return statistics().finish();
  }

  /**
   * Cancels, and waits for the layer that is being computed, also where another thread is closing it. From any thread, any
   * number of times.
   */
  @Override
  public void close() {
    Native.close(handle);
  }
}
