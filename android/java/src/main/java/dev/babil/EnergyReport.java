package dev.babil;

import java.io.IOException;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Locale;
import java.util.Set;

/**
 * What a window took, by one meter. All of what the meter sees counts: {@link #joules()} is gross. What is left of it when
 * the device at rest is taken away is {@link #netJoules()}.
 */
public final class EnergyReport {
  /** What kind of meter a figure comes from. Figures of different classes are not to be ranked against each other. */
  public enum MeterClass {
    /** An analyser at the wall. */
    A,
    /** An external meter of direct current. */
    B,
    /** Counters or rails on the board. */
    C,
    /** The gauge of a battery. */
    D,
    /** A model: never measured. */
    E
  }

  /** What makes a figure worth less than it looks. */
  public enum Flag {
    /** Fewer than 50 readings. */
    FEW_SAMPLES,
    /** Shorter than ten seconds. */
    SHORT_WINDOW,
    /** No reading for more than three times the usual interval. */
    GAP,
    /** Some readings failed. */
    FAILED_READINGS,
    /** All readings of power are the same, as of a meter that hangs. */
    STUCK,
    /** The counter moved by fewer than 30 of its steps. */
    FEW_STEPS
  }

  private static final MeterClass[] CLASSES = MeterClass.values();
  private static final Flag[] FLAGS = Flag.values();

  private final String source;
  private final MeterClass meterClass;
  private final double joules;
  private final double halfWidth;
  private final double seconds;
  private final double peakWatts;
  private final long samples;
  private final Set<Flag> flags;
  private final boolean hasNet;
  private final double idleWatts;
  private final double netJoules;
  private final double netHalfWidth;

  EnergyReport(Text.Record record) throws IOException {
    source = record.text();
    meterClass = CLASSES[record.readByte()];
    joules = record.readDouble();
    halfWidth = record.readDouble();
    seconds = record.readDouble();
    peakWatts = record.readDouble();
    samples = record.readLong();
    Set<Flag> found = EnumSet.noneOf(Flag.class);
    for (int count = record.readInt(); count > 0; count--) {
      found.add(FLAGS[record.readByte()]);
    }
    flags = Collections.unmodifiableSet(found);
    hasNet = record.readByte() != 0;
    idleWatts = hasNet ? record.readDouble() : Double.NaN;
    netJoules = hasNet ? record.readDouble() : Double.NaN;
    netHalfWidth = hasNet ? record.readDouble() : Double.NaN;
  }

  /**
   * The meter.
   *
   * @return its name
   */
  public String source() {
    return source;
  }

  /**
   * What kind of meter it is.
   *
   * @return its class
   */
  public MeterClass meterClass() {
    return meterClass;
  }

  /**
   * The energy of the window, gross.
   *
   * @return joules
   */
  public double joules() {
    return joules;
  }

  /**
   * Half the 95 % interval: the truth is within {@link #joules()} ± this 19 times out of 20, if the meter is as good as its
   * {@link EnergyMeter} says.
   *
   * @return joules
   */
  public double halfWidth() {
    return halfWidth;
  }

  /**
   * How long the window was.
   *
   * @return seconds
   */
  public double seconds() {
    return seconds;
  }

  /**
   * The mean power, gross.
   *
   * @return watts
   */
  public double averageWatts() {
    return joules / seconds;
  }

  /**
   * The highest power at a reading, or between two of a counter.
   *
   * @return watts
   */
  public double peakWatts() {
    return peakWatts;
  }

  /**
   * Different readings within the window.
   *
   * @return how many
   */
  public long samples() {
    return samples;
  }

  /**
   * What makes the figures worth less than they look, those of the idle window too.
   *
   * @return a set that cannot be changed
   */
  public Set<Flag> flags() {
    return flags;
  }

  /**
   * Whether an idle window ended before this one did: {@link EnergyWindow#endIdle()}.
   *
   * @return false where there is nothing to take away
   */
  public boolean hasNet() {
    return hasNet;
  }

  /**
   * The mean power of the idle window.
   *
   * @return watts; not a number where there was none
   */
  public double idleWatts() {
    return idleWatts;
  }

  /**
   * What the window took beyond being idle.
   *
   * @return joules; not a number where there was no idle window
   */
  public double netJoules() {
    return netJoules;
  }

  /**
   * Half the 95 % interval of {@link #netJoules()}.
   *
   * @return joules; not a number where there was no idle window
   */
  public double netHalfWidth() {
    return netHalfWidth;
  }

  /**
   * Tokens per joule, gross.
   *
   * @param tokens how many came in the window, such as {@link Stats#tokensWritten()}
   * @return tokens for a joule; not a number where nothing was used
   */
  public double tokensPerJoule(long tokens) {
    return joules > 0 ? tokens / joules : Double.NaN;
  }

  /**
   * Tokens per joule beyond being idle.
   *
   * @param tokens how many came in the window
   * @return tokens for a joule; not a number where there was no idle window, or idle took as much
   */
  public double netTokensPerJoule(long tokens) {
    return netJoules > 0 ? tokens / netJoules : Double.NaN;
  }

  /** The energy with its interval, the power, the class and the flags. */
  @Override
  public String toString() {
    String net = hasNet ? String.format(Locale.ROOT, ", net %.3g ± %.2g J", netJoules, netHalfWidth) : "";
    return String.format(
        Locale.ROOT,
        "%.4g ± %.2g J in %.1f s%s (%s, class %s) %s", joules, halfWidth, seconds, net, source, meterClass, flags);
  }
}
