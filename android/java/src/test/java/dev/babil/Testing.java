package dev.babil;

/** Natives of a library with the feature {@code testing}. */
public final class Testing {
  private Testing() {}

  /** Panics. */
  static native void panic();

  /** Lets the next computation panic. */
  static native void panicNext();

  /** The sound of a file, as float32 at 16 kHz. */
  public static native byte[] samples(byte[] file);

  /** Handles that stand for something. */
  static native long openHandles();

  /** Generations that were begun. */
  static native long begun();

  /** Ends of generations that were decided. */
  static native long ended();
}
