package dev.babil.android;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import dev.babil.EnergyMeter;
import dev.babil.EnergyMonitor;
import java.io.IOException;

/**
 * The gauge of the phone's battery: the whole device, its screen and radios included, while no charger is connected.
 *
 * <pre>{@code
 * try (BatteryMeter battery = BatteryMeter.power(context, BatteryMeter.CurrentUnit.MICROAMPERES, 4)) {
 *   EnergyReport report = battery.monitor().measure(() -> chat.say("who are you"));
 * }
 * }</pre>
 *
 * <p>Gauges measure anew every quarter of a second to every few seconds: windows of half a minute and more tell something. A
 * device that sleeps is not read: keep it awake.
 */
public final class BatteryMeter implements AutoCloseable {
  /**
   * What the phone counts its current in. Android says microamperes, and some phones give thousandths (reported of a Samsung
   * Galaxy S21 and a Huawei P8 Lite 2017). The sign does not matter here: phones disagree about it, too (a Xiaomi Mi A1
   * gives what flows out as positive).
   */
  public enum CurrentUnit {
    /** As Android says. */
    MICROAMPERES,
    /** Thousandths of an ampere. */
    MILLIAMPERES
  }

  /** Less than this is no phone that computes, and more is none that anybody can hold, in microamperes. */
  private static final long LEAST_CURRENT = 5_000;

  private static final long MOST_CURRENT = 20_000_000;

  /** Batteries of one cell to four, in millivolts. */
  private static final int LEAST_VOLTAGE = 2_000;

  private static final int MOST_VOLTAGE = 20_000;

  private static final double JOULES_PER_NANOWATT_HOUR = 3.6e-6;

  /** Android tells the voltage when it has changed, so that it is some seconds old: 1.5 % of the gauge, and 1.5 % of that. */
  private static final double GAIN = 0.021;

  private final Context context;
  private final BatteryManager manager;
  private final EnergyMonitor monitor;
  private final Ticker ticker;

  private BatteryMeter(Context context, EnergyMeter meter, CurrentUnit unit, double hz) throws IOException {
    this.context = context.getApplicationContext();
    manager = manager(context);
    monitor = EnergyMonitor.open(meter);
    Ticker ticker = null;
    try {
      ticker = new Ticker(hz, unit == null ? this::readEnergy : () -> readPower(unit));
    } finally {
      if (ticker == null) {
        monitor.close();
      }
    }
    this.ticker = ticker;
  }

  private static BatteryManager manager(Context context) throws IOException {
    BatteryManager manager = context.getSystemService(BatteryManager.class);
    if (manager == null) {
      throw new IOException("this device tells nothing of a battery");
    }
    return manager;
  }

  /**
   * Reads current and voltage. Nearly every phone has both.
   *
   * @param context of the app
   * @param unit what the phone counts its current in
   * @param hz readings per second, such as 4; twice as often as the gauge measures is best
   * @return the meter, to be closed
   * @throws IOException the device has no battery
   * @throws IllegalArgumentException the rate is not from 0.1 to 100, or there is no unit
   */
  public static BatteryMeter power(Context context, CurrentUnit unit, double hz) throws IOException {
    if (unit == null) {
      throw new IllegalArgumentException("the unit of the current is null");
    }
    return new BatteryMeter(context, EnergyMeter.batteryPower("android:battery").gain(GAIN), unit, hz);
  }

  /**
   * Reads the counter of the energy that is left, which few phones have. Its steps are large: measure for minutes.
   *
   * @param context of the app
   * @param hz readings per second, such as 1
   * @return the meter, to be closed
   * @throws IOException the phone does not count the energy of its battery
   * @throws IllegalArgumentException the rate is not from 0.1 to 100
   */
  public static BatteryMeter energy(Context context, double hz) throws IOException {
    if (manager(context).getLongProperty(BatteryManager.BATTERY_PROPERTY_ENERGY_COUNTER) <= 0) {
      throw new IOException("this phone does not count the energy of its battery: use its power");
    }
    return new BatteryMeter(context, EnergyMeter.batteryEnergy("android:battery-energy"), null, hz);
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

  /** The last broadcast about the battery, where nothing charges it; else the reason is told. */
  private Intent discharging() {
    Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
    if (battery == null) {
      monitor.failed("Android has told nothing of the battery yet");
      return null;
    }
    if (battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0) {
      monitor.failed("a charger is connected: unplug it");
      return null;
    }
    return battery;
  }

  private void readPower(CurrentUnit unit) {
    Intent battery = discharging();
    if (battery == null) {
      return;
    }
    long current = manager.getLongProperty(BatteryManager.BATTERY_PROPERTY_CURRENT_NOW);
    if (current == Long.MIN_VALUE || current == Integer.MIN_VALUE) {
      monitor.failed("this phone does not tell the current of its battery");
      return;
    }
    double microamperes = Math.abs((double) current) * (unit == CurrentUnit.MILLIAMPERES ? 1000 : 1);
    if (microamperes < LEAST_CURRENT || microamperes > MOST_CURRENT) {
      monitor.failed("a current of " + current + " is none in " + unit + ": does this phone count in another unit?");
      return;
    }
    int millivolts = battery.getIntExtra(BatteryManager.EXTRA_VOLTAGE, 0);
    if (millivolts < LEAST_VOLTAGE || millivolts > MOST_VOLTAGE) {
      monitor.failed("a voltage of " + millivolts + " is none of a battery in millivolts");
      return;
    }
    monitor.push(microamperes * millivolts * 1e-9);
  }

  private void readEnergy() {
    if (discharging() == null) {
      return;
    }
    long left = manager.getLongProperty(BatteryManager.BATTERY_PROPERTY_ENERGY_COUNTER);
    if (left <= 0) {
      monitor.failed("this phone does not count the energy of its battery");
      return;
    }
    monitor.push(-left * JOULES_PER_NANOWATT_HOUR);
  }
}
