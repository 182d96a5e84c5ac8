package android.os;

import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;

/** Work for a loop. */
public class Handler {
  private final Looper looper;

  public Handler(Looper looper) {
    this.looper = looper;
  }

  public final boolean post(Runnable work) {
    return postAtTime(work, SystemClock.uptimeMillis());
  }

  public final boolean postAtTime(Runnable work, long uptimeMillis) {
    try {
      looper.loop.schedule(work, uptimeMillis - SystemClock.uptimeMillis(), TimeUnit.MILLISECONDS);
      return true;
    } catch (RejectedExecutionException quit) {
      return false;
    }
  }
}
