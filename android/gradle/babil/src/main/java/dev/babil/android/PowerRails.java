package dev.babil.android;

import android.annotation.TargetApi;
import android.content.Context;
import android.os.Build;
import android.os.OutcomeReceiver;
import android.os.PowerMonitor;
import android.os.PowerMonitorReadings;
import android.os.SystemClock;
import android.os.health.SystemHealthManager;
import dev.babil.EnergyMeter;
import dev.babil.EnergyMonitor;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Energy counters of power rails and of parts of the device, from Android 15 (API level 35) on, on phones that have them.
 *
 * <p>Android reads them anew every 20 or 30 seconds for apps, and makes their readings inexact by up to 10 J: windows of
 * several minutes tell something. With the permission {@code ACCESS_FINE_POWER_MONITORS}, which apps cannot ask for, that is
 * a quarter of a second. The counters go on while a charger is connected.
 *
 * <p>What a name stands for is the maker's to say. Rails may feed each other, and parts are made of rails, so that adding all
 * of them would count twice.
 */
@TargetApi(Build.VERSION_CODES.VANILLA_ICE_CREAM)
public final class PowerRails implements AutoCloseable {
  private static final long ANSWERS_AFTER_S = 10;

  /** Counters that are added have to be read together, in milliseconds: others in another app's turn were not. */
  private static final long TOGETHER_MS = 100;

  private final SystemHealthManager manager;
  private final List<PowerMonitor> rails;
  private final EnergyMonitor monitor;
  private final Ticker ticker;
  private long last;

  private PowerRails(SystemHealthManager manager, List<PowerMonitor> rails, double hz) {
    this.manager = manager;
    this.rails = rails;
    String[] names = new String[rails.size()];
    for (int i = 0; i < names.length; i++) {
      names[i] = rails.get(i).getName();
    }
    monitor = EnergyMonitor.open(EnergyMeter.railEnergy(names));
    Ticker ticker = null;
    try {
      ticker = new Ticker(hz, this::read);
    } finally {
      if (ticker == null) {
        monitor.close();
      }
    }
    this.ticker = ticker;
  }

  private static SystemHealthManager manager(Context context) throws IOException {
    SystemHealthManager manager =
        Build.VERSION.SDK_INT < Build.VERSION_CODES.VANILLA_ICE_CREAM
            ? null
            : context.getSystemService(SystemHealthManager.class);
    if (manager == null) {
      throw new IOException("this Android tells nothing of power rails: from 15 (API level 35) on it may");
    }
    return manager;
  }

  private static List<PowerMonitor> supported(SystemHealthManager manager) throws IOException {
    CountDownLatch answered = new CountDownLatch(1);
    AtomicReference<List<PowerMonitor>> answer = new AtomicReference<>(Collections.emptyList());
    manager.getSupportedPowerMonitors(
        Runnable::run,
        monitors -> {
          answer.set(monitors);
          answered.countDown();
        });
    try {
      if (!answered.await(ANSWERS_AFTER_S, TimeUnit.SECONDS)) {
        throw new IOException("Android does not say which power rails there are");
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new InterruptedIOException("interrupted while Android was asked for power rails");
    }
    return answer.get();
  }

  /**
   * The counters that there are. Waits for Android: not on the thread of the user interface.
   *
   * @param context of the app
   * @return names: of rails, such as {@code [VDD_CPU]:CPU}, and of parts, such as {@code CPU/0} or {@code DISPLAY}; empty
   *     where the phone has none
   * @throws IOException Android is older than API level 35, or does not answer
   */
  public static List<String> names(Context context) throws IOException {
    List<String> names = new ArrayList<>();
    for (PowerMonitor monitor : supported(manager(context))) {
      names.add(monitor.getName());
    }
    return names;
  }

  /**
   * Reads counters, and adds them. Waits for Android: not on the thread of the user interface.
   *
   * @param context of the app
   * @param names which ones
   * @param hz readings per second, such as 1; 4 where the app may see fine readings
   * @return the meter, to be closed
   * @throws IOException there is no such counter, Android is older than API level 35, or does not answer
   * @throws dev.babil.BabilException where there are no names
   * @throws IllegalArgumentException the rate is not from 0.1 to 100
   */
  public static PowerRails open(Context context, Collection<String> names, double hz) throws IOException {
    SystemHealthManager manager = manager(context);
    List<PowerMonitor> supported = supported(manager);
    List<PowerMonitor> rails = new ArrayList<>();
    for (String name : names) {
      PowerMonitor found = null;
      for (PowerMonitor monitor : supported) {
        found = monitor.getName().equals(name) ? monitor : found;
      }
      if (found == null) {
        throw new IOException("this phone has no power rail " + name);
      }
      rails.add(found);
    }
    return new PowerRails(manager, rails, hz);
  }

  /**
   * What was used: ask this.
   *
   * @return the monitor, which is closed with the meter
   */
  public EnergyMonitor monitor() {
    return monitor;
  }

  /** Ends the readings. From any thread, any number of times. */
  @Override
  public void close() {
    monitor.close();
    ticker.close();
  }

  private void read() {
    manager.getPowerMonitorReadings(rails, Runnable::run, new Answer());
  }

  /** What Android answers, on a thread of its own. */
  private final class Answer implements OutcomeReceiver<PowerMonitorReadings, RuntimeException> {
    @Override
    public void onResult(PowerMonitorReadings readings) {
      try {
        take(readings);
      } catch (IllegalStateException closed) {
        // It came too late.
      }
    }

    @Override
    public void onError(RuntimeException error) {
      try {
        monitor.failed(error.toString());
      } catch (IllegalStateException closed) {
        // It came too late.
      }
    }
  }

  private synchronized void take(PowerMonitorReadings readings) {
    long microjoules = 0;
    long earliest = Long.MAX_VALUE;
    long latest = 0;
    for (PowerMonitor rail : rails) {
      long energy = readings.getConsumedEnergy(rail);
      if (energy == PowerMonitorReadings.ENERGY_UNAVAILABLE) {
        monitor.failed(rail.getName() + " was not read");
        return;
      }
      microjoules += energy;
      earliest = Math.min(earliest, readings.getTimestampMillis(rail));
      latest = Math.max(latest, readings.getTimestampMillis(rail));
    }
    // Else it is the reading of before once more.
    if (latest > last && latest - earliest <= TOGETHER_MS) {
      last = latest;
      long age = SystemClock.elapsedRealtime() - (earliest + latest) / 2;
      monitor.push(microjoules * 1e-6, Math.max(age, 0) * 1e-3);
    }
  }
}
