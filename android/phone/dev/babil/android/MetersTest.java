package dev.babil.android;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import android.content.Context;
import android.content.Intent;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerMonitor;
import android.os.PowerMonitorReadings;
import android.os.SystemClock;
import android.os.health.SystemHealthManager;
import dev.babil.BabilException;
import dev.babil.Code;
import dev.babil.EnergyMonitor;
import dev.babil.EnergyReport;
import dev.babil.EnergyWindow;
import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** The meters of phones, on one that is simulated: its classes are those of Android, as far as they are used. */
class MetersTest {
  private static final double HZ = 100;

  /** A phone on its battery, of 4 V, whose gauge gives this current. */
  private static Context phone(AtomicLong current) {
    Context phone = new Context();
    phone.battery = battery(4000, 0);
    phone.services.put(
        BatteryManager.class,
        new BatteryManager(
            id -> id == BatteryManager.BATTERY_PROPERTY_CURRENT_NOW ? current.get() : Long.MIN_VALUE));
    return phone;
  }

  private static Intent battery(int millivolts, int plugged) {
    return new Intent()
        .putExtra(BatteryManager.EXTRA_VOLTAGE, millivolts)
        .putExtra(BatteryManager.EXTRA_PLUGGED, plugged);
  }

  private static void sleep(long milliseconds) {
    try {
      Thread.sleep(milliseconds);
    } catch (InterruptedException error) {
      throw new AssertionError(error);
    }
  }

  /** A window of a second. Where the machine stands still meanwhile, that is told: then once more. */
  private static EnergyReport measured(EnergyMonitor monitor) {
    for (int attempt = 0; ; attempt++) {
      try {
        return monitor.measure(() -> sleep(1000));
      } catch (BabilException error) {
        if (attempt == 5 || !error.getMessage().contains("no reading for")) {
          throw error;
        }
      }
    }
  }

  private static String refused(EnergyMonitor monitor) {
    BabilException error = assertThrows(BabilException.class, () -> monitor.measure(() -> sleep(200)));
    assertEquals(Code.NOT_MEASURED, error.code(), error.getMessage());
    return error.getMessage();
  }

  /** 2 W in the mean: half an ampere, give or take a tenth from reading to reading. */
  @Test
  void theGaugeOfABatteryIsReadWhateverItsSignAndUnit() throws IOException {
    for (boolean milli : new boolean[] {false, true}) {
      for (int sign : new int[] {-1, 1}) {
        AtomicLong turn = new AtomicLong();
        Context phone = phone(new AtomicLong());
        phone.services.put(
            BatteryManager.class,
            new BatteryManager(
                id -> sign * (milli ? 1 : 1000) * (turn.incrementAndGet() % 2 == 0 ? 400L : 600L)));
        BatteryMeter.CurrentUnit unit =
            milli ? BatteryMeter.CurrentUnit.MILLIAMPERES : BatteryMeter.CurrentUnit.MICROAMPERES;
        try (BatteryMeter meter = BatteryMeter.power(phone, unit, HZ)) {
          EnergyReport report = measured(meter.monitor());
          assertEquals(2 * report.seconds(), report.joules(), report.halfWidth());
          assertEquals(2, report.averageWatts(), 0.2);
          assertEquals(2.4, report.peakWatts(), 1e-9);
          assertEquals("android:battery", report.source());
          assertEquals(EnergyReport.MeterClass.D, report.meterClass());
        }
      }
    }
  }

