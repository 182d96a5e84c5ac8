package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.DoubleUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Meters that are simulated here, whose truth is known. */
class EnergyTest extends GivesBack {
  private static final EnergyMeter GAUGE = EnergyMeter.batteryPower("gauge").updateSeconds(0);

  private static BabilException fails(Code code, Executable call) {
    BabilException error = assertThrows(BabilException.class, call);
    assertEquals(code, error.code(), error.getMessage());
    return error;
  }

  private static void sleep(double seconds) {
    try {
      Thread.sleep(Math.round(1000 * seconds));
    } catch (InterruptedException error) {
      throw new AssertionError(error);
    }
  }

  private static void near(double truth, double value, double halfWidth) {
    assertTrue(Math.abs(value - truth) <= halfWidth, value + " +- " + halfWidth + " J, not " + truth);
  }

  /**
   * A window of at least so many seconds, whose readings are pushed when it is over, with their ages: the machine may be as
   * late as it likes.
   *
   * @param reading of seconds since the window began
   */
  private static EnergyWindow pushed(EnergyMonitor monitor, double seconds, DoubleUnaryOperator reading) {
    EnergyWindow window = monitor.begin();
    long begin = System.nanoTime();
    sleep(seconds);
    double now = (System.nanoTime() - begin) * 1e-9;
    double latest = 0;
    for (double time = 0.002; time < now; time += 0.005) {
      double since = (System.nanoTime() - begin) * 1e-9;
      boolean added = monitor.push(reading.applyAsDouble(time), since - time);
      // As much later than its time as the machine is after `since`, a reading may come behind the next ones.
      assertTrue(added || time <= latest);
      if (added) latest = time + (System.nanoTime() - begin) * 1e-9 - since;
    }
    return window;
  }

  /** 2 W, as a gauge tells it that knows steps of 20 mW and has some noise, from a thread of its own. */
  @Test
  void aBatteryThatIsReadByAThreadIsIntegrated() throws Exception {
    try (EnergyMonitor monitor = EnergyMonitor.open(GAUGE.resolution(0.02))) {
      Thread reader =
          new Thread(
              () -> {
                Random noise = new Random(7);
                try {
                  while (true) {
                    monitor.push(0.02 * Math.round((2 + 0.03 * noise.nextGaussian()) / 0.02));
                    sleep(0.005);
                  }
                } catch (IllegalStateException closed) {
                  // Until the monitor is closed.
                }
              });
      reader.start();
      EnergyReport report = measured(monitor);
      assertTrue(report.seconds() >= 1.5);
      near(2 * report.seconds(), report.joules(), report.halfWidth());
      assertTrue(report.halfWidth() < 0.2 * report.joules(), report.toString());
      assertEquals(report.joules() / report.seconds(), report.averageWatts());
      assertTrue(report.peakWatts() >= report.averageWatts() && report.peakWatts() < 2.3);
      assertTrue(report.samples() > 4);
      assertEquals("gauge", report.source());
      assertEquals(EnergyReport.MeterClass.D, report.meterClass());
      assertTrue(report.flags().contains(EnergyReport.Flag.SHORT_WINDOW));
      assertFalse(report.flags().contains(EnergyReport.Flag.STUCK), report.toString());
      assertEquals(30 / report.joules(), report.tokensPerJoule(30));
      assertFalse(report.hasNet());
      assertTrue(Double.isNaN(report.netJoules()) && Double.isNaN(report.netTokensPerJoule(30)));
      monitor.close();
      reader.join();
    }
  }

  /** A second and a half. A machine that stands still meanwhile leaves a gap, which is told: then once more. */
  private static EnergyReport measured(EnergyMonitor monitor) {
    for (int attempt = 0; ; attempt++) {
      try {
        return monitor.measure(() -> sleep(1.5));
      } catch (BabilException error) {
        if (attempt == 5 || !error.getMessage().contains("no reading for")) {
          throw error;
        }
      }
    }
  }

  @Test
  void theEnergyIsTheIntegralOfThePower() {
    try (EnergyMonitor monitor = EnergyMonitor.open(GAUGE)) {
      // From 1 W upwards by 10 W in a second.
      try (EnergyWindow window = pushed(monitor, 0.5, time -> 1 + 10 * time)) {
        EnergyReport report = window.end();
        double seconds = report.seconds();
        double truth = seconds + 5 * seconds * seconds;
        near(truth, report.joules(), report.halfWidth());
        near(truth, report.joules(), 0.1 * truth);
      }
    }
  }

  @Test
  void whatTheDeviceTakesAtRestIsTakenAway() {
    try (EnergyMonitor monitor = EnergyMonitor.open(GAUGE)) {
      EnergyReport idle;
      try (EnergyWindow window = pushed(monitor, 0.4, time -> 1 + 0.01 * Math.sin(1e3 * time))) {
        idle = window.endIdle();
      }
      assertFalse(idle.hasNet(), "not compared with itself");
      try (EnergyWindow window = pushed(monitor, 0.4, time -> 3 + 0.01 * Math.sin(1e3 * time))) {
        EnergyReport report = window.end();
        assertTrue(report.hasNet());
        assertEquals(idle.averageWatts(), report.idleWatts(), 1e-9);
        near(3 * report.seconds(), report.joules(), report.halfWidth());
        near(2 * report.seconds(), report.netJoules(), report.netHalfWidth());
        assertTrue(report.netJoules() < report.joules());
        assertEquals(100 / report.netJoules(), report.netTokensPerJoule(100));
      }
    }
  }

