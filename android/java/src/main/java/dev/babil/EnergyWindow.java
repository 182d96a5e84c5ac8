package dev.babil;

/** Time that began, and the energy since then. It ends once: then it is closed. */
public final class EnergyWindow implements AutoCloseable {
  private final long handle;

  EnergyWindow(long handle) {
    this.handle = handle;
  }

  /**
   * Ends the window now.
   *
   * @return what was used
   * @throws BabilException {@link Code#NOT_MEASURED} where the meter did not say enough: too few readings or none, a long time
   *     without one, a counter that began anew
   * @throws IllegalStateException it has ended, or its monitor is closed
   */
  public EnergyReport end() {
    return Text.read(Native.energyEnd(handle, false), EnergyReport::new);
  }

  /**
   * Ends the window now, in which the device did nothing but what it does anyway: half a minute with the screen as it will
   * be and the model open. Windows that end later are compared with it, until there is another one.
   *
   * @return what was used
   * @throws BabilException as {@link #end()}
   * @throws IllegalStateException it has ended, or its monitor is closed
   */
  public EnergyReport endIdle() {
    return Text.read(Native.energyEnd(handle, true), EnergyReport::new);
  }

  /** Gives it up, unless it has ended. From any thread, any number of times. */
  @Override
  public void close() {
    Native.close(handle);
  }
}
