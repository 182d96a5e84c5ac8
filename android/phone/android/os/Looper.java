package android.os;

import java.util.concurrent.ScheduledExecutorService;

/** The loop of a thread. */
public final class Looper {
  final ScheduledExecutorService loop;

  Looper(ScheduledExecutorService loop) {
    this.loop = loop;
  }
}
