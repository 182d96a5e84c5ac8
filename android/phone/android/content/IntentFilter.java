package android.content;

/** Which broadcast is wanted. */
public class IntentFilter {
  final String action;

  public IntentFilter(String action) {
    this.action = action;
  }
}