  @Test
  void readingsThatMakeNoSenseSayWhy() throws IOException {
    AtomicLong current = new AtomicLong(-500_000);
    Context phone = phone(current);
    try (BatteryMeter meter = BatteryMeter.power(phone, BatteryMeter.CurrentUnit.MICROAMPERES, HZ)) {
      phone.battery = null;
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("nothing of the battery"));
      phone.battery = battery(4000, 2);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("charger"));
      phone.battery = battery(4, 0);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("voltage of 4 "));
      phone.battery = battery(4000, 0);
      // A phone that counts milliamperes.
      current.set(-500);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("another unit"));
      current.set(Long.MIN_VALUE);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("does not tell the current"));
    }
    assertThrows(IllegalArgumentException.class, () -> BatteryMeter.power(phone, null, 4));
    for (double hz : new double[] {0, -1, 1e9, Double.NaN}) {
      assertThrows(
          IllegalArgumentException.class,
          () -> BatteryMeter.power(phone, BatteryMeter.CurrentUnit.MICROAMPERES, hz));
    }
    assertThrows(IOException.class, () -> BatteryMeter.energy(phone, 1), "few phones have it");
    assertThrows(
        IOException.class,
        () -> BatteryMeter.power(new Context(), BatteryMeter.CurrentUnit.MICROAMPERES, 1),
        "no battery");
  }

  /** 500 W, because the steps of such counters are large; in nanowatt-hours that are left. */
  @Test
  void theCounterOfABatteryIsRead() throws IOException {
    long begin = System.nanoTime();
    Context phone = phone(new AtomicLong());
    phone.services.put(
        BatteryManager.class,
        new BatteryManager(id -> 15_000_000_000L - Math.round((System.nanoTime() - begin) * 1e-9 * 500 / 3.6e-6)));
    try (BatteryMeter meter = BatteryMeter.energy(phone, HZ)) {
      EnergyReport report = measured(meter.monitor());
      assertEquals(500 * report.seconds(), report.joules(), report.halfWidth());
      assertEquals(500 * report.seconds(), report.joules(), 0.02 * report.joules());
      assertEquals("android:battery-energy", report.source());
    }
  }

  @Test
  void whatIsClosedIsNotReadAnyMore() throws IOException {
    AtomicLong readings = new AtomicLong();
    Context phone = phone(new AtomicLong());
    phone.services.put(
        BatteryManager.class,
        new BatteryManager(
            id -> {
              readings.incrementAndGet();
              return 500_000;
            }));
    BatteryMeter meter = BatteryMeter.power(phone, BatteryMeter.CurrentUnit.MICROAMPERES, HZ);
    EnergyWindow window = meter.monitor().begin();
    while (readings.get() < 5) {
      sleep(1);
    }
    meter.close();
    meter.close();
    assertThrows(IllegalStateException.class, window::end);
    assertThrows(IllegalStateException.class, () -> meter.monitor().begin());
    sleep(50);
    long after = readings.get();
    sleep(100);
    assertEquals(after, readings.get());
  }

  /** Two rails of 100 W together, of which Android says the same for 50 ms, and a third that nobody asks for. */
  @Test
  void railsAreAdded() throws IOException {
    List<PowerMonitor> rails =
        Arrays.asList(new PowerMonitor("[VDD_A]:CPU"), new PowerMonitor("DISPLAY"), new PowerMonitor("[VDD_B]:CPU"));
    AtomicLong broken = new AtomicLong();
    Context phone = new Context();
    phone.services.put(
        SystemHealthManager.class,
        new SystemHealthManager(
            rails,
            () -> {
              if (broken.get() == 1) {
                throw new IllegalArgumentException("no such rail");
              }
              long time = SystemClock.elapsedRealtime() / 50 * 50;
              Map<PowerMonitor, long[]> readings = new HashMap<>();
              // 1 W is 1000 microjoules in a millisecond.
              readings.put(rails.get(0), new long[] {40_000 * time, time});
              readings.put(rails.get(1), new long[] {7_000 * time, time});
              long last = broken.get() == 2 ? PowerMonitorReadings.ENERGY_UNAVAILABLE : 60_000 * time;
              // Of another turn.
              long apart = broken.get() == 3 ? 5_000 : 0;
              readings.put(rails.get(2), new long[] {last, time - apart});
              return new PowerMonitorReadings(readings);
            }));
    assertEquals(Arrays.asList("[VDD_A]:CPU", "DISPLAY", "[VDD_B]:CPU"), PowerRails.names(phone));
    List<String> cpu = Arrays.asList("[VDD_A]:CPU", "[VDD_B]:CPU");
    try (PowerRails meter = PowerRails.open(phone, cpu, HZ)) {
      EnergyReport report = measured(meter.monitor());
      assertEquals(100 * report.seconds(), report.joules(), report.halfWidth());
      assertEquals(100 * report.seconds(), report.joules(), 0.05 * report.joules());
      assertEquals("rails:[VDD_A]:CPU+[VDD_B]:CPU", report.source());
      assertEquals(EnergyReport.MeterClass.C, report.meterClass());
      assertTrue(report.samples() <= 1 + report.seconds() / 0.05, "the same reading counts once: " + report);
      broken.set(1);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("no such rail"));
      broken.set(2);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("[VDD_B]:CPU was not read"));
      broken.set(3);
      sleep(100);
      assertTrue(refused(meter.monitor()).contains("0 readings"));
    }
    assertThrows(IOException.class, () -> PowerRails.open(phone, Collections.singleton("GPU"), HZ));
    BabilException none =
        assertThrows(BabilException.class, () -> PowerRails.open(phone, Collections.emptyList(), HZ));
    assertEquals(Code.BAD_ARGUMENT, none.code());
    assertThrows(IllegalArgumentException.class, () -> PowerRails.open(phone, cpu, 0));
    assertThrows(IOException.class, () -> PowerRails.names(new Context()));
    Build.VERSION.SDK_INT = 34;
    try {
      assertTrue(
          assertThrows(IOException.class, () -> PowerRails.names(phone)).getMessage().contains("API level 35"));
    } finally {
      Build.VERSION.SDK_INT = 36;
    }
  }
}
