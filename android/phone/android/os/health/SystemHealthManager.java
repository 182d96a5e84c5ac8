package android.os.health;

import android.os.OutcomeReceiver;
import android.os.PowerMonitor;
import android.os.PowerMonitorReadings;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** The phone's counters of energy. */
public class SystemHealthManager {
  private final List<PowerMonitor> monitors;
  private final Supplier<PowerMonitorReadings> readings;

  public SystemHealthManager(List<PowerMonitor> monitors, Supplier<PowerMonitorReadings> readings) {
    this.monitors = monitors;
    this.readings = readings;
  }

  public void getSupportedPowerMonitors(Executor executor, Consumer<List<PowerMonitor>> answer) {
    new Thread(() -> executor.execute(() -> answer.accept(monitors))).start();
  }

  public void getPowerMonitorReadings(
      List<PowerMonitor> wanted, Executor executor, OutcomeReceiver<PowerMonitorReadings, RuntimeException> answer) {
    PowerMonitorReadings result;
    try {
      result = readings.get();
    } catch (RuntimeException error) {
      executor.execute(() -> answer.onError(error));
      return;
    }
    executor.execute(() -> answer.onResult(result));
  }
}
