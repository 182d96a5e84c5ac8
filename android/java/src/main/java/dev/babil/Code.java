package dev.babil;

/** What a caller can do about a {@link BabilException}. */
public enum Code {
  /** Change the request: it does not suit the model, or is none (a null, an unknown language, a file without sound). */
  BAD_ARGUMENT,
  /** There is no such file or model, or it has not been pulled. */
  NOT_FOUND,
  /** The model's file is damaged, or not what it should be. */
  BAD_MODEL,
  /** The model, this build of the library or this machine cannot do it. */
  UNSUPPORTED,
  /** The model needs more memory than it may have. Nothing of it was loaded. */
  TOO_LARGE,
  /** Something else is under way that must end first. */
  BUSY,
  /** The disk or the file system. */
  IO,
  /** The connection, or what answers at its other end. */
  NETWORK,
  /** It was cancelled, or closed meanwhile. */
  CANCELLED,
  /** A mistake in babil. What it was found in can no longer be used; everything else can. */
  INTERNAL,
  /** The meter did not say enough, or nothing: there is no figure for this window. */
  NOT_MEASURED;

  private static final Code[] ALL = values();

  static Code of(int number) {
    return number >= 0 && number < ALL.length ? ALL[number] : INTERNAL;
  }
}
