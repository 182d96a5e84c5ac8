package dev.babil;

import java.nio.charset.StandardCharsets;

/**
 * Something that babil cannot do. The message says what is wrong, where, and what can be done; the {@link #code() code} is
 * for programs.
 *
 * <p>Using what was closed is a mistake in the program, and an {@link IllegalStateException} instead.
 */
public final class BabilException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** What can be done about it. */
  private final Code code;

  /** Whether the same call may succeed later. */
  private final boolean retryable;

  /** Called by the native library. */
  private BabilException(int code, boolean retryable, byte[] message) {
    this(Code.of(code), retryable, new String(message, StandardCharsets.UTF_8));
  }

  private BabilException(Code code, boolean retryable, String message) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }

  /**
   * What an extension of this library cannot do.
   *
   * @param code what can be done about it
   * @param message what is wrong, where, and what can be done
   */
  public BabilException(Code code, String message) {
    this(code, false, message);
  }

  /**
   * What can be done about it.
   *
   * @return the code, never null
   */
  public Code code() {
    return code;
  }

  /**
   * Whether the same call may succeed later, with nothing changed here.
   *
   * @return true for {@link Code#BUSY} and {@link Code#NETWORK}
   */
  public boolean retryable() {
    return retryable;
  }
}
