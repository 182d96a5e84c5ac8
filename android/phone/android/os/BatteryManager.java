package android.os;

import java.util.function.IntToLongFunction;

/** The gauge of the battery. */
public class BatteryManager {
  public static final int BATTERY_PROPERTY_CURRENT_NOW = 2;
  public static final int BATTERY_PROPERTY_ENERGY_COUNTER = 5;
  public static final String EXTRA_PLUGGED = "plugged";
  public static final String EXTRA_VOLTAGE = "voltage";

  private final IntToLongFunction properties;

  public BatteryManager(IntToLongFunction properties) {
    this.properties = properties;
  }

  public long getLongProperty(int id) {
    return properties.applyAsLong(id);
  }
}
