package dev.babil.android;

import android.os.Handler;
import android.os.HandlerThread;
import android.os.SystemClock;
import java.util.Random;

/**
 * Reads a meter from a thread of its own. Time is cut into equal pieces, and each has its reading at a random moment: a load
 * that repeats as often as it is read would otherwise be met in the same phase each time.
 */
final class Ticker implements Runnable, AutoCloseable {
  private final HandlerThread thread = new HandlerThread("babil-energy");
  private final Random random = new Random();
  private final Runnable read;
  private final long period;
  private final Handler handler;
  private long piece;

  /**
   * Begins.
   *
   * @param hz readings per second
   * @param read the reading; it ends all of them with an {@link IllegalStateException}, as of a monitor that is closed
   * @throws IllegalArgumentException the rate is not from 0.1 to 100
   */
  Ticker(double hz, Runnable read) {
    if (!(hz >= 0.1 && hz <= 100)) {
      throw new IllegalArgumentException(hz + " readings per second: from 0.1 to 100");
    }
    this.read = read;
    period = Math.round(1000 / hz);
    thread.start();
    handler = new Handler(thread.getLooper());
    handler.post(this);
  }

  @Override
  public void run() {
    try {
      read.run();
    } catch (IllegalStateException closed) {
      return;
    }
    long now = SystemClock.uptimeMillis();
    piece = Math.max(piece + 1, now / period);
    handler.postAtTime(this, Math.max(now, piece * period + random.nextInt((int) period)));
  }

  @Override
  public void close() {
    thread.quitSafely();
  }
}
