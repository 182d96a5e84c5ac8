package android.content;

import android.content.res.AssetManager;
import java.io.File;
import java.util.HashMap;
import java.util.Map;

/** A phone: what an app may ask of it. */
public class Context {
  /** Its services, by their classes. */
  public final Map<Class<?>, Object> services = new HashMap<>();

  /** What it has said of its battery last. */
  public volatile Intent battery;

  public Context getApplicationContext() {
    return this;
  }

  public <T> T getSystemService(Class<T> type) {
    return type.cast(services.get(type));
  }

  public Intent registerReceiver(BroadcastReceiver receiver, IntentFilter filter) {
    return receiver == null && filter.action.equals(Intent.ACTION_BATTERY_CHANGED) ? battery : null;
  }

  public AssetManager getAssets() {
    throw new UnsupportedOperationException();
  }

  public File getCacheDir() {
    throw new UnsupportedOperationException();
  }
}
