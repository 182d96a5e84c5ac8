package android.os;

/** A counter of energy. */
public final class PowerMonitor {
  private final String name;

  /** Android's own cannot be made by apps. */
  public PowerMonitor(String name) {
    this.name = name;
  }

  public String getName() {
    return name;
  }
}
