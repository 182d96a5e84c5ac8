package dev.babil;

/**
 * A meter that the program reads, and what its readings are worth. What its maker does not state is assumed, as
 * {@code docs/ENERGY.md} says.
 */
public final class EnergyMeter {
  /** In the order of the native library. */
  private enum Kind {
    BATTERY_POWER,
    BATTERY_ENERGY,
    RAIL_ENERGY
  }

  final int kind;
  final byte[] name;
  final int count;
  final double resolution;
  final double update;
  final double gain;
  final double offset;

  private EnergyMeter(
      int kind, byte[] name, int count, double resolution, double update, double gain, double offset) {
    this.kind = kind;
    this.name = name;
    this.count = count;
    this.resolution = resolution;
    this.update = update;
    this.gain = gain;
    this.offset = offset;
  }

  private static EnergyMeter of(Kind kind, String name, int count) {
    byte[] text = Text.of(name, "the name of a meter");
    return new EnergyMeter(kind.ordinal(), text, count, Double.NaN, Double.NaN, Double.NaN, Double.NaN);
  }

  /**
   * The gauge of a battery that gives current and voltage. Readings are watts: their product, without a sign, while nothing
   * charges it. Class D.
   *
   * @param name what reports call it
   * @return the meter
   * @throws BabilException {@link Code#BAD_ARGUMENT} where the name is null
   */
  public static EnergyMeter batteryPower(String name) {
    return of(Kind.BATTERY_POWER, name, 1);
  }

  /**
   * The gauge of a battery that counts energy. Readings are joules, and grow: of what is left, push the negative. Class D.
   *
   * @param name what reports call it
   * @return the meter
   * @throws BabilException {@link Code#BAD_ARGUMENT} where the name is null
   */
  public static EnergyMeter batteryEnergy(String name) {
    return of(Kind.BATTERY_ENERGY, name, 1);
  }

  /**
   * Counters of power rails on the board. Readings are joules, the sum of the counters, and grow. Class C.
   *
   * @param rails their names, which reports call it by
   * @return the meter
   * @throws BabilException {@link Code#BAD_ARGUMENT} where there is none, or one is null
   */
  public static EnergyMeter railEnergy(String... rails) {
    if (Text.notNull(rails, "the rails").length == 0) {
      throw new BabilException(Code.BAD_ARGUMENT, "no rails");
    }
    for (String rail : rails) {
      Text.notNull(rail, "the name of a rail");
    }
    return of(Kind.RAIL_ENERGY, "rails:" + String.join("+", rails), rails.length);
  }

  /** A number that the maker states. */
  private static double stated(double value, String what) {
    if (!(value >= 0 && value < Double.POSITIVE_INFINITY)) {
      throw new BabilException(Code.BAD_ARGUMENT, what + " of " + value + ": 0 or more");
    }
    return value;
  }

  /**
   * The step in which readings come.
   *
   * @param step watts or joules, as the readings
   * @return another description
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is below 0, or no number
   */
  public EnergyMeter resolution(double step) {
    return new EnergyMeter(kind, name, count, stated(step, "a resolution"), update, gain, offset);
  }

  /**
   * How long the meter says the same before it measures again: a reading is so old at most.
   *
   * @param seconds the time
   * @return another description
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is below 0, or no number
   */
  public EnergyMeter updateSeconds(double seconds) {
    return new EnergyMeter(kind, name, count, resolution, stated(seconds, "an update"), gain, offset);
  }

  /**
   * How far readings are off in proportion to the truth, from device to device.
   *
   * @param deviation a standard deviation: 0.01 is 1 %
   * @return another description
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is below 0, or no number
   */
  public EnergyMeter gain(double deviation) {
    return new EnergyMeter(kind, name, count, resolution, update, stated(deviation, "a gain"), offset);
  }

  /**
   * How far readings are off at any power.
   *
   * @param watts a standard deviation
   * @return another description
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is below 0, or no number
   */
  public EnergyMeter offsetWatts(double watts) {
    return new EnergyMeter(kind, name, count, resolution, update, gain, stated(watts, "an offset"));
  }
}
