package dev.babil;

/**
 * How much energy something takes, by a meter that the program reads: on Android, {@code dev.babil.android.BatteryMeter} and
 * {@code PowerRails} do. One thread reads it and calls {@link #push(double)}, others ask what was used meanwhile:
 *
 * <pre>{@code
 * EnergyReport report = monitor.measure(() -> chat.say("who are you"));
 * show(report.joules() + " ± " + report.halfWidth() + " J");
 * }</pre>
 *
 * <p>A meter sees the whole device, or rails of it: whatever else runs meanwhile is in the figure. Windows of ten seconds
 * and more tell something; shorter ones say so in their {@link EnergyReport#flags() flags}.
 */
public final class EnergyMonitor implements AutoCloseable {
  private final long handle;

  private EnergyMonitor(long handle) {
    this.handle = handle;
  }

  /**
   * Begins to listen to a meter.
   *
   * @param meter which one
   * @return the monitor, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  public static EnergyMonitor open(EnergyMeter meter) {
    Text.notNull(meter, "a meter");
    Library.load();
    long handle =
        Native.energyOpen(meter.kind, meter.name, meter.count, meter.resolution, meter.update, meter.gain, meter.offset);
    return new EnergyMonitor(handle);
  }

  /**
   * Says what the meter says now.
   *
   * @param reading watts or joules, by the kind of meter
   * @return false where it is not after the reading before, and was not taken
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is no finite number
   * @throws IllegalStateException the monitor is closed
   */
  public boolean push(double reading) {
    return push(reading, 0);
  }

  /**
   * Says what the meter said some time ago, for readings that have times of their own.
   *
   * @param reading watts or joules, by the kind of meter
   * @param ageSeconds how long ago
   * @return false where it is not after the reading before, and was not taken
   * @throws BabilException {@link Code#BAD_ARGUMENT} where one is no finite number, or the age is below 0
   * @throws IllegalStateException the monitor is closed
   */
  public boolean push(double reading, double ageSeconds) {
    return Native.energyPush(handle, reading, ageSeconds);
  }

  /**
   * Says that the meter could not be read now, such as while the battery is charged. Reports get the flag {@link
   * EnergyReport.Flag#FAILED_READINGS}; where there is no report, the exception tells the last reason.
   *
   * @param why the reason, for people
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   * @throws IllegalStateException the monitor is closed
   */
  public void failed(String why) {
    Native.energyFailed(handle, Text.of(why, "a reason"));
  }

  /**
   * Begins a window now. Any number may be open; each sees all of the device.
   *
   * @return the window, to be ended or closed
   * @throws IllegalStateException the monitor is closed
   */
  public EnergyWindow begin() {
    return new EnergyWindow(Native.energyBegin(handle));
  }

  /**
   * What is used while something runs.
   *
   * @param work what to run, on this thread
   * @return the report
   * @throws BabilException as {@link EnergyWindow#end()}, or of the work
   * @throws IllegalStateException the monitor is closed, or was meanwhile
   */
  public EnergyReport measure(Runnable work) {
    Text.notNull(work, "what is to be measured");
    try (EnergyWindow window = begin()) {
      work.run();
      return window.end();
    }
  }

  /** Closes it and its windows. From any thread, any number of times. */
  @Override
  public void close() {
    Native.close(handle);
  }
}
