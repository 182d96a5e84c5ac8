package dev.babil;

/** The library itself. */
public final class Babil {
  private Babil() {}

  /**
   * The version of the native library.
   *
   * @return as in {@code 0.1.0}
   * @throws BabilException {@link Code#UNSUPPORTED} where there is no library for this machine
   */
  public static String version() {
    Library.load();
    return Text.of(Native.version());
  }

  /**
   * What the native library would compute with on this processor.
   *
   * @return {@code scalar}, {@code avx2}, {@code avxvnni}, {@code avx512}, {@code amx}, {@code neon}, {@code dotprod} or
   *     {@code i8mm}
   */
  public static String instructionSet() {
    Library.load();
    return Text.of(Native.instructionSet());
  }
}
