package android.os;

/** Times since the phone was started. */
public final class SystemClock {
  private static final long BOOT = System.nanoTime() - 1_000_000_000_000L;

  private SystemClock() {}

  public static long uptimeMillis() {
    return elapsedRealtime();
  }

  public static long elapsedRealtime() {
    return (System.nanoTime() - BOOT) / 1_000_000;
  }
}
