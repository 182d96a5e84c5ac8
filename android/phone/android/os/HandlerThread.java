package android.os;

import java.util.concurrent.Executors;

/** A thread with a loop. */
public class HandlerThread extends Thread {
  private Looper looper;

  public HandlerThread(String name) {
    super(name);
  }

  @Override
  public void start() {
    looper = new Looper(Executors.newSingleThreadScheduledExecutor(loop -> new Thread(loop, getName())));
  }

  public Looper getLooper() {
    return looper;
  }

  public boolean quitSafely() {
    looper.loop.shutdownNow();
    return true;
  }
}
