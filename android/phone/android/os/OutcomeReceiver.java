package android.os;

/** Who waits for an answer. */
public interface OutcomeReceiver<R, E extends Throwable> {
  void onResult(R result);

  default void onError(E error) {}
}
