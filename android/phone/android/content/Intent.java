package android.content;

import java.util.HashMap;
import java.util.Map;

/** A broadcast and its numbers. */
public class Intent {
  public static final String ACTION_BATTERY_CHANGED = "android.intent.action.BATTERY_CHANGED";

  private final Map<String, Integer> extras = new HashMap<>();

  public Intent putExtra(String name, int value) {
    extras.put(name, value);
    return this;
  }

  public int getIntExtra(String name, int otherwise) {
    return extras.getOrDefault(name, otherwise);
  }
}