  @Test
  void countersCountAlsoBackwards() {
    try (EnergyMonitor rails = EnergyMonitor.open(EnergyMeter.railEnergy("CPU/0", "CPU/1"));
        EnergyMonitor battery = EnergyMonitor.open(EnergyMeter.batteryEnergy("battery").resolution(0.1))) {
      try (EnergyWindow window = pushed(rails, 0.4, time -> 1e6 + 50 * time)) {
        EnergyReport report = window.end();
        assertEquals(EnergyReport.MeterClass.C, report.meterClass());
        assertEquals("rails:CPU/0+CPU/1", report.source());
        near(50 * report.seconds(), report.joules(), report.halfWidth());
        near(50 * report.seconds(), report.joules(), 0.01 * report.joules());
      }
      // What is left, as a negative.
      try (EnergyWindow window = pushed(battery, 0.4, time -> -(4e4 - 50 * time))) {
        EnergyReport report = window.end();
        assertEquals(EnergyReport.MeterClass.D, report.meterClass());
        near(50 * report.seconds(), report.joules(), 0.01 * report.joules());
      }
      // One that began anew has counted nobody knows how much.
      try (EnergyWindow window = pushed(rails, 0.4, time -> time < 0.2 ? 2e6 + time : time)) {
        assertTrue(fails(Code.NOT_MEASURED, window::end).getMessage().contains("anew"));
      }
    }
  }

  @Test
  void aMeterThatSaysNothingIsATypedException() {
    try (EnergyMonitor monitor = EnergyMonitor.open(GAUGE)) {
      EnergyWindow silent = monitor.begin();
      BabilException error = fails(Code.NOT_MEASURED, silent::end);
      assertTrue(error.getMessage().contains("gauge: 0 readings"), error.getMessage());
      assertFalse(error.retryable());
      assertThrows(IllegalStateException.class, silent::end, "it is over all the same");
      EnergyWindow charged = monitor.begin();
      monitor.failed("the battery is charged 🔌");
      error = fails(Code.NOT_MEASURED, charged::endIdle);
      assertTrue(error.getMessage().contains("the battery is charged 🔌"), error.getMessage());
      // Readings of before do not count.
      pushed(monitor, 0.1, time -> 2).close();
      fails(Code.NOT_MEASURED, () -> monitor.measure(() -> sleep(0.01)));
      // Some readings that fail are a flag.
      try (EnergyWindow window = pushed(monitor, 0.3, time -> 2)) {
        monitor.failed("once");
        EnergyReport report = window.end();
        EnumSet<EnergyReport.Flag> expected =
            EnumSet.of(EnergyReport.Flag.FAILED_READINGS, EnergyReport.Flag.STUCK, EnergyReport.Flag.SHORT_WINDOW);
        assertTrue(report.flags().containsAll(expected), report.toString());
      }
    }
  }

  @Test
  void whatIsClosedIsAnIllegalState() {
    EnergyMonitor monitor = EnergyMonitor.open(GAUGE);
    EnergyWindow ended = pushed(monitor, 0.1, time -> 2);
    EnergyWindow open = monitor.begin();
    EnergyWindow given = monitor.begin();
    ended.end();
    given.close();
    given.close();
    assertThrows(IllegalStateException.class, ended::end);
    assertThrows(IllegalStateException.class, given::endIdle);
    assertEquals(this.open + 2, Testing.openHandles());
    monitor.close();
    monitor.close();
    assertThrows(IllegalStateException.class, open::end, "closed with its monitor");
    open.close();
    assertThrows(IllegalStateException.class, () -> monitor.push(2));
    assertThrows(IllegalStateException.class, () -> monitor.failed("closed"));
    assertThrows(IllegalStateException.class, monitor::begin);
    assertThrows(IllegalStateException.class, () -> monitor.measure(() -> {}));
    // Closed by the work itself.
    EnergyMonitor other = EnergyMonitor.open(GAUGE);
    assertThrows(IllegalStateException.class, () -> other.measure(other::close));
  }

  @Test
  void numbersThatAreNoHandlesAreNotBelieved() {
    long monitor = Native.energyOpen(0, new byte[0], 1, Double.NaN, Double.NaN, Double.NaN, Double.NaN);
    long window = Native.energyBegin(monitor);
    List<Long> numbers = new ArrayList<>(Arrays.asList(0L, -1L, Long.MIN_VALUE, Long.MAX_VALUE, 1L << 32));
    for (int bit = 0; bit < 64; bit++) {
      numbers.add(window ^ (1L << bit));
    }
    numbers.remove(monitor);
    for (long number : numbers) {
      assertThrows(IllegalStateException.class, () -> Native.energyPush(number, 1, 0));
      assertThrows(IllegalStateException.class, () -> Native.energyBegin(number));
      assertThrows(IllegalStateException.class, () -> Native.energyEnd(number, false));
    }
    assertThrows(IllegalStateException.class, () -> Native.energyPush(window, 1, 0), "another kind of object");
    assertThrows(IllegalStateException.class, () -> Native.energyEnd(monitor, true), "another kind of object");
    assertThrows(IllegalStateException.class, () -> Native.next(monitor), "another kind of object");
    assertTrue(Native.energyPush(monitor, 1, 0), "it lives");
    Native.close(monitor);
  }

