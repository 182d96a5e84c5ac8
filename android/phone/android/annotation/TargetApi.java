package android.annotation;

/** The API level that something needs. */
public @interface TargetApi {
  int value();
}
