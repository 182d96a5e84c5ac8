package android.os;

/** The Android that this phone runs. */
public class Build {
  private Build() {}

  /** The version. */
  public static class VERSION {
    /** Android's own is final. */
    public static volatile int SDK_INT = 36;

    private VERSION() {}
  }

  /** Names of versions. */
  public static class VERSION_CODES {
    public static final int VANILLA_ICE_CREAM = 35;

    private VERSION_CODES() {}
  }
}