  @Test
  void badInputIsATypedException() {
    fails(Code.BAD_ARGUMENT, () -> EnergyMonitor.open(null));
    fails(Code.BAD_ARGUMENT, () -> EnergyMeter.batteryPower(null));
    fails(Code.BAD_ARGUMENT, EnergyMeter::railEnergy);
    fails(Code.BAD_ARGUMENT, () -> EnergyMeter.railEnergy("CPU", null));
    fails(Code.BAD_ARGUMENT, () -> GAUGE.resolution(-1));
    fails(Code.BAD_ARGUMENT, () -> GAUGE.gain(Double.NaN));
    fails(Code.BAD_ARGUMENT, () -> GAUGE.updateSeconds(Double.POSITIVE_INFINITY));
    fails(Code.BAD_ARGUMENT, () -> GAUGE.offsetWatts(-0.1));
    fails(Code.BAD_ARGUMENT, () -> Native.energyOpen(3, new byte[0], 1, 0, 0, 0, 0));
    fails(Code.BAD_ARGUMENT, () -> Native.energyOpen(-1, new byte[0], 1, 0, 0, 0, 0));
    fails(Code.BAD_ARGUMENT, () -> Native.energyOpen(0, null, 1, 0, 0, 0, 0));
    fails(Code.BAD_ARGUMENT, () -> Native.energyOpen(0, new byte[] {(byte) 0xff}, 1, 0, 0, 0, 0));
    fails(Code.BAD_ARGUMENT, () -> Native.energyOpen(0, new byte[0], 1, -1, 0, 0, 0));
    try (EnergyMonitor monitor = EnergyMonitor.open(GAUGE)) {
      double[][] bad = {
        {Double.NaN, 0}, {Double.NEGATIVE_INFINITY, 0}, {1, -1e-9}, {1, Double.NaN}, {1, Double.POSITIVE_INFINITY}
      };
      for (double[] reading : bad) {
        fails(Code.BAD_ARGUMENT, () -> monitor.push(reading[0], reading[1]));
      }
      fails(Code.BAD_ARGUMENT, () -> monitor.failed(null));
      fails(Code.BAD_ARGUMENT, () -> monitor.measure(null));
      assertTrue(monitor.push(2, 1));
      assertFalse(monitor.push(2, 3), "before the last one");
      // Numbers that are finite and no power are not refused, and end nothing.
      for (double extreme : new double[] {Double.MAX_VALUE, -Double.MAX_VALUE, Double.MIN_VALUE}) {
        EnergyWindow window = pushed(monitor, 0.05, time -> extreme);
        try {
          window.end();
        } catch (BabilException error) {
          assertEquals(Code.NOT_MEASURED, error.code(), error.getMessage());
        }
      }
      // What the work throws is passed on.
      IllegalArgumentException thrown =
          assertThrows(
              IllegalArgumentException.class,
              () ->
                  monitor.measure(
                      () -> {
                        throw new IllegalArgumentException("mine");
                      }));
      assertEquals("mine", thrown.getMessage());
    }
  }

  /** From many threads at once, with closing in between: each call has one of the outcomes that it may have. */
  @Test
  void anyThreadMayPushBeginEndAndClose() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(6);
    for (int round = 0; round < 20; round++) {
      EnergyMonitor monitor = EnergyMonitor.open(GAUGE);
      AtomicInteger closed = new AtomicInteger();
      List<Future<?>> threads = new ArrayList<>();
      for (int number = 0; number < 6; number++) {
        Random random = new Random(100L * round + number);
        boolean closes = number == 0;
        threads.add(
            pool.submit(
                () -> {
                  try {
                    for (int i = 0; !closes || i < 300; i++) {
                      if (random.nextBoolean()) {
                        monitor.push(1 + random.nextDouble());
                      } else {
                        try (EnergyWindow window = monitor.begin()) {
                          monitor.push(1 + random.nextDouble());
                          EnergyReport report = random.nextBoolean() ? window.end() : window.endIdle();
                          assertTrue(report.joules() > 0 && report.halfWidth() > 0);
                        } catch (BabilException error) {
                          assertEquals(Code.NOT_MEASURED, error.code(), error.getMessage());
                        }
                      }
                    }
                    monitor.close();
                  } catch (IllegalStateException error) {
                    closed.incrementAndGet();
                  }
                }));
      }
      for (Future<?> thread : threads) {
        thread.get();
      }
      assertEquals(5, closed.get(), "all but the one that closed it");
    }
    pool.shutdown();
  }
}
