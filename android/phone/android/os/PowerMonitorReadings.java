package android.os;

import java.util.Map;

/** What counters said, and when. */
public final class PowerMonitorReadings {
  public static final int ENERGY_UNAVAILABLE = -1;

  /** Microjoules and milliseconds. */
  private final Map<PowerMonitor, long[]> readings;

  public PowerMonitorReadings(Map<PowerMonitor, long[]> readings) {
    this.readings = readings;
  }

  public long getConsumedEnergy(PowerMonitor monitor) {
    return readings.get(monitor)[0];
  }

  public long getTimestampMillis(PowerMonitor monitor) {
    return readings.get(monitor)[1];
  }
}
